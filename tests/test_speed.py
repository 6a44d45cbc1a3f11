"The benchmark: its baseline gives the right answer, and its result holds what it promises."
import json

import pytest
import torch

from creativity.diffusion import CosineSchedule, seed_noise
from creativity.machines import BBELSMachine
from creativity.speed import Meter, bench, bench_files, bench_table, ceilings, stored_bench, textbook, time_of_width

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


def test_bench(tmp_path):
    result = bench(ks=(13, 15), n=12, repeats=1)
    ways = {(r['machine'], r['way'], r['k']) for r in result['rows']}
    assert {('bbELS', w, k) for w in ('textbook', 'torch', 'compiled', 'mean', 'belief') for k in (13, 15)} <= ways
    assert {'LS', 'IS'} < {m for m, _, _ in ways}
    assert set(result['ceilings']) == set(ceilings())
    files = bench_files(result, tmp_path/'new')
    assert [f.name for f in files] == ['bench.json', 'bench.txt', 'bench.png']
    assert json.loads(files[0].read_text()) == json.loads(json.dumps(result))
    assert files[1].read_text() == bench_table(result) + '\n'


def test_stored_result_keeps_its_promises():
    result = stored_bench()
    rows = {(r['way'], r['k']): r for r in result['rows'] if r['machine'] == 'bbELS'}
    assert result['images'] == 2000
    assert result['data'] == 'cifar10'
    for k in (3, 7, 11, 17): assert rows['compiled', k]['ratio'] >= 3, k
