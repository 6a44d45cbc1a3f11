"Scales: calibration finds what is there, goes on where it was, refuses bad input; receptive fields of known networks."
import json

import numpy as np
import pytest
import torch

from creativity.data.find import load
from creativity.diffusion import CosineSchedule, LinearSchedule, add_noise, seed_noise
from creativity.machines.whole import ISMachine
from creativity.machines.widths import calibrated_networks, calibrated_scales, read_calibration
from creativity.machines.windows import BBELSMachine, ELSMachine, LSMachine
from creativity.measure.calibrate import (
    Calibration,
    all_widths,
    calibrate,
    calibration,
    save_calibration,
)
from creativity.measure.receptive import field_times, mass_width, receptive_field
from creativity.metrics import cosine
from creativity.networks.card import load_network, stored_cards
from creativity.networks.wrap import from_noise
from creativity.theory.windows import bbels_belief, local_belief

S = CosineSchedule()
DATA = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))*2 - 1
LABELS = torch.arange(12) % 3
QUIET = dict(steps=3, seeds=2, progress=False)


@pytest.mark.parametrize('kind', [LSMachine, BBELSMachine, ELSMachine])
def test_calibration_finds_hidden_scales(kind):
    assert calibrate(kind(DATA, scales=[1, 3, 7]), kind(DATA), widths=(1, 3, 5, 7), **QUIET) == [1, 3, 7]


def test_all_widths_is_the_machine():
    m, x, t = BBELSMachine(DATA), seed_noise(range(2), (1, 8, 8)), torch.tensor([.3, .9], dtype=torch.float64)
    out = all_widths(m, x, t, [3, 5])
    for k, o in zip((3, 5), out, strict=True): torch.testing.assert_close(o, m.denoise(x, t, k=k), atol=1e-5, rtol=0)


def test_even_number_of_seeds_gives_a_candidate():
    c = Calibration([3, 5, 9], np.array([[[1., 0, 0]], [[0., 0, 1]]]), [None]*2, {})
    assert c.scales == [3]
    assert c.best.tolist() == [[3], [9]]
    assert c.at_edge() == .5


def test_interval_holds_the_middle_half_of_the_seeds():
    best = np.array([3, 3, 3, 5, 5, 7, 7, 9, 9, 9, 9])
    cosines = (np.array([3, 5, 7, 9]) == best[:, None, None]).astype(float)
    c = Calibration([3, 5, 7, 9], cosines, [None]*len(best), {})
    assert c.interval() == [[3], [9]]
    assert c.interval(0, .5) == [[3], [7]]
    assert c.interval(.4, .6) == [[5], [9]] or c.interval(.4, .6) == [[5], [7]]
    assert c.interval(.5, .5) == [c.scales, c.scales]


def test_labels_are_spread_over_the_classes():
    f = from_noise(lambda x, t, label: x*(1 + label.view(-1, 1, 1, 1)*.01), S, shape=(1, 8, 8), classes=3)
    m = BBELSMachine(DATA, LABELS)
    assert calibration(f, m, (3,), steps=2, seeds=4, progress=False).labels == [0, 1, 2, 0]
    assert calibration(f, m, (3,), steps=2, seeds=2, label=1, progress=False).labels == [1, 1]


def test_resume(tmp_path):
    net, m, calls = BBELSMachine(DATA, scales=3), BBELSMachine(DATA), []
    first = calibration(net, m, (3, 5), out=tmp_path, **QUIET)
    m.denoise = lambda *a, **k: calls.append(1)
    again = calibration(net, m, (3, 5), out=tmp_path, **QUIET)
    assert not calls
    assert np.array_equal(first.cosines, again.cosines)
    del m.denoise
    with pytest.raises(ValueError, match='another folder'): calibration(net, m, (3, 7), out=tmp_path, **QUIET)
    with pytest.raises(ValueError, match='another folder'): calibration(net, LSMachine(DATA), (3, 5), out=tmp_path, **QUIET)
    with pytest.raises(ValueError, match='was made with noise null'):
        calibration(net, m, (3, 5), seed_noise([7], (1, 8, 8)), 3, out=tmp_path)
    (tmp_path/'seed_000001.npz').write_bytes(b'PK')
    with pytest.raises(ValueError, match='damaged'): calibration(net, m, (3, 5), out=tmp_path, **QUIET)


NAN = from_noise(lambda x, t, label: x*float('nan'), S, shape=(1, 8, 8))


@pytest.mark.parametrize(('given', 'words'), [
    (dict(widths=[4]), 'odd'), (dict(widths=[]), 'empty'), (dict(widths=[17]), 'from 1 to'), (dict(steps=0), 'steps'),
    (dict(machine=ISMachine(DATA)), 'windows'), (dict(network=3), 'denoiser'), (dict(label=9), 'label 9'),
    (dict(label=torch.tensor([0, 1, 2])), 'one for each'), (dict(network=NAN), 'NaN'),
    (dict(machine=BBELSMachine(DATA, schedule=LinearSchedule())), 'has the schedule'),
    (dict(machine=BBELSMachine(torch.zeros(2, 3, 8, 8))), 'machine makes images'),
])
def test_bad_input_is_one_line(given, words):
    args = dict(network=BBELSMachine(DATA, LABELS, scales=3), machine=BBELSMachine(DATA, LABELS), widths=(3, 5), **QUIET) | given
    with pytest.raises(ValueError, match=words) as e: calibrate(**args)
    assert '\n' not in str(e.value)


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path/'file').write_text('')
    with pytest.raises(OSError, match='cannot write'):
        calibrate(BBELSMachine(DATA, scales=3), BBELSMachine(DATA), (3, 5), out=tmp_path/'file'/'x', **QUIET)


def test_record_round_trip(tmp_path):
    c = calibration(BBELSMachine(DATA, scales=3), BBELSMachine(DATA), (3, 5), **QUIET)
    path = save_calibration(c, tmp_path/'a-scales.json', data='random')
    r = read_calibration(path)
    assert calibrated_scales(path) == c.scales == [3, 3, 3]
    assert (r['data'], r['images'], r['seeds'], r['best']) == ('random', 12, [0, 1], c.best.tolist())
    path.write_text('{}')
    with pytest.raises(ValueError, match='no calibration'): calibrated_scales(path)
    with pytest.raises(FileNotFoundError, match='creativity calibrate'): calibrated_scales('nothing')


def test_stored_calibrations_belong_to_the_shipped_networks():
    for name in calibrated_networks():
        r, card = read_calibration(name), load_network(name).card
        assert r['weights'] == card['sha256'], f'{name}: calibrate it again'
        assert {'command', 'data', 'images', 'seeds', 'version'} <= set(r)
        assert len(r['scales']) == r['steps'] == len(r['best'][0])
        assert np.sort(r['best'], 0)[(len(r['best']) - 1)//2].tolist() == r['scales']
        assert json.dumps(r)


def test_what_is_told_about_networks_that_are_not_in_the_package():
    "The calibration belongs to the card, and holds the receptive fields that cannot be measured here."
    for name in set(stored_cards()) - set(calibrated_networks()):
        r, card = read_calibration(name), stored_cards()[name]
        assert r['weights'] == card['sha256']
        field = r['receptive_field']
        assert tuple(field['times']) == field_times
        for width, m in zip(field['width'], field['map'], strict=True): assert mass_width(torch.tensor(m), field['share']) == width
        with pytest.raises(FileNotFoundError, match='only the card'): load_network(name)


def test_cosine_sees_what_float32_would_not():
    x = seed_noise([0], (3, 32, 32)).double()
    y = x.clone()
    y[0, 0, 0, 0] += 1e-4
    assert 0 < 1 - cosine(x, y).item() < 1e-10


@pytest.mark.parametrize('k', [3, 5, 9])
def test_receptive_field_of_a_known_network(k):
    f = from_noise(lambda x, t, label: torch.nn.functional.avg_pool2d(x, k, 1, k//2), S, shape=(1, 16, 16))
    r = receptive_field(f, .5, load('mnist', n=2, size=16).x)
    assert r.width == k
    assert r.widths == [k, k]
    assert abs(r.map.sum().item() - (1 - 1/k**2)) < 1e-5
    with torch.no_grad(): again = receptive_field(f, .5, load('mnist', n=2, size=16).x)
    torch.testing.assert_close(again.maps, r.maps, atol=0, rtol=0)


def test_receptive_field_without_images_and_its_errors():
    r = receptive_field(load_network('fashion_mnist-resnet'), .5, 2)
    assert r.maps.shape == (2, 32, 32)
    assert 3 <= r.width <= 17
    frozen = from_noise(lambda x, t, label: x.detach(), S, shape=(1, 8, 8))
    with pytest.raises(ValueError, match='no gradient'): receptive_field(frozen, .5, DATA[:1])
    with pytest.raises(ValueError, match='t must lie'): receptive_field(load_network('fashion_mnist-resnet'), 2., 1)


@pytest.mark.parametrize(('kind', 'belief'), [(LSMachine, local_belief), (BBELSMachine, bbels_belief)])
def test_receptive_field_of_a_machine_is_that_of_its_definition(kind, belief):
    t, k, x0 = .6, 3, DATA[:2]
    a, sigma = S.a(t).item(), S.sigma(t).item()
    found = receptive_field(kind(DATA, scales=k), t, x0).maps
    for noisy, one in zip(add_noise(x0, seed_noise(range(2), x0.shape[1:]), t, S), found, strict=True):
        y = noisy.double().requires_grad_()
        noise = (y - a*belief(y, DATA, a, sigma, k).mean)/sigma
        wanted = torch.autograd.grad(noise[0, 4, 4], y)[0].abs().sum(0)
        wanted[4, 4] = 0
        torch.testing.assert_close(one.double(), wanted, atol=1e-5, rtol=1e-3)
        assert one.amax() > 1e-2
        one[3:6, 3:6] = 0
        assert not one.any()


def test_mass_width():
    assert mass_width(torch.zeros(8, 8)) == 1
    assert mass_width(torch.ones(7, 7), 1.) == 7
