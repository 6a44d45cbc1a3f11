"Schedules, conversions and samplers against closed forms."
import math

import pytest
import torch

from creativity import CreativityError
from creativity import diffusion as D
from creativity.diffusion import (
    BetaSchedule,
    CosineSchedule,
    Denoiser,
    EDMSchedule,
    FlowSchedule,
    LinearSchedule,
    Schedule,
    State,
    StepSchedule,
    Times,
    add_noise,
    as_schedule,
    bcast,
    check_input,
    class_number,
    levels,
    released_scales,
    sample,
    samples,
    schedule_from_dict,
    seed_labels,
    seed_noise,
    start_noise,
    time_grid,
)

SCHEDULES = [CosineSchedule(), CosineSchedule(offset=0.008), LinearSchedule(), EDMSchedule(),
             EDMSchedule(.01, 40, 5), FlowSchedule(), FlowSchedule(3.), BetaSchedule(),
             BetaSchedule('squaredcos_cap_v2', zero_snr=True), BetaSchedule('sigmoid', 1e-4, .02, 50)]
SHAPE = (1, 4, 5)
S = CosineSchedule()


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
    assert (sigma.diff(dim=0) >= 0).all()
    torch.testing.assert_close(s.snr(t)[1:-1], (a/sigma)[1:-1]**2)
    torch.testing.assert_close(s.time((sigma/a)[1:-1]), t[1:-1], rtol=0, atol=1e-6)
    assert s.sigma(0.3).item() == s.sigma(torch.tensor(0.3, dtype=torch.float64)).item()
    for bad in (-0.01, 1.01, float('nan'), torch.tensor([.5, 2.])):
        with pytest.raises(ValueError, match=r't must lie in \[0,1\]'): s.a(bad)


@pytest.mark.parametrize('s', SCHEDULES, ids=repr)
def test_schedule_round_trip(s):
    assert schedule_from_dict(s.to_dict()) == s == eval(repr(s))
    assert len({*SCHEDULES, s}) == len(SCHEDULES)
    assert s.time(0.) == 0
    assert s.time(1e9).item() == pytest.approx(1, abs=1e-6)


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
    with pytest.raises(TypeError, match='must define angle'): type('OnlyA', (Schedule,), {'a': lambda self, t: t})
    with pytest.raises(TypeError, match='must define denoise or noise'): type('Nothing', (Denoiser,), {})


def test_no_offset_is_one_schedule():
    none, zero = CosineSchedule(), CosineSchedule(0.)
    assert none == zero
    assert hash(none) == hash(zero)
    assert repr(none) == repr(zero)
    assert none.to_dict() == zero.to_dict() == {'name': 'CosineSchedule', 'offset': None}


class Curves(Schedule):
    "A schedule of one's own, no dataclass."
    def __init__(self, power=2.): self.power = power
    def a(self, t): return (1 - t**(2*self.power)).sqrt()
    def sigma(self, t): return t**self.power


class Duck:
    "An object that has curves and is no Schedule."
    def a(self, t): return torch.cos(1.5*t)
    def sigma(self, t): return torch.sin(1.5*t)


class Turn:
    def angle(self, t): return 1.5*t


class Line:
    "Curves of an object that prints as Python's objects do."
    def __init__(self, a, sigma): self.curves = a, sigma
    def a(self, t): return self.curves[0](t)
    def sigma(self, t): return self.curves[1](t)


class Angle(Schedule):
    "An angle of one's own."
    def __init__(self, curve): self.curve = curve
    def angle(self, t): return self.curve(t)


class Pair(Schedule):
    "Levels of one's own."
    def __init__(self, *curves): self.curves = curves
    def a(self, t): return self.curves[0](t)
    def sigma(self, t): return self.curves[1](t)


def test_levels_in_float32_are_a_schedule():
    "Where there is little noise, sqrt(1 - a²) wavers in its last digits."
    slow = lambda t: torch.cos(1.5*t**3).float()
    as_schedule(Pair(slow, lambda t: (1 - slow(t)**2).clamp(min=0).sqrt()))


def test_schedule_of_ones_own():
    s = Curves()
    assert s == Curves() != Curves(3.)
    assert schedule_from_dict(s.to_dict()) == s
    assert s.a(.5).dtype == torch.float64
    assert s.angle(.5).item() == pytest.approx(math.asin(.25), rel=1e-12)
    x0, eps = torch.rand(3, *SHAPE), torch.randn(3, *SHAPE)
    torch.testing.assert_close(add_noise(x0, eps, .5, s), math.sqrt(1 - 1/16)*x0 + .25*eps)
    d = Gaussian(schedule=s)
    assert (sample(d, 4, 300) - d.end(seed_noise(range(4), SHAPE))).abs().max() < .02
    with pytest.raises(ValueError, match='t must lie in'): s.a(1.5)
    class Slip(Schedule):
        def angle(self, t): return math.asin(t)
    assert Slip().a(.5) == pytest.approx(math.sqrt(.75)) # one number is taken by math, too
    with pytest.raises(CreativityError, match=r'^Slip.angle\(t\) gets a float64 tensor'): Slip().a(torch.rand(3))


@pytest.mark.parametrize('duck', [Duck(), Turn()])
def test_an_object_with_curves_is_a_schedule(duck):
    s = as_schedule(duck)
    assert isinstance(s, Schedule)
    assert s.a(.5).item() == pytest.approx(math.cos(.75), rel=1e-12)
    assert as_schedule(s) is s
    assert repr(s) == f'{type(duck).__name__}()'


@pytest.mark.parametrize(('bad', 'says'), [
    ('cosine', 'got str'), (3, 'got int'), (CosineSchedule, 'got type'), ([.5, .9], 'falling'),
    ([1.5], 'falling'), ([], 'falling'), (torch.rand(3, 2), 'falling'), ([float('nan')], 'falling'),
    (torch.linspace(1e-4, .02, 9), r'were these betas\? give \(1 - betas\).cumprod'),
    (Line(lambda t: 0*t + 1, lambda t: 80*t), r'^Line\(.*must keep a² \+ sigma² = 1, got 6.4e\+03 at t = 1: .*EDMSchedule'),
    (Line(lambda t: 1 - t, lambda t: t), r'got 0.5 at t = 0.5: .*FlowSchedule\(\)'),
    (Line(lambda t: t, lambda t: (1 - t**2).sqrt()), r'^the noise of Line\(.*must grow, .* from 1.57 to 0$'),
    (Line(lambda t: (3*t).cos(), lambda t: (3*t).sin()), 'must rise within .* from 0 to 3'),
    (Line(lambda t: math.cos(t), torch.sin), r'^Line.a\(t\) gets a float64 tensor: use torch functions, as torch.cos \(.*scalar'),
    (Angle(lambda t: t*0 + 1), r'^the noise of Angle\(.*must rise .* from 1 to 1$'),
    (Angle(lambda t: (t + .05*torch.sin(40*t))*1.5), r'^the noise of Angle\(.*must rise .* falls before t = 0\.\d+$'),
    (Angle(lambda t: .3), r'^angle\(t\) of Angle\(.*must give one number for each time, got shape \(\) for 1,001 times$'),
    (Angle(lambda t: t[:3]), r'^angle\(t\) of Angle\(.*must give one number for each time, got shape \(3,\)'),
    (Pair(lambda t: .6, lambda t: .8), r'^a\(t\) of Pair\(.*must give one number for each time, got shape \(\)'),
    (Pair(torch.cos, lambda t: torch.sin(t)[:3]), r'^sigma\(t\) of Pair\(.*must give one number for each time, got shape \(3,\)'),
    (Line(lambda t: 0*t + 1, lambda t: 10*t), r'divide both by sqrt\(a² \+ sigma²\), and the noisy images likewise; .*FlowSchedule.*EDMSchedule'),
    (Line(torch.cos, lambda t: None), r'^Line.sigma\(t\) gets'),
    (Line(torch.cos, lambda t: math.sqrt(-1)), r'^Line.sigma\(t\) gets')])
def test_no_schedule_is_one_line(bad, says):
    with pytest.raises(ValueError, match=says) as e: as_schedule(bad)
    assert '\n' not in str(e.value)


def test_steps_by_their_alphas():
    beta = torch.linspace(1e-4, .02, 100, dtype=torch.float64)
    alphas = (1 - beta).cumprod(0)
    for given in (alphas, alphas.numpy(), alphas.tolist()):
        s = as_schedule(given)
        assert isinstance(s, StepSchedule)
        assert s.steps == 100
        torch.testing.assert_close(s.a(torch.arange(1, 101)/100)**2, alphas)
    assert len(repr(s)) < 80
    assert schedule_from_dict(s.to_dict()) == s
    torch.testing.assert_close(s.angle(torch.linspace(0, 1, 37)), BetaSchedule(steps=100).angle(torch.linspace(0, 1, 37)))


def test_schedules_are_known_whatever_is_imported():
    import subprocess
    import sys
    code = ("import sys; from creativity.diffusion import schedule_from_dict as f; "
            "print(f({'name': 'BetaSchedule'}), f({'name': 'FlowSchedule'}), 'creativity.networks' in sys.modules)")
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    assert out.startswith('BetaSchedule(')
    assert out.endswith('False\n')


def test_flow_and_edm_are_their_definitions():
    x0, eps = torch.rand(2, *SHAPE, dtype=torch.float64), torch.randn(2, *SHAPE, dtype=torch.float64)
    for tau in (.1, .5, .9):
        z = (1 - tau)*x0 + tau*eps
        torch.testing.assert_close(add_noise(x0, eps, tau, FlowSchedule()), z/z.new_tensor([1 - tau, tau]).norm())


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


@pytest.mark.parametrize(('seeds', 'ids'), [(torch.arange(3), [0, 1, 2]), (torch.tensor([7]), [7]), (torch.tensor(2), [0, 1]), (torch.tensor([4, 1], dtype=torch.uint8), [4, 1])])
def test_whole_numbers_in_a_tensor_are_seed_ids(seeds, ids):
    assert D.seed_ids(seeds) == ids
    assert torch.equal(sample(Gaussian(), seeds, 2), sample(Gaussian(), ids, 2))


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


def test_times():
    d, x = Gaussian(), seed_noise(range(3), SHAPE)
    for m in D.samplers:
        assert torch.equal(sample(d, x, 7, method=m), sample(d, x, times=[i/7 for i in range(7, -1, -1)], method=m))
    states = list(samples(d, x, times=[.9, .4, .2]))
    assert [s.i for s in states] == [2, 1, 0]
    assert [s.t for s in states] == [.9, .4, .2]
    a, sigma = levels(d.schedule, x, .2)
    torch.testing.assert_close(states[-1].x, a*states[-2].x0 + sigma*d.noise(states[-2].x, .4))
    assert torch.equal(sample(d, x, times=Times([.9, .4, .2], clean=True)), states[-2].x0)
    torch.testing.assert_close(sample(d, x, times=Times([1, .5, 0], start=.5)), sample(d, x/2, times=[1, .5, 0]))
    beside = list(samples(d, x, times=Times([1, .5, 0], landings=[.45, 0])))
    torch.testing.assert_close(beside[1].x, D.ddim(d, x, d.denoise(x, 1.), 1., .45))
    assert torch.equal(beside[2].x, d.denoise(beside[1].x, .5))
    assert sample(d, x, times=Times([.5, .5, .5])).isfinite().all() # a published grid may
    assert sample(d, x, times=Times([.5, .5, .5]), method='ddpm').isfinite().all()


@pytest.mark.parametrize(('times', 'says'), [([.2, .5], 'that fall'), ([.5, .5], 'that fall'), ([1., .5, .5, 0.], 'that fall'), ([1.], 'that fall'), ([], 'that fall'), ([2., 0], 'numbers in'),
                                             ([float('nan'), 0], 'numbers in'), ([[1, 0]], 'falling list')])
def test_bad_times(times, says):
    with pytest.raises(ValueError, match=says) as e: sample(Gaussian(), 2, times=times)
    assert '\n' not in str(e.value)


def test_large_variance():
    "Ho et al.'s other choice: with many steps it samples the same data."
    d = Gaussian()
    d.variance = 'large'
    out = sample(d, 2000, steps=200, method='ddpm')
    assert out.std().item() == pytest.approx(.5, abs=.01)
    x = seed_noise(range(2), SHAPE)
    fresh = lambda: torch.ones_like(x)
    small = D.ddpm(Gaussian(), x, x, .6, .5, fresh=fresh)
    (a, sigma), (a1, sigma1) = ([float(f(t)) for f in (S.a, S.sigma)] for t in (.6, .5))
    more = math.sqrt(1 - (a/a1)**2)*(1 - sigma1/sigma)
    torch.testing.assert_close(D.ddpm(d, x, x, .6, .5, fresh=fresh) - small, torch.full_like(x, more))
    d.variance = 'learned'
    with pytest.raises(ValueError, match='ddim'): sample(d, 2, method='ddpm')


def test_names_of_classes():
    class Named(Denoiser):
        shape, class_names, num_classes = SHAPE, ['Shirt', 'Dress', '7'], 3
        def denoise(self, x, t, label=None): return torch.zeros_like(x) + bcast(label, x)
    say = lambda label: sample(Named(), 3, 2, label=label)[:, 0, 0, 0].tolist()
    assert say('Dress') == say('dress') == say(1) == [1, 1, 1]
    assert say(['Dress', 'shirt', 2]) == [1, 0, 2]
    assert say('7') == [2, 2, 2]
    assert seed_labels(Named(), 'Dress', range(2)) == [1, 1]
    assert class_number(None, None) is None
    for bad, says in (('Coat', 'choose 0 to 2 or one of Shirt, Dress'), ('-1', 'no class')):
        with pytest.raises(ValueError, match=says): say(bad)
    with pytest.raises(ValueError, match='must be a whole number'): sample(Gaussian(), 2, label='Dress')


def test_noise_does_not_depend_on_the_default_dtype():
    x, d = seed_noise([7], SHAPE), Gaussian()
    draw = lambda: start_noise(d, 2, generator=torch.Generator().manual_seed(1))
    before, drawn, ddpm = x.clone(), draw(), sample(d, [7], method='ddpm')
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(seed_noise([7], SHAPE), before)
        assert seed_noise([7], SHAPE).dtype == torch.float32
        assert torch.equal(draw(), drawn)
        assert torch.equal(sample(d, [7], method='ddpm'), ddpm)
    finally: torch.set_default_dtype(torch.float32)


def test_a_state_is_one_short_line():
    state = next(samples(Gaussian(), 2))
    assert repr(state) == 'State(i=20, t=1, x=[2, 1, 4, 5])'
    assert isinstance(state, State)
    assert time_grid(4, published=True) == [.75, .5, .25, 0]


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
    (lambda: sample(Gaussian(), 2, steps='5'), "^steps must be a whole number, got '5'$"), (lambda: sample(Gaussian(), 2, steps=2.5), '^steps must be a whole number, got 2.5$'),
    (lambda: sample(Gaussian(), 2, seed=1.2), '^seed must be a whole number, got 1.2$'), (lambda: sample(Gaussian(), 'x'), "^seeds must be .* got 'x'$"),
    (lambda: sample(Gaussian(), torch.rand(3)), r'^seeds must be noise .* got torch.float32 \(3,\)$'), (lambda: sample(Gaussian(), torch.tensor([True])), '^seeds must be noise'),
    (lambda: sample(Gaussian(), torch.arange(-3, 0)), 'seed ids must be from 0'), (lambda: sample(Gaussian(), X.int()), 'floating-point'),
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


def test_times_keep_their_digits():
    "Widths change at times as .6, which float32 would move past the change."
    assert Times([1., .6, .3, 0.]) == [1., .6, .3, 0.]
    assert time_grid(10) == [i/10 for i in range(10, -1, -1)]
