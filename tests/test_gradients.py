"Gradients through machines, averaged responses, shares: against automatic differentiation of the readable definitions."
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.autograd import forward_ad

from creativity.diffusion import CosineSchedule, seed_noise
from creativity.engine import second as second_room
from creativity.engine import stream as stream_room
from creativity.engine.margins import split_work
from creativity.engine.plan import Plan, bbels_rule, els_inside_rule, els_rule, ls_rule
from creativity.engine.second import averaged, pullback, shares_whole, window_shares
from creativity.engine.sums import sums_translated, sums_whole
from creativity.errors import CreativityError
from creativity.machines.mix import SoftWindow
from creativity.machines.rivals import (
    AveragedELSMachine,
    GoldenMachine,
    LocalWienerMachine,
    PCAMachine,
    PSPCMachine,
    SmoothedMachine,
    WienerMachine,
)
from creativity.machines.whole import ESMachine, ISMachine
from creativity.machines.windows import BBELSMachine, ELSMachine, LSMachine
from creativity.theory.belief import ideal_belief
from creativity.theory.windows import bbels_belief, els_belief, equivariant_belief, local_belief

SCHEDULE = CosineSchedule()
EVERY = {'IS': (ISMachine, ideal_belief, {}), 'ES': (ESMachine, equivariant_belief, {}), 'LS': (LSMachine, local_belief, {}),
         'bbELS': (BBELSMachine, bbels_belief, {}), 'ELS': (ELSMachine, els_belief, {}),
         'ELS, unwrapped': (ELSMachine, els_belief, {'wrapped': False})}
RULES = {'LS': (ls_rule, False, False), 'bbELS': (bbels_rule, False, False), 'ELS': (els_rule, True, True),
         'ELS, unwrapped': (els_inside_rule, True, False)}
WINDOWED = [name for name in EVERY if name in RULES]
QUICK = settings(deadline=None, max_examples=12, suppress_health_check=list(HealthCheck), derandomize=True)


@st.composite
def problems(draw):
    "Training images, labels, a query, a time, a width, and numbers to multiply the means with."
    C, H, W, N = draw(st.integers(1, 4)), draw(st.integers(2, 6)), draw(st.integers(2, 6)), draw(st.integers(2, 24))
    t, g = draw(st.floats(.01, 1)), torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    data = torch.rand(N, C, H, W, generator=g)*2 - 1
    kind = draw(st.sampled_from(['random', 'duplicates', 'nearly equal', 'black and white']))
    if kind == 'duplicates': data = data[torch.randint(N, (N,), generator=g)]
    if kind == 'nearly equal': data = (data[:1] + .01*data).clamp(-1, 1)
    if kind == 'black and white': data = data[:, :, :1, :1].sign().expand_as(data).clone()
    labels = torch.arange(N) % draw(st.integers(1, 2))
    a, sigma = SCHEDULE.a(t).item(), SCHEDULE.sigma(t).item()
    x = a*data[0] + sigma*torch.randn(C, H, W, generator=g)
    k = 2*draw(st.integers(0, max(H, W) - 1)) + 1
    return data, labels, x, t, k, torch.randn(C, H, W, generator=g)


def of_definition(name, data, x, t, k, g):
    "The gradient of ⟨g, mean⟩ by x in float64, by automatic differentiation."
    _, define, options = EVERY[name]
    y = x.double().requires_grad_()
    levels = SCHEDULE.a(t).item(), SCHEDULE.sigma(t).item()
    mean = define(y, data.double(), *levels, *([k] if name in RULES else []), **options).mean
    return torch.autograd.grad((mean*g).sum(), y)[0]


@pytest.mark.parametrize('name', list(EVERY))
@QUICK
@given(problem=problems(), backend=st.sampled_from(['torch', 'compiled']), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_gradient(name, problem, backend, dtype):
    data, labels, x, t, k, g = problem
    if name == 'ELS, unwrapped': k = min(k, (min(data.shape[2:]) - 1)//2*2 + 1)
    kind, _, options = EVERY[name]
    machine, label = kind(data, labels, backend=backend, **options), int(labels[0])
    y = x[None].to(dtype).requires_grad_()
    out = machine.denoise(y, t, label, k=k if name in RULES else None)
    found, = torch.autograd.grad(out, y, g[None].to(dtype))
    wanted = of_definition(name, data[labels == label], x.to(dtype), t, k, g)
    bound, floor = (1e-3, 1e-8) if dtype == torch.float32 else (1e-7, 1e-10)
    assert (found[0] - wanted).abs().max() <= bound*wanted.abs().max() + floor


DATA = torch.rand(40, 2, 7, 6, generator=torch.Generator().manual_seed(0))*2 - 1
X = .7*DATA[:2] + .7*seed_noise([0, 1], (2, 7, 6))


@pytest.mark.parametrize('name', list(EVERY))
def test_transforms_and_other_predictions(name):
    kind, _, options = EVERY[name]
    m = kind(DATA, **options, **({} if name not in RULES else {'scales': 3}))
    x = X.clone().requires_grad_()
    out, pull = torch.func.vjp(lambda x: m.denoise(x, .5), X)
    assert torch.equal(out, m.denoise(X, .5))
    g = seed_noise([5, 6], (2, 7, 6))
    by_x0, = pull(g)
    assert by_x0.abs().max() > 1e-3
    assert torch.equal(by_x0, torch.autograd.grad(m.denoise(x, .5), x, g)[0])
    rows = torch.func.jacrev(lambda x: m.denoise(x, .5)[:, :, 3, 2])(X)
    row = m.sensitivity(X, .5, (3, 2), channel=1)
    torch.testing.assert_close(rows[0, 1, 0], row[0], atol=1e-5, rtol=1e-4)
    assert rows[0, 1, 1].abs().max() == 0 # another image of the batch
    a, sigma = SCHEDULE.a(.5).item(), SCHEDULE.sigma(.5).item()
    for method, wanted in ((m.noise, (g - a*by_x0)/sigma), (m.score, (a*by_x0 - g)/sigma**2), (m.velocity, a*(g - a*by_x0)/sigma - sigma*by_x0)):
        torch.testing.assert_close(torch.autograd.grad(method(x, .5), x, g)[0], wanted, atol=1e-4, rtol=1e-4)
    with pytest.raises(CreativityError, match='first derivatives alone') as e:
        torch.autograd.gradgradcheck(lambda x: m.denoise(x, .5), X.double().requires_grad_(), fast_mode=True)
    assert '\n' not in str(e.value)
    assert not m.denoise(X, .5).requires_grad
    with torch.no_grad(): assert not m.denoise(x, .5).requires_grad


@pytest.mark.parametrize('name', WINDOWED)
@pytest.mark.parametrize('backend', ['torch', 'compiled'])
def test_shares_and_averaged_responses(name, backend):
    "Against the weights of the definitions, window by window."
    plan, options = Plan(RULES[name][0], (7, 6), 3, *RULES[name][1:]), EVERY[name][2]
    a, sigma = .8, .6
    x = X[0].double()
    total, windows = torch.zeros(2, 7, 6, dtype=torch.float64), torch.zeros(7, 6)
    # the derivative of the belief by the images' values is each image's share: mean = Σ w v with w fixed
    marked = torch.eye(len(DATA), dtype=torch.float64)[:, :, None, None].expand(-1, -1, 7, 6)
    weight = _weighed(name, x, DATA.double(), marked, a, sigma, options).mean((1, 2))
    found = window_shares(x[None], DATA, plan, [a], [sigma], backend=backend)[0]
    torch.testing.assert_close(found, weight, atol=1e-6, rtol=1e-5)
    assert abs(found.sum() - 1) < 1e-9
    part = torch.zeros(1, 7, 6)
    part[0, 2, 3] = 1
    one = window_shares(x[None], DATA, plan, [a], [sigma], part, backend=backend)[0]
    assert (one - found).abs().max() > .01
    response = averaged(x[None], DATA, plan, [a], [sigma], backend=backend)[0]
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            # what the window of pixel p believes of the pixel (dy,dx) further on
            mean = _weighed(name, x, DATA.double(), _moved(DATA.double(), dy, dx), a, sigma, options)
            there = torch.ones(7, 6)
            if not RULES[name][1]:
                there = _moved(there[None, None], dy, dx, wrap=False)[0, 0]
            total += _moved((mean*there)[None], -dy, -dx)[0]
            windows += _moved(there[None, None], -dy, -dx)[0, 0]
    torch.testing.assert_close(response, total/windows, atol=1e-9, rtol=1e-9)


def _moved(images, dy, dx, wrap=True):
    "The image whose pixel p is the pixel p + (dy,dx) of the old one; without wrapping 0 comes in."
    out = images.roll((-dy, -dx), (2, 3))
    if wrap: return out
    H, W = images.shape[2:]
    i, j = torch.arange(H)[:, None] + dy, torch.arange(W) + dx
    return out*((i >= 0) & (i < H) & (j >= 0) & (j < W))


def _weighed(name, x, data, values, a, sigma, options):
    "Means of other values with the weights that the definition gives to `data`: the values ride along as more channels, unseen."
    _, define, _ = EVERY[name]
    far = 1e-9
    both = torch.cat([data, values*far], 1)
    query = torch.cat([x, torch.zeros_like(values[0])])
    return define(query, both, a, sigma, 3, **options).mean[len(x):]/far


@pytest.mark.parametrize('candidates', [sums_whole, sums_translated])
def test_shares_of_whole_images(candidates):
    found = shares_whole(candidates, X, DATA, [.8, .8], [.6, .6])
    assert ((found.sum(1) - 1).abs() < 1e-9).all()
    if candidates is sums_whole:
        w = (-((X[:, None] - .8*DATA)**2).sum((2, 3, 4)).double()/.72).softmax(1)
        torch.testing.assert_close(found, w, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('name', ['bbELS', 'ELS'])
def test_counted_margins(name, monkeypatch):
    "Blank windows that are counted instead of compared give the same gradient, response and shares."
    draw, images = torch.Generator().manual_seed(3), torch.full((60, 1, 20, 19), -1.)
    for n, im in enumerate(images): im[:, 3 + n % 3:9, 4:10] = torch.rand(1, 6 - n % 3, 6, generator=draw)*2 - 1
    plan, g = Plan(RULES[name][0], (20, 19), 3, *RULES[name][1:]), seed_noise([7], (1, 20, 19))
    x = .8*images[5:6] + .6*seed_noise([2], (1, 20, 19))
    shares = split_work(images, plan, 1, least=1)
    assert shares[0][0][1] is not None
    ask = lambda: [f(x, images, plan, [.8], [.6], *more, backend='compiled') for f, more in ((pullback, (g,)), (averaged, ()), (window_shares, ()))]
    plain = ask()
    for room in (stream_room, second_room):
        monkeypatch.setattr(room, 'split_work', lambda images, plan, threads: split_work(images, plan, threads, least=1))
    for counted, compared in zip(ask(), plain, strict=True):
        torch.testing.assert_close(counted, compared, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('name', list(EVERY))
def test_chunks_and_threads(name):
    kind, _, options = EVERY[name]
    make = lambda **how: kind(DATA, **options, **({} if name not in RULES else {'scales': 5}), **how)
    g = seed_noise([5, 6], (2, 7, 6))
    whole, threads = make().pullback(g, X, .5), torch.get_num_threads()
    for how in (dict(max_bytes=2**18, backend='torch'), dict(max_bytes=2**15*40, backend='torch')):
        torch.testing.assert_close(make(**how).pullback(g, X, .5), whole, atol=1e-5, rtol=1e-4)
    try:
        torch.set_num_threads(3)
        torch.testing.assert_close(make().pullback(g, X, .5), whole, atol=1e-5, rtol=1e-4)
    finally: torch.set_num_threads(threads)


RIVALS = {'Wiener': lambda d: WienerMachine(d), 'local Wiener': lambda d: LocalWienerMachine(d, scales=3),
          'PCA': lambda d: PCAMachine(d), 'PSPC': lambda d: PSPCMachine(d, scales=3), 'GoldDiff': lambda d: GoldenMachine(d),
          'smoothed': lambda d: SmoothedMachine(d, draws=3), 'averaged': lambda d: AveragedELSMachine(d, scales=3),
          'soft window': lambda d: SoftWindow(d, scales=3, far=.1)}


@pytest.mark.parametrize('name', list(RIVALS))
def test_transforms_of_rivals(name):
    g = torch.Generator().manual_seed(4)
    m = RIVALS[name](torch.rand(60, 1, 3, 4, generator=g)*2 - 1)
    x, f = torch.randn(2, 1, 3, 4, generator=g), lambda v: m.denoise(v, .6)
    want = torch.autograd.functional.jacobian(f, x[:1])
    assert want.abs().max() > .01
    torch.testing.assert_close(torch.func.jacrev(f)(x[:1]), want, atol=1e-5, rtol=1e-4)
    total = torch.autograd.functional.jacobian(lambda v: f(v).sum(), x[:1])
    torch.testing.assert_close(torch.func.grad(lambda v: f(v).sum())(x[:1]), total, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(torch.func.vmap(f)(x[:, None])[:, 0], f(x), atol=1e-5, rtol=1e-4)
    forward = {'jacfwd': lambda: (torch.func.jacfwd(f)(x[:1]), want),
               'jvp': lambda: (torch.func.jvp(f, (x[:1],), (x[1:],))[1], torch.einsum('abcdefgh,efgh->abcd', want, x[1:])),
               'forward_ad': lambda: (along(f, x[:1], x[1:]), torch.einsum('abcdefgh,efgh->abcd', want, x[1:]))}
    for ask in forward.values():
        if name == 'smoothed': # IS is at the bottom of it
            with pytest.raises(CreativityError, match='differentiated backwards alone') as e: ask()
            assert '\n' not in str(e.value)
        else: torch.testing.assert_close(*ask(), atol=1e-5, rtol=1e-4)


def along(f, x, v):
    "The derivative of f at x along v, in forward mode."
    with forward_ad.dual_level(): return forward_ad.unpack_dual(f(forward_ad.make_dual(x, v))).tangent


@pytest.mark.parametrize('kind', [LSMachine, ELSMachine, BBELSMachine, ISMachine, ESMachine])
def test_a_machine_goes_backwards_alone_and_says_so(kind):
    "Without a word the derivative would be none, which is taken for zero."
    m = kind(torch.rand(9, 1, 4, 5, generator=torch.Generator().manual_seed(4)), **(dict(scales=3) if kind.windowed else {}))
    x, f = torch.ones(1, 1, 4, 5), lambda v: m.denoise(v, .6)
    for ask in (lambda: torch.func.jacfwd(f)(x), lambda: torch.func.jvp(f, (x,), (x,)), lambda: along(f, x, x)):
        with pytest.raises(CreativityError, match='differentiated backwards alone') as e: ask()
        assert '\n' not in str(e.value)


@pytest.mark.parametrize('outer', ['jacrev', 'jacfwd'])
@pytest.mark.parametrize('inner', ['jacrev', 'jacfwd'])
def test_there_is_no_second_derivative(outer, inner):
    "Neither of the gradient nor of the derivative along a direction, of a machine that has both."
    m = WienerMachine(torch.rand(30, 1, 2, 3, generator=torch.Generator().manual_seed(4))*2 - 1)
    once = getattr(torch.func, inner)(lambda v: m.denoise(v, .6))
    assert once(torch.ones(1, 1, 2, 3)).abs().max() > .01
    with pytest.raises(CreativityError, match='first derivatives alone') as e:
        getattr(torch.func, outer)(once)(torch.ones(1, 1, 2, 3))
    assert '\n' not in str(e.value)
