"Shares of training images along a flow: those of `sources` at each time, for every machine, label and precision; what cannot be asked is refused."
import pytest
import torch

from creativity.data.images import Images
from creativity.diffusion import samples, seed_noise
from creativity.errors import CreativityError
from creativity.machines.rivals import WienerMachine
from creativity.machines.whole import ESMachine, ISMachine
from creativity.machines.windows import BBELSMachine, ELSMachine, LSMachine
from creativity.measure.provenance import FlowSources, flow_sources

DATA = torch.rand(14, 2, 8, 7, generator=torch.Generator().manual_seed(0))*2 - 1
LABELS = torch.arange(14) % 2


@pytest.mark.parametrize('kind', [ISMachine, ESMachine, LSMachine, ELSMachine, BBELSMachine])
@pytest.mark.parametrize('label', [None, 1])
def test_shares_are_those_of_sources(kind, label):
    m = kind(Images(DATA, LABELS), **(dict(scales=[3, 5]) if kind.windowed else {}))
    f = flow_sources(m, 4, 3, label, progress=False)
    assert isinstance(f, FlowSources)
    *states, end = samples(m, [4], 3, label)
    assert torch.equal(f.x, end.x[0])
    assert f.times == [s.t for s in states]
    torch.testing.assert_close(f.share.sum(1), torch.ones(3, dtype=torch.float64))
    if label is not None: assert not f.share[:, LABELS != label].any()
    for s, share in zip(states, f.share, strict=True):
        one = m.sources(s.x, s.t, label, top=14)
        torch.testing.assert_close(share[one.image], one.weight, atol=1e-7, rtol=1e-5)


def test_only_the_foreground_counts_and_ties_are_said():
    x = DATA.clone()
    x[..., 4:] = -1 # the right half is black in all images
    m = LSMachine(x, scales=3)
    every, front = (flow_sources(m, 0, 4, only_foreground=f, progress=False) for f in (False, True))
    assert every.counted.all()
    assert not front.counted[:, 4:].any()
    assert front.counted.any()
    # three of seven columns are black, and two of them see nothing else: all images are alike there
    assert every.ties[-1] >= 2/7
    assert front.ties.max() < every.ties.min()
    for s, share in zip(samples(m, [0], 4), front.share, strict=False):
        wanted = torch.zeros(14, dtype=torch.float64)
        for i, j in front.counted.nonzero().tolist():
            near = m.sources(s.x, s.t, pixel=(i, j), top=14)
            wanted.index_add_(0, near.image, near.weight)
        torch.testing.assert_close(share, wanted/front.counted.sum(), atol=1e-7, rtol=1e-5)


def test_noise_of_ones_own_and_what_is_refused():
    m = BBELSMachine(DATA, scales=3)
    assert torch.equal(flow_sources(m, seed_noise([7], m.shape)[0], 2, progress=False).share, flow_sources(m, 7, 2, progress=False).share)
    assert repr(flow_sources(m, 7, 2, progress=False)).startswith('FlowSources(N_eff 14 at t = 1')
    with pytest.raises(CreativityError, match='label'): flow_sources(m, 0, 2, 3)
    with pytest.raises(CreativityError, match='LS, ELS or bbELS'): flow_sources(WienerMachine(DATA), 0, 2)
