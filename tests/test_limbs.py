"Limbs: the counter on drawn garments, edits, intervals and kappa, the study's flow, resume, bad input."
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from creativity.diffusion import sample, seed_noise
from creativity.machines.windows import BBELSMachine
from creativity.measure.limbs import count_made, garments, limbs, strands
from creativity.studies import limbs as L
from creativity.studies.command import stored

TROUSER, PULLOVER, DRESS = garments.values()


def drawn(*columns, height=32, top=4, cloth=.9):
    "A garment: a block on top, strands below at the given (start, end) columns."
    v = torch.zeros(1, 1, height, 32)
    v[..., top:12, columns[0][0]:columns[-1][1]] = cloth
    for a, b in columns: v[..., 12:28, a:b] = cloth
    return 2*v - 1


@pytest.mark.parametrize('cloth', [.3, .9])
@pytest.mark.parametrize('columns', [[(4, 9)], [(4, 9), (12, 17)], [(2, 6), (8, 13), (20, 24)], [(0, 3), (5, 8), (10, 13), (30, 32)]])
def test_drawn_legs_are_counted(columns, cloth):
    for g in (TROUSER, PULLOVER, DRESS): assert limbs(drawn(*columns, cloth=cloth), g).item() == len(columns)


def test_the_counter_does_not_depend_on_batch_place_or_side():
    x = torch.cat([drawn((4, 9)), drawn((4, 9), (12, 17)), torch.full((1, 1, 32, 32), -1.)])
    assert limbs(x, TROUSER).tolist() == [1, 2, 0]
    assert limbs(x.flip(0), TROUSER).tolist() == [0, 2, 1]
    assert limbs(x.flip(3), TROUSER).tolist() == limbs(x.roll(5, 3), TROUSER).tolist() == [1, 2, 0]
    assert limbs(x.double(), TROUSER).tolist() == [1, 2, 0]


def test_dim_gaps_and_the_floor():
    v = torch.tensor([.8, .8, .5, .8, .8])
    assert strands(v, .65).item() == 2
    assert strands(v, .6).item() == 1
    assert strands(v/8, .65).item() == 0


def test_edits_change_the_count_by_one():
    x = drawn((6, 11), (14, 19))
    assert {n: (limbs(y, TROUSER).item(), c) for n, (y, c) in L.edits(x, TROUSER).items()} == {
        'real': (2, 2), 'erased': (1, 1), 'pasted': (3, 3)}
    assert L.paste_limb(drawn((0, 10), (14, 30))[0], TROUSER) is None
    assert torch.equal(x, drawn((6, 11), (14, 19)))
    with pytest.raises(ValueError, match='empty'): L.erase_limb(torch.full((1, 32, 32), -1.), TROUSER)


@pytest.mark.parametrize('x', [torch.zeros(3, 8, 8), torch.zeros(1, 3, 8, 8), None, torch.full((1, 1, 8, 8), math.nan)])
def test_bad_images_are_refused(x):
    with pytest.raises(ValueError, match=r'x '): limbs(x, TROUSER)


@pytest.fixture
def pair():
    data = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))*2 - 1
    m = BBELSMachine(data, torch.tensor([0, 1]*3), scales=[3]*4 + [5]*16)
    return m, m


def test_branches_share_the_early_flow(pair):
    made = L.make_seed(*pair, 3, 1, widths=(3, 15))
    torch.testing.assert_close(made['machine'], made['network'], atol=1e-5, rtol=0) # two of its late steps are wider than 3
    for k in ('k=3', 'k=15'): assert (made['machine'] - made[k]).abs().max() > 1e-3
    torch.testing.assert_close(made['network'], sample(pair[0], seed_noise([3], (1, 8, 8)), 20, 1)[0])
    assert pair[1].scales == [3]*4 + [5]*16


def test_news_travels_one_pixel_a_step(pair):
    found = L.influence(pair[1], 0, 0, widths=(3, 5), late=2)
    assert found.shape == (2, 4)
    assert (found[0, :2] > 1e-7).all()
    assert (found[0, 2:] == 0).all()
    assert (found[1] > 0).all()


def test_a_study_that_was_stopped_goes_on(tmp_path, monkeypatch, pair):
    monkeypatch.setattr(L, 'study_pair', lambda images, garment: (*pair, 1))
    first = L.finish_seeds('Trouser', 2, 3, tmp_path, 1)
    kept = (tmp_path/'Trouser'/'seed_000000.npz').stat().st_mtime_ns
    again = L.finish_seeds('Trouser', 3, 3, tmp_path, 1)
    assert (tmp_path/'Trouser'/'seed_000000.npz').stat().st_mtime_ns == kept
    assert len(again) == 3
    assert [sorted(a) for a in again[:2]] == [sorted(f) for f in first]
    assert 'influence' in again[0]
    assert 'influence' not in again[2]
    monkeypatch.setitem(garments, 'Trouser', replace(TROUSER, widths=(3, 5)))
    with pytest.raises(ValueError, match='with widths'): L.finish_seeds('Trouser', 3, 3, tmp_path, 1)
    (tmp_path/'Trouser'/'seed_000001.npz').write_bytes(b'PK')
    monkeypatch.setitem(garments, 'Trouser', TROUSER)
    with pytest.raises(ValueError, match='damaged'): L.finish_seeds('Trouser', 3, 3, tmp_path, 1)


def test_counting_digits():
    x = ((torch.cat([drawn((4, 9)), drawn((4, 9), (12, 17))])[:, 0] + 1)*127.5).round().to(torch.uint8).numpy()
    assert count_made({'network': x, 'IS': x[::-1].copy()}, TROUSER) == {'network': '12', 'IS': '21'}
    assert L.histogram(torch.tensor([1, 2, 2, 30])) == [0, 1, 2, 0, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize('line', ['--seeds 0', '--images 0', '--images 501', '--label Hat'])
def test_bad_options_are_one_line(line, refused):
    refused(f'study limbs {line}')


def test_the_stored_study_is_whole():
    s = stored('limbs')
    assert list(s['garments']) == list(garments)
    for name, row in s['garments'].items():
        assert tuple(row['widths']) == garments[name].widths == (3, 5, 7, 9, 11)
        assert np.shape(row['influence'])[0] == 5
        assert {'network', 'IS', 'LS', 'machine', *(f'k={k}' for k in row['widths'])} <= set(row['made'])
        assert {len(c) for c in row['made'].values()} == {s['seeds']}
        assert sum(row['real']['held-out']) == 1000
    assert len(json.dumps(s)) < 2e4


def test_the_full_set_is_missed_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setenv('CREATIVITY_DATA', str(tmp_path/'cache'))
    with pytest.raises(FileNotFoundError, match='creativity data fashion_mnist'):
        L.run_study('Dress', seeds=1, images=10, out=tmp_path/'out')
    assert not (tmp_path/'out').exists()
