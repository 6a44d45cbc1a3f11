"The readable definitions against reference values, against each other, and against what the theory says of them."
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from creativity.diffusion import CosineSchedule, sample, samples, seed_noise
from creativity.theory.belief import (
    Oracle,
    entropy,
    ideal_belief,
    log_evidence,
    participation,
    weights,
)
from creativity.theory.equivariance import bbels_mean, els_mean, equivariant_mean
from creativity.theory.ideal import ideal_mean
from creativity.theory.locality import local_mean
from creativity.theory.windows import (
    bbels_belief,
    border_class,
    border_classes,
    els_belief,
    equivariant_belief,
    local_belief,
    orbit,
    translations,
)

HERE = Path(__file__).resolve().parent
SMALL = HERE/'assets'/'reference_small.npz'
SHARED = Path(os.environ.get('CREATIVITY_SHARED') or HERE.parent/'..'/'shared')/'reference'

SCHEDULE = CosineSchedule()
MACHINES = {'IS': ideal_mean, 'ES': equivariant_mean, 'LS': local_mean, 'ELSwrapped': els_mean, 'bbELS': bbels_mean,
            'ELS': lambda *args: els_mean(*args, wrapped=False)}
SPREAD = {'fashion': ['IS_t0.05', 'ES_t0.6', 'LS_t0.05_k31', 'ELSwrapped_t0.6_k1', 'ELS_t0.05_k31', 'bbELS_t0.6_k31'],
          'cifar10': ['IS_t0.7', 'LS_t0.7_k15', 'ELSwrapped_t0.7_k3', 'ELS_t0.01_k3', 'bbELS_t0.01_k15']}


def cases(keys): return [k for k in keys if k.split('_')[0] in MACHINES]


def error(golden, key):
    "Largest difference between a machine and one stored case."
    machine, t, *k = key.split('_')
    a, sigma = float(SCHEDULE.a(float(t[1:]))), float(SCHEDULE.sigma(float(t[1:])))
    out = MACHINES[machine](torch.tensor(golden[f'x_{t}']), torch.tensor(golden['train']), a, sigma, *[int(w[1:]) for w in k])
    assert out.dtype == torch.float64
    return (out - torch.tensor(golden[key])).abs().max().item()


with np.load(SMALL, allow_pickle=False) as stored: STORED = dict(stored)


@pytest.mark.parametrize('case', [k for k in STORED if cases([k.split('/')[1]])])
def test_stored_reference(case):
    name, key = case.split('/')
    golden = {k.split('/')[1]: v for k, v in STORED.items() if k.startswith(name)}
    assert error(golden, key) < 1e-9


needs_shared = pytest.mark.skipif(not SHARED.exists(), reason='no shared reference folder')


def shared(name):
    with np.load(SHARED/f'golden_{name}.npz', allow_pickle=False) as f: return dict(f)


@needs_shared
@pytest.mark.parametrize('name', ['fashion', 'cifar10'])
def test_shared_reference_spread(name):
    golden = shared(name)
    assert {k: e for k in SPREAD[name] if (e := error(golden, k)) >= 1e-9} == {}


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize('name', ['fashion', 'cifar10'])
def test_shared_reference_complete(name):
    golden = shared(name)
    keys = cases(golden)
    assert len(keys) == {'fashion': 110, 'cifar10': 42}[name]
    keys = [k for k in keys if not k.startswith('ELSwrapped') or k.endswith(('k1', 'k3', 'k7', 'k9')) or '_t0.3_' in k]  # the widest once: minutes each
    assert {k: e for k in keys if (e := error(golden, k)) >= 1e-9} == {}


# What the theory says, on small images of every kind

def problem(N=5, C=2, H=6, W=8, t=0.4, seed=0):
    g = torch.Generator().manual_seed(seed)
    data = torch.rand(N, C, H, W, generator=g)*2 - 1
    a, sigma = float(SCHEDULE.a(t)), float(SCHEDULE.sigma(t))
    return a*data[0] + sigma*torch.randn(C, H, W, generator=g), data, a, sigma


def close(x, y, tol=1e-12): torch.testing.assert_close(x, y, rtol=0, atol=tol)


@pytest.mark.parametrize(('H', 'W'), [(5, 5), (4, 7), (6, 3)])
@pytest.mark.parametrize('t', [0.05, 0.4, 0.9])
def test_windows_that_cover_everything(H, W, t):
    p = problem(H=H, W=W, t=t)
    close(local_mean(*p, k=2*max(H, W) - 1), ideal_mean(*p))
    k = max(H, W) + (max(H, W) + 1) % 2
    close(bbels_mean(*p, k=k), local_mean(*p, k=k))


@pytest.mark.parametrize('t', [0.05, 0.4, 0.9])
def test_single_pixel_machines_are_one(t):
    p = problem(t=t)
    close(els_mean(*p, k=1), els_mean(*p, k=1, wrapped=False))
    close(els_mean(*p, k=1), bbels_mean(*p, k=1))


@pytest.mark.parametrize('t', [0.05, 0.4, 0.9])
def test_a_wrapping_window_of_the_whole_image_is_the_equivariant_score(t):
    p = problem(H=5, W=5, t=t)
    close(els_mean(*p, k=5), equivariant_mean(*p))


@pytest.mark.parametrize(('k', 'wrapped'), [(1, True), (3, True), (9, True), (1, False), (3, False), (5, False)])
def test_els_rolls_with_its_input_exactly(k, wrapped):
    x, *rest = problem(H=6, W=8)
    roll = lambda im: im.roll((2, -3), (-2, -1))
    assert torch.equal(els_mean(roll(x), *rest, k=k, wrapped=wrapped), roll(els_mean(x, *rest, k=k, wrapped=wrapped)))


def test_es_rolls_with_its_input():
    x, *rest = problem()
    roll = lambda im: im.roll((2, -3), (-2, -1))
    close(equivariant_mean(roll(x), *rest), roll(equivariant_mean(x, *rest)))


@pytest.mark.parametrize('k', [3, 5])
@pytest.mark.parametrize('shift', [(1, 2), (0, 3), (2, 0)])
def test_bbels_rolls_where_the_border_cuts_alike(k, shift):
    x, *rest = problem(H=10, W=9)
    out, rolled = bbels_mean(x, *rest, k=k), bbels_mean(x.roll(shift, (-2, -1)), *rest, k=k)
    alike = lambda n, s: torch.tensor([border_class(i, k, n) == border_class((i - s) % n, k, n) for i in range(n)])
    same = alike(10, shift[0])[:, None] & alike(9, shift[1])
    differs = (rolled != out.roll(shift, (-2, -1))).any(0)
    assert same.any()
    assert not differs[same].any()
    assert differs[~same].all()


def test_interior_pixels_of_bbels_are_unwrapped_els():
    p = problem(H=9, W=10)
    close(bbels_mean(*p, k=5)[:, 2:-2, 2:-2], els_mean(*p, k=5, wrapped=False)[:, 2:-2, 2:-2])


def test_equivariant_score_of_another_group():
    x, data, a, sigma = problem(H=4, W=4)
    turns = [lambda im, n=n: im.rot90(n, (-2, -1)) for n in range(4)]
    f = lambda x: ideal_mean(x, orbit(data, turns), a, sigma)
    close(f(turns[1](x)), turns[1](f(x)))
    assert (ideal_mean(turns[1](x), data, a, sigma) - turns[1](ideal_mean(x, data, a, sigma))).abs().max() > 0.1


def test_border_classes_partition_the_rows():
    for n in (1, 4, 7):
        for k in range(1, 2*n + 2, 2):
            classes = border_classes(k, n)
            assert sorted(torch.cat(list(classes.values())).tolist()) == list(range(n))
            assert all(border_class(i, k, n) == c for c, rows in classes.items() for i in rows.tolist())
    assert [len(r) for r in border_classes(5, 9).values()] == [1, 1, 5, 1, 1]


BELIEFS = {'IS': (ideal_belief, ideal_mean, {}), 'ES': (equivariant_belief, equivariant_mean, {}),
           'LS': (local_belief, local_mean, {'k': 3}), 'ELS': (els_belief, els_mean, {'k': 3}),
           'unwrapped': (els_belief, els_mean, {'k': 5, 'wrapped': False}), 'bbELS': (bbels_belief, bbels_mean, {'k': 5})}


@pytest.mark.parametrize('name', BELIEFS)
def test_belief(name):
    belief_of, mean_of, kw = BELIEFS[name]
    for t in (0.02, 0.3, 0.8):
        x, data, a, sigma = problem(t=t)
        b = belief_of(x, data, a, sigma, **kw)
        close(b.mean, mean_of(x, data, a, sigma, **kw))
        close(b.n_eff, b.entropy.exp())
        assert (b.log_evidence <= 0).all()
        assert ((b.weight > 0) & (b.weight <= 1) & (b.n_eff >= 1 - 1e-12) & (b.n_eff*b.weight >= 1 - 1e-9)).all()
        assert ((b.image >= 0) & (b.image < len(data))).all()
        if t == 0.02:       # almost no noise: the winner is all that counts, and its centre is the answer
            sure = b.weight > 1 - 1e-9
            assert sure.any()
            close(data.double()[b.image, :, b.place[0], b.place[1]].movedim(-1, 0)[:, sure], b.mean[:, sure], 1e-8)


def test_belief_by_hand():
    "Two candidates at distances d², 0 and 2σ²·ln 3: weights 3/4 and 1/4."
    sigma = 0.5
    d2 = torch.tensor([0., 2*sigma**2*np.log(3)], dtype=torch.float64)
    w = weights(d2, sigma)
    close(w, torch.tensor([.75, .25], dtype=torch.float64))
    assert log_evidence(d2, sigma).item() == pytest.approx(np.log((1 + 1/3)/2))
    assert entropy(w).item() == pytest.approx(-.75*np.log(.75) - .25*np.log(.25))
    assert participation(w).item() == pytest.approx(1/(.75**2 + .25**2))


@pytest.mark.parametrize('name', BELIEFS)
def test_one_training_image_and_a_black_and_white_world(name):
    belief_of, _, kw = BELIEFS[name]
    x, data, a, sigma = problem(N=1, H=6, W=6)
    flat = torch.full_like(data, 0.25)
    b = belief_of(x, flat, a, sigma, **kw)
    close(b.mean, flat[0].double())
    b = belief_of(torch.zeros_like(x), torch.cat([flat*0 - 1, flat*0 + 1]), a, sigma, **kw)
    close(b.mean, torch.zeros_like(b.mean))


def test_els_of_black_and_white_follows_the_majority():
    data = torch.tensor([-1., 1.]).view(2, 1, 1, 1).expand(2, 1, 6, 6)
    x = seed_noise([3], (1, 6, 6))[0]
    total = sum(x.roll((u, v), (-2, -1)) for u in (-1, 0, 1) for v in (-1, 0, 1))
    close(els_mean(x, data, 1., 0.01, k=3), total.sign().double())


def test_the_ideal_flow_ends_on_a_training_image():
    _, data, *_ = problem(N=8)
    out = sample(Oracle(ideal_mean, data), 4)
    assert ((out[:, None] - data).abs().amax((2, 3, 4)).amin(1) < 1e-6).all()


def test_oracle_widths_and_batches():
    _, data, *_ = problem()
    x = seed_noise(range(3), data.shape[1:])
    by_t = Oracle(local_mean, data, k=lambda t: 3 if t < .5 else 5)
    for t, k in ((.2, 3), (.8, 5)):
        close(by_t.denoise(x, t), Oracle(local_mean, data, k=k).denoise(x, t))
    t = torch.tensor([.2, .8, .5])
    close(by_t.denoise(x, t), torch.cat([by_t.denoise(x[i:i+1], t[i].item()) for i in range(3)]))
    assert [round(s.t, 3) for s in samples(by_t, x, steps=4)] == [1, .75, .5, .25, 0]


@pytest.mark.parametrize(('mean', 'k'), [(ideal_mean, None), (local_mean, 3)])
def test_oracle_honours_label(mean, k):
    _, data, *_ = problem()
    y, x = torch.tensor([0, 1, 0, 1, 1]), seed_noise(range(2), data.shape[1:])
    m = Oracle(mean, data, k, labels=y)
    each = torch.cat([Oracle(mean, data[y == c], k).denoise(x[c:c + 1], .3) for c in (0, 1)])
    close(m.denoise(x, .3, torch.tensor([0, 1])), each)
    with pytest.raises(ValueError, match='label 2 is not in the data'): m.denoise(x, .3, 2)
    with pytest.raises(ValueError, match='without labels='): Oracle(mean, data, k).denoise(x, .3, 1)


@pytest.mark.parametrize(('call', 'says'), [
    (lambda p: local_mean(*p, k=4), 'k must be odd'),
    (lambda p: els_mean(*p, k=0), 'k must be odd'),
    (lambda p: bbels_mean(*p, k=-3), 'k must be odd'),
    (lambda p: els_mean(*p, k=7, wrapped=False), 'use wrapped=True'),
])
def test_bad_input(call, says):
    with pytest.raises(ValueError, match=says) as e: call(problem())
    assert '\n' not in str(e.value)
    assert len(translations(3, 4)) == 12
