"Guidance, conditional denoisers and likelihoods, over shapes and noise levels."
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from creativity.data.find import load
from creativity.data.images import Images
from creativity.diffusion import CosineSchedule, sample
from creativity.errors import CreativityError
from creativity.machines.conditional import Conditional, inpainting, shrinking
from creativity.machines.mix import Guided
from creativity.machines.rivals import WienerMachine
from creativity.machines.whole import ISMachine
from creativity.machines.windows import BBELSMachine, LSMachine
from creativity.measure.likelihood import divergence, log_likelihood
from creativity.networks.card import load_network

SCHEDULE = CosineSchedule()
QUICK = settings(deadline=None, max_examples=15, derandomize=True,
                 suppress_health_check=list(HealthCheck))


@st.composite
def problems(draw):
    "Training images, a state, a time, and a random linear measurement."
    C, H, W, N = draw(st.integers(1, 3)), draw(st.integers(2, 5)), draw(st.integers(2, 5)), draw(st.integers(2, 30))
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    data = (torch.rand(N, C, H, W, generator=g)*2 - 1).double()
    x = torch.randn(2, C, H, W, generator=g, dtype=torch.float64)
    rows = torch.randn(draw(st.integers(1, 6)), C*H*W, generator=g, dtype=torch.float64)
    return data, x, draw(st.floats(.05, 1)), rows, draw(st.sampled_from([.01, .3, 2.])), g


@QUICK
@given(problem=problems())
def test_gaussian_posterior(problem):
    "For Gaussian data the exact form is the truth, whatever is measured."
    data, x, t, rows, s, g = problem
    machine, D = WienerMachine(data), data[0].numel()
    y = torch.randn(len(rows), generator=g, dtype=torch.float64)
    known = Conditional(machine, lambda v: v.flatten(1) @ rows.T.to(v), y, s, products=2*len(rows))
    a, sigma = SCHEDULE.a(t).item(), SCHEDULE.sigma(t).item()
    cov, mean = torch.cov(data.flatten(1).T, correction=0), data.flatten(1).mean(0)
    both = torch.cat([a*torch.eye(D), rows]).double()
    noise = torch.cat([torch.full((D,), sigma**2), torch.full((len(rows),), s**2)]).double().diag()
    gain = torch.linalg.solve(both @ cov @ both.T + noise, both @ cov).T
    wanted = [mean + gain @ (torch.cat([q.flatten(), y]) - both @ mean) for q in x]
    found = known.denoise(x, t).flatten(1)
    torch.testing.assert_close(found, torch.stack(wanted), atol=1e-6, rtol=1e-5)


def test_what_is_measured_comes_back():
    "A nearly noiseless measurement holds at the end of the flow; without one, it does not."
    g = torch.Generator().manual_seed(0)
    data = torch.nn.functional.avg_pool2d(torch.randn(60, 1, 12, 12, generator=g), 3)
    data = (data/data.abs().max()).repeat_interleave(2, 2).repeat_interleave(2, 3)
    for machine in (LSMachine(data, scales=3), BBELSMachine(data, scales=3)):
        for measure in (shrinking(4), inpainting(torch.rand(8, 8, generator=g) < .4)):
            y = measure(data[:2])
            told = sample(Conditional(machine, measure, y, .01, products=12), 2, steps=8)
            plain = sample(machine, 2, steps=8)
            assert (measure(told) - y).abs().mean() < .25*(measure(plain) - y).abs().mean()


def test_a_mask_is_the_measurement_of_its_pixels():
    "[H,W] or [C,H,W], with what was measured, or with the whole image, of every seed or of one."
    g = torch.Generator().manual_seed(0)
    data, x = torch.rand(9, 3, 6, 5, generator=g)*2 - 1, torch.randn(2, 3, 6, 5, generator=g)
    m, flat = ISMachine(data), torch.rand(6, 5, generator=g) < .5
    for mask in (flat, torch.rand(3, 6, 5, generator=g) < .5):
        wanted = Conditional(m, inpainting(mask), inpainting(mask)(data[:1]), .3).denoise(x, .5)
        for y in (data[0], data[:1], data[[0, 0]], inpainting(mask)(data[:1]), inpainting(mask)(data[0])):
            assert torch.equal(Conditional(m, mask, y, .3).denoise(x, .5), wanted)
    with pytest.raises(CreativityError, match=r'mask must have the shape \[6, 5\] or \[3, 6, 5\]'): Conditional(m, flat.T, data[:1])
    with pytest.raises(CreativityError, match=r'^a mask as measure must be a bool tensor'): Conditional(m, flat.float(), data[:1])
    with pytest.raises(CreativityError, match=r'^known must be a bool tensor'): inpainting(flat.float())


UPPER = torch.zeros(6, 5, dtype=torch.bool)
UPPER[:3] = True
HALVES = {'mask': (UPPER, lambda z: z), 'function': (lambda z: z[..., :3, :], lambda z: z[..., :3, :])}


def _images(n=9): return torch.rand(n, 3, 6, 5, generator=torch.Generator().manual_seed(0))*2 - 1


@pytest.mark.parametrize('bad', [math.nan, math.inf])
@pytest.mark.parametrize('half', HALVES)
def test_what_was_measured_must_be_finite(half, bad):
    "One NaN would leave all of the measurement out."
    measure, of = HALVES[half]
    y = _images(1)
    y[0, 0, 0, 0] = bad
    with pytest.raises(CreativityError, match=r'^y must be finite, it holds NaN or Inf$'): Conditional(ISMachine(_images()), measure, of(y))


def test_what_a_mask_leaves_out_may_be_nan():
    y = _images(1).masked_fill(~UPPER, math.nan)
    assert sample(Conditional(ISMachine(_images()), UPPER, y), 1, steps=2).isfinite().all()


@pytest.mark.parametrize('batch_size', [1, 2, 3])
@pytest.mark.parametrize('half', HALVES)
def test_each_image_keeps_what_was_measured_of_it(half, batch_size):
    measure, of = HALVES[half]
    told = Conditional(ISMachine(_images()), measure, of(_images(3)))
    torch.testing.assert_close(sample(told, 3, 3, batch_size=batch_size), sample(told, 3, 3), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(('seeds', 'batch_size'), [(2, None), (2, 1), (4, None), (6, 3)])
@pytest.mark.parametrize('half', HALVES)
def test_measurements_of_another_number_of_images_are_one_line(half, seeds, batch_size):
    measure, of = HALVES[half]
    told = Conditional(ISMachine(_images()), measure, of(_images(3)))
    with pytest.raises(CreativityError, match=f'^y must be that of one image.* got y of 3 images for {seeds}$'): sample(told, seeds, 2, batch_size=batch_size)


@pytest.mark.parametrize('machine', [ISMachine(_images()), BBELSMachine(_images(), scales=3)], ids=repr)
def test_pixels_of_another_range_are_warned_of(machine):
    with pytest.warns(UserWarning, match=r'^y lies in .* … 2\d\d, the training images in .* … 1: bring it to their scale$'):
        Conditional(machine, UPPER, (_images() + 1)[:1]*127.5)


@pytest.mark.parametrize('told', [
    lambda: Conditional(ISMachine(100*_images(), range=None), UPPER, 100*_images(1)), # latents
    lambda: Conditional(ISMachine(Images(100*_images(), range=None)), UPPER, 100*_images(1)),
    lambda: Conditional(ISMachine(_images()), lambda z: 100*z, 100*_images(1)), # of no known range
    lambda: Conditional(ISMachine(_images()), UPPER, 3*_images(1), noise=2.)], ids=['latents', 'Images', 'function', 'noisy'])
@pytest.mark.filterwarnings('error')
def test_pixels_of_a_range_that_may_be_are_taken(told):
    assert sample(told(), 1, steps=2).isfinite().all()


@pytest.mark.parametrize('measure', [lambda z: z**2, lambda z: z.abs(), lambda z: z.clamp(-1, 1), lambda z: z[..., :2] + .01],
                         ids=['square', 'absolute', 'clipped', 'constant'])
def test_measurements_that_are_not_linear_are_refused(measure):
    m = ISMachine(torch.rand(9, 1, 4, 4)*2 - 1)
    with pytest.raises(CreativityError, match='measure must be linear'): sample(Conditional(m, measure, measure(m.store.images(None)[:1])), 1, steps=2)


def test_dps_that_diverges_says_so():
    data = load('fashion_mnist', n=20).x
    told = Conditional(ISMachine(data), lambda z: 30*z, 30*data[:1], .02, 'dps')
    with pytest.raises(CreativityError, match="form='dps' has diverged: take more steps, or form='exact'"): sample(told, 2, steps=4)


def _trace(machine, x, t, options):
    "Of the Jacobian at one image, by automatic differentiation."
    rows = torch.autograd.functional.jacobian(lambda z: machine.denoise(z, t, **options), x)
    return rows.reshape(x.numel(), x.numel()).trace()


@QUICK
@given(problem=problems())
def test_divergence(problem):
    data, x, t, _, _, _ = problem
    data = data*.3
    t = max(t, .3)
    for machine, options in ((ISMachine(data), {}), (LSMachine(data), {'k': 3})):
        found = divergence(machine, x, t, **options)
        for q, v in zip(x, found, strict=True):
            wanted = _trace(machine, q[None], t, options)
            torch.testing.assert_close(v, wanted, atol=1e-9, rtol=1e-6)


def test_likelihood_of_one_image():
    "The flow of a single training image is a Gaussian at every time, whose density everybody knows."
    data, m = torch.zeros(1, 1, 3, 3, dtype=torch.float64), None
    m = ISMachine(data + .5)
    x = torch.randn(3, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, sigma = SCHEDULE.a(.4).item(), SCHEDULE.sigma(.4).item()
    def density(x, a, sigma): return (-((x - .5*a)**2).flatten(1).sum(1)/(2*sigma**2) - 4.5*math.log(2*math.pi*sigma**2))
    end = SCHEDULE.a(1.).item(), SCHEDULE.sigma(1.).item()
    found = log_likelihood(m, x, .4, steps=60, prior=lambda y: density(y, *end))
    torch.testing.assert_close(found, density(x, a, sigma), atol=1e-4, rtol=1e-6)


def test_guided_networks():
    "A conditional network has no answer without a label; combinations of its labels are linear."
    net, x = load_network('fashion_mnist-resnet'), torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match='not trained without labels'): Guided(net, 2)
    dress, bag = net.denoise(x, .5, 3), net.denoise(x, .5, 8)
    torch.testing.assert_close(Guided(net, 1.5, 'Bag').denoise(x, .5, 'Dress'), 1.5*dress - .5*bag)
    mean = sum(net.denoise(x, .5, c) for c in range(10))/10
    torch.testing.assert_close(Guided(net, 3, 'mean').denoise(x, .5, 3), 3*dress - 2*mean, atol=1e-5, rtol=1e-4)
    assert sample(Guided(net, 2, 'mean'), 1, steps=2, label='Dress').shape == (1, 1, 32, 32)
    small = load_network('mnist-resnet') # knows no classes: without a label, it is itself
    torch.testing.assert_close(Guided(small, 2).denoise(x, .5), small.denoise(x, .5))
