"Sampled machines: exact where they look at everything, unbiased sums, reproducible, honest about their error."
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from creativity.data.images import Images
from creativity.diffusion import CosineSchedule, sample, seed_noise
from creativity.errors import CreativityError
from creativity.machines.sampled import (
    Estimate,
    Sampled,
    cut_images,
    falling,
    met_parts,
    parts_and_met,
    pieces,
)
from creativity.machines.whole import ESMachine, ISMachine
from creativity.machines.windows import BBELSMachine, ELSMachine, LSMachine

SCHEDULE = CosineSchedule()
KINDS = {'LS': (LSMachine, {}), 'bbELS': (BBELSMachine, {}), 'ELS': (ELSMachine, {}),
         'ELS, unwrapped': (ELSMachine, {'wrapped': False})}
QUICK = settings(deadline=None, max_examples=10, derandomize=True,
                 suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize('name', list(KINDS))
@QUICK
@given(seed=st.integers(0, 2**31), t=st.floats(.02, .6), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_all_pairs_are_the_machine(name, seed, t, dtype):
    "A share of 1, ties included."
    (kind, options), g = KINDS[name], torch.Generator().manual_seed(seed)
    data = torch.rand(20, 2, 6, 7, generator=g)*2 - 1
    if seed % 3 == 0: data = data[torch.randint(4, (20,), generator=g)]
    m = kind(data, **options)
    x = (SCHEDULE.a(t).item()*data[:2] + SCHEDULE.sigma(t).item()*torch.randn(2, 2, 6, 7, generator=g)).to(dtype)
    e = Sampled(m, share=1).estimate(x, t, k=3)
    assert (e.mean - m.denoise(x.double(), t, k=3)).abs().max() < 2e-4
    assert e.error.abs().max() == 0
    assert e.share.tolist() == [1, 1]


DATA = torch.rand(90, 1, 6, 6, generator=torch.Generator().manual_seed(0))*2 - 1
X = SCHEDULE.a(.5).item()*DATA[:2] + SCHEDULE.sigma(.5).item()*seed_noise([0, 1], (1, 6, 6))


@pytest.mark.parametrize('name', list(KINDS))
@pytest.mark.parametrize('share', [.07, .3, .5, .8])
def test_every_pair_has_its_chance(name, share):
    "Over many draws: each pixel meets each of its candidates equally often, and never twice in one draw."
    kind, options = KINDS[name]
    plan = kind(torch.zeros(1, 1, 6, 7), **options).plan(3)
    found, draws = pieces(plan), 400
    met, parts = parts_and_met(share, 90, 1 if len(plan.shifts) > 1 else 2)
    times = np.zeros((90, len(found.shifts)))
    for seed in range(draws):
        g = np.random.default_rng(seed)
        cut = cut_images(torch.from_numpy(g.permutation(90)), parts)
        assert torch.cat(cut).sort().values.tolist() == list(range(90))
        meets = met_parts(found, met, parts, g)
        for images, mine in zip(cut, meets, strict=True): times[images] += mine
    # of one kind of pixel all pairs have the same chance; those with fewer candidates a larger one
    chance = [times[:, found.candidates == n].mean()/draws for n in np.unique(found.candidates)]
    assert chance == sorted(chance, reverse=True)
    assert abs(chance[-1] - max(met, 2 if parts > 1 else 1)/parts) < .01
    for n, p in zip(np.unique(found.candidates), chance, strict=True):
        spread = times[:, found.candidates == n]/draws - p
        assert np.abs(spread).max() < 6*max((p*(1 - p)/draws)**.5, 1e-9)
    # the rectangles are those of the plan
    seen = np.zeros((6, 7), int)
    for _, _, top, bottom, left, right in found.shifts: seen[top:bottom, left:right] += 1
    assert (seen == plan.counts).all()


@pytest.mark.parametrize(('kind', 'share'), [(BBELSMachine, .25), (ELSMachine, .25), (LSMachine, .4)])
def test_errors_are_those_of_the_draws(kind, share):
    "Over many draws, the estimated error is the spread of the means, and the bias is far smaller."
    m, means, errors = kind(DATA, scales=3), [], []
    for seed in range(60):
        e = Sampled(m, share, seed=seed).estimate(X, .7)
        means.append(e.mean)
        errors.append(e.error)
    means, size = torch.stack(means), lambda v: v.square().mean().sqrt().item()
    apart = size(means - m.denoise(X.double(), .7))
    assert .75 < size(torch.stack(errors))/apart < 1.35
    assert size(means.mean(0) - m.denoise(X.double(), .7)) < .3*apart


def test_pairs_of_all_images_beat_all_pairs_of_some():
    "On images whose windows are alike within one and differ between them."
    base = torch.rand(120, 1, 3, 3, generator=torch.Generator().manual_seed(1))*2 - 1
    data = torch.nn.functional.interpolate(base, size=12, mode='bilinear')
    m = BBELSMachine(data, scales=3)
    x = SCHEDULE.a(.6).item()*data[:1] + SCHEDULE.sigma(.6).item()*seed_noise([0], (1, 12, 12))
    exact, off = m.denoise(x.double(), .6), {'pairs': [], 'images': []}
    for seed in range(12):
        e = Sampled(m, .1, seed=seed).estimate(x, .6)
        assert e.share < .25
        some = torch.randperm(120, generator=torch.Generator().manual_seed(seed))[:round(120*float(e.share))]
        off['pairs'].append(e.mean - exact)
        off['images'].append(BBELSMachine(data[some], scales=3).denoise(x.double(), .6) - exact)
    size = {name: torch.cat(v).square().mean().sqrt().item() for name, v in off.items()}
    assert size['pairs'] < .75*size['images']


def test_the_same_seed_is_the_same_flow():
    m = BBELSMachine(DATA, scales=3)
    one = Sampled(m, .3, seed=4)
    a = sample(one, 3, 5)
    assert torch.equal(a, sample(one, 3, 5))
    assert torch.equal(a, sample(Sampled(m, .3, seed=4), 3, 5))
    torch.testing.assert_close(a, sample(Sampled(m, .3, seed=4), 3, 5, batch_size=1))
    assert not torch.equal(a, sample(Sampled(m, .3, seed=5), 3, 5))
    found = Sampled(m, .3).estimate(X, .5)
    assert isinstance(found, Estimate)
    # pixels with few candidates look at more
    assert .3 <= found.share.min() <= found.share.max() < .6
    assert Sampled(m, lambda t: .1 if t > .3 else 1).estimate(X, .2).share.tolist() == [1, 1]


def test_labels():
    "A class's images alone are drawn; their numbers are not their rows."
    labels = torch.arange(90) % 2
    m = LSMachine(Images(DATA, labels), scales=3)
    s, own = Sampled(m, 1.), LSMachine(DATA[labels == 1], scales=3)
    torch.testing.assert_close(s.denoise(X, .4, label=1), own.denoise(X, .4), atol=1e-4, rtol=0)
    # of a class whose images are all one, every draw says that image
    data = torch.where(labels[:, None, None, None] == 1, DATA[:1], DATA)
    same = Sampled(BBELSMachine(Images(data, labels), scales=5), .2).estimate(X, .05, label=1)
    assert (same.mean - BBELSMachine(data[1:2], scales=5).denoise(X.double(), .05)).abs().max() < .1


@pytest.mark.parametrize('kind', [ISMachine, ESMachine])
def test_whole_images(kind):
    "A machine without windows draws images."
    e = Sampled(kind(DATA), .5).estimate(X, .9)
    assert .4 < e.share.min() < .6
    assert (Sampled(kind(DATA), 1.).denoise(X, .9) - kind(DATA).denoise(X, .9)).abs().max() < 1e-5


def test_few_images():
    "One image, two, an odd number of them."
    for n in (1, 2, 3, 5):
        for kind in (BBELSMachine, LSMachine, ISMachine):
            m = kind(DATA[:n], **({} if kind is ISMachine else {'scales': 3}))
            for share in (.01, .5, 1.):
                e = Sampled(m, share).estimate(X, .4)
                assert torch.isfinite(e.mean).all()
                assert torch.isfinite(e.error).all()
                if e.share.min() == 1:
                    torch.testing.assert_close(e.mean, m.denoise(X.double(), .4), atol=1e-4, rtol=0)


def test_shares_that_fall():
    for share in (.02, .1, .5, .9):
        f = falling(share)
        each = [f(i/20) for i in range(1, 21)]
        assert abs(sum(each)/20 - share) < 1e-6
        assert each == sorted(each, reverse=True)
    with pytest.raises(CreativityError, match='share must be'): falling(0)
