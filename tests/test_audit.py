"Audit: copying is called copying, broken is called broken with its cause, a stopped audit goes on, what cannot be examined is refused."
import json
import re
from dataclasses import replace

import matplotlib.pyplot as plt
import pytest
import torch

import creativity as c
from creativity.data.find import load, make_dictionary
from creativity.data.images import Images
from creativity.errors import CreativityError
from creativity.files import figure_png
from creativity.machines.widths import check_scales
from creativity.measure import audit as room
from creativity.measure.audit import audit
from creativity.runs import open_run

FEW = room.Effort(images=24, times=(.3, .7), queries=3, fields=2, placed=2, calibrated=1, seeds=2, steps=3, network_steps=4,
                  sample_steps=6, controls=60, part_images=24, part_controls=3, rivals=(room.LSMachine, room.ISMachine))
SMALL = dict(size=16)
DATA, TEST = load('fashion_mnist', n=120, **SMALL), load('fashion_mnist', 'test', n=60, **SMALL)
PARTS = ['look', 'receptive', 'widths', 'place', 'one-step', 'compare', 'samples', 'copies']


@pytest.fixture(autouse=True)
def few(monkeypatch):
    "Few of everything, and figures are made but not drawn: that takes as long as to find what they show."
    monkeypatch.setattr(room, '_quick', FEW)
    monkeypatch.setattr(room, 'figure_png', lambda fig, **how: plt.close(fig) or b'')


def coarse(fig, **how): return figure_png(fig, **how | dict(dpi=25))


@pytest.fixture
def drawn(few, monkeypatch):
    "Figures are drawn, in coarse dots."
    monkeypatch.setattr(room, 'figure_png', coarse)


ASKED = dict(samples=4, level=.05)


@pytest.fixture(scope='module')
def whole():
    "An audit that was not stopped, with its figures in coarse dots."
    with pytest.MonkeyPatch.context() as m:
        m.setattr(room, '_quick', FEW)
        m.setattr(room, 'figure_png', coarse)
        return quick(c.BBELSMachine(DATA, scales=3), DATA, **ASKED)


@pytest.fixture
def full_size(few, monkeypatch): monkeypatch.setattr(room, 'figure_png', figure_png)


def quick(net, d, held=TEST, **more): return audit(net, d, held, **dict(samples=6, quick=True, progress=False) | more)


def test_a_machine_that_memorises_is_called_copying():
    a = quick(c.ISMachine(DATA.x), Images(DATA.x), Images(TEST.x))
    assert isinstance(a, room.Audit)
    assert [s.name for s in a.sections] == PARTS
    assert a['look'].status == 'good'
    assert a['copies'].facts['kinds'] == ['copy']*6
    assert a['copies'].status == 'bad'
    assert a['copies'].verdict.startswith('6 of 6 samples are copies, 0 have copied parts; of as many new images')
    assert a['compare'].verdict.startswith('IS, with a skill of')


def test_named_widths_follow_the_forward_process_of_the_network(monkeypatch):
    "Along another schedule than the one they were calibrated along, a name means other widths at a time."
    asked = []
    monkeypatch.setattr(room, '_sections', lambda s: asked.append(s.scales) or [])
    name, linear = 'fashion_mnist-resnet', c.LinearSchedule()
    data, test = Images(load('fashion_mnist', n=20).x), Images(load('fashion_mnist', 'test', n=4).x)
    for schedule in (c.CosineSchedule(), linear):
        audit(c.LSMachine(data, schedule=schedule, scales=3), data, test, samples=2, quick=True, scales=name, progress=False)
    assert asked == [check_scales(name), check_scales(name, linear)]
    assert asked[0] != asked[1]


def test_a_machine_that_does_not_know_its_place_is_told_from_one_that_does(monkeypatch):
    monkeypatch.setattr(room, '_quick', replace(FEW, images=120))
    ls, bbels = (quick(kind(DATA.x, scales=3), Images(DATA.x), Images(TEST.x), scales=3, samples=2)
                 for kind in (c.LSMachine, c.BBELSMachine))
    assert max(ls['place'].facts['network']) > .1
    assert max(bbels['place'].facts['network']) < .01
    assert ls['receptive'].facts['width'][2] <= 3
    for a, best in ((ls, 'LS'), (bbels, 'bbELS')):
        assert a['one-step'].facts['integral']['skill'][best] > .99
        assert a['one-step'].verdict.startswith(f'{best}, with a skill of 1.00')


def test_calibration_inside_finds_the_widths_of_a_machine():
    a = quick(c.LSMachine(DATA.x, scales=5), Images(DATA.x), Images(TEST.x), samples=1)
    assert len(a['widths'].facts['scales']) == FEW.steps
    assert a['widths'].facts['how'].startswith('calibrated')


NET = c.ISMachine(DATA.x)
BROKEN = {
    'predicts x0': lambda x, t, label: NET.denoise(x, t),
    'worse than the mean image': lambda x, t, label: torch.zeros_like(x),
    'NaN': lambda x, t, label: x*torch.nan,
    'must return a tensor of shape': lambda x, t, label: x[:, :, 1:],
    'no such layer': lambda x, t, label: (_ for _ in ()).throw(RuntimeError('no such layer')),
}


@pytest.mark.parametrize('cause', list(BROKEN))
def test_a_broken_network_is_called_broken_and_the_cause_is_named(cause, tmp_path):
    net = c.from_noise(BROKEN[cause], NET.schedule, shape=NET.shape)
    a = quick(net, Images(DATA.x), Images(TEST.x), samples=2)
    assert [s.name for s in a.sections] == ['look', 'samples']
    assert a['look'].status == 'bad'
    assert a['look'].verdict.startswith('broken')
    assert cause in a['look'].verdict
    assert a.save(tmp_path)[0].exists()


def looked(f):
    net = c.from_x0(f, NET.schedule, shape=NET.shape)
    return room.look(room.Subject(net, DATA, TEST, FEW, 2, .01, None, open_run(None, {}, {}), False))


def test_samples_far_out_of_range_are_said_beside_the_verdict():
    sound, far, wild = (looked(lambda x, t, label, by=by: by*NET.denoise(x, t)).text for by in (1, 1.5, -1e5))
    assert 'far beyond' not in sound[0]
    assert 'That is far beyond' in far[0]
    assert 'grow without bound' in wild[0]


def test_lines_in_one_place_can_be_told_apart(monkeypatch):
    "Names of all machines at the same values: no two look the same, and the network's line is seen under another."
    monkeypatch.setattr(room, 'figure_png', lambda fig, **how: fig)
    fig = room.curves([.3, .7], {name: [0, 0] for name in ('network', 'bbELS', 'ELS', 'LS', 'IS', 'PSPC', 'local Wiener', 'Wiener', 'PCA')}, 'skill')
    lines = fig.axes[0].lines
    assert len({(v.get_color(), v.get_linestyle()) for v in lines}) == len(lines) == 9
    assert lines[0].get_linewidth() > max(v.get_linewidth() for v in lines[1:]) + .5


def test_a_report_is_one_page_and_its_numbers_are_json(tmp_path, whole):
    a = whole
    paths = a.save(tmp_path)
    page, text = (p.read_text() for p in paths[:2])
    assert not re.search(r'(src|href)="(?!data:image/png;base64,|#)', page)
    assert 'http' not in page
    pictures = [p.name for p in paths[3:]]
    assert page.count('<img') == len(pictures) == text.count('](') >= 8
    for name in pictures: assert f'({name})' in text
    record = json.loads(paths[2].read_text())
    assert list(record['sections']) == PARTS
    assert record['sections']['copies']['kinds'] == a['copies'].facts['kinds']
    assert record['level'] == .05
    assert record['images'] == 120
    assert str(a).count('\n') >= len(PARTS)


def test_an_audit_that_was_stopped_goes_on_and_finds_the_same(tmp_path, monkeypatch, drawn, whole):
    net, made = c.BBELSMachine(DATA, scales=3), []
    def ask(d=DATA, **more): return quick(net, d, out=tmp_path, **ASKED | more)
    def stop(self, seed, make, *args, finish=room.Run.finish, **more):
        def counted():
            made.append(seed)
            if len(made) == 9: raise KeyboardInterrupt
            return make()
        return finish(self, seed, counted, *args, **more)
    monkeypatch.setattr(room.Run, 'finish', stop)
    with pytest.raises(KeyboardInterrupt): ask()
    again = ask()
    after = len(made)
    last = ask()
    assert len(made) == after
    for a in (again, last):
        assert str(a) == str(whole)
        assert json.dumps([s.facts for s in a.sections]) == json.dumps([s.facts for s in whole.sections])
        assert [s.figures for s in a.sections] == [s.figures for s in whole.sections]
    with pytest.raises(CreativityError, match='choose another folder'): ask(DATA[:60])
    with pytest.raises(CreativityError, match='choose another folder'): ask(samples=5)


def test_latents_of_four_channels_and_any_range(drawn):
    g = torch.Generator().manual_seed(0)
    x = torch.nn.functional.interpolate(3*torch.randn(90, 4, 4, 4, generator=g), (16, 16), mode='bilinear')
    d, held = Images(x[:60], name='latents', range=None), Images(x[60:], name='latents', range=None)
    a = quick(c.ISMachine(d), d, held)
    assert [s.name for s in a.sections] == PARTS
    assert 'knows by heart' in a['look'].verdict
    assert a['copies'].facts['kinds'] == ['copy']*6


def test_a_dictionary_on_disk(tmp_path):
    d = make_dictionary(tmp_path/'d', DATA)
    a = quick(c.ISMachine(DATA), d, TEST, samples=4)
    assert a['copies'].facts['kinds'] == ['copy']*4
    with pytest.raises(CreativityError, match='held_out= is needed'): audit(NET, d, quick=True)


def test_without_held_out_images_a_set_gives_its_test_images_and_others_a_tenth():
    _, held, told = room.held_out_images(NET, load('fashion_mnist', n=30), None)
    assert (len(held), told) == (500, ['held out: 500 test images of fashion_mnist'])
    d, held, told = room.held_out_images(NET, Images(DATA.x), None)
    assert (len(d), len(held)) == (108, 12)
    assert 'trained on them too' in told[0]
    known = c.load_network('fashion_mnist-resnet')
    assert '60,000 images, of which at most 30' in room.held_out_images(known, load('fashion_mnist', n=30), None)[2][1]


def test_refusals_are_of_one_line(refused):
    net = c.load_network('fashion_mnist-resnet')
    for words, args in {'a denoiser': (torch.nn.ReLU(), DATA), 'shape (1, 32, 32)': (net, DATA),
                        'have no labels': (net, load('fashion_mnist', n=20).x, load('fashion_mnist', 'test', n=9).x),
                        'at least two': (NET, DATA, TEST[:1]), 'held_out must hold': (NET, DATA, torch.zeros(3, 1, 8, 8))}.items():
        with pytest.raises(CreativityError, match=re.escape(words)) as e: audit(*args, quick=True)
        assert '\n' not in str(e.value)
    some = load('fashion_mnist', n=20)
    with pytest.raises(CreativityError, match='knows 10 classes, and the images have none of class 3'):
        audit(net, Images(some.x[some.y != 3], some.y[some.y != 3]), load('fashion_mnist', 'test', n=9), quick=True)
    for level in (0, 1): refused(f'audit --n 40 --level {level}', 'level must lie between 0 and 1')
    refused('audit --network cifar10-resnet --data fashion_mnist', 'makes images of shape (3, 32, 32)')
    refused('audit --seeds 0', '--seeds must be at least 1')
    refused('audit --held-out nowhere/at/all', 'does not exist')


def test_the_command(run, tmp_path, full_size):
    code, out, err = run('audit --network fashion_mnist-resnet --n 40 --quick --seeds 2 --scales 3,5,9 --out a')
    assert (code, 'Traceback' in err) == (0, False), err
    assert out.startswith('Audit of fashion_mnist-resnet\n')
    assert 'Does it copy? (' in out
    assert out.splitlines()[-1].startswith('wrote a/report.html, a/report.md, a/report.json')
    assert (tmp_path/'a'/'report.html').stat().st_size > 100_000


def told_of(net, d=DATA, held=TEST, n=4, steps=20):
    "What is said of the samples of a network."
    run = room.open_run(None, {}, {})
    s = room.Subject(net, d, held, replace(FEW, sample_steps=steps), n, .01, None, run, False)
    return room.samples_section(s, room.make_samples(s))


def test_samples_out_of_range_are_said_with_what_helps():
    far = lambda x, t, label: 1.5*NET.denoise(x, t)
    free, clipped, wide = (told_of(c.from_x0(far, NET.schedule, shape=NET.shape, clip=clip)) for clip in (False, True, (-2, 2)))
    out, excess = (torch.as_tensor(v) for v in ((DATA.x.abs() > 1.02/1.5).float().mean(), (1.5*DATA.x.abs() - 1).clamp(0)))
    assert free.status == 'careful'
    share = int(re.search(r'(\d+)% of their values are out of range: clip=True keeps them in', free.verdict)[1])
    assert abs(share - 100*out) < 15 # the samples are training images, half as large again
    assert 'from_x0(net.denoise, net.schedule, clip=True)' in free.text[1]
    assert abs(int(re.search(r'here (\d+) of 255', free.text[1])[1]) - 127.5*excess.square().mean().sqrt()) < 10
    assert 'out of range' not in clipped.verdict.split('; 0.0%')[0]
    assert 'out of range, though clip= is on' in wide.verdict
    assert 'clip=' not in told_of(NET).verdict


def test_a_range_of_its_own_is_named_and_values_of_any_range_are_not_clipped():
    d = Images(2*DATA.x, range=(-2, 2))
    held = Images(2*TEST.x, range=(-2, 2))
    machine = c.ISMachine(d, range=(-2, 2))
    far = c.from_x0(lambda x, t, label: 1.5*machine.denoise(x, t), machine.schedule, shape=machine.shape)
    assert 'clip=(-2, 2) keeps them in' in told_of(far, d, held).verdict
    assert 'clip=' not in told_of(far, replace(d, range=None), replace(held, range=None)).verdict


@pytest.mark.parametrize(('name', 'holds'), [('mnist-resnet', True), ('fashion_mnist-resnet', True), ('fashion_mnist-unet', True),
                                             ('cifar10-unet-attention', False)])
def test_networks_that_hold_the_range_are_fine_and_one_that_does_not_is_named(name, holds):
    kind = name.split('-')[0]
    said = told_of(c.load_network(name), load(kind, n=20), load(kind, 'test', n=60), n=3)
    assert ('clip=True keeps them in' in said.verdict) != holds
    if not holds: assert said.status == 'careful'
