"The explorer: beliefs of single pixels against the oracles, lazy flows, pictures, and the widget driven without a browser."
import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from creativity.app import explorer
from creativity.data.find import load
from creativity.data.images import Images
from creativity.machines.whole import ESMachine, ISMachine
from creativity.machines.windows import BBELSMachine, ELSMachine, LSMachine
from creativity.theory.belief import ideal_belief
from creativity.theory.windows import bbels_belief, els_belief, equivariant_belief, local_belief

ORACLES = {ISMachine: ideal_belief, ESMachine: equivariant_belief, LSMachine: local_belief, ELSMachine: els_belief,
           BBELSMachine: bbels_belief}
MINE = Images(torch.rand(12, 1, 9, 9, generator=torch.Generator().manual_seed(0))*2 - 1, torch.arange(12) % 3, 'mine', ['a', 'b', 'c'])


@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(list(ORACLES)), C=st.integers(1, 3), H=st.integers(2, 7), W=st.integers(2, 7), N=st.integers(1, 4),
       r=st.integers(0, 3), t=st.floats(.02, 1), seed=st.integers(0, 99), data=st.data())
def test_sources_of_a_pixel_are_the_oracles(kind, C, H, W, N, r, t, seed, data):
    g, k = torch.Generator().manual_seed(seed), 2*min(r, max(H, W) - 1) + 1
    images, x = torch.rand(N, C, H, W, generator=g)*2 - 1, torch.randn(C, H, W, generator=g)
    i, j = data.draw(st.integers(0, H - 1)), data.draw(st.integers(0, W - 1))
    whole = kind in (ISMachine, ESMachine)
    m = kind(images, scales=None if whole else k)
    o = ORACLES[kind](x, images, float(m.schedule.a(t)), float(m.schedule.sigma(t)), *([] if whole else [k]))
    b = m.sources(x, t, pixel=(i, j), top=10**6)
    torch.testing.assert_close(b.mean, o.mean[:, i, j], atol=1e-7, rtol=0)
    torch.testing.assert_close(b.n_eff, float(o.n_eff[i, j]), atol=0, rtol=1e-6)
    torch.testing.assert_close(b.weight[0], o.weight[i, j], atol=1e-7, rtol=0)
    assert b.candidates == len(b.weight)
    torch.testing.assert_close(b.weight.sum(), torch.ones((), dtype=torch.float64))
    r, c = -b.corner[0], -b.corner[1]
    torch.testing.assert_close(b.seen[:, r, c], x[:, i, j].double())
    torch.testing.assert_close(b.window[:, :, r, c], images[b.image, :, b.place[:, 0], b.place[:, 1]].double())
    torch.testing.assert_close(b.weight @ b.window[:, :, r, c], b.mean)


def test_unwrapped_and_labelled():
    x = torch.randn(1, 9, 9, generator=torch.Generator().manual_seed(1))
    m = ELSMachine(MINE.x, scales=5, wrapped=False)
    b, o = m.sources(x, .5, pixel=(0, 8)), els_belief(x, MINE.x, float(m.schedule.a(.5)), float(m.schedule.sigma(.5)), 5, wrapped=False)
    torch.testing.assert_close(b.mean, o.mean[:, 0, 8])
    assert b.candidates == 12*25
    sorted_inside = BBELSMachine(MINE.x, MINE.y, scales=5)              # keeps its images in the order of their classes
    a, b = (m.sources(x, .5, pixel=(4, 4)) for m in (sorted_inside, BBELSMachine(MINE.x, scales=5)))
    assert a.image.tolist() == b.image.tolist()


@pytest.mark.parametrize(('call', 'words'), [
    (lambda m, x: m.sources(x, .5, pixel=(9, 0)), 'no pixel'),
    (lambda m, x: m.sources(x, .5, pixel=(0, -1)), 'no pixel'),
    (lambda m, x: m.sources(x, .5, pixel=(0, 0), top=0), 'top must be'),
    (lambda m, x: m.sensitivity(x[None], .5, (0, 0), channel=1), 'no channel 1 among 1'),
    (lambda m, x: m.sources(x, .5, k=4, pixel=(0, 0)), 'odd'),
    (lambda m, x: m.sources(x[None, None], .5, pixel=(0, 0)), 'of one image'),
    (lambda m, x: m.sources(x*float('nan'), .5, pixel=(0, 0)), 'NaN'),
    (lambda m, x: m.sources(x, 2., pixel=(0, 0)), 'time|t '),
    (lambda m, x: explorer.Explorer('faces'), "no image set 'faces'"),
    (lambda m, x: explorer.Explorer(n=0), 'n must be'),
    (lambda m, x: explorer.Explorer(steps=1), 'steps at least 2'),
])
def test_bad_input_is_one_line(call, words):
    with pytest.raises(ValueError, match=words) as e: call(BBELSMachine(MINE.x, scales=3), torch.zeros(1, 9, 9))
    assert '\n' not in str(e.value)


def test_a_flow_runs_only_as_far_as_it_is_looked_at():
    calls = []

    class Counting(LSMachine):
        def denoise(self, x, t, label=None, k=None):
            calls.append(t)
            return super().denoise(x, t, label, k)

    flow = explorer.Flow(Counting(MINE.x, scales=3), 0, 4)
    assert calls == []
    assert [flow[2].i, flow[0].i, flow[2].t] == [2, 4, .5]
    assert len(calls) == 3
    assert flow[4].i == 0
    with pytest.raises((StopIteration, RuntimeError)): flow[5]


def test_frames_wrap():
    c = explorer.Canvas(64, 64)
    c.put(torch.zeros(1, 8, 8), 0, 0, 64, frame=(-2, -2, 4, 4))
    ink = (np.asarray(c.image) == [0xD5, 0x5E, 0]).all(-1)
    quarters = ink[:32, :32].any(), ink[:32, 32:].any(), ink[32:, :32].any(), ink[32:, 32:].any()
    assert quarters == (True, True, True, True)
    c.put(torch.zeros(1, 8, 8), 0, 0, 64, frame=(2, 2, 3, 3))
    ink = (np.asarray(c.image) == [0xD5, 0x5E, 0]).all(-1)
    assert ink.any(1).nonzero()[0][[0, -1]].tolist() == [16, 39]


@pytest.fixture(scope='module')
def ex(): return explorer.Explorer('mnist', n=8, steps=4)


def picture(ex): return np.asarray(Image.open(io.BytesIO(ex.image.value)))


def test_widgets_change_the_picture(ex):
    for name, value in (('step', 3), ('row', 5), ('col', 20), ('seed', 7), ('width', 9), ('machine', 'ls'), ('label', 'all'), ('data', 'cifar10')):
        before = picture(ex), ex.text.value
        ex.controls[name].value = value                         # as a hand would
        assert (picture(ex) != before[0]).any(), name
        assert ex.text.value != before[1], name
    assert ex.controls['label'].options[3] == 'bird'
    assert (picture(ex)[24:248, 8:232] != picture(ex)[24:248, 8:232, ::-1]).any()      # in colour


def test_one_choice_one_redraw(ex, monkeypatch):
    drawn = []
    monkeypatch.setattr(ex, 'redraw', lambda: drawn.append(1))
    ex.choose(data='mnist', label='7', machine='bbels', step=2, row=3, col=4)
    assert len(drawn) == 1
    ex.controls['step'].value = 1
    assert len(drawn) == 2


def test_published_width_returns(ex):
    ex.choose(data='mnist', machine='bbels', step=0, published=True)
    first = ex.controls['width'].value
    ex.choose(step=3)
    last = ex.controls['width'].value
    assert last < first
    ex.controls['width'].value = first
    assert not ex.controls['published'].value
    ex.choose(step=2)
    assert ex.controls['width'].value == first
    ex.controls['published'].value = True
    assert last <= ex.controls['width'].value < first
    ex.choose(machine='es')
    assert ex.controls['width'].disabled
    ex.choose(machine='ls')
    assert not ex.controls['width'].disabled


def test_a_wider_window_leaves_fewer_candidates(ex):
    ex.choose(data='mnist', machine='bbels', step=2, row=16, col=16, published=True)
    n_eff = []
    for k in (3, 7, 11, 15):
        ex.choose(width=k)
        n_eff.append(ex.shown.n_eff.median().item())
    assert n_eff == sorted(n_eff, reverse=True)


def test_clicks(ex):
    ex.choose(row=0, col=0)
    for n in range(4):
        x, y = explorer.map_corner(n)
        ex.pick(x + 7*(n + 5), y + 7*(n + 9) + 6.9)
        assert (ex.controls['row'].value, ex.controls['col'].value) == (n + 9, n + 5)
    for x, y in ((0, 0), (236, 100), (500, 400), (999, 100)): ex.pick(x, y)
    assert ex.controls['row'].value == 12


def test_clicks_are_heard(ex):
    pytest.importorskip('ipyevents')
    assert ex.clicks.source is ex.image
    ex.clicks._dom_handlers(dict(type='click', dataX=8 + 7*3, dataY=24 + 7*2))
    assert (ex.controls['row'].value, ex.controls['col'].value) == (2, 3)


def test_refusals_keep_the_state(ex):
    ex.choose(data='mnist', step=2, row=4)
    for bad in (dict(step=4), dict(row=-1), dict(width=4), dict(machine='xls'), dict(label='Pullover'), dict(zoom=1), dict(seed=1.5)):
        with pytest.raises(ValueError, match=r'cannot be|no control'): ex.choose(**bad)
    before = ex.image.value
    ex.choose()
    assert ex.image.value == before


def test_own_images():
    ex = explorer.Explorer(MINE, n=10, steps=3)
    assert ex.controls['data'].options == ('mine',)
    assert ex.controls['row'].max == 8
    ex.choose(label='b', machine='is')
    assert len(ex.images('mine', 'b')) == 4
    assert ex.controls['width'].max == 17
    small = explorer.Explorer(Images(MINE.x[..., :4, :5]), steps=2)
    small.choose(step=0)
    assert (small.controls['width'].value, small.controls['col'].max) == (9, 4)
    plain = explorer.Explorer(Images(MINE.x), steps=2)
    assert plain.controls['label'].options == ('all',)


def test_same_choices_same_bytes():
    a, b = explorer.Explorer('fashion-mnist', n=8, steps=2), explorer.Explorer(n=8, steps=2)
    assert a.image.value == b.image.value


def test_images_are_those_of_the_package(ex):
    assert torch.equal(ex.images('mnist', '3').images(), load('mnist', label=3, n=8).x)
