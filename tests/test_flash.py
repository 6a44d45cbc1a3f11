"""Attention over windows in tiles: the oracle's cases, by PyTorch's products and by the Triton kernel; what is on the way
of a GPU. The kernel's cases run where Triton interprets it (`make test-triton`)."""
import os
import subprocess
import sys
import warnings
from functools import partial

import pytest
import torch
from lent import Lending, seen

from creativity.diffusion import CosineSchedule, sample
from creativity.engine import flash
from creativity.engine import stream as engine
from creativity.engine.flash import (
    GPUS,
    KEYS,
    ROWS,
    STEP,
    attend_products,
    can_fuse,
    flash_sums,
    fused_seconds,
    fusing_pays,
    layouts,
    shift_seconds,
)
from creativity.engine.plan import Plan, bbels_rule, els_inside_rule, els_rule, ls_rule
from creativity.engine.stream import stream
from creativity.errors import CreativityError
from creativity.machines.whole import ESMachine, ISMachine
from creativity.machines.windows import BBELSMachine, ELSMachine, LSMachine
from creativity.theory.windows import bbels_belief, els_belief, local_belief

SCHEDULE, BOUND = CosineSchedule(), 1e-4
interpreted = pytest.mark.skipif(not can_fuse(torch.device('cpu')), reason='needs Triton that interprets: make test-triton')
needs_triton = (interpreted, pytest.mark.triton)
BACKENDS = ['products', pytest.param('flash', marks=needs_triton)]
every_way = pytest.mark.parametrize('backend', BACKENDS)
inside_belief = lambda *args: els_belief(*args, wrapped=False)
# rule, do query and images wrap, definition, channels, size
KINDS = {'LS': (ls_rule, (False, False), local_belief, 1, (3, 4)), 'bbELS': (bbels_rule, (False, False), bbels_belief, 3, (5, 6)),
         'ELS, wrapped': (els_rule, (True, True), els_belief, 4, (4, 5)),
         'ELS, unwrapped': (els_inside_rule, (True, False), inside_belief, 3, (5, 4))}


def levels(t): return SCHEDULE.a(t).item(), SCHEDULE.sigma(t).item()


def problem(C, shape, t, N=5, B=1, seed=0):
    draw = torch.Generator().manual_seed(seed)
    data, (a, sigma) = torch.rand(N, C, *shape, generator=draw)*2 - 1, levels(t)
    return a*data[:B] + sigma*torch.randn(B, C, *shape, generator=draw), data, a, sigma


@every_way
@pytest.mark.parametrize('name', KINDS)
@pytest.mark.parametrize(('t', 'k'), [(.01, 1), (.01, 3), (.3, 3), (1., 3)])
def test_beliefs_are_the_definitions(name, t, k, backend):
    rule, circular, define, C, shape = KINDS[name]
    x, data, a, sigma = problem(C, shape, t)
    plan = Plan(rule, shape, k, *circular)
    p, = stream(x, data, plan, [a], [sigma], True, backend=backend)
    right = define(x[0], data, a, sigma, k)
    assert (p.num/p.z - right.mean).abs().max() < BOUND
    assert (p.z.log() - p.sum_wlogw/p.z - right.entropy).abs().max() < 1e-3
    assert ((p.z**2/p.sum_w2).log() - _participation(x, data, plan, a, sigma).log()).abs().max() < 1e-3
    evidence = p.top + p.z.log() - torch.from_numpy(plan.counts*len(data)).log()
    assert ((evidence - right.log_evidence).abs() <= 1e-5*(1 + right.log_evidence.abs())).all()
    sure = right.weight > .6 # elsewhere two candidates may tie
    shift = torch.from_numpy(plan.shifts)[p.best[1]].movedim(-1, 0)[:2]
    here = torch.stack(torch.meshgrid(*map(torch.arange, shape), indexing='ij'))
    place = (here + shift) % torch.tensor(shape)[:, None, None]
    assert torch.equal(p.best[0][sure], right.image[sure])
    assert torch.equal(place[:, sure], right.place[:, sure])


def _participation(x, data, plan, a, sigma):
    p, = stream(x.double(), data, plan, [a], [sigma], True, backend='torch')
    return p.z**2/p.sum_w2


def worst(found, right):
    return max((p.num/p.z - q.num/q.z).abs().max().item() for p, q in zip(found, right, strict=True))


@every_way
def test_seeds_of_all_levels_share_the_keys(backend):
    x, data, *_ = problem(2, (4, 5), .4, B=4)
    a, sigma = zip(*map(levels, (.02, .2, .6, .9)), strict=True)
    widths = (3,) if backend == 'flash' else (3, 7)
    for p in (Plan(bbels_rule, (4, 5), k) for k in widths):
        assert worst(stream(x, data, p, a, sigma, backend=backend), stream(x.double(), data, p, a, sigma)) < BOUND


@every_way
def test_pieces_merge(backend):
    x, data, a, sigma = problem(1, (3, 4), .3, N=90, B=2)
    plan = Plan(els_inside_rule, (3, 4), 3, True, False)
    need = sum(engine.flash_bytes(plan, 1, 1, backend == 'flash')) + 60_000
    whole, parts = (stream(x, data, plan, [a]*2, [sigma]*2, True, m, backend) for m in (None, need))
    for p, q in zip(whole, parts, strict=True):
        assert torch.equal(p.best, q.best)
        for u, v in zip(p, q, strict=True): torch.testing.assert_close(u, v, atol=1e-4, rtol=1e-4)


@every_way
def test_flat_ties_far_and_signal_less(backend):
    "Where a sum could be empty, a weight infinite, a difference nothing but rounding."
    plan, one = Plan(bbels_rule, (4, 5), 3), torch.ones(1, 3, 4, 5)
    for data, x in ((one.expand(3, -1, -1, -1), one*.3), (torch.cat([-one, one]), 0*one), (torch.cat([-one, one]), 9900*one),
                    (torch.cat([one, one, -one]), one*levels(.01)[0])):
        for a, sigma in (levels(.01), levels(.5), (0., 1.), (1., 1e-6)):
            found, = stream(x, data.contiguous(), plan, [a], [sigma], True, backend=backend)
            right, = stream(x.double(), data, plan, [a], [sigma], True)
            assert all(torch.isfinite(v).all() for v in found)
            assert worst([found], [right]) < BOUND
            assert (found.z.log() - right.z.log() + found.top - right.top).abs().max() <= 1e-5*(1 + right.top.abs().max())


@every_way
@pytest.mark.parametrize('kind', [LSMachine, BBELSMachine, ELSMachine])
def test_machines_with_labels(kind, backend):
    x, data, *_ = problem(1, (3, 4), .4, N=8, B=2)
    y = torch.arange(8) % 2
    fast, plain = (kind(data, y, scales=[3, 1], backend=b) for b in (backend, 'torch'))
    for label, t in ((None, .7), (1, .05), (torch.tensor([1, 0]), torch.tensor([.2, .9]))):
        assert (fast.denoise(x, t, label) - plain.denoise(x.double(), t, label)).abs().max() < BOUND
    assert torch.equal(fast.belief(x, .05, 1).image, plain.belief(x.double(), .05, 1).image)


@every_way
@pytest.mark.parametrize('seed', range(2))
def test_precision_by_attack(seed, backend):
    "Flat images that differ by little and a query half-way; black and white ones half-way, uphill to the worst query."
    few = backend == 'flash' # the interpreter is slow
    draw, worst_error, shape = torch.Generator().manual_seed(seed), 0., (3, 3, 3) if few else (3, 6, 6)
    plan = Plan(bbels_rule if seed else ls_rule, shape[1:], 3 if few else 5)
    for turn in range(3 if few else 12):
        t = (.02, .1, .4)[turn % 3]
        a, sigma = levels(t)
        if turn % 2: data = torch.where(torch.rand(2, *shape, generator=draw) < .5, -1., 1.)
        else: data = torch.full((2, *shape), .8) + torch.tensor([0., .02])[:, None, None, None]*(torch.rand(shape, generator=draw) < .3)
        d, x = (data[0] - data[1]).double(), a*data.double().mean(0) + 1e-3*sigma*torch.randn(shape, generator=draw)
        gap = ((x - a*data[0])**2).sum() - ((x - a*data[1])**2).sum()
        x = (x + gap/(2*a*(d*d).sum())*d).float()[None]
        worst_error = max(worst_error, worst(stream(x, data, plan, [a], [sigma], backend=backend),
                                             stream(x.double(), data, plan, [a], [sigma])))
    assert worst_error <= BOUND


@every_way
def test_settings_of_the_program_do_not_matter(backend):
    x, data, a, sigma = problem(1, (4, 5), .4)
    plan = Plan(bbels_rule, (4, 5), 3)
    run = lambda: stream(x, data, plan, [a], [sigma], backend=backend)[0].num
    plain, before = run(), torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('medium')
    try:
        with torch.autocast('cpu', torch.bfloat16): inside = run()
    finally: torch.set_float32_matmul_precision(before)
    torch.testing.assert_close(plain, inside, atol=2e-5, rtol=0)


def test_backends_are_named_and_refused_in_one_line(monkeypatch):
    x, data, a, sigma = problem(1, (4, 5), .4)
    plan = Plan(bbels_rule, (4, 5), 3)
    with pytest.raises(CreativityError, match="backend must be 'compiled', 'torch', 'flash', 'products', got 'gpu'"):
        stream(x, data, plan, [a], [sigma], backend='gpu')
    with pytest.raises(CreativityError, match='up to 30 channels, got 31'):
        stream(x.expand(-1, 31, -1, -1), data.expand(-1, 31, -1, -1), plan, [a], [sigma], backend='products')
    monkeypatch.setattr(engine, 'can_fuse', lambda device: False)
    with pytest.raises(CreativityError, match='flash needs Triton and a CUDA device, got cpu'):
        stream(x, data, plan, [a], [sigma], backend='flash')
    seen = []
    monkeypatch.setattr(engine, 'flash_sums', lambda *args: seen.append(args[-1]) or flash_sums(*args))
    stream(x, data, plan, [a], [sigma])
    assert not seen # on a CPU only who asks gets it
    monkeypatch.setenv('CREATIVITY_BACKEND', 'products')
    stream(x, data, plan, [a], [sigma])
    assert seen == [attend_products]


# ---- a GPU, without one: every transfer and every wait is counted ----

CUDA = torch.device('cuda', 0)


def by_kernel(calls):
    "A stand-in for the kernel: what it is given lies on the device and has its shapes; PyTorch makes the sums."
    def attend(images, means, queries, layout, plan, stats):
        assert {v.device for v in (images, means, *queries, layout.tiles, layout.pixels)} == {CUDA}
        assert queries.windows.shape == (len(layout.pixels), -(-images.shape[1]*plan.k**2//STEP)*STEP)
        assert queries.facts.shape == (len(layout.pixels), 3 + images.shape[1])
        calls.append(len(layout.tiles))
        return attend_products(images, means, queries, layout, plan, stats)
    return attend


def ways(name, calls):
    rule, circular, _, C, shape = KINDS[name]
    x, data, a, sigma = problem(C, shape, .4, N=9, B=2)
    plan = Plan(rule, shape, 3, *circular)
    tiled = lambda attend: lambda x, data: flash_sums(x, data, plan, [a]*2, [sigma]*2, True, 0, attend)[0]
    shifts = lambda x, data: [engine.sums_torch(q, data, plan, a, sigma, True) for q in x]
    return x, data, plan, dict(shifts=shifts, kernel=tiled(by_kernel(calls)), products=tiled(attend_products))


@pytest.mark.parametrize('name', KINDS)
@pytest.mark.parametrize('way', ['shifts', 'kernel', 'products'])
def test_no_transfer_and_no_waiting_in_the_loop(name, way):
    calls = []
    x, data, plan, how = ways(name, calls)
    with Lending(CUDA):
        there = x.to(CUDA), data.to(CUDA)
        layouts(plan, 2, CUDA) # once for each plan, batch and device
        seen.clear()
        found = how[way](*there)
        total = [engine.SoftmaxSums.empty(*x.shape[1:], CUDA).merge_(p) for p in found]
        assert not seen
        assert {v.device for p in total for v in p} == {CUDA}
        found = [engine.SoftmaxSums(*(v.cpu() for v in p)) for p in total]
    assert len(calls) == (len(layouts(plan, 2, torch.device('cpu'))) if way == 'kernel' else 0)
    for p, q in zip(found, how['shifts'](x, data), strict=True):
        for u, v in zip(p, q, strict=True): torch.testing.assert_close(u, v, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(('break_it', 'what'), [
    (lambda x: bool((x > 0).any()), 'waits'), (lambda x: x.sum().item(), 'waits'), (lambda x: x[x > 0], 'waits'),
    (lambda x: x.cpu(), 'transfers'), (lambda x: torch.arange(3).to(x.device), 'transfers')])
def test_what_is_counted(break_it, what):
    with Lending(CUDA):
        x = torch.rand(3).to(CUDA)
        seen.clear()
        break_it(x)
        assert seen[what] == 1
        with pytest.raises(RuntimeError, match='on cuda:0 and on the CPU'): x[torch.tensor([0, 2])]


@pytest.mark.parametrize('kind', [ISMachine, ESMachine, LSMachine, BBELSMachine, ELSMachine])
@pytest.mark.parametrize('fused', [False, True])
def test_a_machine_on_cuda(kind, fused, monkeypatch):
    """Every call of a user, as on the CPU. A denoising waits to look at its input and at its doubts, a few times for a
    query, and not once more for more images."""
    calls = []
    monkeypatch.setattr(engine, 'free_bytes', lambda device: 2**28)
    monkeypatch.setattr(engine, 'can_fuse', lambda device: fused and device.type == 'cuda')
    monkeypatch.setattr(engine, 'fusing_pays', lambda *args: fused)
    monkeypatch.setattr(engine, 'attend_fused', by_kernel(calls))
    x, data, *_ = problem(3, (4, 5), .4, N=40, B=2)
    more = {} if kind in (ISMachine, ESMachine) else dict(scales=[3, 5])
    waits, y, m = [], torch.arange(40) % 2, kind(data, torch.arange(40) % 2, max_bytes=2**28, **more)
    with Lending(CUDA):
        x = x.to(CUDA)
        for n in (10, 40):
            there = kind(data[:n].to(CUDA), y[:n], max_bytes=2**28, **more)
            there.denoise(x, .4)
            seen.clear()
            out = there.denoise(x, .4)
            assert out.device == CUDA
            waits.append((seen['waits'], seen['transfers']))
        assert waits[0] == waits[1]
        assert sum(waits[1]) <= 12
        assert (out.cpu() - m.denoise(x.cpu(), .4)).abs().max() < BOUND
        assert bool(calls) == (fused and bool(more))
        belief = there.belief(x, .3, [0, 1])
        right = m.belief(x.cpu(), .3, [0, 1])
        for name in ('mean', 'variance', 'log_evidence', 'entropy'):
            torch.testing.assert_close(getattr(belief, name).cpu(), getattr(right, name), atol=1e-4, rtol=1e-3)
        assert torch.equal(belief.image.cpu(), right.image)
        assert torch.equal(belief.place.cpu(), right.place)
        torch.testing.assert_close(there.pullback(x, x, .4).cpu(), m.pullback(x.cpu(), x.cpu(), .4), atol=1e-4, rtol=1e-3)
        for pixel in ((2, 2), None):
            one, two = there.sources(x[0], .3, pixel=pixel), m.sources(x[0].cpu(), .3, pixel=pixel)
            torch.testing.assert_close(one.weight, two.weight, atol=1e-4, rtol=1e-3)
        assert (sample(there, [0, 1], 3, label=1).cpu() - sample(m, [0, 1], 3, label=1)).abs().max() < 1e-3


def test_layouts_hold_every_pixel_once():
    for rule, circular, _, _, shape in KINDS.values():
        for B in (1, 3):
            found = layouts(Plan(rule, shape, 3, *circular), B, torch.device('cpu'))
            pixels = torch.cat([v.pixels[v.real] for v in found])
            assert torch.equal(pixels.sort().values, torch.arange(B*shape[0]*shape[1]))
            assert all(len(v.pixels) == len(v.tiles)*ROWS == v.spans[-1][1] for v in found)


def test_expected_times():
    "Proportional to images, less than proportional to seeds; more at higher k; never below any of its parts."
    plan, gpu = Plan(bbels_rule, (32, 32), 7), GPUS[0]
    parts = fused_seconds(plan, 3, 10_000, 1, gpu)
    assert parts['total'] == max(v for name, v in parts.items() if name != 'total')
    assert fused_seconds(plan, 3, 20_000, 1, gpu)['total'] == pytest.approx(2*parts['total'], rel=1e-3)
    pairs = 26*26*-(-26*26//ROWS)*ROWS*1e4 # of the large block
    assert parts['matrix'] > pairs*2*3*(160 + flash.WIDE)/gpu.matrix > .9*parts['matrix']*pairs/(pairs + 5e7)
    assert fused_seconds(plan, 3, 10_000, 16, gpu)['total'] < 16*parts['total']
    assert fused_seconds(plan, 3, 10_000, 1, gpu, again=1.)['vector'] > parts['vector']
    assert shift_seconds(plan, 3, 10_000, 1, gpu) > 5*parts['total']
    assert fusing_pays(plan, 3, 10_000, 1)
    assert KEYS*256 < 2**15 # terms that one float32 sum takes, at most


COMPILE = '''
import sys
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
import triton
from creativity.engine.flash import WARPS, _attend
f, i = '*fp32', '*i32'
signature = {'tensors': (f, f, f, f, i, f, i), 'counts': ('i32', 'i32'), 'size': ('i32',)*4, 'cutoff': 'fp32',
             'CIRCULAR': 'constexpr', 'STATS': 'constexpr', 'PRODUCT': 'constexpr'}
capability = int(sys.argv[1])
source = ASTSource(_attend, signature=signature, constexprs={(4,): False, (5,): True, (6,): 'tf32x3'})
kernel = triton.compile(source, target=GPUTarget('cuda', capability, 32), options={'num_warps': WARPS})
assert kernel.asm['cubin'] and kernel.metadata.shared < 100_000
assert 'mma' in kernel.asm['ptx'] # the matrix units are used
assert '.f64' not in kernel.asm['ptx']
print('compiled')
'''


@interpreted
@pytest.mark.triton
@pytest.mark.parametrize('capability', [80, 90])
def test_the_kernel_compiles_for(capability):
    "For an A100 and an H200: the compiler needs no GPU."
    environment = {k: v for k, v in os.environ.items() if k != 'TRITON_INTERPRET'}
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', COMPILE, str(capability)], env=environment, timeout=300,
                          capture_output=True, text=True, check=False)
    assert done.stdout == 'compiled\n', done.stderr[-2000:]


def test_the_rest_is_quiet():
    x, data, a, sigma = problem(1, (4, 5), .4)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        stream(x, data, Plan(ls_rule, (4, 5), 3), [a], [sigma], backend='products')


def test_the_gpu_bench_runs_keeps_time_and_tells_errors(tmp_path, monkeypatch):
    "On the CPU with the compiled loops, on small images; on a GPU the command line runs it."
    from creativity.studies import speed
    from creativity.studies.speed import gpu_bench, gpu_files, gpu_table
    monkeypatch.setattr(speed, 'load', partial(speed.load, size=12))
    result = gpu_bench('cpu', 40, (3,), 1, ways=('torch', 'compiled'), scales=[3, 3])
    assert [r['B'] for r in result['rows']] == [1, 1, 16]*3 + [1, 1]
    assert max(r['error'] for r in result['rows'] if 'error' in r) < BOUND
    assert all(r['seconds'] > 0 for r in result['rows'])
    assert len(gpu_table(result).splitlines()) == 13
    assert [p.name for p in gpu_files(result, tmp_path)] == ['gpu.json', 'gpu.txt']
    short = gpu_bench('cpu', 40, (3,), 1, seconds=0)
    assert (short['rows'], short['left_out']) == ([], 5)
