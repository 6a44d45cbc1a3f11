"Place: dependence of denoisers of a known kind, the switch, agreement along a flow, bad input, the stored study."
import json

import pytest
import torch

from creativity.diffusion import CosineSchedule, Denoiser, seed_noise
from creativity.machines.mix import Switch
from creativity.machines.windows import BBELSMachine, ELSMachine, LSMachine
from creativity.measure.limbs import garments
from creativity.measure.place import place_dependence
from creativity.networks.wrap import from_noise
from creativity.studies import place as P
from creativity.studies.command import make_study, stored


@pytest.fixture
def data(): return torch.rand(5, 1, 16, 16, generator=torch.Generator().manual_seed(0))*2 - 1


class Ramp(Denoiser):
    "Believes in what it sees, plus so much of a pattern that stands still."
    shape = (1, 16, 16)
    def __init__(self, share): self.share = share
    def denoise(self, x, t, label=None): return (1 - self.share)*x + self.share*torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(3))


def test_dependence_from_nothing_to_all():
    x = seed_noise(range(200), (1, 16, 16))
    found = [place_dependence(Ramp(s), x, .5, by=2, margin=4) for s in (0, .3, .5, 1)]
    assert found[0] == pytest.approx(0, abs=1e-12)
    assert found == sorted(found)
    assert found[2] == pytest.approx(.5, abs=.15) # pattern and input vary alike: half of the variance stands still
    assert found[3] == pytest.approx(1, abs=.25)


@pytest.mark.parametrize('kind', [BBELSMachine, ELSMachine])
def test_equivariant_machines_do_not_know_their_place(data, kind):
    x = .7*data[:2] + .7*seed_noise([0, 1], (1, 16, 16))
    assert place_dependence(kind(data, scales=3), x, .4, by=2, margin=4) < 1e-9
    assert place_dependence(LSMachine(data, scales=3), x, .4, by=2, margin=4) > .05


@pytest.mark.parametrize('sizes', [dict(margin=8), dict(by=0), dict(by=6, margin=4)])
def test_no_middle(data, sizes):
    with pytest.raises(ValueError, match='no middle'): place_dependence(LSMachine(data, scales=3), data, .4, **dict(by=2, margin=4) | sizes)


def test_one_belief_has_no_place(data):
    with pytest.raises(ValueError, match='no place'): place_dependence(LSMachine(data[:1]*0, scales=3), data[:1], .4, by=2, margin=4)


def test_switch(data):
    ls, els, x = LSMachine(data, scales=3), BBELSMachine(data, scales=3), seed_noise(range(4), (1, 16, 16))
    assert torch.equal(Switch(ls, els, 0).denoise(x, .05), ls.denoise(x, .05))
    assert torch.equal(Switch(ls, els, 1).denoise(x, 1.), els.denoise(x, 1.))
    assert torch.equal(Switch(ls, els, .6).denoise(x, 12/20), els.denoise(x, 12/20)) # a step's time, as the sampler counts it
    t = torch.tensor([.9, .2, .61, .6], dtype=torch.float64)
    out = Switch(ls, els, .6).denoise(x, t)
    for i, d in enumerate((ls, els, ls, els)): torch.testing.assert_close(out[i:i + 1], d.denoise(x[i:i + 1], t[i]), atol=1e-5, rtol=0)
    for wrong in (-.1, 1.1):
        with pytest.raises(ValueError, match='t must'): Switch(ls, els, wrong)
    with pytest.raises(ValueError, match='different shapes'): Switch(ls, LSMachine(data[..., :8]), .5)
    with pytest.raises(ValueError, match='different shapes'): Switch(ls, LSMachine(data, schedule=CosineSchedule(offset=.008)), .5)
    anything = from_noise(lambda x, t, label: 0*x, CosineSchedule()) # takes images of any shape
    for mixed in (Switch(anything, els, .5), Switch(els, anything, .5)):
        assert tuple(mixed.shape) == (1, 16, 16)
        assert mixed.denoise(x, .3).shape == x.shape


def test_switch_uses_the_labels_of_its_images(data):
    y, x = torch.tensor([0, 0, 1, 1, 1]), seed_noise(range(4), (1, 16, 16))
    ls, els = LSMachine(data, y, scales=3), BBELSMachine(data, y, scales=3)
    label, t = torch.tensor([0, 1, 1, 0]), torch.tensor([.9, .2, .9, .2])
    out = Switch(ls, els, .5).denoise(x, t, label)
    for i, d in enumerate((ls, els, ls, els)): torch.testing.assert_close(out[i:i + 1], d.denoise(x[i:i + 1], t[i], int(label[i])), atol=1e-5, rtol=0)


def test_agreement_is_one_with_itself(data):
    ls, els = LSMachine(data, scales=3), BBELSMachine(data, scales=3)
    ts, r = P.step_agreement(ls, dict(LS=ls, bbELS=els), [4, 7, 9], 5)
    assert ts == [1, .8, .6, .4, .2]
    assert all(len(row) == 3 for rows in r.values() for row in rows)
    assert min(min(row) for row in r['LS']) == 1
    assert min(min(row) for row in r['bbELS']) < .99


@pytest.mark.parametrize('line', ['--seeds 0', '--images 0', '--images 100000', '--limb-seeds 0', '--networks nothing',
                                  '--networks mnist-resnet-circular'])
def test_bad_options_are_one_line(line, refused):
    refused(f'study place {line}')


def test_a_small_study_from_end_to_end(tmp_path, monkeypatch):
    less = dict(times=(.5,), switches=(0., 1.), garments={'Dress': garments['Dress']}, calibrated_networks=lambda: ['mnist-resnet-circular'])
    for name, value in less.items(): monkeypatch.setattr(P, name, value)
    path, = make_study(P.run_study, tmp_path, networks='mnist-resnet', seeds=1, images=3, limb_seeds=1)
    assert path == tmp_path/'place.json'
    s = json.loads(path.read_text())
    row = s['networks']['mnist-resnet']
    assert row['switch']['switch 0.0'] != row['switch']['switch 1.0']
    assert row['images'] == 3
    assert s['dependence'] == {'mnist-resnet-circular': {'network': [pytest.approx(0, abs=1e-6)]}}
    assert list(s['limbs']['fashion_mnist-unet']['Dress']) == ['network', 'bbELS', 'LS', 'switch 0.8', 'switch 0.6']
    assert list(s['limbs']['fashion_mnist-resnet']['Dress']) == ['network']
    assert s['command'] == 'creativity study place --networks mnist-resnet --seeds 1 --images 3 --limb-seeds 1'


def test_the_stored_study_is_whole():
    s = stored('place')
    assert list(s['networks']) == ['fashion_mnist-unet', 'fashion_mnist-resnet', 'mnist-unet', 'mnist-resnet']
    for row in s['networks'].values():
        assert {len(v) for v in row['switch'].values()} == {s['seeds']}
        assert list(row['switch']) == [f'switch {t}' for t in P.switches]
        assert {len(row['steps']), *map(len, row['agreement'].values())} == {20}
    assert {len(v) for d in s['dependence'].values() for v in d.values()} == {len(s['times'])}
    assert {len(c) for rows in s['limbs'].values() for made in rows.values() for c in made.values()} == {s['limb_seeds']}
    assert len(json.dumps(s)) < 6e4
