"Calls with values of a wrong kind: one line of ours that names the argument, wherever it would have failed; a bug keeps its traceback."
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import creativity as c
from creativity.data.images import Images
from creativity.diffusion import CosineSchedule, Denoiser, sample, samples, seed_noise
from creativity.errors import CreativityError, in_words, warn
from creativity.files import write_arrays, write_json, write_text
from creativity.measure.compare import load_comparison
from creativity.networks.diffusers import find_network
from creativity.networks.wrap import check_denoiser, from_noise
from creativity.runs import read_run

X = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))*2 - 1
D = Images(X, torch.tensor([0, 0, 1, 1, 2, 2]), 'toy', ['a', 'b', 'c'])
N, S = seed_noise(range(2), (1, 8, 8)), CosineSchedule()
IS, LS = c.ISMachine(D), c.LSMachine(X, scales=3)
JUNK = [-1, 1.5, float('nan'), 10**30, True, 'nonsense', b'x', [], [None], {}, object(), torch.zeros(2), torch.zeros(3, dtype=torch.bool),
        np.zeros(3), np.array('x'), 1j, lambda: 1, int, Path('nowhere/x'), slice(1, 2)]


def refused(call, *says):
    "One line of ours, without the address of an object."
    with pytest.raises(CreativityError) as e: call()
    said = str(e.value)
    assert said
    assert '\n' not in said
    assert ' at 0x' not in said
    for word in says: assert word in said
    return said


# images

@pytest.mark.parametrize('i', [1.5, 2., 'a', None, 6, -7, [0, 6], [1.], torch.tensor([.5]), torch.ones(5, dtype=torch.bool), np.zeros(7, bool),
                               [[0, 1]], torch.zeros(2, 2).long(), (0, 1, [2]), {0}, 1j, [True]*5])
def test_an_index_that_is_none(i): refused(lambda: D[i], 'an index of 6 images must be')


def test_an_index_that_is_one():
    for i in (0, -1, np.int64(3), torch.tensor(3)): assert torch.equal(D[i], X[int(i)])
    many = [slice(1, 4), [0, -1], (0, 2), np.array([1, 2]), torch.tensor([3]), torch.arange(6) > 2, np.arange(6) > 2, [True]*6, range(2)]
    for i in many:
        want = torch.arange(6)[i if isinstance(i, slice) else torch.as_tensor(np.asarray(i))]
        assert torch.equal(D[i].x, X[want])
        assert torch.equal(D[i].y, D.y[want])


# paths

PATHS = dict(text=lambda p: write_text(p, 'x'), json=lambda p: write_json(p, {}), arrays=lambda p: write_arrays(p, {}), run=read_run,
             comparison=load_comparison, compare=lambda p: c.compare(IS, LS, 1, 1, out=p, progress=False),
             calibrate=lambda p: c.calibrate(LS, LS, [3], 1, 1, out=p, progress=False), audit=lambda p: c.audit(LS, D, D, out=p, progress=False),
             network=find_network, folder=c.load_folder, load=c.load_network)


@pytest.mark.parametrize('name', list(PATHS))
def test_a_path_that_is_none(name):
    for bad in (-1, 1.5, True, b'x', [], {}, 1j, torch.zeros(2)): refused(lambda bad=bad: PATHS[name](bad), 'must be')


# functions

FUNCTIONS = {'three arguments': [lambda: 1, lambda x: x, lambda x, t: x, torch.nn.Identity()],
             'must return a tensor of shape': [lambda x, t, label: None, lambda x, t, label: x.numpy(), lambda x, t, label: x[:, :, 1:], lambda *a: [a[0]]],
             'the network raised ZeroDivisionError: division by zero': [lambda x, t, label: 1/0], 'real numbers': [lambda x, t, label: x.long()],
             'the network raised AttributeError': [lambda x, t, label: x.nothing], 'NaN or Inf': [lambda x, t, label: x*torch.nan]}


@pytest.mark.parametrize('wrap', [lambda f: from_noise(f, S), lambda f: c.from_x0(f, S), lambda f: c.from_v(f, S), lambda f: c.from_score(f, S),
                                  c.from_edm, c.from_flow], ids=['noise', 'x0', 'v', 'score', 'edm', 'flow'])
def test_a_function_that_is_no_network(wrap):
    for says, many in FUNCTIONS.items():
        for f in many: refused(lambda f=f: wrap(f).denoise(N, .5), says)


def test_what_a_function_raised_is_kept():
    def f(x, t, label): raise KeyError('its own fault')
    with pytest.raises(CreativityError, match='raised KeyError') as e: from_noise(f, S).denoise(N, .5)
    assert isinstance(e.value.__cause__, KeyError)
    def full(x, t, label): raise torch.OutOfMemoryError('full')
    with pytest.raises(torch.OutOfMemoryError): from_noise(full, S).denoise(N, .5)


FILES = dict(syntax=('def f(:', 'SyntaxError'), imports=('import nothing_of_this_name\ndef f(): pass', 'ModuleNotFoundError'),
             raises=('def f(): raise KeyError("x")', "KeyError: 'x'"), asks=('def f(a): pass', 'must take no argument'),
             returns=('def f(): return 3', 'must return a denoiser'), other=('g = 1', 'has no function f'), none=('f = 3', 'has no function f'))


@pytest.mark.parametrize('name', list(FILES))
def test_a_file_that_makes_no_network(name, tmp_path):
    text, says = FILES[name]
    (tmp_path/'net.py').write_text(text)
    refused(lambda: find_network(f'{tmp_path/"net.py"}:f'), says, 'net.py')


def test_times_of_a_users_function():
    for f in (lambda t: None, lambda t: t[:1].repeat(3), lambda t: 1/0, lambda: 1, lambda t: t + 1j):
        refused(lambda f=f: from_noise(lambda x, t, label: x, S, to_time=f).denoise(N, .5), 'to_time')


# labels

@pytest.mark.parametrize('label', [1.5, True, 'nobody', b'x', 3, -1, 10**30, [0, 1, 2], [[0, 1]], {}, 1j, torch.tensor([1.]), np.array(.5),
                                   np.array(['x', 'y']), object()])
def test_a_label_that_is_none(label):
    net = from_noise(lambda x, t, label: x/2, S, shape=(1, 8, 8), classes=['a', 'b', 'c'])
    asked = dict(machine=lambda: IS.denoise(N, .5, label), belief=lambda: IS.belief(N, .5, label), rival=lambda: c.WienerMachine(D).denoise(N, .5, label),
                 network=lambda: net.denoise(N, .5, label), sample=lambda: sample(net, 2, 2, label), machines=lambda: sample(IS, 2, 2, label),
                 compare=lambda: c.compare(net, IS, 2, 1, label=label, progress=False),
                 calibrate=lambda: c.calibrate(net, c.LSMachine(D), [3], 2, 1, label=label, progress=False),
                 load=lambda: c.load(D, label=label) if not isinstance(label, list|dict) else refused_here())
    for name, ask in asked.items():
        if name in ('machine', 'belief', 'rival') and isinstance(label, list) and label == [0, 1, 2]: continue
        refused(ask)


def refused_here(): raise CreativityError('label: left out here')


# everything

CALLS = dict(sample=(sample, dict(denoiser=IS, seeds=1, steps=2, label=None, method='ddim', times=None, seed=0, generator=None, shape=None,
                                  published=False, start=1., batch_size=None)),
             samples=(lambda **k: list(samples(**k)), dict(denoiser=IS, seeds=1, steps=2, label=None, method='ddim', times=None, shape=None, start=1.)),
             look=(check_denoiser, dict(net=LS, images=X, label=None, n=2)), along=(lambda **k: c.along(**k).denoise(N, .5), dict(denoiser=LS, schedule=S)),
             field=(c.receptive_field, dict(network=LS, t=.5, images=1, label=None, seed=0, share=.9, shape=None)),
             network=(c.load_network, dict(name='no network', device='cpu')), widths=(c.published_scales, dict(name='mnist-unet')),
             LS=(c.LSMachine, dict(images=X, labels=None, schedule=None, scales=3, range=(-1, 1), max_bytes=None, backend=None, device=None)),
             PCA=(c.PCAMachine, dict(images=X, tau=.05, range=(-1, 1), device=None)), images=(Images, dict(x=X, y=None, class_names=None, files=None)),
             smoothed=(c.SmoothedMachine, dict(images=X, s=.1, draws=2, seed=0)), local=(c.LocalWienerMachine, dict(images=X, scales=3)),
             sources=(LS.sources, dict(x=X[0], t=.5, label=None, k=3, pixel=None, top=2, mask=None)), denoise=(LS.denoise, dict(x=N, t=.5, label=None, k=3)),
             rival=(c.WienerMachine(X).denoise, dict(x=N, t=.5, label=None)))


@pytest.mark.parametrize('name', list(CALLS))
def test_no_argument_gives_a_traceback(name):
    "Each argument in turn, and much that is none: it works, or one line says what is wrong."
    f, good = CALLS[name]
    lines, faults = 0, []
    for argument in good:
        for bad in JUNK:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                try: f(**{**good, argument: bad})
                except (CreativityError, FileNotFoundError) as e:
                    lines += 1
                    if '\n' in str(e) or ' at 0x' in str(e): faults.append((argument, bad, str(e)))
                except Exception as e: faults.append((argument, bad, repr(e)))
    assert not faults, f'{len(faults)}: {faults[:4]}'
    assert lines >= len(good)*5


def test_a_bug_keeps_its_traceback():
    @in_words
    def f(steps: int, out: str|None = None): raise TypeError('a bug')
    with pytest.raises(TypeError, match='a bug'): f(3)
    with pytest.raises(TypeError, match='missing'): f()
    refused(lambda: f('x'), "steps must be a whole number, got 'x'")
    refused(lambda: f(True), 'steps must be a whole number, got True')
    refused(lambda: f(3, -1), 'out must be a text or None, got -1')
    class Own(Denoiser):
        def __init__(self, steps: int): self.steps = range(steps)
        def denoise(self, x, t, label=None): return x
    refused(lambda: Own('x'), 'steps must be')


def test_a_warning_points_at_the_users_line():
    with pytest.warns(UserWarning, match='here') as seen: warn('here')
    assert seen[0].filename == __file__
    zero = (X + 1)/2
    for make in (lambda: c.LSMachine(zero, scales=3), lambda: c.PCAMachine(zero)):
        with pytest.warns(UserWarning, match='the images lie in') as seen: make()
        assert seen[0].filename == __file__
