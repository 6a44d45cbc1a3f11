"Anybody's model as a denoiser: every kind against its own formula, clipping, times, and a look at what is wrong."
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from creativity.data.images import Images
from creativity.diffusion import (
    BetaSchedule,
    CosineSchedule,
    EDMSchedule,
    FlowSchedule,
    LinearSchedule,
    add_noise,
    levels,
    noise_from_x0,
    sample,
    score_from_x0,
    seed_noise,
    v_from_x0,
)
from creativity.errors import CreativityError
from creativity.networks.wrap import (
    Clip,
    Look,
    check_denoiser,
    from_edm,
    from_flow,
    from_noise,
    from_score,
    from_v,
    from_x0,
    kinds,
    step_times,
)

S, W, M = CosineSchedule(), .25, .2
SHAPE = (2, 5, 6)


def one_line(error): return '\n' not in str(error.value) and str(error.value)


def mean_of(z, a, sigma):
    "The exact denoiser of N(M, W) pixels, for z = a·x0 + sigma·noise with any levels."
    return M + a*W/(a*a*W + sigma*sigma)*(z - a*M)


def image(v): return v[:, None, None, None]


# the same Gaussian, told in the terms of eight kinds of model
def edm(z, s, label=None): return mean_of(z, 1., image(s))
def ve(z, s, label=None): return (edm(z, s) - z)/image(s)**2
def flow(z, tau, label=None): return (z - mean_of(z, 1 - image(tau), image(tau)))/image(tau)
def back(z, tau, label=None): return -flow(z, 1 - tau)


def ours(convert, schedule):
    def f(x, t, label=None):
        a, sigma = levels(schedule, x, t)
        return convert(x, mean_of(x, a, sigma), a, sigma)
    return f


def models(schedule):
    told = lambda convert: ours(convert, schedule)
    return dict(x0=from_x0(told(lambda x, x0, a, s: x0), schedule), noise=from_noise(told(noise_from_x0), schedule),
                v=from_v(told(v_from_x0), schedule), score=from_score(told(score_from_x0), schedule),
                edm=from_edm(edm, schedule), ve=from_score(ve, schedule, ve=True),
                flow=from_flow(flow, schedule), back=from_flow(back, schedule, reverse=True))


@pytest.mark.parametrize('kind', models(S))
@pytest.mark.parametrize('schedule', [S, LinearSchedule(), EDMSchedule(), BetaSchedule(steps=100)], ids=lambda s: type(s).__name__)
def test_every_kind_is_the_same_denoiser(kind, schedule):
    m = models(schedule)[kind]
    x, t = seed_noise(range(4), SHAPE).double(), torch.tensor([.1, .5, .9, 1.])
    a, sigma = levels(schedule, x, t)
    exact = mean_of(x, a, sigma)
    close = lambda y, z: torch.testing.assert_close(y, z, rtol=1e-7, atol=1e-7)
    close(m.denoise(x, t), exact)
    close(m.noise(x, t), (x - a*exact)/sigma)
    close(m.score(x, t), (a*exact - x)/sigma**2)
    close(m.velocity(x, t), a*(x - a*exact)/sigma - sigma*exact)
    single = m.denoise(x.float(), t)
    assert single.dtype == torch.float32
    assert (single - exact).abs().max() < 2e-4


@pytest.mark.parametrize('kind', ['edm', 've', 'flow', 'back'])
def test_own_schedules_are_the_default(kind):
    m = dict(edm=from_edm(edm), ve=from_score(ve, ve=True), flow=from_flow(flow), back=from_flow(back, reverse=True))[kind]
    assert m.schedule == (EDMSchedule() if kind in ('edm', 've') else FlowSchedule())
    n = 100
    if kind in ('edm', 've'):
        # Euler along Karras's levels, in their own coordinates
        s = m.schedule.sigma(torch.linspace(1, 0, n + 1))/m.schedule.a(torch.linspace(1, 0, n + 1))
        z = noise = seed_noise(range(3), SHAPE).double()
        z = noise*(1 + s[0]**2).sqrt()
        for i in range(n): z = z + (s[i + 1]*(i < n - 1) - s[i])*(z - edm(z, s[i].expand(3)))/s[i]
    else:
        noise = z = seed_noise(range(3), SHAPE).double()
        for i in range(n): z = z - flow(z, torch.full((3,), 1 - i/n, dtype=torch.float64))/n
    torch.testing.assert_close(sample(m, noise, n), z, rtol=0, atol=1e-8)


def test_a_flow_has_an_answer_where_nothing_of_the_image_is_left():
    m = from_flow(flow)
    x = seed_noise(range(2), SHAPE).double()
    torch.testing.assert_close(m.denoise(x, 1.), torch.full_like(x, M))
    with pytest.raises(CreativityError, match=r'start=0\.999'): from_edm(edm, FlowSchedule()).denoise(x, 1.)
    with pytest.raises(CreativityError, match='needs the schedule'): from_score(ve)


def test_alphas_make_a_schedule_and_whole_steps_are_handed_over():
    alphas, got = torch.linspace(.999, .01, 50), []

    def f(x, i, label):
        got.append(i)
        a2 = image(alphas.double()[i])
        return (x - a2.sqrt()*mean_of(x, a2.sqrt(), (1 - a2).sqrt()))/(1 - a2).sqrt()
    x = seed_noise(range(2), SHAPE).double()
    for given in (alphas, alphas.numpy(), alphas.tolist()):
        m = from_noise(f, given, to_time='index')
        for i in (0, 20, 49):
            a2 = alphas[i].double()
            torch.testing.assert_close(m.denoise(x, (i + 1)/50), mean_of(x, a2.sqrt(), (1 - a2).sqrt()), rtol=0, atol=1e-6)
            assert got[-1].tolist() == [i, i]
            assert got[-1].dtype == torch.int64
    own = from_noise(lambda x, t, label: got.append(t) or torch.zeros_like(x), S, to_time=lambda t: 1000*t)
    own.denoise(x.float(), torch.tensor([.25, .5]))
    assert got[-1].tolist() == [250, 500]
    with pytest.raises(CreativityError, match='schedule of steps'): from_noise(f, S, to_time='index')
    with pytest.raises(CreativityError, match='to_time must be'): from_noise(f, S, to_time='seconds')


@pytest.mark.parametrize('spacing', ['leading', 'trailing', 'linspace'])
@pytest.mark.parametrize('n', [1, 7, 10, 50])
def test_grids_are_those_of_diffusers(spacing, n):
    diffusers = pytest.importorskip('diffusers')
    s = diffusers.DDIMScheduler(num_train_timesteps=50, timestep_spacing=spacing, steps_offset=0)
    s.set_timesteps(n)
    times = step_times(50, n, spacing)
    assert (torch.tensor(times[:-1])*50 - 1).round().int().tolist() == s.timesteps.tolist()
    assert times[-1] == 0
    with pytest.raises(CreativityError, match='from 1 to 50'): step_times(50, 51)
    with pytest.raises(CreativityError, match='spacing must be'): step_times(50, 5, 'random')


def test_learned_variance_is_left_out():
    f = ours(noise_from_x0, S)
    double = lambda x, t, label: torch.cat([f(x, t), torch.full_like(x, 9.)], 1)
    x = seed_noise(range(2), SHAPE)
    assert torch.equal(from_noise(double, S).denoise(x, .5), from_noise(f, S).denoise(x, .5))
    with pytest.raises(CreativityError, match='shape'):
        from_noise(lambda x, t, label: torch.cat([x]*3, 1), S).denoise(x, .5)


def imagen(x0, ratio):
    "Dynamic thresholding, image by image, written anew in numpy."
    out = []
    for im in x0.numpy():
        s = max(1., np.quantile(np.abs(im), ratio))
        out.append(np.clip(im, -s, s)/s)
    return torch.tensor(np.stack(out))


@pytest.mark.parametrize(('clip', 'rule'), [
    (True, lambda v: v.clamp(-1, 1)), ((-.5, 2.), lambda v: v.clamp(-.5, 2)), ('dynamic', lambda v: imagen(v, .995)),
    (('dynamic', .8), lambda v: imagen(v, .8)), (Clip(0, 1, .8), lambda v: .5 + imagen(2*v - 1, .8)/2)],
    ids=['True', 'bounds', 'dynamic', 'ratio', 'record'])
@pytest.mark.parametrize('wrap', [from_noise, from_x0, from_v, from_score])
def test_clipping(clip, rule, wrap):
    convert = {from_noise: noise_from_x0, from_x0: lambda x, x0, a, s: x0, from_v: v_from_x0, from_score: score_from_x0}[wrap]
    wild = 2*seed_noise(range(10, 14), SHAPE).double()

    def f(x, t, label=None): return convert(x, wild[:len(x)], *levels(S, x, t))
    x, (a, sigma) = seed_noise(range(4), SHAPE).double(), levels(S, wild, .8)
    m, kept = wrap(f, S, clip), rule(wild)
    close = lambda y, z: torch.testing.assert_close(y, z, rtol=1e-8, atol=1e-8)
    close(m.denoise(x, .8), kept)
    close(m.noise(x, .8), (x - a*kept)/sigma)
    close(m.score(x, .8), (a*kept - x)/sigma**2)
    close(m.velocity(x, .8), a*(x - a*kept)/sigma - sigma*kept)
    close(wrap(f, S).denoise(x, .8), wild)


@pytest.mark.parametrize('clip', ['hard', (1, -1), 3, ('dynamic', 'much'), ('dynamic', 2.), (1, 2, 3), (float('nan'), 1)], ids=str)
def test_no_clip_is_one_line(clip):
    with pytest.raises(CreativityError, match='clip') as e: from_x0(edm, S, clip)
    assert one_line(e)


class Net(nn.Module):
    "A module that predicts noise, with weights, dropout and float32 inside."
    def __init__(self, channels=2):
        super().__init__()
        self.conv, self.drop = nn.Conv2d(channels, channels, 1), nn.Dropout(.5)
    def forward(self, x, t, label=None): return self.drop(self.conv(x))


def test_training_mode_is_said_once():
    net = Net()
    for f in (net, net.forward, lambda x, t, y: net(x, t)):
        with pytest.warns(UserWarning, match='training mode') as seen: from_noise(f, S)
        assert len(seen) == 1
        assert seen[0].filename == __file__
    net.eval()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        m = from_noise(lambda x, t, y: net(x, t), S)
    x = seed_noise(range(2), SHAPE)
    assert m.denoise(x.double(), .5).dtype == torch.float64
    assert m.denoise(x.half(), .5).dtype == torch.float16
    assert m.device == torch.device('cpu')
    assert from_noise(edm, S, device='meta').device.type == 'meta'


def test_classes_may_have_names():
    f = lambda x, t, label: x*0 + image(label).to(x)
    m = from_x0(f, S, classes=['Shirt', 'Dress'], shape=SHAPE)
    assert (m.num_classes, m.class_names) == (2, ['Shirt', 'Dress'])
    assert (sample(m, 2, 3, 'dress') == 1).all()
    assert (m.denoise(seed_noise([0], SHAPE), .5, 'Dress') == 1).all()
    with pytest.raises(CreativityError, match='one of Shirt, Dress'): sample(m, 2, 3, 'Coat')
    with pytest.raises(CreativityError, match='give a label'): sample(m, 2, 3)


def test_a_model_is_one_short_line():
    assert repr(from_noise(edm, BetaSchedule(), True, shape=(3, 32, 32))) == 'Model(noise, BetaSchedule, 3x32x32, clipped)'


def test_help_says_the_options():
    import inspect
    for f in (from_noise, from_x0, from_v, from_score, from_edm, from_flow):
        names = set(inspect.signature(f).parameters)
        assert {'schedule', 'clip', 'shape', 'classes', 'to_time', 'device', 'images'} <= names
        assert len(names) <= 10


# a look

def pictures(n=64):
    "Smooth images with two classes."
    x = nn.functional.interpolate(seed_noise(range(n), (1, 3, 3)), (12, 12), mode='bilinear').clamp(-1, 1)
    return Images(x, torch.arange(n) % 2, 'smooth', ['a', 'b'])


D = pictures()
BASE = D.x.double().flatten(1)
CENTRE, COV = BASE.mean(0), torch.cov(BASE.T) + 1e-4*torch.eye(144)
VALUES, AXES = torch.linalg.eigh(COV)


def wiener(z, a, sigma):
    "The best linear denoiser of the pictures at any levels [B,1,1,1]."
    a, sigma = (torch.as_tensor(v, dtype=torch.float64).reshape(-1, 1) for v in (a, sigma))
    y = z.double().flatten(1) - a*CENTRE
    return ((CENTRE + (y@AXES*(a*VALUES/(a**2*VALUES + sigma**2)))@AXES.T).view(z.shape)).to(z.dtype)


def as_kind(convert, steps=None, back=False):
    def f(x, t, label=None):
        if steps: t = t/steps
        if back: t = 1 - t
        a, sigma = levels(S, x, t.double().clamp(0, 1))
        return convert(x, wiener(x, a, sigma), a, sigma)
    return f


def quiet(m, data=D):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        return check_denoiser(m, data)


def loud(m, says, data=D):
    with pytest.warns(UserWarning, match=says) as seen: look = check_denoiser(m, data)
    assert len(seen) == 1
    assert str(seen[0].message) == look.cause
    assert '\n' not in look.cause
    assert seen[0].filename == __file__
    return look


CONVERT = dict(noise=noise_from_x0, x0=lambda x, x0, a, s: x0, v=v_from_x0, score=score_from_x0)
WRAP = dict(noise=from_noise, x0=from_x0, v=from_v, score=from_score)


@pytest.mark.parametrize('true', CONVERT)
def test_a_right_model_is_fine(true):
    look = quiet(WRAP[true](as_kind(CONVERT[true]), S))
    assert look.ok
    assert all(e < m for e, m in zip(look.error, look.mean_error, strict=True))
    assert look.levels == pytest.approx([.3, 1.5, 8])
    assert -3 < look.low < look.high < 3


@pytest.mark.parametrize('said', CONVERT)
@pytest.mark.parametrize('true', CONVERT)
def test_the_wrong_parameterisation_is_named(true, said):
    if said == true: return
    loud(WRAP[said](as_kind(CONVERT[true]), S), f'predicts {true}')


@pytest.mark.parametrize('said', ['v', 'noise', 'reversed'])
def test_a_flow_under_another_name_is_named(said):
    def u(z, tau, label=None): return (z - wiener(z, 1 - image(tau), image(tau)))/image(tau)
    assert quiet(from_flow(u)).ok
    if said == 'reversed': loud(from_flow(u, reverse=True), 'flow.*the other way|the other way|predicts flow')
    else: loud(WRAP[said](u, FlowSchedule()), 'predicts flow')


def test_a_clock_of_its_own_is_named():
    loud(from_noise(as_kind(noise_from_x0, steps=999), S), 'wants whole steps')
    loud(from_v(as_kind(v_from_x0, back=True), S), 'the other way')
    assert quiet(from_noise(as_kind(noise_from_x0, steps=999), S, to_time=lambda t: 999*t)).ok


def test_a_model_that_needs_integers_is_told_how():
    table = nn.Embedding(100, 1).requires_grad_(False).eval()
    f = lambda x, t, label: x*image(table(t)[:, 0])
    with pytest.raises(CreativityError, match="to_time='index'") as e: check_denoiser(from_noise(f, BetaSchedule(steps=100)), D)
    assert one_line(e)
    with pytest.raises(CreativityError, match='raised RuntimeError: its own fault'):
        check_denoiser(from_noise(lambda x, t, label: (_ for _ in ()).throw(RuntimeError('its own fault')), S), D)


def test_worse_than_the_mean_and_out_of_range():
    look = loud(from_x0(lambda x, t, label: -x.roll(5, 2), S), 'worse than the mean image')
    assert look.error[0] > look.mean_error[0]

    def drifts(x, t, label=None): return noise_from_x0(x, wiener(x, *levels(S, x, t)), *levels(S, x, t)) + .2
    look = loud(from_noise(drifts, S), 'leave the range')
    assert look.low < -5
    assert quiet(from_noise(drifts, S, clip=True)).ok
    data = Images(D.x.clamp(0, 1))
    assert math.isfinite(loud(from_noise(lambda x, t, label: 500*x, S), '', data).error[0])


NET = as_kind(noise_from_x0)


def on(schedule):
    "The best linear denoiser's noise along another schedule."
    def f(x, t, label=None):
        a, sigma = levels(schedule, x, t.double().clamp(0, 1))
        return noise_from_x0(x, wiener(x, a, sigma), a, sigma)
    return f


@pytest.mark.parametrize(('f', 'data', 'says'), [
    (lambda *args: -NET(*args), D, r'predicts noise with the other sign \(from_noise of −f\)'),
    (lambda x, t, label: on(LinearSchedule())(x, t/999), D, 'wants whole steps'),
    (NET, Images(255*(D.x + 1)/2, range=None), r'lie in −1 … 1, those given lie in .* … 255'),
    (lambda x, t, label: .3 + 0*x, D, 'are the same whatever it sees'), (lambda x, t, label: 3*x, D, 'are what it was given'),
    (lambda x, t, label: 0*x, D, 'are all zeros'), (lambda x, t, label: NET(x, t) + .3, D, 'leave the range')])
def test_a_fault_is_named_by_its_cause(f, data, says): loud(from_noise(f, S), says, data)


def test_images_and_answers_in_another_scale():
    loud(from_x0(lambda x, t, label: 3*wiener(x, *levels(S, x, t)), S), 'its beliefs are .* times as large')


def test_a_sound_model_is_not_explained_otherwise():
    "The nulls of the causes: a right model that leaves the range is only said to leave it, and a weak one is no other."
    from creativity.networks import wrap as room
    for schedule in (S, LinearSchedule()):
        assert quiet(from_noise(on(schedule), schedule)).ok
        m = from_noise(on(schedule), schedule)
        noise = seed_noise(range(16), (1, 12, 12))
        times = schedule.time(torch.tensor([.3, 1.5]).double()).tolist()
        noised = [add_noise(D.x[:16], noise, t, schedule) for t in times]
        fits = room._fits(m, D.x[:16], noise, noised, None, times, True)
        assert room._wrong_terms(m, fits, True) is None
        assert len(fits) > 60
        m = from_noise(on(EDMSchedule() if schedule == S else S), schedule)
        wrong = room._wrong_terms(m, room._fits(m, D.x[:16], noise, noised, None, times, True), True)
        assert ('CosineSchedule()' in (wrong or '')) == (schedule != S)
    assert room._knows_nothing(m, noised[0], times[0], None) is None


def test_labels_of_the_images_are_used_and_machines_are_looked_at_too():
    from creativity.machines.whole import ISMachine
    got = []

    def f(x, t, label):
        got.append(label)
        return as_kind(noise_from_x0)(x, t)
    quiet(from_noise(f, S, classes=2))
    assert got[0].tolist() == [0, 1]*8
    assert quiet(ISMachine(D.x)).ok
    with pytest.warns(UserWarning, match='predicts v'): from_noise(as_kind(v_from_x0), S, images=D)


def test_a_look_is_a_record():
    import json
    look = quiet(from_noise(as_kind(noise_from_x0), S), D.x)
    assert isinstance(look, Look)
    assert Look(**json.loads(json.dumps(look.to_dict()))) == look
    assert repr(look).endswith('fine)')
    assert set(kinds) == {'noise', 'x0', 'v', 'score', 'edm', 'flow', 've score', 'reversed flow'}
    assert add_noise(D.x, D.x, .5, S).shape == D.x.shape


# what models return

def test_a_noise_model_has_no_score_without_noise():
    m = from_noise(lambda x, t, label: torch.zeros_like(x), S)
    with pytest.raises(ValueError, match='sigma = 0'): m.score(seed_noise(range(2), (1, 4, 4)), 0.)


def test_labels_reach_the_model():
    m = from_noise(lambda x, t, label: x*label[:, None, None, None], S, classes=10)
    x = seed_noise(range(3), (1, 4, 4))
    torch.testing.assert_close(m.noise(x, .5, torch.tensor([0, 1, 2])), x*torch.tensor([0., 1, 2])[:, None, None, None])
    torch.testing.assert_close(m.noise(x, .5, 3), x*3)


@pytest.mark.parametrize(('f', 'kw', 'label', 'says'), [
    (lambda x, t, y: x[:, :, 1:], {}, None, 'shape'), (lambda x, t, y: None, {}, None, 'NoneType'),
    (lambda x, t, y: x/0, {}, None, 'NaN or Inf'), (lambda x, t, y: x, dict(shape=(3, 4, 4)), None, 'shape'),
    (lambda x, t, y: x, dict(classes=10), None, 'give a label'), (lambda x, t, y: x, dict(classes=10), 10, 'from 0 to 9'),
    (lambda x, t, y: x, dict(classes=10), torch.tensor([3, -1]), 'from 0 to 9'), (lambda x, t, y: x, dict(classes=0), 1, 'no classes')])
def test_bad_models_and_labels(f, kw, label, says):
    with pytest.raises(ValueError, match=says) as e: from_noise(f, S, **kw).denoise(seed_noise(range(2), (1, 4, 4)), .5, label)
    assert one_line(e)


def test_wrapper_wants_a_function_and_a_schedule():
    with pytest.raises(ValueError, match='function'): from_noise(3, S)
    with pytest.raises(ValueError, match='Schedule'): from_noise(lambda x, t, y: x, 'cosine')


def test_model_must_answer_with_real_numbers():
    for dtype in (torch.complex64, torch.int64):
        with pytest.raises(ValueError, match='real numbers'): from_noise(lambda x, t, label, dtype=dtype: x.to(dtype), S).denoise(seed_noise(range(2), SHAPE), .5)


def test_steps_without_an_index_are_warned_of():
    "A network of DDPM's steps that is told t in [0,1] answers nonsense in silence."
    bars = torch.linspace(.99, .01, 10)
    with pytest.warns(UserWarning, match="to_time='index'"): from_noise(lambda x, t, label: x, bars)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        from_noise(lambda x, t, label: x, bars, to_time='index')
        from_noise(lambda x, t, label: x, bars, to_time=lambda t: t)
        from_edm(lambda z, s, label: z, bars)
