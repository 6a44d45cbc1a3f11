"The study of sensitivity: its estimators on small cases, and its stored numbers against a fresh look."
import math

import torch

from creativity.data.find import load
from creativity.diffusion import add_noise, seed_noise
from creativity.machines.whole import ISMachine
from creativity.machines.windows import BBELSMachine
from creativity.networks.card import load_network
from creativity.studies.command import stored
from creativity.studies.sensitivity import (
    asymmetry,
    compared,
    doubts,
    listening,
    machines_for,
    predict_filled,
    predict_guided,
)


def test_asymmetry_of_a_whole_jacobian():
    "Many probes find what the Jacobian itself says; IS has none."
    g = torch.Generator().manual_seed(0)
    data = torch.nn.functional.avg_pool2d(torch.rand(60, 1, 12, 12, generator=g)*2 - 1, 2)
    x = torch.randn(1, 1, 6, 6, generator=g, dtype=torch.float64)*.5
    m = BBELSMachine(data, scales=3)
    J = torch.autograd.functional.jacobian(lambda z: m.denoise(z, .6), x).reshape(36, 36)
    wanted = ((J - J.T).norm()/(J + J.T).norm()).item()
    found, = asymmetry(m, x, .6, probes=60)
    assert wanted > .05
    assert abs(found/wanted - 1) < .1
    assert asymmetry(ISMachine(data), x, .8)[0] < 1e-7


def test_doubts_are_right_for_images_of_the_dictionary():
    "By construction: noised dictionary images under IS, over many of them."
    g = torch.Generator().manual_seed(1)
    data = torch.nn.functional.avg_pool2d(torch.rand(200, 1, 8, 8, generator=g)*2 - 1, 4)
    found = doubts(ISMachine(data), data)
    for expected, actual in zip(found['expected'][1:], found['actual'][1:], strict=True):
        assert .6 < actual/expected < 1.7


def test_a_row_of_the_study():
    "Small, with the stored row beside it: the same fields, widths near those stored."
    net, row = load_network('mnist-resnet'), stored('sensitivity')['networks']['mnist-resnet']
    d, asked = load('mnist', n=60), load('mnist', 'test', n=1)
    found = listening(net, machines_for(net, d)['bbELS'], asked)
    for kind in ('network', 'machine'):
        apart = [abs(a - b) for a, b in zip(found[kind], row['listening'][kind], strict=True)]
        assert max(apart) <= 4
    filled = predict_filled(net, d, asked, steps=3)
    assert set(filled) == set(row['filled'])
    assert filled['wiener']['skill'] == 0
    assert all(-1 <= r <= 1 for v in filled.values() for r in v['r'])


def test_guided_row():
    net, d = load_network('fashion_mnist-resnet'), load('fashion_mnist', n=100)
    found = predict_guided(net, d, 1, steps=2)
    assert set(found['image']) == {'machine', 'wiener', 'other label', 'network unguided',
                                   'machine unguided', 'wiener unguided'}
    assert found['change']['none']['skill'] == 0
    assert math.isfinite(found['change']['machine']['skill'])


def test_compared():
    x = seed_noise(range(3), (1, 4, 4))
    found = compared({'network': x, 'same': x.clone(), 'wiener': torch.zeros_like(x)}, 'wiener')
    assert found['same'] == {'r': [1., 1., 1.], 'skill': 1.}
    left = torch.zeros(4, 4, dtype=torch.bool)
    left[:, :2] = True
    half = add_noise(x, x, .5, ISMachine(x.clamp(-1, 1)).schedule)
    half[..., :2] = x[..., :2]
    part = compared({'network': x, 'half': half, 'wiener': 0*x}, 'wiener', left)['half']
    assert part['skill'] == 1
