"Attention: blends and soft windows between their ends, masks, the study's numbers, bad input, the stored result."
import json

import pytest
import torch

from creativity.diffusion import seed_noise
from creativity.machines.mix import Blend, SoftWindow
from creativity.machines.whole import ISMachine
from creativity.machines.windows import LSMachine
from creativity.studies import attention as A
from creativity.studies.command import stored


@pytest.fixture
def data(): return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))*2 - 1


def test_share_of_mass_outside_a_window():
    m = torch.zeros(32, 32)
    m[16, 16] = m[16, 25] = 1
    assert A.far_share(m) == pytest.approx(.5)
    assert A.far_share(m, 19) == 0
    with pytest.raises(ValueError, match='no mass'): A.far_share(torch.zeros(32, 32))


def test_blend_ends_and_middle(data):
    ls, ideal, x = LSMachine(data, scales=3), ISMachine(data), seed_noise([0, 1], (3, 8, 8))
    a, b = ls.denoise(x, .5), ideal.denoise(x, .5)
    for w in (0, .3, 1): torch.testing.assert_close(Blend(ls, ideal, w).denoise(x, .5), (1 - w)*a + w*b)
    assert not torch.allclose(a, b)
    for w in (-.1, 1.1):
        with pytest.raises(ValueError, match='w must'): Blend(ls, ideal, w)
    with pytest.raises(ValueError, match='different shapes'): Blend(ls, ISMachine(data[..., :4]), .5)


def test_soft_window_goes_from_local_to_ideal(data):
    x = data[:2] + seed_noise([0, 1], (3, 8, 8))
    ends = LSMachine(data, scales=3).denoise(x, .5), ISMachine(data).denoise(x, .5)
    for far, end in zip((0, 1), ends, strict=True):
        torch.testing.assert_close(SoftWindow(data, scales=3, far=far).denoise(x, .5), end, atol=1e-4, rtol=0)
    half = SoftWindow(data, scales=3, far=.5)
    assert not torch.allclose(half.denoise(x, .5), ends[0])
    torch.testing.assert_close(half.denoise(x, .5)[:1], half.denoise(x[:1], .5))
    with pytest.raises(ValueError, match='far must'): SoftWindow(data, far=2)


def test_foreground_is_half_and_holds_the_object():
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))*.1
    x[:, :, 5:11, 5:11] = -1
    mask = A.object_half(x)
    assert mask[:, 5:11, 5:11].all()
    assert mask.sum((1, 2)).tolist() == [128, 128]


def test_facts_find_the_error_where_it_is():
    y = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(1))*.1
    y[:, 5:11, 5:11] = -1
    x = y.clone()
    x[:, 6, 6] = 1
    f = A.seed_facts(dict(network=y, same=y, wrong=x))
    assert (f['same']['r'], f['same']['foreground'], f['same']['background']) == (pytest.approx(1), 0, 0)
    assert f['wrong']['foreground'] == pytest.approx(2/128)
    assert f['wrong']['background'] == 0


@pytest.mark.parametrize('line', ['--seeds 0', '--images 0', '--images 100000', '--networks mnist-unet', '--networks nothing'])
def test_bad_options_are_one_line(line, refused):
    refused(f'study attention {line}')


def test_the_stored_study_is_whole():
    s = stored('attention')
    assert list(s['networks']) == ['cifar10-unet', 'cifar10-unet-attention']
    for row in s['networks'].values():
        assert {'IS', 'LS', 'bbELS', 'blend 0.25', 'far 0.01'} <= set(row['seeds'])
        assert {len(v) for f in row['seeds'].values() for v in f.values()} == {s['seeds']}
    assert len(json.dumps(s)) < 2e4
