"Comparisons: the numbers, resuming, studies, and input that is refused in one line."
import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from creativity import files
from creativity.data.disk import write_dictionary
from creativity.data.images import Images, from_uint8, to_uint8
from creativity.diffusion import CosineSchedule, Denoiser, EDMSchedule, sample, seed_noise
from creativity.machines.mix import Tempered
from creativity.machines.whole import ISMachine
from creativity.machines.windows import BBELSMachine, LSMachine
from creativity.measure.calibrate import calibration
from creativity.measure.compare import (
    compare,
    compare_files,
    grid_figure,
    load_comparison,
    nearest_to_network,
    scatter_figure,
)
from creativity.measure.nulls import Flow, LowPass, wiener_flows, wiener_of
from creativity.measure.pair import fingerprint, spread_labels
from creativity.networks.architectures import build
from creativity.networks.card import Network, save_network
from creativity.networks.wrap import from_noise, from_x0

G = torch.Generator().manual_seed(0)
X = torch.rand(20, 1, 8, 8, generator=G)*2 - 1
Y = torch.arange(20) % 2
S = CosineSchedule()
NET = from_x0(lambda x, t, label: x*0.5, S, shape=(1, 8, 8), classes=2)
MACHINES = {'ELS': BBELSMachine(X, Y, scales=3), 'IS': ISMachine(X, Y)}
ARGS = dict(seeds=4, steps=3, network_steps=3, progress=False)


def kept(folder, seed): return folder/f'seed_{seed:06}.npz'


def test_same_noise_and_label_for_all():
    c = compare(NET, MACHINES, **ARGS)
    assert c.labels == [0, 1, 0, 1]
    for name, m in MACHINES.items():
        want = sample(m, seed_noise(range(4), (1, 8, 8)), 3, torch.tensor(c.labels))
        torch.testing.assert_close(c.images[name], want, atol=1e-5, rtol=0)
    assert c.share('ELS', 'IS') + c.share('IS', 'ELS') == 1
    assert sum(c.wins['mse'].values()) == 1
    assert '4 seeds' in str(c)
    assert c._repr_html_().startswith('<table>')


def test_stopped_run_goes_on(tmp_path):
    whole = compare(NET, MACHINES, **ARGS)
    compare(NET, MACHINES, **{**ARGS, 'seeds': 2}, out=tmp_path)
    first = kept(tmp_path, 0).stat().st_mtime_ns
    again = compare(NET, MACHINES, **ARGS, out=tmp_path)
    assert kept(tmp_path, 0).stat().st_mtime_ns == first
    for name in whole.images:
        assert torch.equal(again.images[name], whole.images[name])
        assert torch.equal(load_comparison(tmp_path).images[name], whole.images[name])


def test_other_facts_are_refused(tmp_path):
    compare(NET, MACHINES, **ARGS, out=tmp_path)
    with pytest.raises(ValueError, match='another run, with steps ELS 3, not 4'): compare(NET, MACHINES, **{**ARGS, 'steps': 4}, out=tmp_path)
    other = {**MACHINES, 'IS': ISMachine(X.flip(0), Y.flip(0))}
    with pytest.raises(ValueError, match='with denoisers IS crc'): compare(NET, other, **ARGS, out=tmp_path)
    kept(tmp_path, 1).write_bytes(b'no zip file')
    with pytest.raises(ValueError, match='damaged'): load_comparison(tmp_path)


def test_weights_tell_networks_apart(tmp_path):
    nets = [Network(build('resnet', classes=2, seed=i, width=4, depth=1, dim=8), S, shape=(1, 8, 8)) for i in (0, 1)]
    compare(nets[0], MACHINES, **ARGS, out=tmp_path)
    with pytest.raises(ValueError, match='with denoisers network'): compare(nets[1], MACHINES, **ARGS, out=tmp_path)


@pytest.mark.parametrize('other', [from_x0(lambda x, t, label: x*.4, S, shape=(1, 8, 8), classes=2), from_noise(lambda x, t, label: x*.5, S, shape=(1, 8, 8), classes=2)])
def test_functions_are_told_apart_by_their_answers(tmp_path, other):
    "A function has no weights to take a checksum of; neither a comparison nor a calibration takes over what another one gave."
    compare(NET, MACHINES, **ARGS, out=tmp_path/'c')
    assert compare(from_x0(lambda x, t, label: x/2, S, shape=(1, 8, 8), classes=2), MACHINES, **ARGS, out=tmp_path/'c').seeds == [0, 1, 2, 3]
    with pytest.raises(ValueError, match='with denoisers network probe'): compare(other, MACHINES, **ARGS, out=tmp_path/'c')
    kw = dict(widths=(3, 5), steps=2, seeds=2, out=tmp_path/'k', progress=False)
    calibration(NET, BBELSMachine(X, Y), **kw)
    with pytest.raises(ValueError, match='with denoisers network probe'): calibration(other, BBELSMachine(X, Y), **kw)


def test_classes_tell_machines_apart(tmp_path):
    compare(NET, {'ELS': BBELSMachine(X, torch.arange(20)//10, scales=3)}, **ARGS, out=tmp_path)
    with pytest.raises(ValueError, match='with denoisers ELS'):
        compare(NET, {'ELS': BBELSMachine(X, torch.arange(20)//15, scales=3)}, **ARGS, out=tmp_path)


def test_labels_are_checked_before_any_work(tmp_path):
    three = from_x0(lambda x, t, label: x*0.5, S, shape=(1, 8, 8), classes=3)
    with pytest.raises(ValueError, match='ELS: label 2 is not in the data'): compare(three, MACHINES, **ARGS, out=tmp_path/'a')
    with pytest.raises(ValueError, match='rider: label must be from 0 to 1'):
        compare(three, {'rider': NET}, **ARGS, out=tmp_path/'a')
    with pytest.raises(ValueError, match='label must be'): compare(NET, MACHINES, **{**ARGS, 'label': 'dress'}, out=tmp_path/'a')
    assert not list(tmp_path.glob('a/seed*'))


@pytest.mark.parametrize('seeds', [[0, 0], [-1], [1.5], [], 0, [2**63]])
def test_seeds_are_whole_and_different(seeds):
    with pytest.raises(ValueError, match='seed'): compare(NET, MACHINES, **{**ARGS, 'seeds': seeds})
    with pytest.raises(ValueError, match='seed'): calibration(NET, BBELSMachine(X, Y), (3,), seeds, 2, progress=False)


def test_seeds_may_be_an_array():
    a, b = (compare(NET, MACHINES, **{**ARGS, 'seeds': s}) for s in (np.arange(2), 2))
    assert a.values == b.values


def test_a_seed_has_the_same_label_everywhere(tmp_path):
    "So a calibration can be extended by later seeds, as a comparison can."
    kw = dict(widths=(3,), steps=2, out=tmp_path, progress=False)
    assert calibration(NET, BBELSMachine(X, Y), seeds=range(1, 4), **kw).labels == spread_labels(NET, range(1, 4)) == [1, 0, 1]
    assert calibration(NET, BBELSMachine(X, Y), seeds=4, **kw).labels == [0, 1, 0, 1]
    assert compare(NET, MACHINES, **{**ARGS, 'seeds': [1, 2]}, out=tmp_path/'c').labels == [1, 0]
    assert compare(NET, MACHINES, **ARGS, out=tmp_path/'c').labels == [0, 1, 0, 1]


def test_raw_modules_are_refused():
    with pytest.raises(ValueError, match='from_noise'): compare(torch.nn.Conv2d(1, 1, 3), MACHINES, **ARGS)
    with pytest.raises(ValueError, match='name: machine'): compare(NET, [ISMachine(X, Y)], **ARGS)


def test_half_precision_weights_have_a_fingerprint():
    class Half(torch.nn.Conv2d):
        def forward(self, x, t, label): return super().forward(x.bfloat16()).to(x)
    assert {'crc', 'probe'} <= set(fingerprint(from_noise(Half(1, 1, 1).bfloat16(), S, shape=(1, 8, 8))))


@pytest.mark.parametrize(('network', 'machines', 'changes', 'message'), [
    (NET, {}, {}, 'at least one'),
    (NET, MACHINES, dict(seeds=0), 'seeds must be'),
    (NET, MACHINES, dict(seeds=[1, 1]), 'different'),
    (NET, MACHINES, dict(steps=0), 'at least 1'),
    (NET, MACHINES, dict(steps=dict(ELS=3)), "no other: 'IS'"),
    (NET, MACHINES, dict(steps=dict(ELS=3, IS=2, LS=1)), "no other: 'LS'"),
    (NET, MACHINES, dict(steps=dict(ELS=3, IS=0)), 'at least 1'),
    (NET, MACHINES, dict(label=[0, 1]), 'one for each of the 4'),
    (NET, {'IS': ISMachine(X)}, {}, 'without labels='),
    (NET, {'IS': ISMachine(X[:, :, :6, :6], Y)}, {}, 'shape'),
    (NET, {'IS': ISMachine(X, Y, EDMSchedule())}, {}, 'schedule'),
    (from_x0(lambda x, t, label: x[..., :4], S, shape=(1, 8, 8), classes=2), MACHINES, {}, 'must return'),
    (from_x0(lambda x, t, label: x*math.nan, S, shape=(1, 8, 8), classes=2), MACHINES, {}, 'NaN'),
])
def test_bad_input_is_one_line(network, machines, changes, message):
    with pytest.raises(ValueError, match=message) as e: compare(network, machines, **{**ARGS, **changes})
    assert '\n' not in str(e.value)


def test_unwritable_folder(tmp_path):
    (tmp_path/'file').write_text('')
    with pytest.raises(OSError, match='cannot write'): compare(NET, MACHINES, **ARGS, out=tmp_path/'file')


@pytest.fixture
def full_disk(monkeypatch):
    "`full_disk(name)`: this file cannot be written any more; `full_disk(None)`: there is room again."
    real = files.write_atomic

    def set_full(name):
        def full(path, write):
            if Path(path).name == name: raise OSError(f'cannot write {path}: No space left on device')
            return real(path, write)
        monkeypatch.setattr(files, 'write_atomic', full)
    return set_full


def test_full_disk_leaves_finished_seeds(tmp_path, full_disk):
    full_disk('seed_000002.npz')
    with pytest.raises(OSError, match='No space left'): compare(NET, MACHINES, **ARGS, out=tmp_path)
    assert load_comparison(tmp_path).seeds == [0, 1]


def test_full_disk_leaves_calibrated_seeds(tmp_path, full_disk):
    args = dict(widths=(3, 5), steps=2, seeds=3, progress=False, out=tmp_path)
    full_disk('seed_000002.npz')
    with pytest.raises(OSError, match=r'cannot write .*seed_000002.npz: No space left'):
        calibration(NET, BBELSMachine(X, Y), **args)
    left = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob('seed_*.npz')}
    assert sorted(left) == ['seed_000000.npz', 'seed_000001.npz']
    full_disk(None)
    calibration(NET, BBELSMachine(X, Y), **args)
    assert left.items() <= {p.name: p.stat().st_mtime_ns for p in tmp_path.glob('seed_*.npz')}.items()


def test_full_disk_at_the_table(tmp_path, full_disk, monkeypatch):
    c = compare(NET, MACHINES, out=tmp_path, **ARGS)
    full_disk('table.json')
    with pytest.raises(OSError, match=r'cannot write .*table.json: No space left'): compare_files(c, tmp_path)
    full_disk(None)
    monkeypatch.setattr(Flow, 'image', None) # nothing is made anew
    assert compare_files(compare(NET, MACHINES, out=tmp_path, **ARGS), tmp_path)[1].exists()


def test_damaged_folder_is_named(tmp_path):
    compare(NET, MACHINES, out=tmp_path, **ARGS)
    for text in ('{"names": ', '3'):
        (tmp_path/'run.json').write_text(text)
        with pytest.raises(ValueError, match=r'run.json') as e: compare(NET, MACHINES, out=tmp_path, **ARGS)
        assert '\n' not in str(e.value)


def test_labels_are_spread_by_seed_or_as_given():
    assert spread_labels(NET, [3, 4, 8]) == [1, 0, 0]
    assert spread_labels(NET, [3, 4, 8], 1) == spread_labels(NET, [3, 4, 8], torch.tensor(1)) == [1, 1, 1]
    assert spread_labels(NET, [3, 4], [0, 1]) == spread_labels(NET, [3, 4], torch.tensor([0, 1])) == [0, 1]
    for wrong in ([0], [.5, 1.]):
        with pytest.raises(ValueError, match='one for each of the 2 seeds') as e: spread_labels(NET, [3, 4], wrong)
        assert '\n' not in str(e.value)


def test_each_machine_its_own_steps():
    c = compare(NET, {**MACHINES, 'net': NET}, **{**ARGS, 'steps': dict(ELS=2, IS=3, net=3)})
    assert torch.equal(c.images['net'], c.images['network'])
    assert torch.equal(c.images['ELS'], compare(NET, MACHINES, **{**ARGS, 'steps': 2}).images['ELS'])
    assert torch.equal(c.images['IS'], compare(NET, MACHINES, **ARGS).images['IS'])


def test_nearest_is_of_the_class():
    c = compare(NET, MACHINES, **ARGS)
    distance, near = nearest_to_network(c, Images(X, Y), 4)
    for i, (v, x, label) in enumerate(zip(distance, near, c.labels, strict=True)):
        all_ = (X[Y == label] - c.images['network'][i]).square().mean((1, 2, 3)).sqrt()
        assert v == pytest.approx(all_.min().item(), rel=1e-5)
        assert torch.equal(x, X[Y == label][all_.argmin()])


def test_files(tmp_path):
    c = compare(NET, {'IS': MACHINES['IS']}, **ARGS)
    assert [p.name for p in compare_files(c, tmp_path, Images(X, Y), dict(data='toy'))] == ['table.txt', 'table.json', 'grid.png']
    record = json.loads((tmp_path/'table.json').read_text())
    assert record['data'] == 'toy'
    assert record['median'] == c.median


# Machines and networks on both sides, labels by name

NAMED = BBELSMachine(Images(X, Y, class_names=['Shirt', 'Dress']), scales=3)


def test_a_machine_takes_the_networks_place():
    c = compare(MACHINES['ELS'], BBELSMachine(X, Y, scales=5), seeds=3, steps=3, progress=False)
    assert c.machines == ['bbELS']
    assert c.labels == [0, 1, 0] # a class each, as of a conditional network
    want = sample(MACHINES['ELS'], seed_noise(range(3), (1, 8, 8)), 3, torch.tensor(c.labels))
    torch.testing.assert_close(c.images['network'], want, atol=1e-5, rtol=0)
    same = compare(MACHINES['ELS'], MACHINES['ELS'], seeds=2, steps=3, progress=False)
    assert same.values['r']['bbELS'] == pytest.approx([1, 1]) # as many steps as the other
    bare = compare(MACHINES['ELS'], ISMachine(X), seeds=2, steps=3, progress=False)
    assert bare.labels is None # a machine can go without a class, and the other must


def test_two_networks():
    third = from_x0(lambda x, t, label: x/3, S, shape=(1, 8, 8), classes=2)
    c = compare(NET, third, **ARGS)
    assert (c.machines, c.labels, c.wiener) == (['Model'], [0, 1, 0, 1], {})
    assert 'skill' not in c.values
    assert c.note in str(c)
    assert 'no skill: none compared is a machine' in c.note
    with pytest.raises(ValueError, match='skill needs a machine'): c.test('Model', 'Model')
    assert compare(NET, {'third': third, 'own': NET}, **ARGS).wins['mse'] == dict(third=0, own=1)


def test_a_labelled_machine_is_calibrated_against():
    c = calibration(MACHINES['ELS'], BBELSMachine(X, Y), (3, 5), seeds=3, steps=2, progress=False)
    assert (c.labels, c.scales) == ([0, 1, 0], [3, 3])
    wide = calibration(BBELSMachine(X, Y, scales=5), BBELSMachine(X, Y), (3, 5), 2, 2, progress=False)
    assert wide.scales == [5, 5]


@pytest.mark.parametrize('label', ['Dress', 'dress', '1', 1, torch.tensor(1), ['Dress', 1]])
def test_labels_have_names(label):
    "Whoever knows the names lends them to the others."
    c = compare(NET, {'bbELS': NAMED}, **{**ARGS, 'seeds': 2}, label=label)
    assert c.labels == [1, 1]
    assert calibration(NAMED, BBELSMachine(X, Y), (3,), 2, 2, label=label, progress=False).labels == [1, 1]


def test_unknown_names_are_refused():
    for net, label in ((NET, 'coat'), (NAMED, 'coat')):
        with pytest.raises(ValueError, match='coat') as e: compare(net, {'bbELS': NAMED}, **ARGS, label=label)
        assert '\n' not in str(e.value)


# Nulls and skill

def test_skill_is_against_wiener_on_the_machines_own_images():
    from creativity.machines.rivals import WienerMachine
    few = BBELSMachine(X[:8], Y[:8], scales=3)
    c = compare(NET, {**MACHINES, 'few': few, 'net': NET}, **ARGS)
    truth = c.images['network']
    for names, images, labels in ((('ELS', 'IS', 'net'), X, Y), (('few',), X[:8], Y[:8])):
        wiener = WienerMachine(images, labels)
        made = sample(wiener, seed_noise(range(4), (1, 8, 8)), 3, torch.tensor(c.labels))
        below = (made - truth).square().mean((1, 2, 3)).sum().item()
        for n in names:
            above = (c.images[n] - truth).square().mean((1, 2, 3)).sum().item()
            assert c.median['skill'][n] == pytest.approx(1 - above/below, abs=1e-4)
            assert c.interval['skill'][n][0] <= c.median['skill'][n] <= c.interval['skill'][n][1]
    assert c.median['skill']['net'] == 1
    assert 'skill' in str(c)
    assert 'no skill' not in str(c)


def test_a_better_machine_is_found():
    c = compare(NET, MACHINES, **{**ARGS, 'seeds': 8})
    t = c.test('ELS', 'IS')
    assert t.better
    assert t.share == c.share('ELS', 'IS', 'mse') == 1
    assert list(c.tests()) == [('ELS', 'IS')]
    third = {**MACHINES, 'ELS again': BBELSMachine(X, Y, scales=3)}
    tests = compare(NET, third, **{**ARGS, 'seeds': 8}).tests()
    assert not tests['ELS', 'ELS again'][0].better
    assert all(p >= t.p for t, p in tests.values()) # corrected for three pairs
    assert max(p/t.p for t, p in tests.values()) == 3


def test_nulls_are_what_they_say():
    c = compare(NET, MACHINES, **ARGS, nulls=True, null_data=X.flip(-1))
    assert c.nulls == ['network, other label', 'network, other seed', 'Wiener', 'ELS, other class', 'ELS, other data', 'noise, low-passed']
    noise = seed_noise(range(4), (1, 8, 8))
    other = sample(MACHINES['ELS'], noise, 3, 1 - torch.tensor(c.labels))
    torch.testing.assert_close(c.images['ELS, other class'], other, atol=1e-5, rtol=0)
    mirrored = sample(BBELSMachine(X.flip(-1), scales=3), noise, 3)
    torch.testing.assert_close(c.images['ELS, other data'], mirrored, atol=1e-5, rtol=0)
    assert torch.equal(c.images['network, other label'], c.images['network']) # this network ignores its label
    assert abs(np.median(c.values['r']['network, other seed'])) < .3
    assert all(c.median['skill'][n] == 0 for n in ['Wiener'])
    assert c.machines == ['ELS', 'IS'] and sum(c.wins['r'].values()) == 1 # noqa: PT018
    for n in c.nulls: assert n in str(c)
    assert len(grid_figure(c, 4).axes) == 4*(3 + len(c.nulls))


def test_nulls_without_classes_or_images():
    net = from_x0(lambda x, t, label: x*.5, S, shape=(1, 8, 8))
    plain = compare(net, {'IS': ISMachine(X)}, **ARGS, nulls=True)
    assert plain.nulls == ['network, other seed', 'Wiener', 'noise, low-passed']
    assert compare(net, net, **ARGS, nulls=True).nulls == ['network, other seed', 'noise, low-passed']
    with pytest.raises(ValueError, match='null_data must hold images of shape'):
        compare(net, {'IS': ISMachine(X)}, **ARGS, nulls=True, null_data=X[..., :6])


def test_nulls_of_a_seed_are_the_same_whoever_else_is_asked():
    whole = compare(NET, MACHINES, **ARGS, nulls=True)
    part = compare(NET, MACHINES, **{**ARGS, 'seeds': [2]}, nulls=True)
    for n in whole.images: torch.testing.assert_close(part.images[n][0], whole.images[n][2], atol=1e-5, rtol=0)


def test_nulls_go_on_and_are_loaded(tmp_path):
    first = compare(NET, MACHINES, **ARGS, nulls=True, out=tmp_path)
    again = load_comparison(tmp_path)
    assert (again.nulls, again.median, again.interval) == (first.nulls, first.median, first.interval)
    with pytest.raises(ValueError, match='with nulls'): compare(NET, MACHINES, **ARGS, out=tmp_path)
    assert compare_files(again, tmp_path/'files')[1].exists()
    record = json.loads((tmp_path/'files'/'table.json').read_text())
    assert record['tests'][0]['better'] == 'ELS'
    assert 'ELS against IS: lower MSE on 100% of seeds' in (tmp_path/'files'/'table.txt').read_text()


# One step

ONE = dict(protocol='one-step', times=[.9, .2, .5], progress=False)


def test_one_step_asks_all_about_the_same_noisy_images():
    t = compare(NET, MACHINES, images=Images(X, Y), seeds=[3, 4], **ONE)
    assert (t.times, t.seeds, t.labels) == ([.2, .5, .9], [3, 4], [1, 0])
    for b, (i, c) in enumerate(zip(t.seeds, t.labels, strict=True)):
        noise = seed_noise([i], (1, 8, 8))
        for k, time in enumerate(t.times):
            x = float(S.a(time))*X[i:i + 1] + float(S.sigma(time))*noise
            torch.testing.assert_close(t.beliefs['network'][b, k], x[0]/2, atol=1e-5, rtol=0)
            want = MACHINES['IS'].denoise(x, time, c)[0]
            torch.testing.assert_close(t.beliefs['IS'][b, k], want, atol=1e-5, rtol=0)
            r = np.corrcoef(x.flatten(), want.flatten())[0, 1]
            assert t.values['r']['IS'][k, b] == pytest.approx(r, abs=1e-4)


def test_one_step_has_a_curve_and_its_integral():
    t = compare(NET, MACHINES, images=X[:6], nulls=True, **ONE)
    assert t.labels == [0, 1, 0, 1, 0, 1]
    a, b, c = t.median['r']['ELS']
    assert t.integral['r']['ELS'] == pytest.approx(((a + b)/2*.3 + (b + c)/2*.4)/.7)
    assert t.integral['skill']['Wiener'] == 0
    assert t.integral['r']['network, other label'] == pytest.approx(1)
    assert t.test('ELS', 'IS').better
    mse, below = t.values['mse']['ELS'][1].sum(), t.reference('ELS')[1].sum()
    assert t.median['skill']['ELS'][1] == pytest.approx(1 - mse/below)
    assert [line.get_label().split(' (')[0] for line in t.figure().axes[0].lines] == [*t.machines, *t.nulls]
    assert 'integral' in str(t)


def test_one_step_goes_on(tmp_path):
    first = compare(NET, MACHINES, images=X, seeds=2, **ONE, out=tmp_path/'run')
    again = compare(NET, MACHINES, images=X, seeds=3, **ONE, out=tmp_path/'run')
    assert torch.equal(again.beliefs['ELS'][:2], first.beliefs['ELS'])
    with pytest.raises(ValueError, match='was made with image'):
        compare(NET, MACHINES, images=X.flip(0), seeds=2, **ONE, out=tmp_path/'run')
    loaded = load_comparison(tmp_path/'run')
    assert (loaded.integral, loaded.times, loaded.labels) == (again.integral, again.times, again.labels)
    names = [p.name for p in compare_files(again, tmp_path/'files')]
    assert names == ['table.txt', 'table.json', 'curve.png', 'skill.png']
    assert json.loads((tmp_path/'files'/'table.json').read_text())['integral'] == again.integral


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(times=[0.]), r'times must lie in \(0,1\]'), (dict(times=[]), 'times must'), (dict(times=[1.2]), 'times must'),
    (dict(images=None), 'needs them'), (dict(images=X[..., :6]), 'held-out images'), (dict(images=X*math.nan), 'NaN'),
    (dict(seeds=[25]), 'none with number 25'), (dict(protocol='both'), 'protocol must be'),
    (dict(protocol='end-to-end'), "are for protocol='one-step'"), (dict(images=3), 'held-out images')])
def test_bad_one_step_is_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as e: compare(NET, MACHINES, **dict(images=X) | ONE | changes)
    assert '\n' not in str(e.value)


# What is refused before a calibration

@pytest.mark.parametrize(('f', 'labels', 'message'), [
    (lambda x, t, label: x[..., :4], Y, 'must return'), (lambda x, t, label: x*math.nan, Y, 'NaN'), (lambda x, t, label: x*.5, None, 'without labels=')])
def test_calibration_refuses_it_too(f, labels, message):
    with pytest.raises(ValueError, match=message) as e:
        calibration(from_x0(f, S, shape=(1, 8, 8), classes=2), BBELSMachine(X, labels), (3,), steps=2, seeds=2, progress=False)
    assert '\n' not in str(e.value)


@pytest.mark.parametrize(('spoil', 'message'), [
    (lambda card: card.pop('schedule'), 'has no schedule'), (lambda card: card['args'].update(width=8), 'another architecture'),
    (lambda card: card['schedule'].update(name='Sine'), 'unknown schedule')])
def test_commands_refuse_weights_that_do_not_fit(tmp_path, capsys, spoil, message):
    from creativity.app import cli
    net = build('resnet', classes=2, width=4, depth=1, dim=8)
    card = dict(network='ResNet', args=net.args, shape=[1, 8, 8], schedule=S.to_dict(), data=dict(name='fashion_mnist'))
    save_network(net, tmp_path/'n.safetensors', card)
    spoil(card)
    (tmp_path/'n.json').write_text(json.dumps(card))
    for line in (f'compare --network {tmp_path}/n.safetensors --scales 3', f'calibrate --network {tmp_path}/n.safetensors',
                 f'table1 --recompute mnist-resnet --network {tmp_path}/n.safetensors --out {tmp_path}/t'):
        with pytest.raises(SystemExit) as e: cli.app(line.split())
        err = capsys.readouterr().err
        assert (e.value.code, err.count('\n')) == (2, 1)
        assert message in err


# A network that was wrapped wrongly

def test_the_warning_of_a_look_is_kept(tmp_path):
    "A network whose noise prediction is handed over as an image is told of, once, and in every record."
    right = from_x0(lambda x, t, label: BBELSMachine(X, scales=7).denoise(x, t), S, shape=(1, 8, 8))
    wrong = from_x0(lambda x, t, label: right.noise(x, t), S, shape=(1, 8, 8))
    m, kw = BBELSMachine(X, scales=3), dict(seeds=2, steps=2, progress=False)
    with pytest.warns(UserWarning, match='predicts noise'):
        c = compare(wrong, {'bbELS': m}, **kw, network_steps=2)
    assert 'predicts noise' in c.facts['warning']
    with pytest.warns(UserWarning, match='predicts noise'): assert 'warning' in calibration(wrong, m, (3,), **kw).facts
    with pytest.warns(UserWarning, match='predicts noise'): assert 'warning' in compare(wrong, {'bbELS': m}, images=X[:2], **ONE).facts
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert 'warning' not in compare(right, {'bbELS': m}, **kw, network_steps=2).facts
        assert 'warning' not in compare(m, {'bbELS': m}, **kw).facts


def test_a_dictionary_on_disk_is_measured_like_one_in_memory(tmp_path):
    bytes_ = to_uint8(X[Y.argsort(stable=True)])
    spans = {0: slice(0, 10), 1: slice(10, 20)}
    write_dictionary(tmp_path/'d', iter([bytes_.numpy()]), (20, 1, 8, 8), spans)
    memory, labels = from_uint8(bytes_), torch.arange(20)//10
    both = [{'ELS': BBELSMachine(d, *y, scales=3), 'IS': ISMachine(d, *y)} for d, *y in ((tmp_path/'d',), (memory, labels))]
    disk, kept_in_memory = (compare(NET, m, **ARGS, nulls=True) for m in both)
    for n, x in kept_in_memory.images.items(): torch.testing.assert_close(disk.images[n], x, atol=1e-4, rtol=0)
    assert disk.median['skill'] == pytest.approx(kept_in_memory.median['skill'], abs=1e-3)
    a, b = (calibration(NET, m['ELS'], (3, 5), 2, 2, progress=False) for m in both)
    assert a.scales == b.scales
    assert a.facts['images_sha256'] == b.facts['images_sha256']
    c, d = (compare(NET, m, images=X[:3], **ONE) for m in both)
    assert c.integral['r'] == pytest.approx(d.integral['r'], abs=1e-3)


def test_the_cheapest_guess_is_blurred_noise():
    guess = LowPass(NET, mean=.2, spread=.4)
    x = seed_noise(range(3), (1, 8, 8))
    y = guess.denoise(x, .5)
    torch.testing.assert_close(y.mean((1, 2, 3)), torch.full((3,), .2), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std((1, 2, 3)), torch.full((3,), .4), atol=1e-5, rtol=0)
    blurred = LowPass(NET, blur=2.).denoise(x, .5)
    roughness = lambda v: (v.diff(dim=-1).square().mean()/v.var()).item()
    assert roughness(blurred) < roughness(y) < roughness(x)
    assert torch.isfinite(guess.denoise(torch.zeros(1, 1, 8, 8), .5)).all()


def test_wieners_filter_has_the_machines_images_and_schedule():
    m = BBELSMachine(X, Y, EDMSchedule(), scales=3)
    w = wiener_of(m)
    assert (w.schedule, w.class_slices, len(w.store)) == (m.schedule, m.class_slices, 20)
    assert torch.equal(w.images, m.images)


def test_the_scatter_shows_every_seed():
    fig = scatter_figure(compare(NET, MACHINES, **ARGS), 'ELS', 'IS')
    assert len(fig.axes[0].lines[0].get_xdata()) == 4


def test_nulls_of_a_tempered_machine_keep_the_true_noise():
    "Its inner machine believes in more noise than there is; a filter made along that would be no reference."
    ls = LSMachine(torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))*2 - 1, scales=3)
    for of in (ls, Tempered(ls, 4.)):
        filters, _ = wiener_flows({'network': Flow(ls, 2), 'it': Flow(of, 2)})
        assert filters['Wiener'].denoiser.schedule == ls.schedule


@pytest.mark.parametrize('names', [['cat', 'dog'], ['dog', 'Cat']])
def test_a_class_is_the_same_for_all_or_it_is_said(names):
    mine = ISMachine(Images(X, Y, class_names=names))
    net = from_x0(lambda x, t, label: x*.5, S, shape=(1, 8, 8), classes=['cat', 'dog'])
    if names[0] == 'cat':
        with warnings.catch_warnings():
            warnings.filterwarnings('error', message='class')
            assert compare(net, mine, label='dog', **ARGS).labels == [1]*4
        return
    with pytest.raises(ValueError, match="class 'cat' is number 0 and 1"): compare(net, mine, label='cat', **ARGS)
    with pytest.warns(UserWarning, match="class 0 is 'cat' for network, 'dog' for IS"): compare(net, mine, **ARGS)


def test_who_is_called_like_a_null_is_compared():
    filters = {'Wiener': wiener_of(MACHINES['IS']), 'noise, low-passed': LSMachine(X, Y, scales=3)}
    c = compare(NET, MACHINES | filters, nulls=True, **ARGS)
    assert c.machines == [*MACHINES, *filters]
    assert {'null, Wiener', 'null, noise, low-passed'} < set(c.nulls)
    assert str(c).count('Wiener') >= 2
    other = wiener_of(ISMachine(X[:6], Y[:6]))
    kept_apart = compare(NET, MACHINES | {'Wiener': other}, **ARGS)
    torch.testing.assert_close(kept_apart.images['Wiener'][:1], sample(other, seed_noise([0], (1, 8, 8)), 3, torch.tensor([0])), atol=1e-5, rtol=0)


class Own(Denoiser):
    schedule, shape = S, (1, 8, 8)
    def __init__(self, answer): self.answer = answer
    def denoise(self, x, t, label=None): return self.answer(x)


class OwnNoise(Own):
    denoise = Denoiser.denoise
    def noise(self, x, t, label=None): return self.answer(x)


class Unlabelled(Own):
    def denoise(self, x, t): return x


@pytest.mark.parametrize('kind', [Own, OwnNoise])
@pytest.mark.parametrize(('answer', 'got'), [(lambda x: None, 'NoneType'), (lambda x: x[:, :, 1:], r'\[1, 1, 7, 8\]'),
                                             (lambda x: x.numpy(), 'ndarray')])
def test_answers_of_an_own_denoiser_are_looked_at(kind, answer, got):
    with pytest.raises(ValueError, match=rf'noise of {kind.__name__} must return images .*got {got}|denoise of Own must .*got {got}'):
        compare(NET, kind(answer), **ARGS)


def test_an_own_denoiser_takes_a_label():
    with pytest.raises(ValueError, match=r'denoise of Unlabelled must take \(x, t, label\)'): compare(NET, Unlabelled(None), **ARGS)
    assert compare(NET, Own(lambda x: x*.5), **ARGS).median['mse']['Own'] < 1e-9


def test_images_on_another_scale_are_said():
    how = dict(protocol='one-step', times=(.3,), seeds=2, progress=False)
    with pytest.warns(UserWarning, match=r'images= lies in .* the training images in'): compare(NET, MACHINES, images=(X + 1)*127.5, **how)
    with warnings.catch_warnings():
        warnings.filterwarnings('error', message='images=')
        compare(NET, MACHINES, images=X, **how)
