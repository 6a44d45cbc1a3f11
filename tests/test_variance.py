"The posterior variance of every machine: against the readable definitions, and against the Jacobian."
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from creativity.data.images import Images
from creativity.diffusion import CosineSchedule, seed_noise
from creativity.machines import windows
from creativity.machines.rivals import PCAMachine, PSPCMachine
from creativity.machines.whole import ESMachine, ISMachine
from creativity.machines.windows import BBELSMachine, ELSMachine, LSMachine
from creativity.theory.belief import ideal_belief
from creativity.theory.windows import bbels_belief, els_belief, equivariant_belief, local_belief

SCHEDULE = CosineSchedule()
EVERY = {'IS': (ISMachine, ideal_belief, {}), 'ES': (ESMachine, equivariant_belief, {}),
         'LS': (LSMachine, local_belief, {}), 'bbELS': (BBELSMachine, bbels_belief, {}),
         'ELS': (ELSMachine, els_belief, {}),
         'ELS, unwrapped': (ELSMachine, els_belief, {'wrapped': False})}
BOUND = 4e-4 # the contract: 1e-4 of the square of the range, 2
QUICK = settings(deadline=None, max_examples=20, derandomize=True,
                 suppress_health_check=list(HealthCheck))


@st.composite
def problems(draw):
    "Training images, a query, a time and a width; among them what makes variances vanish."
    sizes = st.integers(2, 6)
    C, H, W, N = draw(st.integers(1, 4)), draw(sizes), draw(sizes), draw(st.integers(1, 24))
    t, g = draw(st.floats(.01, 1)), torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    data = torch.rand(N, C, H, W, generator=g)*2 - 1
    kind = draw(st.sampled_from(['random', 'duplicates', 'nearly equal', 'black and white', 'flat',
                                 'one colour']))
    if kind == 'duplicates': data = data[torch.randint(N, (N,), generator=g)]
    if kind == 'nearly equal': data = (data[:1] + 1e-3*data).clamp(-1, 1)
    if kind == 'black and white': data = data[:, :, :1, :1].sign().expand_as(data).clone()
    if kind == 'flat': data = data[:, :, :1, :1].expand_as(data).clone()
    if kind == 'one colour': data = torch.full_like(data, .9999)
    a, sigma = SCHEDULE.a(t).item(), SCHEDULE.sigma(t).item()
    noise = torch.randn(C, H, W, generator=g)
    x = {'data': a*data[0] + sigma*noise, 'exact': a*data[0], 'far': 5*noise,
         'between': a*(data[0] + data[-1])/2}[draw(st.sampled_from(['data', 'exact', 'far', 'between']))]
    return data, x, t, 2*draw(st.integers(0, max(H, W) - 1)) + 1


def width(name, k): return {} if name in ('IS', 'ES') else {'k': k}


@pytest.mark.parametrize('name', list(EVERY))
@QUICK
@given(problem=problems(), backend=st.sampled_from(['torch', 'compiled']),
       dtype=st.sampled_from([torch.float32, torch.float64]))
def test_variance(name, problem, backend, dtype):
    (data, x, t, k), (kind, define, options) = problem, EVERY[name]
    if name == 'ELS, unwrapped': k = min(k, (min(data.shape[2:]) - 1)//2*2 + 1)
    found = kind(data, backend=backend, **options).belief(x[None].to(dtype), t, **width(name, k))
    wanted = define(x.double(), data.double(), SCHEDULE.a(t).item(), SCHEDULE.sigma(t).item(),
                    *width(name, k).values(), **options)
    v = found.variance[0]
    assert v.shape == found.mean[0].shape
    assert v.dtype == torch.float64
    assert (v >= 0).all()
    assert torch.isfinite(v).all()
    apart = (v - wanted.variance).abs()
    assert apart.max() <= (BOUND if dtype == torch.float32 else 1e-9)
    # where the belief has nearly collapsed, most digits of what is left are right, too
    small = (wanted.variance < 1e-3) & (wanted.variance > 1e-9)
    if dtype == torch.float64: assert (apart[small] <= 1e-5*wanted.variance[small]).all()


DATA = torch.rand(40, 2, 7, 6, generator=torch.Generator().manual_seed(0))*2 - 1
X = .7*DATA[:2] + .7*seed_noise([0, 1], (2, 7, 6))


@pytest.mark.parametrize('name', list(EVERY))
@pytest.mark.parametrize('t', [.2, .5, .9])
def test_second_order_of_tweedie(name, t):
    "The covariance of the posterior is σ²/a times the Jacobian of its mean."
    kind, _, options = EVERY[name]
    data = DATA*(.1*t if name in ('IS', 'ES') else 1) # so that whole images are rivals, too
    m, (a, sigma) = kind(data, **options), (SCHEDULE.a(t).item(), SCHEDULE.sigma(t).item())
    x = (a*data[:2] + sigma*seed_noise([0, 1], (2, 7, 6))).double()
    v = m.belief(x, t, **width(name, 3)).variance
    assert v.max() > 1e-4
    for i, j in ((0, 0), (3, 2), (6, 4)):
        for c in range(2):
            row = m.sensitivity(x, t, (i, j), channel=c, **width(name, 3))
            torch.testing.assert_close(v[:, c, i, j], row[:, c, i, j]*sigma**2/a, atol=1e-9, rtol=1e-6)


def test_it_is_summed_when_it_is_asked_for(monkeypatch):
    passes, second = [], windows.second
    monkeypatch.setattr(windows, 'second', lambda *args: passes.append(1) or second(*args))
    b = LSMachine(DATA, scales=3).belief(X, .5)
    one = b.at(1)
    assert not passes
    assert 'variance' not in vars(b)
    v = b.variance
    assert len(passes) == 2 # one for each query
    assert torch.equal(one.variance, v[1])
    assert torch.equal(one.mean, b.mean[1])
    assert len(passes) == 2
    x = X.clone()
    late = LSMachine(DATA, scales=3).belief(x, .5)
    x.zero_() # the question is kept, whatever becomes of the tensor
    assert torch.equal(late.variance, v)


@pytest.mark.parametrize('kind', [ISMachine, ESMachine, LSMachine, BBELSMachine, PSPCMachine, PCAMachine])
def test_labels_batches_and_pieces(kind):
    labels, options = torch.arange(40) % 2, {} if kind in (ISMachine, ESMachine, PCAMachine) else {'k': 3}
    both = kind(Images(DATA, labels)).belief(X, torch.tensor([.3, .8]), label=[0, 1], **options).variance
    for i, (t, c) in enumerate([(.3, 0), (.8, 1)]):
        mine = kind(DATA[labels == c], max_bytes=60000, backend='torch').belief(X[i:i + 1], t, **options).variance[0]
        torch.testing.assert_close(both[i], mine, atol=1e-6, rtol=1e-4)


def test_averaged_weights():
    "PSPC's variance is that of the weights it takes its mean with."
    a, sigma = SCHEDULE.a(.5).item(), SCHEDULE.sigma(.5).item()
    w, held = torch.zeros(40, 1, 7, 6, dtype=torch.float64), torch.zeros(7, 6)
    for i in range(5):
        for j in range(4):
            d2 = (X[0] - a*DATA.double())[:, :, i:i + 3, j:j + 3].square().sum((1, 2, 3))
            w[:, :, i:i + 3, j:j + 3] += (-d2/(2*sigma**2)).softmax(0)[:, None, None, None]
            held[i:i + 3, j:j + 3] += 1
    w /= held
    mean = (w*DATA.double()).sum(0)
    found = PSPCMachine(DATA).belief(X[:1].double(), .5, k=3)
    torch.testing.assert_close(found.mean[0], mean)
    torch.testing.assert_close(found.variance[0], (w*(DATA - mean)**2).sum(0))
