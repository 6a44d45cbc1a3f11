"The benchmark: its baseline gives the right answer, and its result holds what it promises."
import json
from functools import partial

import pytest
import torch

from creativity.data.find import load
from creativity.diffusion import CosineSchedule, seed_noise
from creativity.machines.rivals import PCAMachine, PSPCMachine, WienerMachine
from creativity.machines.whole import ISMachine
from creativity.machines.windows import BBELSMachine, ELSMachine, LSMachine
from creativity.studies import speed
from creativity.studies.command import Meter, stored
from creativity.studies.speed import (
    bench,
    bench_files,
    bench_table,
    bound_ns,
    ceilings,
    resized,
    textbook,
    textbook_els,
    textbook_is,
    textbook_ls,
    time_of_width,
)

SCHEDULE = CosineSchedule()


@pytest.mark.parametrize('shape', [(1, 9, 9), (3, 8, 11)])
@pytest.mark.parametrize('k', [1, 3, 7])
@pytest.mark.parametrize('floor', [-80., -float('inf')])
def test_textbook_agrees_with_the_machine(shape, k, floor):
    data = torch.rand(13, *shape, generator=torch.Generator().manual_seed(0))*2 - 1
    t = .6
    x, a, sigma = data[:1] + seed_noise([1], shape), SCHEDULE.a(t).item(), SCHEDULE.sigma(t).item()
    out = textbook(x[0], data, a, sigma, k, batch=5, floor=floor)
    torch.testing.assert_close(out, BBELSMachine(data).denoise(x, t, k=k)[0], atol=1e-4, rtol=0)


def test_time_of_width():
    scales = [3, 3, 5, 5, 5, 9]
    assert [time_of_width(scales, k) for k in (3, 5, 9, 31)] == [2/6, 4/6, 1, 1]


def test_meter():
    with Meter() as m: block = torch.zeros(2**24)
    assert m.rise >= .9*block.nbytes
    assert m.seconds > 0


@pytest.mark.parametrize('shape', [(1, 9, 9), (3, 8, 11)])
def test_the_other_baselines_agree_with_their_machines(shape):
    data = torch.rand(13, *shape, generator=torch.Generator().manual_seed(0))*2 - 1
    x, t = data[:1] + seed_noise([1], shape), .6
    a, sigma = SCHEDULE.a(t).item(), SCHEDULE.sigma(t).item()
    pairs = (
        (textbook_els(x[0], data, a, sigma, 5, batch=5), ELSMachine(data, scales=5, wrapped=False)),
        (textbook_ls(x[0], data, a, sigma, 5, batch=5), LSMachine(data, scales=5)),
        (textbook_is(x[0], data, a, sigma), ISMachine(data)))
    for out, machine in pairs:
        torch.testing.assert_close(out, machine.denoise(x, t)[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize('name', speed.work)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_the_baselines_have_the_machines_gradient(name, dtype):
    make, by_book = speed.work[name]
    data = torch.rand(13, 2, 9, 11, generator=torch.Generator().manual_seed(0))*2 - 1
    (k, t), machine = (None, .95) if name == 'IS' else (5, .6), make(data)
    x, a, sigma = (data[:1] + seed_noise([1], data.shape[1:])).to(dtype), SCHEDULE.a(t).item(), SCHEDULE.sigma(t).item()
    book = speed.gradient(lambda q: by_book(q[0], data.to(q), a, sigma, k)[None], x)
    ours = speed.gradient(lambda q: machine.denoise(q, t, k=k), x)
    assert ours.abs().max() > 1e-3
    torch.testing.assert_close(book, ours, atol=1e-3 if dtype == torch.float32 else 1e-9, rtol=0)


def test_the_rivals_first_forms_agree_with_their_machines():
    data = torch.rand(40, 2, 9, 11, generator=torch.Generator().manual_seed(0))*2 - 1
    wiener, pca, t, k = WienerMachine(data), PCAMachine(data), .6, 4
    x, a, sigma = data[:1] + seed_noise([1], data.shape[1:]), SCHEDULE.a(t).item(), SCHEDULE.sigma(t).item()
    mean, values, vectors = wiener.spectrum(None)
    pairs = (
        (speed.textbook_wiener(x, (mean, (vectors*values) @ vectors.T), a, sigma), wiener.denoise(x, t)),
        (speed.textbook_pca(x, data, pca.masks(None, a, sigma).float(), a, sigma), pca.denoise(x, t)),
        (speed.textbook_pspc(x, data, k, a, sigma, chunk=7), PSPCMachine(data).denoise(x, t, k=k)))
    for book, ours in pairs: torch.testing.assert_close(book.float(), ours, atol=1e-4, rtol=0)


def test_a_ratio_is_taken_in_each_round(monkeypatch):
    # a machine that gets slower and slower: what was measured in one round is compared with the same round
    took = iter([8., 2., 16., 4., 24., 8.])
    class Slower(Meter):
        def __exit__(self, *error):
            super().__exit__(*error)
            self.seconds = next(took)
    monkeypatch.setattr(speed, 'Meter', Slower)
    first, ours = speed.compare_ways('bbELS', {'textbook': (int, 2), 'compiled': (int, 1)}, 3)
    assert (first['seconds'], first['ratio'], first['ratios']) == (16, 1, [1, 1])
    assert (ours['seconds'], ours['ns_a_pair'], ours['ratio'], ours['ratios']) == (4, 4e9, 2, [1.5, 2])
    assert speed.times_faster(ours) == '2.0 (1.5 to 2.0)'
    assert speed.times_faster(first) == '1.0'


@pytest.fixture(scope='module')
def best():
    "What this machine does at best, measured once."
    return ceilings()


def test_the_bound_grows_with_the_differences_around_a_window(best):
    machine = BBELSMachine(torch.zeros(1, 3, 32, 32))
    assert min(best.values()) > 0
    bounds = [bound_ns(machine.plan(k), machine.shape, best) for k in (1, 3, 9, 17)]
    assert bounds == sorted(bounds)
    assert bounds[0] >= (3*3 - 1)/best['matrix product, GFLOP/s']


def test_bench(tmp_path, monkeypatch, best):
    # small images, short schedules: a shift costs its time however few images there are
    monkeypatch.setattr(speed, 'load', partial(load, size=12))
    monkeypatch.setattr(speed, 'resized', lambda v, side: resized(v, side//4 | 1))
    monkeypatch.setattr(speed, 'published_scales', lambda name: [9, 11, 11])
    monkeypatch.setattr(speed, 'ceilings', lambda: best)
    result = bench(ks=(9, 11), n=12, repeats=1)
    rows = {(r['machine'], r.get('C'), r['way'], r.get('k')) for r in result['rows']}
    assert {(m, C, w, k) for m in ('bbELS', 'ELS', 'LS') for C in (1, 3) for w in ('textbook', 'torch', 'compiled') for k in (9, 11)} <= rows
    assert {('schedule', C, w, None) for C in (1, 3) for w in ('textbook', 'compiled')} <= rows
    passes = [f'{way}, {kind}' for way in ('textbook', 'compiled') for d in ('float32', 'float64')
              for kind in (d, f'{d}, gradient')]
    assert {(f'{m} passes', C, w, None if m == 'IS' else 9) for m in speed.work for C in (1, 3) for w in passes} <= rows
    assert {(m, 3, w, None) for m in ('Wiener', 'PCA-locality', 'PSPC-square', 'PSPC-flex') for w in ('textbook', 'ours')} <= rows
    assert {'IS', 'N', 'side', 'B', 'threads'} < {m for m, *_ in rows}
    told = speed.bench_summary(result)
    for m in ('LS, grey', 'PCA-locality, colour, 12 images'): assert sum(m in line for line in told.splitlines()) >= 1
    assert result['ceilings'] == best
    assert all(r['bound_ns'] > 0 for r in result['rows'] if r['way'] == 'compiled')
    files = bench_files(result, tmp_path/'new')
    assert [f.name for f in files] == ['bench.json', 'bench.txt', 'bench.png']
    assert json.loads(files[0].read_text()) == json.loads(json.dumps(result))
    assert files[1].read_text() == bench_table(result) + '\n'


def test_stored_result_keeps_its_promises():
    result = stored('speed')
    rows = {(r['machine'], r.get('C'), r['way'], r.get('k')): r for r in result['rows']}
    for k in (3, 5, 7, 9, 11, 13, 15, 17): assert rows['bbELS', 3, 'compiled', k]['ratio'] >= 10, k
    assert rows['schedule', 3, 'compiled', None]['ratio'] >= 25
    assert rows['LS', 3, 'compiled', 17]['ratio'] >= 10
