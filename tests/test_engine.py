"Margins that are counted: the same sums, in fewer comparisons, for random shapes, boxes and groups."
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from creativity.diffusion import CosineSchedule
from creativity.engine import margins
from creativity.engine import stream as engine
from creativity.engine.margins import TOGETHER, clip_plan, content_boxes, split_work
from creativity.engine.plan import Plan, bbels_rule, els_inside_rule, els_rule, pad
from creativity.engine.stream import sums_shared
from creativity.engine.sums import SoftmaxSums, sums_torch
from creativity.engine.sweep import sweep
from creativity.machines.whole import ISMachine
from creativity.machines.windows import BBELSMachine, LSMachine

RULES = {'bbELS': (bbels_rule, False, False), 'ELS': (els_rule, True, True), 'ELS, unwrapped': (els_inside_rule, True, False)}
compiled = pytest.mark.skipif(sweep is None, reason='needs numba')


def framed(n, shape, blank, seed):
    "Images [n,C,H,W] that show random pixels in a random box; the first is blank."
    (C, H, W), draw = shape, torch.Generator().manual_seed(seed)
    images = blank[:, None, None].expand(n, C, H, W).clone()
    for im in images[1:]:
        y, x = (torch.randint(n, (1,), generator=draw).item() for n in (H, W))
        part = im[:, y:y + H//2 + 1, x:x + W//2 + 1]
        part.copy_(torch.rand(part.shape, generator=draw)*2 - 1)
    return images


@st.composite
def problems(draw):
    "Images with margins, a noisy one of them, a plan and its noise level."
    shape, seed = (draw(st.integers(1, 3)), draw(st.integers(8, 14)), draw(st.integers(8, 14))), draw(st.integers(0, 99))
    images = framed(draw(st.integers(2, 70)), shape, torch.tensor([-1., .3, 1.])[:shape[0]], seed)
    rule, *circular = RULES[draw(st.sampled_from(list(RULES)))]
    plan = Plan(rule, shape[1:], draw(st.sampled_from([1, 3, 5, 7])), *circular)
    t = draw(st.sampled_from([.02, .2, .5, .9]))
    a, sigma = CosineSchedule().a(t).item(), CosineSchedule().sigma(t).item()
    x = a*images[seed % len(images)] + sigma*torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return x, images, plan, a, sigma, draw(st.sampled_from([5, 16, 40])), draw(st.integers(1, 3))


def logits_of(best, x, images, plan, a, sigma):
    "The logits [H,W] of the candidates that `best` names; a candidate must be one of the pixel's."
    query, training, k = pad(x, plan.x_rows, plan.x_cols), pad(images.permute(1, 2, 3, 0), plan.d_rows, plan.d_cols), plan.k
    out = torch.empty(plan.shape, dtype=x.dtype)
    for i in range(out.shape[0]):
        for u in range(out.shape[1]):
            dy, dx, i0, i1, u0, u1 = plan.shifts[best[1, i, u]]
            assert i0 <= i < i1
            assert u0 <= u < u1
            d = query[:, i:i + k, u:u + k] - a*training[:, i + dy:i + dy + k, u + dx:u + dx + k, best[0, i, u]]
            out[i, u] = -(d**2).sum()/(2*sigma**2)
    return out


@compiled
@settings(max_examples=60, deadline=None, derandomize=True)
@given(problem=problems())
def test_counted_is_compared(problem):
    x, images, plan, a, sigma, together, threads = problem
    with pytest.MonkeyPatch.context() as m:
        m.setattr(margins, 'TOGETHER', together) # so that half of the examples have boxes
        work, total = split_work(images, plan, threads, least=1), SoftmaxSums.empty(*x.shape)
        for share in work: total.merge_(sums_shared(x, images, share, plan, a, sigma, True))
    wanted = sums_torch(x.double(), images.double(), plan, a, sigma, True)
    assert (total.num/total.z - wanted.num/wanted.z).abs().max() < 1e-4
    for of in (lambda p: p.z.log() - p.sum_wlogw/p.z, lambda p: p.sum_w2/p.z**2): assert (of(total) - of(wanted)).abs().max() < 1e-3
    evidence = wanted.top + wanted.z.log()
    assert ((total.top + total.z.log() - evidence).abs() <= 1e-5*(1 + evidence.abs())).all()
    named = logits_of(total.best, x.double(), images.double(), plan, a, sigma)
    assert ((named - wanted.top).abs() <= 1e-5*(1 + wanted.top.abs())).all()


@compiled
def test_margins_are_used_where_they_save():
    blank, plan = torch.tensor([-1.]), Plan(bbels_rule, (16, 16), 3)
    left = lambda images, **how: sum(len(g)*clip_plan(plan, box).pairs for share in split_work(images, plan, 2, **how) for g, box in share)/(len(images)*plan.pairs)
    many = framed(16*TOGETHER, (1, 16, 16), blank, 0)
    assert left(many) < .7
    assert left(many[:-1]) == 1 # too few
    assert left(many, least=len(many) + 1) == 1
    assert left(torch.rand_like(many)*2 - 1) == 1 # no margins
    assert content_boxes(torch.rand_like(many)) is None
    numbers = torch.cat([g for share in split_work(many, plan, 3) for g, _ in share])
    assert torch.equal(numbers.sort().values, torch.arange(len(many)))


@compiled
def test_machine_with_margins():
    images = framed(16*TOGETHER + 5, (1, 8, 8), torch.tensor([.5]), 1)
    x = images[4:6] + .3*torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert any(box is not None for share in split_work(images, Plan(bbels_rule, (8, 8), 3), 1) for _, box in share)
    fast, plain = (BBELSMachine(images, scales=3, backend=b) for b in ('compiled', 'torch'))
    for t in (.05, .4): assert (fast.denoise(x, t) - plain.denoise(x.double(), t)).abs().max() < 1e-4
    b, c = fast.belief(x, .2), plain.belief(x.double(), .2)
    assert (b.log_evidence - c.log_evidence).abs().max() < 1e-3
    assert (b.entropy - c.entropy).abs().max() < 1e-3
    blank = images[0:1]*CosineSchedule().a(.05) # every blank window is as good as any: the one that is named must be blank
    b = fast.belief(blank, .05)
    at = images[b.image[0, 4, 4], 0, b.place[0, 0, 4, 4] - 1:b.place[0, 0, 4, 4] + 2, b.place[0, 1, 4, 4] - 1:b.place[0, 1, 4, 4] + 2]
    assert at.shape == (3, 3)
    assert (at == .5).all()


@compiled
@pytest.mark.parametrize('kind', [LSMachine, ISMachine])
def test_a_small_dictionary_starts_no_thread(kind, monkeypatch):
    "To start one takes longer than the work."
    def refuse(*_): raise AssertionError('a thread')
    data = torch.rand(40, 1, 16, 16, generator=torch.Generator().manual_seed(0))*2 - 1
    m, x, k = kind(data), data[:1]*.5, {} if kind is ISMachine else {'k': 3}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = m.denoise(x, .5, **k)
        monkeypatch.setattr(engine.ThreadPoolExecutor, 'submit', refuse)
        assert torch.equal(m.denoise(x, .5, **k), expected)
    finally: torch.set_num_threads(threads)
