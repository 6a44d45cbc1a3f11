"The machines against the readable definitions: within 1e-4 on the posterior mean, whatever the input and however it is computed."
import numpy as np
import pytest
import torch
from forks import forked
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_oracle import SHARED, STORED, cases, needs_shared

from creativity.data.images import Images
from creativity.data.store import TensorStore
from creativity.diffusion import (
    BetaSchedule,
    CosineSchedule,
    Schedule,
    StepSchedule,
    released_scales,
    seed_noise,
)
from creativity.errors import CreativityError
from creativity.machines.rivals import WienerMachine
from creativity.machines.whole import ESMachine, ISMachine
from creativity.machines.widths import calibrated_scales, published_scales, scale_at
from creativity.machines.windows import BBELSMachine, ELSMachine, LSMachine
from creativity.studies.command import Meter
from creativity.theory.belief import ideal_belief
from creativity.theory.windows import bbels_belief, els_belief, equivariant_belief, local_belief

SCHEDULE, BACKENDS, BOUND = CosineSchedule(), ('torch', 'compiled'), 1e-4
WINDOWED = {'LS': (LSMachine, local_belief, {}), 'bbELS': (BBELSMachine, bbels_belief, {}),
            'ELSwrapped': (ELSMachine, els_belief, {}), 'ELS': (ELSMachine, els_belief, {'wrapped': False})}
WHOLE = {'IS': (ISMachine, ideal_belief, {}), 'ES': (ESMachine, equivariant_belief, {})}
EVERY = WINDOWED | WHOLE
QUICK = settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck), derandomize=True)


def levels(t): return SCHEDULE.a(t).item(), SCHEDULE.sigma(t).item()


def truth(name, x, data, t, k):
    "The readable belief about one image."
    _, define, options = EVERY[name]
    return define(x, data, *levels(t), *([k] if name in WINDOWED else []), **options)


def machine(name, data, backend=None, **options):
    kind, _, extra = EVERY[name]
    return kind(data, backend=backend, **extra, **options)


def width(name, k):
    "`k=` for a machine that has widths."
    return {'k': k} if name in WINDOWED else {}


# ---- reference values ----

def reference_error(golden, key, backend):
    name, t, *k = key.split('_')
    k = int(k[0][1:]) if k else None
    x = torch.tensor(golden[f'x_{t}'])[None]
    out = machine(name, torch.tensor(golden['train']), backend).denoise(x, float(t[1:]), k=k)[0]
    assert out.dtype == torch.float32
    return np.abs(out.numpy() - golden[key]).max()


STORED_CASES = [k for k in STORED if cases([k.split('/')[1]])]
# a shift in PyTorch is the same whatever the width, which enters through box sums alone: LS has them at every width in a
# moment, and those that shift over the whole image are asked for the widest one at each time
WIDEST = {k.split('_k')[0]: k for k in sorted(STORED_CASES, key=lambda k: int((k.split('_k')[1:] or [0])[0]))}
IN_PYTORCH = [k for k in STORED_CASES if '/LS' in k or k in WIDEST.values()]


@pytest.mark.parametrize(('backend', 'case'), [(b, k) for b in BACKENDS for k in (IN_PYTORCH if b == 'torch' else STORED_CASES)])
def test_stored_reference(backend, case):
    name, key = case.split('/')
    golden = {k.split('/')[1]: v for k, v in STORED.items() if k.startswith(name)}
    assert reference_error(golden, key, backend) < BOUND


@needs_shared
@pytest.mark.parametrize('name', ['fashion', 'cifar10'])
def test_complete_reference(name):
    with np.load(SHARED/f'golden_{name}.npz', allow_pickle=False) as z: golden = dict(z)
    worst = {key: reference_error(golden, key, 'compiled') for key in cases(golden)}
    assert len(worst) > 40
    assert max(worst.values()) < BOUND, max(worst, key=worst.get)


@needs_shared
@pytest.mark.slow
def test_complete_reference_in_pytorch():
    for name in ('fashion', 'cifar10'):
        with np.load(SHARED/f'golden_{name}.npz', allow_pickle=False) as z: golden = dict(z)
        for key in cases(golden): assert reference_error(golden, key, 'torch') < BOUND, key


# ---- any input ----

@st.composite
def problems(draw):
    "Training images, a query, a time and a width; all kinds of coincidences among them."
    C, H, W = draw(st.integers(1, 4)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    N, t = draw(st.integers(1, 40)), draw(st.floats(.005, 1))
    k = 2*draw(st.integers(0, max(H, W) - 1)) + 1
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    data = torch.rand(N, C, H, W, generator=g)*2 - 1
    kind = draw(st.sampled_from(['random', 'duplicates', 'constant', 'black and white', 'nearly equal']))
    if kind == 'duplicates': data = data[torch.randint(N, (N,), generator=g)]
    if kind == 'constant': data = data[:, :, :1, :1].expand_as(data).clone()
    if kind == 'black and white': data = data[:, :, :1, :1].sign().expand_as(data).clone()
    if kind == 'nearly equal': data = (data[:1] + .01*data).clamp(-1, 1)
    a, sigma = levels(t)
    noise = torch.randn(C, H, W, generator=g)
    x = {'from data': a*data[0] + sigma*noise, 'noise': noise, 'far': 5*noise, 'exact': a*data[0],
         'between': a*(data[0] + data[-1])/2}[draw(st.sampled_from(['from data', 'noise', 'far', 'exact', 'between']))]
    return data, x, t, k


@pytest.mark.parametrize('name', list(EVERY))
@QUICK
@given(problem=problems(), backend=st.sampled_from(BACKENDS))
def test_precision(name, problem, backend):
    data, x, t, k = problem
    if name == 'ELS': k = min(k, min(data.shape[2:]) - 1 | 1)
    if name == 'ELS' and k > min(data.shape[2:]): k -= 2
    if k < 1: return
    out = machine(name, data, backend).denoise(x[None], t, **width(name, k))[0]
    assert torch.isfinite(out).all()
    assert (out - truth(name, x, data, t, k).mean).abs().max() <= BOUND


@pytest.mark.parametrize('name', list(EVERY))
@QUICK
@given(problem=problems(), backend=st.sampled_from(BACKENDS))
def test_belief(name, problem, backend):
    data, x, t, k = problem
    if name == 'ELS': k = 1
    found, expected = machine(name, data, backend).belief(x[None], t, **width(name, k)), truth(name, x, data, t, k)
    size = 1 + expected.log_evidence.abs().max()
    assert (found.mean[0] - expected.mean).abs().max() <= BOUND
    assert (found.log_evidence[0] - expected.log_evidence).abs().max() <= 1e-5*size
    assert (found.entropy[0] - expected.entropy).abs().max() <= 1e-3
    assert (found.n_eff[0]/expected.n_eff - 1).abs().max() <= 1e-3
    assert (found.weight[0] - expected.weight).abs().max() <= BOUND
    clear = expected.weight > .51 # no rival: then the candidate itself must be the same one
    assert torch.equal(found.image[0][clear], expected.image[clear]) or len(data.unique(dim=0)) < len(data)
    chosen = data[found.image[0], :, found.place[0, 0], found.place[0, 1]].movedim(-1, 0)
    assert ((chosen - expected.mean).abs().max(0).values[expected.weight > .9999] < 1e-3).all()


@pytest.mark.parametrize('dtype', [torch.float64, torch.float16, torch.bfloat16])
def test_dtypes(dtype):
    data = torch.rand(9, 2, 7, 6)*2 - 1
    x = (data[:1] + .5*seed_noise([3], (2, 7, 6))).to(dtype)
    for name in EVERY:
        out = machine(name, data).denoise(x, .3, **width(name, 3))
        assert out.dtype == dtype
        bound = {torch.float64: 1e-9, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype] # rounding of the result itself
        assert (out[0].double() - truth(name, x[0].double(), data, .3, 3).mean).abs().max() < bound, name


# ---- however it is computed ----

DATA = torch.rand(150, 1, 10, 8, generator=torch.Generator().manual_seed(0))*2 - 1
LABELS = torch.arange(150) % 3
X = DATA[:4] + .7*seed_noise(range(4), (1, 10, 8))
T, LABEL = torch.tensor([.05, .3, .6, .95]), torch.tensor([0, 1, 0, 2])


@pytest.mark.parametrize('name', list(EVERY))
@pytest.mark.parametrize('backend', BACKENDS)
def test_chunks_order_batch_threads(name, backend):
    (data, y), x = (DATA[:60, :, :6, :5], LABELS[:60]), X[..., :6, :5]
    whole = machine(name, data, backend, labels=y).denoise(x, T, LABEL, **width(name, 3))
    few = 2**14 if backend == 'torch' else 2**23 # 5 to 7 of the 20 images of a class at a time; what the loops need
    found = machine(name, data, backend, labels=y, max_bytes=few).denoise(x, T, LABEL, **width(name, 3))
    torch.testing.assert_close(found, whole, atol=BOUND, rtol=0)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    moved = machine(name, data[order], backend, labels=y[order])
    alone = torch.cat([moved.denoise(x[i:i + 1], T[i], int(LABEL[i]), **width(name, 3)) for i in range(4)])
    torch.testing.assert_close(alone, whole, atol=BOUND, rtol=0)
    threads = torch.get_num_threads()
    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            torch.testing.assert_close(moved.denoise(x, T, LABEL, **width(name, 3)), whole, atol=BOUND, rtol=0)
    finally: torch.set_num_threads(threads)


@pytest.mark.parametrize('name', list(EVERY))
def test_label_is_the_class_alone(name):
    whole = machine(name, DATA, labels=LABELS)
    for c in range(3):
        mine = machine(name, DATA[LABELS == c])
        torch.testing.assert_close(whole.denoise(X, .4, c, **width(name, 5)), mine.denoise(X, .4, **width(name, 5)), atol=1e-6, rtol=0)
        found, own = whole.belief(X, .4, c, **width(name, 5)), mine.belief(X, .4, **width(name, 5))
        assert (LABELS[found.image] == c).all()
        assert torch.equal(found.image, torch.arange(150)[LABELS == c][own.image])


def test_identical_chunks_are_identical():
    "Tiles of the same size give the same bits, run for run."
    m = BBELSMachine(DATA, max_bytes=2**24)
    assert torch.equal(m.denoise(X, T, k=3), m.denoise(X, T, k=3))


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('k', [1, 3, 7])
def test_els_moves_with_its_input(backend, k):
    m = ELSMachine(DATA[:20], backend=backend)
    for shift in ((1, 0), (0, 3), (-4, 5)):
        rolled = m.denoise(X.roll(shift, (2, 3)), .3, k=k)
        torch.testing.assert_close(rolled, m.denoise(X, .3, k=k).roll(shift, (2, 3)), atol=1e-5, rtol=0)
    es = ESMachine(DATA[:20])
    torch.testing.assert_close(es.denoise(X.roll(2, 3), .3), es.denoise(X, .3).roll(2, 3), atol=1e-6, rtol=0)


def test_limits():
    "bbELS is LS once windows are as wide as the image; LS is IS once they cover it from every place."
    bbels, ls, ideal = BBELSMachine(DATA), LSMachine(DATA), ISMachine(DATA)
    torch.testing.assert_close(bbels.denoise(X, T, k=11), ls.denoise(X, T, k=11), atol=BOUND, rtol=0)
    torch.testing.assert_close(ls.denoise(X, T, k=19), ideal.denoise(X, T), atol=BOUND, rtol=0)
    assert (bbels.denoise(X, T, k=3) - ls.denoise(X, T, k=3)).abs().max() > .01
    assert (ls.denoise(X, T, k=17) - ideal.denoise(X, T)).abs().max() > 1e-4


def test_equal_terms_do_not_drift():
    "Hundreds of thousands of equal candidates: float32 sums alone would be off by far more."
    data, x = torch.full((600, 1, 24, 24), .3), .5*seed_noise([0], (1, 24, 24))
    for k in (1, 3): torch.testing.assert_close(BBELSMachine(data, backend='compiled').denoise(x, .3, k=k), data[:1], atol=2e-5, rtol=0)


@pytest.mark.parametrize('backend', BACKENDS)
def test_rivals_hidden_by_rounding(backend):
    "Far from the data at low noise, logits are rounded to whole numbers; two candidates at the same distance must still tie."
    data = torch.rand(2, 3, 15, 15, generator=torch.Generator().manual_seed(5))*2 - 1
    for t, far in ((.01, 5.), (.05, 30.), (.05, 200.)):
        a, x = levels(t)[0], far*torch.randn(3, 15, 15, generator=torch.Generator().manual_seed(6)).double()
        for _ in range(4): # move x until both are equally far in the middle's window
            d = data[0].double() - data[1].double()
            gap = ((x - a*data[0])**2).sum() - ((x - a*data[1])**2).sum()
            x = (x + gap/(2*a*(d*d).sum())*d).float().double()
        out, exact = LSMachine(data, backend=backend).denoise(x[None].float(), t, k=15)[0], local_belief(x.float(), data, *levels(t), 15).mean
        assert (out - exact).abs().max() <= BOUND


def tied(x, data, a):
    "Move x until the two images are equally far from it."
    d, x = data[0].double() - data[1].double(), x.double()
    for _ in range(4):
        gap = ((x - a*data[0])**2).sum() - ((x - a*data[1])**2).sum()
        x = (x + gap/(2*a*(d*d).sum())*d).float().double()
    return x.float()


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('seed', range(6))
def test_ties_far_away(backend, seed):
    g = torch.Generator().manual_seed(seed)
    data = torch.rand(2, 3, 31, 31, generator=g)*2 - 1
    a, sigma = levels(.01)
    x = tied(a*data.mean(0) + 6.7*torch.randn(3, 31, 31, generator=g), data, a)
    out = LSMachine(data, backend=backend).denoise(x[None], .01, k=31)[0]
    middle = (x.double() - a*data.double()).square().sum((1, 2, 3))/(-2*sigma**2)
    exact = torch.einsum('n,nc->c', middle.softmax(0), data[:, :, 15, 15].double())
    assert (out[:, 15, 15] - exact).abs().max() <= BOUND


@pytest.mark.parametrize('seed', range(4))
def test_ties_of_many_copies(seed):
    g = torch.Generator().manual_seed(seed)
    pair = torch.rand(2, 1, 24, 24, generator=g)*2 - 1
    a, sigma = levels(.1)
    x = tied(a*pair.mean(0) + .5*torch.randn(1, 24, 24, generator=g), pair, a)
    out = LSMachine(pair.repeat_interleave(2000, 0)).denoise(x[None], .1, k=47)[0]
    w = ((x.double() - a*pair.double()).square().sum((1, 2, 3))/(-2*sigma**2)).softmax(0)
    assert (out - torch.einsum('n,nchw->chw', w, pair.double())).abs().max() <= BOUND




# ---- any store, any way of naming things, sources ----

@pytest.mark.parametrize('name', list(EVERY))
@pytest.mark.parametrize('pixel', [(0, 0), (4, 3), (9, 7)])
def test_sources_of_a_pixel(name, pixel):
    "As the readable belief has them, and the same in pieces of two images."
    for kw in ({}, {'label': 1}):
        data = DATA[:21] if not kw else DATA[:21][LABELS[:21] == 1]
        found = [machine(name, TensorStore(DATA[:21], LABELS[:21], most=n)).sources(X[:1], .3, pixel=pixel, top=7, **width(name, 5), **kw)
                 for n in (None, 2)]
        expected = truth(name, X[0], data, .3, 5)
        for s in found:
            assert (s.mean - expected.mean[:, *pixel]).abs().max() < 1e-9
            assert s.weight[0] == pytest.approx(expected.weight[pixel].item(), abs=1e-9)
            assert s.n_eff == pytest.approx(expected.n_eff[pixel].item(), rel=1e-6)
            centre = DATA[s.image, :, s.place[:, 0], s.place[:, 1]].double()
            assert torch.equal(centre, s.window[:, :, -s.corner[0], -s.corner[1]])
            if kw: assert (LABELS[s.image] == 1).all()
        assert torch.equal(found[0].image, found[1].image)
        assert torch.equal(found[0].place, found[1].place)


@pytest.mark.parametrize('name', list(EVERY))
def test_sources_of_all_pixels_are_the_mean_over_pixels(name):
    (data, x), k = (v[..., :6, :5] for v in (DATA[:9], X)), width(name, 3)
    m = machine(name, TensorStore(data, most=2))
    shares, total = m.sources(x[:1], .3, top=9, **k), torch.zeros(9, dtype=torch.float64)
    for pixel in np.ndindex(6, 5):
        s = m.sources(x[0], .3, pixel=pixel, top=10**6, **k)
        total.index_add_(0, s.image, s.weight/30)
    assert shares.weight.sum() == pytest.approx(1)
    torch.testing.assert_close(shares.weight, total[shares.image], atol=1e-9, rtol=0)


@pytest.mark.parametrize('name', list(EVERY))
def test_labels_and_images_in_any_form(name):
    names = ['cat', 'dog', 'emu']
    m, k = machine(name, Images(DATA, LABELS, class_names=names)), width(name, 3)
    want = machine(name, DATA, labels=LABELS).denoise(X, T, LABEL, **k)
    for label in (LABEL.numpy(), LABEL.tolist(), [names[c] for c in LABEL], ['cat', 1, 'CAT', 2]):
        assert torch.equal(m.denoise(X, T, label, **k), want)
    assert torch.equal(m.denoise(X.numpy(), T, LABEL, **k), want)
    assert torch.equal(machine(name, DATA.numpy(), labels=LABELS.tolist()).denoise(X, T, LABEL, **k), want)
    assert not machine(name, DATA.clone().requires_grad_(), labels=LABELS).denoise(X, T, LABEL, **k).requires_grad
    for wrong in (.5, float('nan'), 2**63, 1j, True, 'cow', [0, 1]):
        with pytest.raises(CreativityError, match='label'): m.denoise(X, T, wrong, **k)
    for wrong in ([.5]*150, [2**63]*150, [1j]*150, torch.full((150,), torch.nan)):
        with pytest.raises(CreativityError, match='labels must be whole'): machine(name, DATA, labels=wrong)


@pytest.mark.parametrize('name', list(EVERY))
def test_latents(name):
    "Any values and channels with range=None: within 1e-4 of half the data's range."
    g = torch.Generator().manual_seed(0)
    data, x = 20*torch.randn(9, 4, 6, 6, generator=g), 20*torch.randn(4, 6, 6, generator=g)
    with pytest.raises(CreativityError, match='range=None'): machine(name, data)
    out = machine(name, data, range=None).denoise(x[None], .4, **width(name, 3))[0]
    assert (out - truth(name, x, data, .4, 3).mean).abs().max() < 1e-4*data.abs().max()


@pytest.mark.parametrize('kind', [ISMachine, ESMachine])
def test_whole_images_have_no_widths(kind):
    for call in (lambda: kind(DATA, scales=3), lambda: kind(DATA).denoise(X, .5, k=3), lambda: kind(DATA).belief(X, .5, k=3)):
        with pytest.raises(CreativityError, match='compares whole images: it takes no'): call()


@pytest.mark.parametrize('name', list(WINDOWED))
@pytest.mark.parametrize('bad', [4, 0, -3, 2.5, float('inf'), 21, 'wide', True])
def test_widths_are_refused_in_the_same_words(name, bad):
    calls = [lambda: machine(name, DATA).denoise(X, .5, k=bad), lambda: machine(name, DATA, scales=lambda t: bad).denoise(X, .5)]
    if isinstance(bad, int) and not isinstance(bad, bool): calls += [lambda: machine(name, DATA, scales=[3, bad])]
    for call in calls:
        with pytest.raises(CreativityError, match='a window width k must be odd and whole, from 1 to 19, got'): call()


def test_names_of_scales():
    m = BBELSMachine('fashion_mnist', scales='fashion_mnist-resnet')
    assert m.scales == calibrated_scales('fashion_mnist-resnet')
    assert m.with_scales('published:fashion_mnist-resnet').scales == published_scales('fashion_mnist-resnet')
    said = 'BBELSMachine(5000 images 1×32×32, 10 classes, widths {}, CosineSchedule)'
    assert repr(m) == said.format('3 … 15 of fashion_mnist-resnet')
    assert repr(m.with_scales(7)) == said.format('7').replace('widths', 'width')
    assert repr(m.with_scales([3, 3, 9])) == said.format('3 … 9')
    assert repr(m.with_scales([5, 5])) == said.format('5')
    assert len(repr(BBELSMachine(DATA).belief(X, .3, k=3))) < 80


@pytest.mark.parametrize(('words', 'bytes'), [('1GB', 10**9), ('512 MiB', 2**29), ('1.5kb', 1500), (7, 7), (None, None)])
def test_a_budget_is_bytes_or_words(words, bytes):
    assert ISMachine(DATA, max_bytes=words).max_bytes == bytes


@pytest.mark.parametrize('bad', ['1XB', 'GB', '', '-1GB', 'infGB', 0, -5, 2.5, True, float('inf'), []])
def test_a_budget_that_is_none_is_refused(bad):
    with pytest.raises(CreativityError, match='max_bytes must be a whole number of bytes'): ISMachine(DATA, max_bytes=bad)


# ---- scales, and what is refused ----

def test_scales():
    widths = [3, 5, 7, 9]
    assert [scale_at(widths, t) for t in (0, 1e-3, .25, .250001, .5, .75, .76, 1)] == [3, 3, 3, 5, 5, 7, 9, 9]
    assert [scale_at(published_scales('cifar10-resnet'), i/20) for i in range(1, 21)] == published_scales('cifar10-resnet')
    assert released_scales(widths) == [5, 7, 9, 9]
    by_list, by_width = BBELSMachine(DATA, scales=[3, 5]), BBELSMachine(DATA, scales=lambda t: 3 if t <= .5 else 5)
    for t in (.4, .5, .51, 1.): assert torch.equal(by_list.denoise(X, t), by_width.denoise(X, t))
    mixed = by_list.denoise(X, torch.tensor([.2, .8, .2, .8]))
    torch.testing.assert_close(mixed[1:2], by_list.denoise(X[1:2], .8), atol=1e-6, rtol=0)


REFUSED = {
    'needs scales=': lambda: BBELSMachine(DATA).denoise(X, .5),
    'or what calibrate.. finds': lambda: BBELSMachine(DATA, range=None).denoise(X, .5),
    'torch.uint8; load.x. takes bytes': lambda: BBELSMachine(torch.zeros(2, 1, 4, 4, dtype=torch.uint8)),
    'must be odd and whole': lambda: BBELSMachine(DATA).denoise(X, .5, k=4),
    'from 1 to 19, got 21': lambda: BBELSMachine(DATA).denoise(X, .5, k=21),
    'lies inside the image': lambda: ELSMachine(DATA, wrapped=False).denoise(X, .5, k=9),
    'label 7 is not in the data': lambda: BBELSMachine(DATA, labels=LABELS).denoise(X, .5, 7, k=3),
    'came without labels=': lambda: BBELSMachine(DATA).denoise(X, .5, 1, k=3),
    'must hold images of shape': lambda: BBELSMachine(DATA).denoise(X[:, :, :-1], .5, k=3),
    r'\[B,C,H,W\]': lambda: BBELSMachine(DATA).denoise(X[0], .5, k=3),
    'NaN': lambda: BBELSMachine(DATA).denoise(X*float('nan'), .5, k=3),
    r'lie in \[0,1\]': lambda: BBELSMachine(DATA).denoise(X, 1.5, k=3),
    'must lie in': lambda: BBELSMachine(DATA*1.5),
    'no training images': lambda: BBELSMachine(DATA[:0]),
    'floating-point tensor': lambda: BBELSMachine(torch.zeros(2, 1, 4, 4, dtype=torch.uint8)),
    'training images hold NaN': lambda: BBELSMachine(DATA*float('nan')),
    'one label for each': lambda: BBELSMachine(DATA, labels=LABELS[:5]),
    'labels must be whole': lambda: BBELSMachine(DATA, labels=LABELS.float()),
    'scales is empty': lambda: BBELSMachine(DATA, scales=[]),
    'max_bytes=100 is too little': lambda: BBELSMachine(DATA, max_bytes=100).denoise(X, .5, k=3),
    'backend must be': lambda: BBELSMachine(DATA, backend='cuda'),
    'scales must be an odd int': lambda: BBELSMachine(DATA, scales=3.5),
    'from 1 to 19, got 2': lambda: BBELSMachine(DATA, scales=np.array([3, 2])),
    'odd and whole, from 1 to 19, got None': lambda: BBELSMachine(DATA, scales=lambda t: None).denoise(X, .5),
    'odd and whole, from 1 to 19, got nan': lambda: BBELSMachine(DATA).denoise(X, .5, k=float('nan')),
    "label 'cat' is not in the data": lambda: BBELSMachine(DATA, labels=LABELS).denoise(X, .5, 'cat', k=3),
    't must be a number': lambda: BBELSMachine(DATA).denoise(X, 'late', k=3),
    'max_bytes must be a whole number of bytes, at least 1': lambda: BBELSMachine(DATA, max_bytes=0),
    'within ±1e4': lambda: BBELSMachine(DATA).denoise(X*1e17, .5, k=3),
    'on meta': lambda: BBELSMachine(DATA).denoise(torch.zeros(1, 1, 10, 8, device='meta', dtype=torch.float32), .5, k=3),
}


@pytest.mark.parametrize('says', list(REFUSED))
def test_refused(says):
    with pytest.raises(ValueError, match=says) as e: REFUSED[says]()
    assert '\n' not in str(e.value)


def rise(backend, budget):
    "Bytes by which this process grows while a machine answers."
    torch.set_num_threads(2)
    data, x = torch.rand(1000, 3, 16, 16)*2 - 1, torch.randn(1, 3, 16, 16)
    m, few = (BBELSMachine(d, max_bytes=budget, backend=backend) for d in (data, data[:40]))
    few.denoise(x, .9, k=11)
    with Meter() as meter: m.denoise(x, .9, k=11)
    return meter.rise


@pytest.mark.parametrize('backend', BACKENDS)
def test_memory_stays_within_the_budget(backend):
    budget = 8*2**20
    assert forked(rise, backend, budget) <= budget


# Forward processes

def test_a_machine_checks_its_schedule():
    "As from_noise does: a curve with a² + σ² ≠ 1 would be sampled wrongly without a word."
    class Straight(Schedule):
        def a(self, t): return 1 - t
        def sigma(self, t): return t
    x = torch.zeros(2, 1, 4, 4)
    for kind in (LSMachine, ISMachine, WienerMachine):
        with pytest.raises(CreativityError, match='must keep a'): kind(x, schedule=Straight())
        for bad in ('cosine', (1, 2), Straight):
            with pytest.raises(CreativityError): kind(x, schedule=bad)
    bars = torch.linspace(.99, .01, 10)
    assert LSMachine(x, schedule=bars).schedule == StepSchedule(bars)


def test_named_widths_belong_to_noise_levels():
    "A name means the widths of the same noise, whatever the machine's forward process; a list is taken as it is."
    x, ddpm = torch.zeros(2, 1, 32, 32), BetaSchedule()
    mine = BBELSMachine(x, schedule=ddpm, scales='fashion_mnist-resnet')
    theirs = BBELSMachine(x, scales='fashion_mnist-resnet')
    for i in range(1, 21):
        t = torch.tensor(i/20)
        same = SCHEDULE.time(ddpm.sigma(t)/ddpm.a(t))
        assert mine.width(i/20) == theirs.width(float(same))
    assert mine.scales != theirs.scales == calibrated_scales('fashion_mnist-resnet')
    assert BBELSMachine(x, schedule=ddpm, scales=theirs.scales).scales == theirs.scales
    assert theirs.with_scales('fashion_mnist-unet').scales == calibrated_scales('fashion_mnist-unet')
