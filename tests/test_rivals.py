"Every rival against its readable definition, for images of every kind."
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import creativity as c
from creativity.machines import rivals as fast
from creativity.theory import rivals
from creativity.theory.ideal import ideal_mean
from creativity.theory.locality import local_mean

SCHEDULE = c.CosineSchedule()
pytestmark = pytest.mark.filterwarnings('ignore:the compiled loops need')  # budgets here are tiny on purpose


def at(t): return float(SCHEDULE.a(t)), float(SCHEDULE.sigma(t))


def images(N, C, H, W, seed=0, kind='smooth'):
    "Random images; a pixel that never changes; flat ones and equal ones where asked."
    g = torch.Generator().manual_seed(seed)
    data = rivals.low_passed(torch.randn(N, C, H, W, generator=g), .7).mul(1.5).clamp(-1, 1)
    data[:, 0, 0, 0] = -1
    if kind == 'flat': data = data.mean((1, 2, 3), keepdim=True).expand(N, C, H, W).clone()
    if kind == 'equal': data = data[:1].expand(N, C, H, W).clone()
    return data


def noisy(data, t, B=2, seed=1, size=1.):
    "Noisy images at one time; `size` puts them far away."
    a, sigma = at(t)
    noise = torch.randn(B, *data.shape[1:], generator=torch.Generator().manual_seed(seed))
    return size*(a*data[torch.arange(B) % len(data)] + sigma*noise)


def masks(H, W):
    "Some masks of different sizes that hold every pixel."
    far = torch.cdist(*[torch.cartesian_prod(torch.arange(H), torch.arange(W)).double()]*2).reshape(-1, H, W)
    return far <= 1 + torch.arange(H*W)[:, None, None] % 3


def golden(x, m, label, t):
    return rivals.golden_mean(x, m.store.images(label), *at(t), m.keys(t, label), tau=m.tau)


def definition(f, **kwargs): return lambda x, m, label, t: f(x, m.store.images(label), *at(t), **kwargs)


# name -> the machine for images of H×W and how its definition answers
KINDS = {
    'Wiener': lambda H, W: (c.WienerMachine, {}, definition(rivals.wiener_mean)),
    'local Wiener': lambda H, W: (c.LocalWienerMachine, dict(scales=3), definition(rivals.local_wiener_mean, k=3)),
    'local Wiener, widest': lambda H, W: (c.LocalWienerMachine, dict(scales=2*max(H, W) - 1),
                                          definition(rivals.local_wiener_mean, k=2*max(H, W) - 1)),
    'local Wiener, wrapping': lambda H, W: (
        c.LocalWienerMachine, dict(scales=5, borders=False), definition(rivals.local_wiener_mean, k=5, borders=False)),
    'PCA': lambda H, W: (c.PCAMachine, {}, definition(rivals.pca_mean)),
    'PCA, tau .3': lambda H, W: (c.PCAMachine, dict(tau=.3), definition(rivals.pca_mean, tau=.3)),
    'PSPC': lambda H, W: (c.PSPCMachine, dict(scales=3), definition(rivals.pspc_mean, k=3)),
    'PSPC, even': lambda H, W: (c.PSPCMachine, dict(scales=[2]), definition(rivals.pspc_mean, k=2)),
    'PSPC, widest': lambda H, W: (c.PSPCMachine, dict(scales=min(H, W)), definition(rivals.pspc_mean, k=min(H, W))),
    'PSPC-flex': lambda H, W: (c.PSPCMachine, dict(masks=masks(H, W)), definition(rivals.pspc_mean, masks=masks(H, W))),
    'sigma-CFDM': lambda H, W: (c.SmoothedMachine, dict(s=.2, draws=3), lambda x, m, label, t: rivals.smoothed_mean(
        x, m.store.images(label), *at(t), m.noise_for(x), s=.2)),
    'GoldDiff': lambda H, W: (c.GoldenMachine, dict(tau=.02), golden),
    'averaged bbELS': lambda H, W: (fast.AveragedBBELSMachine, dict(scales=3), definition(rivals.averaged_mean, k=3)),
    'averaged bbELS, wide': lambda H, W: (fast.AveragedBBELSMachine, dict(scales=5), definition(rivals.averaged_mean, k=5)),
    'averaged ELS': lambda H, W: (fast.AveragedELSMachine, dict(scales=3),
                                  definition(rivals.averaged_mean, k=3, borders=False)),
    'nearest': lambda H, W: (fast.NearestMachine, {}, definition(rivals.nearest_mean)),
    'mean image': lambda H, W: (fast.MeanMachine, {}, definition(rivals.mean_image)),
    'low-passed': lambda H, W: (fast.LowPassMachine, dict(width=.8), lambda x, m, label, t: rivals.low_passed(x.double(), .8)),
}


def check(kind, data, labels, t, label, size=1., max_bytes=None, dtype=torch.float32, tol=1e-4):
    "A machine's answers against its definition."
    make, kwargs, define = KINDS[kind](*data.shape[2:])
    machine = make(data, labels, max_bytes=max_bytes, **kwargs)
    x = noisy(data, t, size=size).to(dtype)
    want = torch.stack([define(im, machine, label, t) for im in x])
    got = machine.denoise(x, t, label)
    assert got.dtype == dtype
    assert got.isfinite().all()
    assert ((got.double() - want).abs() <= tol*want.abs().clamp(min=1)).all(), (got.double() - want).abs().max()


@pytest.mark.parametrize('kind', KINDS)
@given(st.integers(1, 9), st.sampled_from([1, 2, 3]), st.integers(3, 8), st.integers(3, 8), st.floats(.01, 1),
       st.sampled_from(['smooth', 'flat', 'equal']), st.booleans(), st.sampled_from([1., 30.]),
       st.sampled_from([None, 100000]), st.integers(0, 99))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_machine_is_its_definition(kind, N, C, H, W, t, content, labelled, size, max_bytes, seed):
    labels = torch.arange(N) % 3 if labelled else None
    check(kind, images(N, C, H, W, seed, content), labels, t, (N - 1) % 3 if labelled else None, size, max_bytes)


GRADIENTS = [k for k in KINDS if k not in ('sigma-CFDM', 'nearest')]  # those come from IS


@pytest.mark.parametrize('kind', GRADIENTS)
@given(st.integers(1, 7), st.sampled_from([1, 2]), st.integers(3, 6), st.integers(3, 6), st.floats(.05, 1),
       st.sampled_from([None, 20000]), st.integers(0, 99))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_gradient_is_that_of_the_definition(kind, N, C, H, W, t, max_bytes, seed):
    data = images(N, C, H, W, seed)
    make, kwargs, define = KINDS[kind](H, W)
    machine = make(data, max_bytes=max_bytes, **kwargs)
    x, weight = noisy(data, t, B=1).requires_grad_(), torch.randn(1, C, H, W, generator=torch.Generator().manual_seed(seed))
    got, = torch.autograd.grad((machine.denoise(x, t)*weight).sum(), x, allow_unused=True)
    twin = x.detach().double().requires_grad_()
    want, = torch.autograd.grad((define(twin[0], machine, None, t)*weight[0]).sum() + 0*twin.sum(), twin)
    assert (got - want).norm() <= 1e-3*want.norm() + 1e-6


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('t', [0., 1e-4, .01, .3, .97, 1.])
def test_ends_of_time_and_one_image(kind, t):
    data, label = images(40, 1, 7, 6), torch.tensor([0]*39 + [1])
    tol = 1e-4 if t > 0 else 1e-2  # without noise logits are so large that even float64 rounds them
    check(kind, data, label, t, None, dtype=torch.float64, tol=tol)
    check(kind, data, label, t, 1, tol=tol)


@pytest.mark.parametrize('kind', ['PCA', 'PSPC', 'PSPC-flex', 'GoldDiff'])
@pytest.mark.parametrize('t', [.2, .6])
@pytest.mark.parametrize('max_bytes', [None, 20000])
def test_belief_is_that_of_the_weights(kind, t, max_bytes):
    N, C, H, W = 30, 2, 6, 5
    data, (a, sigma) = images(N, C, H, W), at(t)
    make, kwargs, _ = KINDS[kind](H, W)
    machine = make(data, max_bytes=max_bytes, **kwargs)
    x = noisy(data, t, B=2)
    got = machine.belief(x, t)
    chosen = torch.arange(N)
    if kind == 'GoldDiff': chosen = rivals.golden_set(x[1], data, a, sigma, machine.keys(t, None))
    if kind == 'PSPC': M = rivals.patch_masks((C, H, W), 3).double()
    elif kind == 'PSPC-flex': M = masks(H, W)[:, None].expand(-1, C, H, W).flatten(1).double()
    else: M = rivals.pca_masks(data, a, sigma, machine.tau)
    R = rivals.shared_response(M) if 'PSPC' in kind else torch.eye(len(M)).double()
    logits = -(x[1].double() - a*data[chosen].double()).square().flatten(1) @ M.T/(2*sigma**2)
    w = (logits.softmax(0) @ R.T).reshape(-1, C, H, W).mean(1)
    torch.testing.assert_close(got.mean[1], machine.denoise(x.double(), t)[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(got.entropy[1], torch.special.entr(w).sum(0), atol=1e-4, rtol=0)
    torch.testing.assert_close(got.n_eff[1], got.entropy[1].exp())
    torch.testing.assert_close(got.weight[1], w.amax(0), atol=1e-4, rtol=0)
    sure = w.topk(2, 0).values.diff(dim=0)[0] < -1e-3
    assert (got.image[1] == chosen[w.argmax(0)])[sure].all()
    assert sure.double().mean() > .5
    evidence = (logits.logsumexp(0) - torch.log(torch.tensor(float(len(chosen))))) @ R.T
    torch.testing.assert_close(got.log_evidence[1], evidence.reshape(C, H, W).mean(0), atol=1e-2, rtol=1e-4)


@pytest.mark.parametrize('kind', ['smooth', 'equal', 'two', 'near'])
@pytest.mark.parametrize('t', [.51, .7, .85, .95, 1.])
def test_logits_relative_to_the_mean_image_are_right(kind, t):
    "At high noise, for images whose rounding errors do not average out: few different ones, often."
    data = images(60, 3, 16, 16, kind='equal' if kind == 'equal' else 'smooth')
    if kind == 'two': data = data[torch.arange(60) % 2].sign()
    if kind == 'near': data = (data[:1] + 1e-3*images(60, 3, 16, 16, seed=4)).clamp(-1, 1)
    m, (a, sigma) = c.PCAMachine(data, tau=.02), at(t)
    listens = rivals.pca_masks(data, a, sigma, tau=.02) # as in pca_mean, once for all queries
    for size in (1., 30.):
        x = noisy(data, t, B=2, size=size)
        want = torch.stack([rivals.weighed_mean(q, data, a, sigma, listens) for q in x])
        assert (m.denoise(x, t) - want).abs().max() < 5e-5
        evidence = [m.belief(v, t).log_evidence for v in (x, x.double())]
        assert torch.allclose(*evidence, rtol=1e-6, atol=2e-3)


@pytest.mark.parametrize('kind', ['PCA', 'PSPC', 'PSPC-flex', 'GoldDiff'])
def test_sources_are_the_weights_of_the_definition(kind):
    data = images(9, 2, 6, 7)
    make, arguments, _ = KINDS[kind](6, 7)
    m, x = make(data, **arguments), noisy(data, .4, B=1)
    parts = list(m.shares(x[0], .4, None, *at(.4), None))
    shares, numbers = torch.cat([w for _, w, _ in parts]), torch.cat([n for n, *_ in parts])
    behind, everyone = m.sources(x[0], .4, pixel=(2, 3), top=9), m.sources(x, .4, top=4)
    assert torch.allclose(behind.weight, shares[:, 2, 3].sort(descending=True)[0], atol=1e-7)
    assert behind.weight.sum() == pytest.approx(1)
    assert (behind.place == torch.tensor([2, 3])).all()
    want = shares.mean((1, 2)).sort(descending=True)[0]
    assert torch.allclose(everyone.weight, want[:4], atol=1e-7)
    assert everyone.candidates == len(numbers)
    with pytest.raises(c.CreativityError, match='no pixel'): m.sources(x, .4, pixel=(6, 0))


@pytest.mark.parametrize('kind', ['sigma-CFDM', 'GoldDiff'])
def test_draws_do_not_depend_on_batch_order_or_chunks(kind):
    data = images(60, 1, 6, 6)
    make, kwargs, _ = KINDS[kind](6, 6)
    t = .85
    x = noisy(data, t, B=3)
    want = make(data, **kwargs).denoise(x, t)
    shuffled = torch.randperm(60, generator=torch.Generator().manual_seed(2))
    for machine in (make(data, max_bytes=100000, **kwargs), make(data[shuffled], **kwargs)):
        torch.testing.assert_close(machine.denoise(x.flip(0), t).flip(0), want, atol=1e-5, rtol=0)
        torch.testing.assert_close(machine.denoise(x[1:2], t), want[1:2], atol=1e-5, rtol=0)
    assert (make(data, seed=1, **kwargs).denoise(x, t) - want).abs().max() > 1e-3


def test_statistics_are_fitted_once_for_each_content(monkeypatch):
    data, asked = images(40, 1, 5, 5, seed=77), []
    real = fast.fit_spectrum
    monkeypatch.setattr(fast, 'fit_spectrum', lambda m, label: asked.append(label) or real(m, label))
    x = noisy(data, .3)
    for some in (data, data.clone(), data*.5):
        for t in (.3, .6): c.WienerMachine(some).denoise(x, t)
    assert asked == [None, None]


def test_labels_and_times_one_for_each_image():
    data, labels = images(30, 1, 6, 6), torch.arange(30) % 3
    x, t, label = noisy(data, .4, B=3), torch.tensor([.2, .5, .9]), torch.tensor([0, 1, 2])
    for kind, (make, kwargs, _) in ((k, f(6, 6)) for k, f in KINDS.items()):
        machine = make(data, labels, **kwargs)
        apart = torch.cat([machine.denoise(x[b:b + 1], float(t[b]), int(label[b])) for b in range(3)])
        torch.testing.assert_close(machine.denoise(x, t, label), apart, atol=1e-5, rtol=1e-5, msg=kind)


@pytest.mark.parametrize(('make', 'words'), [
    (lambda d: c.PSPCMachine(d, scales=7), 'from 1 to 6'),
    (lambda d: c.PSPCMachine(d).denoise(d, .5), 'needs scales'),
    (lambda d: c.PSPCMachine(d, masks=torch.zeros(3, 6, 6)).denoise(d, .5), 'hold every pixel'),
    (lambda d: c.PCAMachine(d, tau=2), 'tau must be'),
    (lambda d: c.PCAMachine(d).denoise(d, .5, k=3), 'takes no k'),
    (lambda d: c.SmoothedMachine(d, draws=0), 'draws must be'),
    (lambda d: c.WienerMachine(d).belief(d, .5), 'no belief'),
])
def test_bad_input_gets_one_line(make, words):
    with pytest.raises(c.CreativityError, match=words): make(images(4, 1, 6, 6))


def test_the_one_form_holds_the_known_machines():
    data = images(9, 2, 5, 6)
    x, (a, sigma) = noisy(data, .4)[0], at(.4)
    one = torch.ones(1, data[0].numel())
    torch.testing.assert_close(rivals.weighed_mean(x, data, a, sigma, one, one.T), ideal_mean(x, data, a, sigma))
    square, own = rivals.square_masks(x.shape, 3), rivals.own_response(x.shape)
    torch.testing.assert_close(rivals.weighed_mean(x, data, a, sigma, square, own), local_mean(x, data, a, sigma, 3))


def test_protocols_are_complete():
    for name, p in fast.protocols.items():
        assert list(p.times) == sorted(p.times, reverse=True), name
        machine = c.PSPCMachine(images(3, 1, 32, 32), **fast.protocols['pspc'].settings['cifar10']['PSPCMachine'])
    assert [machine.width(t) for t in fast.protocols['pspc'].times] == [32]*7 + [23, 15, 11, 7, 5] + [3]*6
