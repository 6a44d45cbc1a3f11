"A device without float64: what machines need of it is made on the CPU, and nothing that it lacks is asked of it."
import pytest
import torch
from lent import REFUSAL, Lending

from creativity.diffusion import sample
from creativity.machines.whole import ESMachine, ISMachine
from creativity.machines.windows import BBELSMachine, ELSMachine, LSMachine

KINDS = {'IS': (ISMachine, {}), 'ES': (ESMachine, {}), 'LS': (LSMachine, dict(scales=[3, 5])), 'bbELS': (BBELSMachine, dict(scales=[3, 5])),
         'ELS': (ELSMachine, dict(scales=[3, 5])), 'ELS inside': (ELSMachine, dict(scales=[3, 5], wrapped=False))}
DEVICE = torch.device('mps', 0)
every_kind = pytest.mark.parametrize('name', KINDS)


def problem():
    draw = torch.Generator().manual_seed(0)
    data = torch.rand(9, 3, 5, 6, generator=draw)*2 - 1
    return data, torch.arange(9) % 2, .7*data[:2] + .7*torch.randn(2, 3, 5, 6, generator=draw)


@pytest.fixture
def mps():
    with Lending(DEVICE): yield lambda v: v.to(DEVICE)


def test_the_device_refuses_float64(mps):
    with pytest.raises(TypeError, match=REFUSAL): mps(torch.ones(2)).double()
    with pytest.raises(TypeError, match=REFUSAL): torch.zeros(2, dtype=torch.float64, device=DEVICE)
    with pytest.raises(RuntimeError, match='on mps:0 and on the CPU'): mps(torch.ones(2)) + torch.ones(2)


@every_kind
def test_denoise_belief_and_gradient_as_on_the_cpu(name, mps):
    kind, options = KINDS[name]
    data, y, x = problem()
    m, there = kind(data, y, **options), kind(mps(data), y, **options)
    for t, label in ((.01, None), (.5, 1), (torch.tensor([.2, .9]), [0, 1])):
        out = there.denoise(mps(x), t, label)
        assert (out.device, out.dtype) == (DEVICE, torch.float32)
        assert (out.cpu() - m.denoise(x, t, label)).abs().max() < 1e-5
    assert (there.denoise(mps(x), mps(torch.tensor([.2, .9]))).cpu() - m.denoise(x, torch.tensor([.2, .9]))).abs().max() < 1e-5
    a, b = m.belief(x, .3), there.belief(mps(x), .3)
    for field in ('mean', 'entropy', 'log_evidence', 'weight', 'variance'): torch.testing.assert_close(getattr(b, field), getattr(a, field), atol=1e-4, rtol=1e-4)
    assert torch.equal(a.image, b.image)
    torch.testing.assert_close(there.pullback(mps(x), mps(x), .3), m.pullback(x, x, .3), atol=1e-4, rtol=1e-3)
    assert there.sensitivity(mps(x), .3, (2, 2)).device == DEVICE
    for pixel in ((2, 2), None):
        one, two = m.sources(x[0], .3, pixel=pixel), there.sources(mps(x[0]), .3, pixel=pixel)
        torch.testing.assert_close(one.weight, two.weight, atol=1e-4, rtol=1e-3)
        assert torch.equal(one.image, two.image)


@every_kind
def test_sample_as_on_the_cpu(name, mps):
    kind, options = KINDS[name]
    data, y, _ = problem()
    here, there = sample(kind(data, y, **options), [0, 1], 4, label=1), sample(kind(mps(data), y, **options), [0, 1], 4, label=1)
    assert (there.cpu() - here).abs().max() < 1e-4
