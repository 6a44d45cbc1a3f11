"What a machine with a tolerance promises: it is within its bound, whatever the data."
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from creativity.data.find import load
from creativity.diffusion import sample, seed_noise
from creativity.machines.bounded import Bounded, grouped, most_influential
from creativity.machines.windows import BBELSMachine, ELSMachine, LSMachine
from creativity.metrics import pearson
from creativity.studies.command import make_study, stored
from creativity.studies.tolerance import needed_share, run_study
from creativity.theory.equivariance import bbels_mean, els_mean

MACHINES = {'bbELS': (BBELSMachine, {}, bbels_mean), 'ELS': (ELSMachine, {}, els_mean),
            'unwrapped': (ELSMachine, dict(wrapped=False), lambda *v: els_mean(*v, wrapped=False))}
KINDS = ('noise', 'twins', 'constant', 'two clusters', 'binary', 'outlier')


def images(kind, shape, n, g):
    "Training images that are hard in some way."
    x = torch.rand(n, *shape, generator=g)*2 - 1
    if kind == 'twins': x = torch.cat([x[:n//2 + 1]]*2)[:n]
    if kind == 'constant': x = x[:, :1, :1, :1].expand_as(x).contiguous()
    if kind == 'two clusters': x = torch.where(torch.arange(n)[:, None, None, None] % 2 == 0, .8, -.8) + .05*x
    if kind == 'binary': x = x.sign()
    if kind == 'outlier': x = torch.cat([torch.full_like(x[1:], -1), x[:1]])
    return x.clamp(-1, 1)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_error_stays_within_the_bound(data):
    pick = lambda *v: data.draw(st.sampled_from(v))
    name, kind, k, C = pick(*MACHINES), pick(*KINDS), pick(1, 3, 5), pick(1, 3)
    make, options, truth = MACHINES[name]
    g = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    x0 = images(kind, (C, pick(5, 8), pick(5, 7)), pick(1, 2, 5), g)
    t, tol = pick(.01, .05, .2, .5, 1.), pick(1e-3, 1e-2, .1, 1.)
    machine = make(x0, **options)
    a, sigma = float(machine.schedule.a(t)), float(machine.schedule.sigma(t))
    start = pick(x0[:1], x0.mean(0, keepdim=True), torch.zeros_like(x0[:1])) # on, between and beside the data
    x = a*start + sigma*torch.randn(start.shape, generator=g)
    b = Bounded(machine, tol, leaf=pick(1, 4, 64)).bounds(x, t, k=k)
    error = (b.mean[0] - truth(x[0].double(), x0.double(), a, sigma, k)).abs().amax(0)
    assert (error <= b.bound[0] + 1e-4).all()
    assert b.bound.max() <= tol
    assert (b.pairs <= b.candidates).all()
    assert (b.pairs > 0).all()


def test_same_input_same_answer():
    x0 = load('fashion_mnist', label=0).x[:20]
    m = BBELSMachine(x0)
    x = .9*x0[:1] + .3*seed_noise([0], m.shape)
    one, two = (Bounded(m, .01).bounds(x, .2, k=3) for _ in range(2))
    assert torch.equal(one.mean, two.mean)
    assert torch.equal(one.bound, two.bound)
    assert torch.equal(one.pairs, two.pairs)


@pytest.mark.parametrize('k', [5, 7])
@pytest.mark.parametrize('name', list(MACHINES))
def test_float64_images_keep_their_bound(name, k):
    "Two constant images half-way between which the query lies: rounding to float32 moves all pixels alike, and the mean by more than .0005."
    make, options, truth = MACHINES[name]
    x0 = torch.tensor([.7 + 2.6e-8, -.7 + 2.6e-8], dtype=torch.float64)[:, None, None, None].expand(2, 3, 9, 9).contiguous()
    m, x = make(x0, **options), torch.zeros(3, 9, 9, dtype=torch.float64)
    a, sigma = float(m.schedule.a(.01)), float(m.schedule.sigma(.01))
    b, exact = Bounded(m, 1e-4).bounds(x[None], .01, k=k), truth(x, x0, a, sigma, k)
    assert (truth(x, x0.float().double(), a, sigma, k) - exact).abs().max() > 5e-4
    assert ((b.mean[0] - exact).abs().amax(0) <= b.bound[0] + 1e-8).all()


@pytest.mark.parametrize(('size', 'k'), [((1, 9), 5), ((2, 7), 7), ((5, 9), 17)])
def test_windows_that_go_round_more_than_once(size, k):
    g = torch.Generator().manual_seed(0)
    x0, noise = torch.rand(4, 1, *size, generator=g)*2 - 1, torch.randn(1, *size, generator=g)
    m = ELSMachine(x0)
    a, sigma = float(m.schedule.a(.5)), float(m.schedule.sigma(.5))
    x = a*x0[0] + sigma*noise
    b = Bounded(m, .01, widest=k).bounds(x[None], .5, k=k)
    assert ((b.mean[0] - els_mean(x.double(), x0.double(), a, sigma, k)).abs().amax(0) <= b.bound[0] + 1e-4).all()


def test_classes_batches_and_flows():
    d = load('fashion_mnist', n=40)
    m = BBELSMachine(d.x, d.y, scales=3)
    noise, label = seed_noise([0, 1], m.shape), d.y[:2]
    exact, near = (sample(v, noise, steps=5, label=label) for v in (m, Bounded(m, .01)))
    assert pearson(exact, near).min() > .999
    assert (m.denoise(noise, .3, label) - Bounded(m, 1e-3).denoise(noise, .3, label)).abs().max() < 2e-3


def test_wide_windows_are_exact():
    m = BBELSMachine(load('fashion_mnist', label=1).x[:10])
    x = seed_noise([0], m.shape)
    b = Bounded(m, .5, widest=3).bounds(x, .5, k=7)
    torch.testing.assert_close(b.mean.float(), m.denoise(x, .5, k=7))
    assert not b.bound.any()
    assert torch.equal(b.pairs, b.candidates)


def test_low_noise_needs_little():
    x0 = load('fashion_mnist', label=0).x[:60]
    m = BBELSMachine(x0)
    a, sigma = float(m.schedule.a(.05)), float(m.schedule.sigma(.05))
    b = Bounded(m, .01).bounds(a*x0[:1] + sigma*seed_noise([0], m.shape), .05, k=3)
    assert b.pairs.sum() < .2*b.candidates.sum()


def test_identical_windows_are_one():
    x0 = torch.zeros(50, 1, 8, 8)
    g = grouped(x0, 3)
    assert len(g.at) == 1
    assert g.count.tolist() == [50*36]


def test_most_influential_leaves_little():
    b = torch.rand(500, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))**8
    wanted = most_influential(b, .5)
    assert (b*~wanted).sum(0).max() <= .5
    assert not wanted.all(0).any()


def test_needed_share_by_hand():
    windows = torch.tensor([[1.], [-1.], [-1.], [-1.]])
    assert needed_share(windows, torch.tensor([[1.]]), 1., 100., 1e-3) == 1
    assert needed_share(windows, torch.tensor([[1.]]), 1., .1, 1e-3) == 0 # the mean is 1 whatever one looks at


@pytest.mark.parametrize(("make", "message"), [
    (lambda m: Bounded(LSMachine(m.images)), 'only ELS and bbELS'),
    (lambda m: Bounded(m, tol=-1), 'tol must be positive'),
    (lambda m: Bounded(m, tol=float('nan')), 'tol must be positive'),
    (lambda m: Bounded(m).denoise(torch.zeros(1, 1, 9, 9), .5, k=3), 'must hold images of shape'),
    (lambda m: Bounded(m).denoise(torch.zeros(1, 1, 8, 8), .5, k=4), 'odd'),
])
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message): make(BBELSMachine(torch.zeros(2, 1, 8, 8)))


def test_stored_result_and_command(tmp_path, refused):
    study = stored('tolerance')
    for row in study['networks'].values():
        assert row['flow']['r'] > .999
        assert max(row['flow']['steps']['bound']) <= study['tol']
    path, = make_study(run_study, tmp_path/'made', images=4, steps=2)
    made = json.loads(path.read_text())
    assert set(made['networks']) == set(study['networks'])
    assert made['command'] == 'creativity study tolerance --images 4 --steps 2'
    refused('study tolerance --tol -1', 'tol must be positive')
