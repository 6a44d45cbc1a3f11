"Sampled machines: exact where they look at everything, unbiased sums, reproducible, honest about their error."
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from creativity.data.images import Images
from creativity.diffusion import CosineSchedule, sample, seed_noise
from creativity.machines.sampled import Estimate, Sampled
from creativity.machines.whole import ISMachine
from creativity.machines.windows import BBELSMachine, ELSMachine, LSMachine

SCHEDULE = CosineSchedule()
KINDS = {'LS': (LSMachine, {}), 'bbELS': (BBELSMachine, {}), 'ELS': (ELSMachine, {}),
         'ELS, unwrapped': (ELSMachine, {'wrapped': False})}
QUICK = settings(deadline=None, max_examples=10, derandomize=True,
                 suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize('name', list(KINDS))
@QUICK
@given(seed=st.integers(0, 2**31), keep=st.integers(1, 12), falling=st.lists(st.floats(.02, .6), min_size=3, max_size=5),
       dtype=st.sampled_from([torch.float32, torch.float64]))
def test_all_images_are_the_machine(name, seed, keep, falling, dtype):
    "Whatever the lists hold, what is taken out of the sums is put back."
    (kind, options), g = KINDS[name], torch.Generator().manual_seed(seed)
    data = torch.rand(20, 2, 6, 7, generator=g)*2 - 1
    if seed % 3 == 0: data = data[torch.randint(4, (20,), generator=g)] # ties
    m = kind(data, **options)
    s = Sampled(m, share=1, keep=keep)
    for t in sorted(set(falling), reverse=True):
        a, sigma = SCHEDULE.a(t).item(), SCHEDULE.sigma(t).item()
        x = (a*data[:2] + sigma*torch.randn(2, 2, 6, 7, generator=g)).to(dtype)
        k = 5 if t > .3 else 3
        e = s.estimate(x, t, k=k)
        assert (e.mean - m.denoise(x.double(), t, k=k)).abs().max() < 2e-4
        assert e.error.abs().max() == 0


DATA = torch.rand(90, 1, 6, 6, generator=torch.Generator().manual_seed(0))*2 - 1
X = SCHEDULE.a(.5).item()*DATA[:2] + SCHEDULE.sigma(.5).item()*seed_noise([0, 1], (1, 6, 6))


def test_errors_are_those_of_the_draws():
    "Over many draws, the estimated error is the spread of the means, and the bias is far smaller."
    m, means, errors = BBELSMachine(DATA, scales=3), [], []
    for seed in range(60):
        e = Sampled(m, .4, seed=seed).estimate(X, .7)
        means.append(e.mean)
        errors.append(e.error)
    means, size = torch.stack(means), lambda v: v.square().mean().sqrt().item()
    apart = size(means - m.denoise(X.double(), .7))
    assert .85 < size(torch.stack(errors))/apart < 1.15
    assert size(means.mean(0) - m.denoise(X.double(), .7)) < .3*apart


def test_the_same_seed_is_the_same_flow():
    m = BBELSMachine(DATA, scales=3)
    one = Sampled(m, .3, seed=4)
    a = sample(one, 3, 5)
    assert torch.equal(a, sample(one, 3, 5)) # the lists of a flow before are forgotten
    assert torch.equal(a, sample(Sampled(m, .3, seed=4), 3, 5))
    torch.testing.assert_close(a, sample(Sampled(m, .3, seed=4), 3, 5, batch_size=1))
    assert not torch.equal(a, sample(Sampled(m, .3, seed=5), 3, 5))
    found = Sampled(m, .3).estimate(X, .5)
    assert isinstance(found, Estimate)
    assert found.images == 28
    assert Sampled(m, lambda t: .1 if t > .3 else 1).estimate(X, .2).images == 90


def test_labels_and_disk_kinds():
    "A class's images alone are drawn; the numbers of a store need not be those of its rows."
    labels = torch.arange(90) % 2
    m = LSMachine(Images(DATA, labels), scales=3)
    s, own = Sampled(m, 1.), LSMachine(DATA[labels == 1], scales=3)
    for t in (.5, .4, .3):
        torch.testing.assert_close(s.denoise(X, t, label=1), own.denoise(X, t), atol=1e-4, rtol=0)
        assert (labels[s.memory.lists[0].image.clamp(min=0)] == 1)[s.memory.lists[0].image >= 0].all()


def test_lists_help_where_the_belief_is_narrow():
    "And a machine of whole images carries none."
    m = LSMachine(DATA, scales=5)
    x = SCHEDULE.a(.3).item()*DATA[:1] + SCHEDULE.sigma(.3).item()*seed_noise([0], (1, 6, 6))
    exact, off = m.denoise(x.double(), .3), {}
    for keep in (0, 8):
        errors = []
        for seed in range(20):
            s = Sampled(m, lambda t: 1. if t > .32 else .2, keep, seed=seed)
            s.estimate(x, .35)
            errors.append((s.estimate(x, .3).mean - exact).square().mean())
        off[keep] = torch.stack(errors).mean().sqrt().item()
    assert off[8] < .2*off[0]
    assert Sampled(ISMachine(DATA), .5).keep == 0


def test_few_images():
    "One image, two, an odd number of them."
    for n in (1, 2, 3, 5):
        m = BBELSMachine(DATA[:n], scales=3)
        for share in (.01, .5, 1.):
            e = Sampled(m, share).estimate(X, .4)
            assert torch.isfinite(e.mean).all()
            assert torch.isfinite(e.error).all()
            if e.images == n: torch.testing.assert_close(e.mean, m.denoise(X.double(), .4), atol=1e-4, rtol=0)
