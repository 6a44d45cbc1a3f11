"Schedules, conversions and samplers against closed forms."
import math

import pytest
import torch

from creativity import diffusion as D
from creativity.diffusion import (
    CosineSchedule,
    Denoiser,
    EDMSchedule,
    LinearSchedule,
    Schedule,
    add_noise,
    bcast,
    check_input,
    levels,
    released_scales,
    sample,
    samples,
    schedule_from_dict,
    seed_noise,
)

SCHEDULES = [CosineSchedule(), CosineSchedule(offset=0.008), LinearSchedule(), EDMSchedule(), EDMSchedule(.01, 40, 5)]
SHAPE = (1, 4, 5)


class Gaussian(Denoiser):
    "The exact denoiser of independent N(m, v) pixels."
    def __init__(self, m=.3, v=.25, schedule=None): self.m, self.v, self.schedule, self.shape = m, v, schedule or CosineSchedule(), SHAPE

    def denoise(self, x, t, label=None):
        a, sigma = levels(self.schedule, x, t)
        return self.m + a*self.v/(a*a*self.v + sigma*sigma)*(x - a*self.m)

    def end(self, x, t=1.):
        "Where the exact flow takes `x`."
        a, sigma = levels(self.schedule, x, t)
        return self.m + (self.v/(a*a*self.v + sigma*sigma))**.5*(x - a*self.m)


class FromNoise(Denoiser):
    "Another denoiser, known by its noise prediction only."
    def __init__(self, of): self.of, self.schedule, self.shape = of, of.schedule, of.shape
    def noise(self, x, t, label=None): return self.of.noise(x, t, label)


@pytest.mark.parametrize('s', SCHEDULES, ids=repr)
def test_schedule(s):
    t = torch.linspace(0, 1, 101, dtype=torch.float64).reshape(101, 1)
    a, sigma = s.a(t), s.sigma(t)
    assert a.shape == sigma.shape == t.shape
    assert a.dtype == sigma.dtype == s.a(0.5).dtype == torch.float64
    assert s.a(0.5).shape == ()
    torch.testing.assert_close(a**2 + sigma**2, torch.ones_like(a), rtol=0, atol=1e-14)
    assert (a.diff(dim=0) < 0).all()
    assert (sigma.diff(dim=0) > 0).all()
    torch.testing.assert_close(s.snr(t)[1:-1], (a/sigma)[1:-1]**2)
    assert s.sigma(0.3).item() == s.sigma(torch.tensor(0.3, dtype=torch.float64)).item()
    for bad in (-0.01, 1.01, float('nan'), torch.tensor([.5, 2.])):
        with pytest.raises(ValueError, match=r't must lie in \[0,1\]'): s.a(bad)


@pytest.mark.parametrize('s', SCHEDULES, ids=repr)
def test_schedule_round_trip(s):
    assert schedule_from_dict(s.to_dict()) == s == eval(repr(s))
    assert len({*SCHEDULES, s}) == len(SCHEDULES)


@pytest.mark.parametrize('d', [{}, {'name': 'Sine'}, {'name': 'CosineSchedule', 'shift': 1}, {'name': 'EDMSchedule', 'rho': -1}])
def test_schedule_from_bad_dict(d):
    with pytest.raises(ValueError): schedule_from_dict(d)  # noqa: PT011 each says something else


def test_schedule_closed_forms():
    for t in (0.01, 0.3, 0.77, 1.):
        near = lambda x, y: x.item() == pytest.approx(y, rel=1e-9)
        assert near(CosineSchedule().sigma(t)**2, 1 - math.cos(t/1.008*math.pi/2)**2)
        assert near(CosineSchedule().a(t), math.cos(t/1.008*math.pi/2))
        assert near(CosineSchedule(.008).sigma(t)**2, 1 - math.cos((t + .008)/1.008*math.pi/2)**2)
        assert near(LinearSchedule().a(t)**2, math.exp(-.1*t - 19.9*t*t/2))
        s = EDMSchedule()
        noise = (.002**(1/7) + t*(80**(1/7) - .002**(1/7)))**7
        assert near(s.sigma(t)/s.a(t), noise)
        assert near(s.a(t), 1/math.sqrt(1 + noise**2))


def test_base_schedule_must_be_defined():
    with pytest.raises(TypeError, match='must define angle'): Schedule().a(.5)
    with pytest.raises(TypeError, match='must define denoise or noise'): type('Nothing', (Denoiser,), {})


@pytest.mark.parametrize('s', SCHEDULES, ids=repr)
def test_predictions_are_equivalent(s):
    x0, eps = torch.rand(5, *SHAPE, dtype=torch.float64), torch.randn(5, *SHAPE, dtype=torch.float64)
    t = torch.tensor([.1, .2, .5, .8, .95])
    x, (a, sigma) = add_noise(x0, eps, t, s), levels(s, x0, t)
    close = lambda x, y: torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-9)
    close(D.noise_from_x0(x, x0, a, sigma), eps)
    close(D.x0_from_noise(x, eps, a, sigma), x0)
    close(D.x0_from_score(x, D.score_from_x0(x, x0, a, sigma), a, sigma), x0)
    close(D.v_from_x0(x, x0, a, sigma), a*eps - sigma*x0)
    close(D.x0_from_v(x, a*eps - sigma*x0, a, sigma), x0)


@pytest.mark.parametrize('s', SCHEDULES, ids=repr)
def test_denoiser_predictions(s):
    d, x, t = Gaussian(schedule=s), torch.randn(3, *SHAPE, dtype=torch.float64), torch.tensor([.2, .5, .9])
    n, (a, sigma) = FromNoise(d), levels(s, x, t)
    score = -(x - a*d.m)/(a*a*d.v + sigma*sigma)
    for m in (d, n):
        torch.testing.assert_close(m.score(x, t), score)
        torch.testing.assert_close(m.denoise(x, t), d.denoise(x, t))
        torch.testing.assert_close(m.velocity(x, t), a*d.noise(x, t) - sigma*d.denoise(x, t))


def test_ends_of_time_are_refused_with_a_reason():
    x, d = torch.randn(2, *SHAPE), Gaussian()
    for f in (d.noise, d.score, d.velocity):
        with pytest.raises(ValueError, match='sigma = 0'): f(x, 0.)
    n = FromNoise(Gaussian(schedule=CosineSchedule(offset=.008)))
    with pytest.raises(ValueError, match='where a = 0'): n.denoise(x, 1.)
    assert sample(n, x, start=.999).isfinite().all()


def test_bcast():
    x = torch.zeros(3, 2, 4, 4, dtype=torch.float64)
    assert bcast(0.3, x).item() == 0.3
    assert bcast(torch.tensor([1., 2., 3.]), x).shape == (3, 1, 1, 1)
    assert bcast(0.3, x.float()).dtype == torch.float32


@pytest.mark.parametrize(('method', 'order'), [('ddim', 1), ('euler', 1), ('heun', 2)])
@pytest.mark.parametrize('s', [CosineSchedule(), EDMSchedule(1e-4, 40., 3.)], ids=repr)
def test_order_of_convergence(method, order, s):
    d, x = Gaussian(schedule=s), seed_noise(range(8), SHAPE).double()
    error = [(sample(d, x, n, method=method) - d.end(x)).abs().mean().item() for n in (160, 320)]
    assert math.log2(error[0]/error[1]) == pytest.approx(order, abs=.15)


def test_ddpm_samples_the_data():
    out = sample(Gaussian(), 2000, steps=200, method='ddpm')
    assert out.mean().item() == pytest.approx(.3, abs=.01)
    assert out.std().item() == pytest.approx(.5, abs=.01)


@pytest.mark.parametrize('method', D.samplers)
def test_a_seed_is_an_image(method):
    d = Gaussian()
    all10 = sample(d, 10, method=method)
    assert all10.shape == (10, *SHAPE)
    assert all10.dtype == torch.float32
    for other in (sample(d, 10, method=method, batch_size=3), sample(d, range(10), method=method),
                  sample(d, seed_noise(range(10), SHAPE), method=method)):
        assert torch.equal(all10, other)
    assert torch.equal(all10[7:8], sample(d, [7], method=method))
    assert torch.equal(all10[4:], sample(d, 6, seed=4, method=method))
    assert torch.equal(all10[[3, 1]], sample(d, [3, 1], method=method))
    torch.testing.assert_close(sample(d, seed_noise(range(10), SHAPE).double(), method=method).float(), all10)


def test_ddpm_noise_is_fresh():
    f = D.fresh_noise(seed_noise(range(200), SHAPE))
    z = torch.stack([seed_noise(range(200), SHAPE), f(), f()]).flatten(1)
    assert (torch.corrcoef(z) - torch.eye(3)).abs().max() < .05
    assert z.std().item() == pytest.approx(1, abs=.02)


def test_generator():
    draw = lambda n: sample(Gaussian(), n, generator=torch.Generator().manual_seed(5))
    assert torch.equal(draw(2), draw(6)[:2])
    assert not torch.equal(draw(2), sample(Gaussian(), 2))


def test_states():
    d, x = Gaussian(), seed_noise(range(2), SHAPE)
    states = list(samples(d, x, steps=5))
    assert [s.i for s in states] == [5, 4, 3, 2, 1, 0]
    assert [s.t for s in states] == pytest.approx([1, .8, .6, .4, .2, 0])
    assert torch.equal(states[0].x, x)
    for s in states[:-1]: torch.testing.assert_close(s.x0, d.denoise(s.x, s.t))
    assert torch.equal(states[-1].x, states[-2].x0)
    assert torch.equal(states[-1].x, sample(d, x, steps=5))


def test_published_loop():
    d, x = Gaussian(), seed_noise(range(2), SHAPE)
    states = list(samples(d, x, steps=20, published=True))
    assert [s.i for s in states] == [*range(19, 0, -1), 0]
    assert states[0].t == pytest.approx(.95)
    assert torch.equal(states[0].x, x)
    assert torch.equal(sample(d, x, published=True), states[-1].x)
    assert released_scales([3, 5, 7, 9]) == [5, 7, 9, 9]


def test_labels_follow_their_images():
    class Labelled(Denoiser):
        shape = SHAPE
        def denoise(self, x, t, label=None): return torch.zeros_like(x) + bcast(label, x)
    label = torch.tensor([4, 0, 2, 9, 1])
    for lab in (label, label.tolist()):
        assert torch.equal(sample(Labelled(), 5, label=lab, batch_size=2)[:, 0, 0, 0], label.float())
    assert (sample(Labelled(), 5, label=3) == 3).all()


def test_gradients_are_neither_kept_nor_switched_off():
    class Learned(Gaussian):
        w = torch.nn.Parameter(torch.ones(()))
        def denoise(self, x, t, label=None): return self.w*super().denoise(x, t)
    for state in samples(Learned(), 2, steps=3):
        assert torch.is_grad_enabled()
        assert not state.x.requires_grad


def test_progress(capsys):
    sample(Gaussian(), 2, progress=True)
    assert '/20' in capsys.readouterr().err
    sample(Gaussian(), 2)
    assert capsys.readouterr().err == ''


X = torch.zeros(2, *SHAPE)
BAD = [
    (lambda: check_input(X[0], .5), r'x must be .*\[B,C,H,W\]'), (lambda: check_input(X.int(), .5), 'floating-point'),
    (lambda: check_input([1.], .5), 'got list'), (lambda: check_input(X, .5, shape=(3, 4, 5)), r'shape \(3, 4, 5\)'),
    (lambda: check_input(X/0, .5), 'NaN'), (lambda: check_input(X, 1.5), r't must lie in \[0,1\]'),
    (lambda: check_input(X, torch.rand(3)), 't must be one number or one for each of the 2 images'),
    (lambda: check_input(X, .5, torch.tensor([1, 2, 3])), 'label must be one number'),
    (lambda: check_input(X, .5, torch.tensor([1., 2.])), 'whole number'),
    (lambda: sample(Gaussian(), 0), 'at least 1'), (lambda: sample(Gaussian(), 2, batch_size=0), 'batch_size must be at least 1'), (lambda: sample(Gaussian(), 2, steps=0), 'steps must be at least 1'),
    (lambda: sample(Gaussian(), 2, steps=1, published=True), 'steps must be at least 2'),
    (lambda: sample(Gaussian(), 2, method='leapfrog'), "method must be one of .* got 'leapfrog'"),
    (lambda: sample(Gaussian(), torch.randn(2, 3, 4, 5)), r'images of shape \(1, 4, 5\)'),
    (lambda: EDMSchedule(sigma_min=2, sigma_max=1), '0 < sigma_min < sigma_max'),
]


@pytest.mark.parametrize(('call', 'says'), BAD)
def test_bad_input_is_one_line(call, says):
    with pytest.raises(ValueError, match=says) as e: call()
    assert '\n' not in str(e.value)


def test_a_denoiser_of_any_shape_must_be_told_one():
    d = Gaussian()
    d.shape = None
    with pytest.raises(ValueError, match='shape='): sample(d, 2)
    assert sample(d, 2, shape=(3, 8, 8)).shape == (2, 3, 8, 8)
