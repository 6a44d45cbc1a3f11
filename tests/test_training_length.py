"Training length: networks of one kind by their steps, numbers and intervals, going on, bad input."
import json

import numpy as np
import pytest
import torch

import creativity as c
from creativity.networks.architectures import ResNet
from creativity.networks.card import load_network, save_network
from creativity.studies import training as T
from creativity.studies.command import stored


def network(folder, steps, width=4, name=None):
    "An untrained network that says how long it was trained."
    torch.manual_seed(steps)
    net = ResNet(channels=1, classes=10, width=width, depth=1, dim=8)
    card = dict(load_network('fashion_mnist-resnet').card, args=net.args, steps=steps, images_seen=8*steps)
    save_network(net, folder/f'{name or steps}.safetensors', card)


def test_networks_are_sorted_by_their_steps(tmp_path):
    for n in (300, 20, 1000): network(tmp_path, n)
    assert list(T.networks_by_length(tmp_path)) == [20, 300, 1000]
    network(tmp_path, 20, name='again')
    with pytest.raises(c.CreativityError, match='same number of steps'): T.networks_by_length(tmp_path)
    (tmp_path/'again.safetensors').unlink()
    network(tmp_path, 40, width=8)
    with pytest.raises(c.CreativityError, match='differ in more'): T.networks_by_length(tmp_path)
    with pytest.raises(c.CreativityError, match='no networks in'): T.run_study(tmp_path/'none')


def test_a_study_of_two_lengths(tmp_path, monkeypatch, brief_look):
    monkeypatch.setattr(T, 'HELD_OUT', 2)
    monkeypatch.setattr(T, '_LOSS_ON', 3)
    monkeypatch.setattr(T, '_STEPS', (3, 4))
    monkeypatch.setattr(T, 'CALIBRATED_ON', range(1))
    monkeypatch.setattr(T, '_WIDTHS', dict(bbELS=(3, 5), LS=(3, 9)))
    (tmp_path/'nets').mkdir()
    for n in (10, 20): network(tmp_path/'nets', n)
    few = T.load('fashion_mnist', n=40)
    monkeypatch.setattr(T, 'load', lambda name, split='train', n=None, full=False: few if full else c.load(name, split, n=n))
    how = dict(images=2, many=4, seeds=2, out=tmp_path/'out')
    result = T.run_study(tmp_path/'nets', **how)
    assert json.loads(json.dumps(result)) == result
    assert [r['steps'] for r in result['rows']] == [10, 20]
    assert not set(result['seeds']) & set(result['calibrated_on'])
    for row in result['rows']:
        assert {'bbELS', 'LS', 'IS', 'Wiener', 'Wiener, many', 'network, other label'} <= set(row['mse'])
        assert all(len(v) == 2 for k in ('mse', 'r', 'contrast') for v in row[k].values())
        assert len(row['widths']['bbELS']) == 10
        assert len(row['loss']) == 10
        assert np.mean(row['one']['LS']['by_time']) == pytest.approx(np.mean(row['one']['LS']['mse']), rel=2e-3)
        # the MSE is that of shape, contrast and brightness together, so at least the shape's
        spread = np.array(row['spread'])
        assert (np.array(row['mse']['bbELS']) > .98*(1 - np.array(row['r']['bbELS'])**2)*spread**2).all()
    assert result['rows'][1]['longest']['mse'] == [0, 0]
    assert min(result['rows'][0]['longest']['mse']) > 0
    monkeypatch.setattr(c.measure.nulls.Flow, 'image', None) # nothing is made again
    monkeypatch.setattr(c.measure.nulls.Flow, 'beliefs', None)
    assert T.run_study(tmp_path/'nets', **how) == result


def test_a_change_of_skill_is_paired_by_seed():
    rng = np.random.default_rng(0)
    wiener = 1 + rng.random(20)
    noisy = rng.random(20)
    rows = [{'mse': {'bbELS': (s*wiener*noisy).tolist(), 'Wiener': wiener.tolist()}} for s in (.5, .45)]
    value, low, high = T.skill_change(*rows, 'bbELS')
    assert value == pytest.approx(.1*(1 - T.skill_at(rows[0], 'bbELS')[0]))
    assert 0 < low < value < high
    assert high - low < T.skill_at(rows[0], 'bbELS')[2] - T.skill_at(rows[0], 'bbELS')[1]


@pytest.mark.parametrize('name', ['lengths', 'attention'])
def test_a_stored_result_is_sound(name):
    r = stored(f'training-{name}')
    steps = [row['steps'] for row in r['rows']]
    assert steps == sorted(set(steps))
    assert len(r['seeds']) >= 12
    for row in r['rows']:
        assert row['images_seen'] == 32*row['steps']
        assert all(len(v) == len(r['seeds']) for k in ('mse', 'r', 'contrast') for v in row[k].values())
        assert T.skill_at(row, 'Wiener')[0] == 0
    assert T.length_table(r).count('\n') == len(steps) + 1
