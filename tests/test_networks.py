"Networks: architectures, wrappers, training that survives kills, weights and cards that fit together."
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from creativity.data.find import make_dictionary
from creativity.data.images import Images
from creativity.data.sets import write_npz
from creativity.diffusion import (
    CosineSchedule,
    sample,
    seed_noise,
)
from creativity.errors import CreativityError
from creativity.networks.architectures import (
    Attention,
    build,
    n_parameters,
    network_classes,
    presets,
)
from creativity.networks.card import Network, load_network, save_network
from creativity.networks.train import (
    Recipe,
    Setup,
    Trainer,
    draw_batch,
    hold_out,
    loss_by_noise,
    loss_times,
    make_card,
    mixed_precision,
    read_state,
    total_seen,
    train,
    training_images,
    whole_curve,
)

ARCHS = ['resnet', 'resnet-circular', 'unet', 'unet-attention']
S = CosineSchedule()


def toy(n=64, side=16, channels=1, labels=True):
    "Smooth random images in two classes."
    x = torch.nn.functional.interpolate(seed_noise(range(n), (channels, 4, 4)), (side, side), mode='bilinear').clamp(-1, 1)
    return Images(x, torch.arange(n) % 2 if labels else None, 'toy', ['even', 'odd'] if labels else None)


RUN = ('minutes', 'stop', 'full', 'held_out', 'progress', 'every')


def run_with(data, out, **given):
    "Train by fields of a recipe and a setup, options of `train`, and arguments of the network, all in one."
    def pick(names): return {k: given.pop(k) for k in names if k in given}
    recipe, setup = (pick([f.name for f in fields(kind)]) for kind in (Recipe, Setup))
    run = dict(progress=False) | pick(RUN)
    return train(data, out, Recipe(**recipe), Setup(**setup, changes=given), **run)


def tiny(out, **kwargs):
    return run_with(toy(), out, **{**dict(width=8, dim=16, steps=40, batch=8), **kwargs})


@pytest.fixture(scope='module', autouse=True)
def one_thread():
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)


def one_line(error): return '\n' not in str(error.value) and str(error.value)


# architectures

@pytest.mark.parametrize('arch', ARCHS)
@pytest.mark.parametrize(('channels', 'classes'), [(1, None), (3, 10)])
def test_shapes(arch, channels, classes):
    net = build(arch, 'compact', channels, classes)
    x = seed_noise(range(2), (channels, 16, 24))
    y = net(x, torch.rand(2), torch.tensor([0, 9]) if classes else None)
    assert y.shape == x.shape
    assert y.isfinite().all()
    assert 2*n_parameters(net) <= 3e6


@pytest.mark.parametrize('arch', ARCHS)
def test_presets(arch):
    counts = [n_parameters(build(arch, p)) for p in ('compact', 'paper')]
    assert counts[0] < counts[1]
    assert set(presets['paper']) == set(network_classes)
    net = build(arch, width=16) if 'resnet' in arch else build(arch, widths=(8, 16))
    assert network_classes[type(net).__name__](**net.args).state_dict().keys() == net.state_dict().keys()


def test_paper_preset():
    assert build('resnet', 'paper').args['width'] == 256
    assert build('unet', 'paper').args['widths'] == [64, 128, 256]


def test_build_is_seeded_and_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    a, b, c = build(seed=1), build(seed=1), build(seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.up.conv.weight, c.up.conv.weight)


def influence(net, size):
    x = seed_noise(range(8), (1, size, size)).requires_grad_()
    y = net(x, torch.full((8,), .5))
    return torch.autograd.grad(y[:, 0, size//2, size//2].sum(), x)[0].abs().sum((0, 1))


@pytest.mark.parametrize('depth', [2, 6])
def test_receptive_field(depth):
    m, n = influence(build('resnet', width=16, depth=depth), 32), depth + 2
    seen = torch.zeros(32, 32, dtype=torch.bool)
    seen[16 - n:16 + n + 1, 16 - n:16 + n + 1] = True
    assert torch.equal(m > 0, seen)


def test_attention_sees_everything():
    net = build('unet-attention', widths=(8, 16, 16))
    for m in net.modules():
        if isinstance(m, Attention): torch.nn.init.normal_(m.out.weight)
    assert (influence(net, 64) > 0).all()
    assert not (influence(build('unet', widths=(8, 16, 16)), 64) > 0).all()


def shift_error(net, x, shift):
    f = lambda x: net.double()(x, torch.full((len(x),), .3).double())
    with torch.no_grad(): return (f(x.roll(shift, (2, 3))) - f(x).roll(shift, (2, 3))).abs().amax((0, 1))


def test_equivariance():
    torch.set_default_dtype(torch.double)
    try:
        x = seed_noise(range(2), (1, 32, 32)).double()
        assert shift_error(build('resnet-circular'), x, (5, -7)).max() < 1e-12
        assert shift_error(build('unet', padding='circular'), x, (4, -8)).max() < 1e-12
        zeros = shift_error(build('resnet'), x, (3, 2))
        assert zeros[11:24, 10:24].max() < 1e-12
        assert min(zeros[10].max(), zeros[24].max(), zeros[:, 9].max(), zeros[:, 24].max()) > 1e-9
    finally: torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(('call', 'says'), [
    (lambda: build('vit'), 'arch must be'), (lambda: build(preset='huge'), 'preset must be'),
    (lambda: build(width=0), 'width'), (lambda: build(depth=1.5), 'depth'), (lambda: build(padding='mirror'), 'padding'),
    (lambda: build('unet-attention', widths=(6, 10)), 'multiples of 4'),
    (lambda: build('unet')(torch.zeros(1, 1, 30, 30), torch.zeros(1)), 'multiples of 4'),
    (lambda: Recipe(0), 'steps'), (lambda: Recipe(10, lr=2.), 'lr'), (lambda: Recipe(10, ema=1.), 'ema'),
    (lambda: Recipe(10, high_noise=1.5), 'high_noise'), (lambda: Recipe(10, high_noise=float('nan')), 'high_noise')])
def test_bad_architecture(call, says):
    with pytest.raises(ValueError, match=says) as e: call()
    assert one_line(e)


# denoisers

def test_gradients_flow_to_the_image():
    net = Network(build(width=8), S, (1, 16, 16))
    x = seed_noise([0], (1, 16, 16)).requires_grad_()
    net.noise(x, .5)[0, 0, 8, 8].backward()
    assert x.grad.abs().sum() > 0


# training

def test_batches_depend_on_seed_and_step_alone():
    data, recipe = toy(), Recipe(100, batch=16, seed=5)
    late = draw_batch(data, 9, recipe)
    for i in range(9): draw_batch(data, i, recipe)
    assert all(torch.equal(a, b) for a, b in zip(late, draw_batch(data, 9, recipe), strict=True))
    epoch = torch.cat([draw_batch(data, i, recipe)[0] for i in range(4, 8)])
    assert torch.equal(epoch.flatten(1).sum(1).sort().values, data.x.flatten(1).sum(1).sort().values)
    assert not torch.equal(draw_batch(data, 9, Recipe(100, batch=16, seed=6))[1], late[1])


def test_training_learns(tmp_path):
    net = tiny(tmp_path, steps=150)
    held = toy()[:16]
    before = sum(loss_by_noise(build(classes=2, width=8, dim=16), held, S))
    assert sum(loss_by_noise(net.net, held, S)) < .7*before
    assert net.card['curve'][-1]['step'] == 150
    assert len((tmp_path/'curve.csv').read_text().splitlines()) == 1 + len(net.card['curve'])
    assert {p.name for p in tmp_path.iterdir()} == {'checkpoint.safetensors', 'curve.csv', 'network.safetensors', 'network.json'}


def checkpoint(path):
    from safetensors.torch import load_file
    return load_file(path/'checkpoint.safetensors')


def assert_same_run(a, b):
    x, y = checkpoint(a), checkpoint(b)
    assert x.keys() == y.keys()
    assert all(torch.equal(x[k], y[k]) for k in x)
    assert (a/'network.safetensors').read_bytes() == (b/'network.safetensors').read_bytes()


@pytest.mark.parametrize('arch', ['resnet', 'unet-attention'])
def test_interrupted_equals_uninterrupted(tmp_path, monkeypatch, arch):
    kw = dict(width=8) if arch == 'resnet' else dict(widths=(8, 8))
    run = lambda out: run_with(toy(), out, arch=arch, steps=12, batch=8, dim=16, every=0, **kw)
    run(tmp_path/'whole')
    whole, killed = Trainer.advance, [3, 7, 11]

    def advance(self):
        loss = whole(self)
        if killed and self.step == killed[0]: killed.pop(0); raise KeyboardInterrupt # after the weights moved, before a checkpoint
        return loss
    monkeypatch.setattr(Trainer, 'advance', advance)
    for step in (2, 6, 10):
        with pytest.raises(KeyboardInterrupt): run(tmp_path/'killed')
        assert read_state(tmp_path/'killed'/'checkpoint.safetensors')['step'] == step
    run(tmp_path/'killed')
    assert_same_run(tmp_path/'whole', tmp_path/'killed')


SCRIPT = '''
import sys, time, torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[2])
from test_networks import Trainer, tiny
advance = Trainer.advance
Trainer.advance = lambda self: time.sleep(.01) or advance(self) # so that there is time to kill it
tiny(sys.argv[1], steps=80, batch=1, every=.05)
'''


def test_sigkill(tmp_path):
    "A process killed by the system while it trains, started again here, ends with the weights of one that was not."
    out, env = tmp_path/'killed', dict(os.environ, OMP_NUM_THREADS='1')
    p = subprocess.Popen([sys.executable, '-c', SCRIPT, str(out), os.path.dirname(__file__)], env=env)
    deadline = time.time() + 60
    while not (out/'checkpoint.safetensors').exists() and time.time() < deadline and p.poll() is None: time.sleep(.02)
    time.sleep(.1)
    p.send_signal(signal.SIGKILL)
    assert p.wait() == -signal.SIGKILL
    assert 0 < read_state(out/'checkpoint.safetensors')['step'] < 80
    for folder in (out, tmp_path/'whole'): tiny(folder, steps=80, batch=1)
    assert_same_run(out, tmp_path/'whole')


def test_finished_run_is_only_read(tmp_path):
    a = tiny(tmp_path)
    before = (tmp_path/'network.safetensors').read_bytes()
    b = tiny(tmp_path)
    assert (tmp_path/'network.safetensors').read_bytes() == before
    assert a.card['curve'] == b.card['curve']


def test_more_steps_extend_a_finished_run_and_are_told(tmp_path, monkeypatch):
    rates, rate = [], Recipe.rate
    monkeypatch.setattr(Recipe, 'rate', lambda self, step: rates.append(rate(self, step)) or rates[-1])
    before = tiny(tmp_path/'a', steps=20)
    net = tiny(tmp_path/'a', steps=30)
    assert net.card['steps'] == net.card['recipe']['steps'] == 30
    assert net.card['plans'] == [[0, 20], [20, 30]]
    assert rates == [rate(Recipe(20), i) for i in range(20)] + [rate(Recipe(30), i) for i in range(20, 30)]
    assert [c['step'] for c in before.card['curve']] == [20]
    assert net.card['curve'][:1] == before.card['curve']
    assert net.card['command'].count(' && ') == 1
    assert '--steps 20 ' in net.card['command'].split(' && ')[0]
    assert '--steps 30 ' in net.card['command'].split(' && ')[1]
    tiny(tmp_path/'b', steps=20)
    killed_at(25, monkeypatch)
    with pytest.raises(RuntimeError, match='killed'): tiny(tmp_path/'b', steps=30, every=0)
    assert read_state(tmp_path/'b'/'checkpoint.safetensors')['step'] == 25
    again = tiny(tmp_path/'b', steps=30)
    assert again.card['plans'] == [[0, 20], [20, 30]]
    for p, q in zip(net.net.parameters(), again.net.parameters(), strict=True): assert torch.equal(p, q)
    assert tiny(tmp_path/'c', steps=30).card['sha256'] != net.card['sha256']


def killed_at(step, monkeypatch):
    "Let a training die before a step, once."
    advance = Trainer.advance

    def die(self):
        if self.step < step: return advance(self)
        monkeypatch.setattr(Trainer, 'advance', advance)
        raise RuntimeError('killed')
    monkeypatch.setattr(Trainer, 'advance', die)


def test_stop_ends_a_plan_early_and_the_command_says_so(tmp_path):
    net = tiny(tmp_path, steps=20, stop=12)
    assert (net.card['steps'], net.card['recipe']['steps']) == (12, 20)
    assert '--steps 20 --stop 12 ' in net.card['command']
    whole = tiny(tmp_path, steps=20)
    assert '--stop' not in whole.card['command']
    assert whole.card['sha256'] == tiny(tmp_path/'b', steps=20).card['sha256']
    other = tiny(tmp_path/'c', steps=20, stop=12, lr=1e-3) and tiny(tmp_path/'c', steps=15, lr=1e-3)
    assert other.card['plans'] == [[0, 20], [12, 15]]
    assert [p.split('--steps ')[1].split(' --batch')[0] for p in other.card['command'].split(' && ')] == ['20 --stop 12', '15']
    with pytest.raises(ValueError, match='stop must be'): tiny(tmp_path, stop=0)


def test_command_says_what_only_python_can(tmp_path, few_held_out):
    command = tiny(tmp_path, steps=2, schedule=CosineSchedule(.008)).card['command']
    assert command.endswith('# with images in memory, schedule=CosineSchedule(offset=0.008), width=8, dim=16: in Python')
    command = run_with('mnist', tmp_path/'b', steps=1, batch=2).card['command']
    assert command == 'creativity train --data mnist --arch resnet --preset compact --steps 1 --batch 2 --lr 0.002 --ema 0.999 --seed 0'


def test_another_run_is_refused(tmp_path):
    tiny(tmp_path)
    before = checkpoint(tmp_path)
    for change, says in ((dict(lr=1e-3), 'recipe lr 0.002, but 0.001 was'), (dict(seed=1), 'recipe seed 0, but 1 was'), (dict(batch=4), 'recipe batch 8, but 4'),
                         (dict(width=16), 'args width 8, but 16'), (dict(conditional=False), 'args classes 2, but None'),
                         (dict(arch='resnet-circular'), 'arch resnet, but resnet-circular'), (dict(steps=30), '40 steps, but 30 were')):
        with pytest.raises(ValueError, match='choose another folder') as e: tiny(tmp_path, **change)
        assert says in one_line(e)
    assert all(torch.equal(before[k], v) for k, v in checkpoint(tmp_path).items())
    with pytest.raises(ValueError, match='data'): run_with(toy(48), tmp_path, width=8, dim=16, steps=40, batch=8)


def test_leftovers_of_a_killed_write_do_no_harm(tmp_path):
    whole = tiny(tmp_path/'a')
    (tmp_path/'b').mkdir()
    (tmp_path/'b'/'.checkpoint.safetensors.123.part').write_bytes(b'half a file')
    other = tiny(tmp_path/'b')
    assert all(torch.equal(p, q) for p, q in zip(whole.net.parameters(), other.net.parameters(), strict=True))


def test_damaged_checkpoint_is_refused(tmp_path):
    tiny(tmp_path)
    path = tmp_path/'checkpoint.safetensors'
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match='not a checkpoint') as e: tiny(tmp_path)
    assert one_line(e)


class Clock:
    "A clock that only training steps move on, at the speed of a machine that is busy now and then."
    def __init__(self, monkeypatch, seconds=lambda step: .05):
        import types

        import creativity.networks.train as module
        self.now, advance = 0., Trainer.advance

        def timed(trainer):
            self.now += seconds(trainer.step)
            return advance(trainer)
        monkeypatch.setattr(Trainer, 'advance', timed)
        monkeypatch.setattr(module, 'time', types.SimpleNamespace(time=lambda: self.now))


SPEEDS = {'steady': lambda step: .05, 'slower': lambda step: .05 if step < 150 else .15, 'faster': lambda step: .12 if step < 100 else .03,
          'a slow start': lambda step: 1. if step < 12 else .05}


@pytest.mark.parametrize('speed', SPEEDS)
def test_minutes_end_with_the_learning_rate(tmp_path, monkeypatch, speed):
    "Whatever else the machine does, the rate is zero when the time is over, and neither before nor after."
    rates, rate = [], Recipe.rate
    monkeypatch.setattr(Recipe, 'rate', lambda self, step: rates.append(rate(self, step)) or rates[-1])
    Clock(monkeypatch, SPEEDS[speed])
    net = tiny(tmp_path, steps=None, minutes=.5, width=4, depth=1, dim=8, batch=1)
    state = read_state(tmp_path/'checkpoint.safetensors')
    assert state['step'] == net.card['recipe']['steps'] == net.card['steps']
    assert state['seconds'] == pytest.approx(30, rel=.03)
    taken = rates[-state['step']:]
    assert taken[-1] < .02*max(taken)
    assert max(taken) > .7*.002 # it left the warm-up
    assert net.card['recipe']['warmup'] < .25*state['step']
    assert max(b/a for a, b in pairwise(taken[-100:])) < 1.5 # no jump where it is planned anew, late in the run


def test_a_run_by_the_clock_is_made_again_by_its_commands(tmp_path, monkeypatch):
    small = dict(width=4, depth=1, dim=8, batch=1)
    with monkeypatch.context() as m:
        Clock(m, SPEEDS['slower'])
        net = tiny(tmp_path/'clock', steps=None, minutes=.5, **small)
    commands = net.card['command'].split(' # ')[0].split(' && ')
    assert len(commands) == len(net.card['plans']) > 2
    for command in commands:
        words = command.split()
        after = lambda flag, kind, words=words: kind(words[words.index(flag) + 1]) if flag in words else None
        again = tiny(tmp_path/'fixed', steps=after('--steps', int), stop=after('--stop', int), warmup=after('--warmup', int) or 200,
                     lr=after('--lr', float), **small)
    assert again.card['sha256'] == net.card['sha256']
    assert again.card['plans'] == net.card['plans']
    assert again.card['command'] == net.card['command']


def test_minutes_that_are_over_are_said_and_more_extend(tmp_path, monkeypatch):
    Clock(monkeypatch)
    small = dict(steps=None, width=4, depth=1, dim=8, batch=1)
    first = tiny(tmp_path, minutes=.2, **small)
    with pytest.warns(UserWarning, match=r'had its 0\.2 minutes \(2\d\d steps\): more minutes, or steps above'):
        again = tiny(tmp_path, minutes=.2, **small)
    assert again.card['sha256'] == first.card['sha256']
    more = tiny(tmp_path, minutes=.4, **small)
    assert more.card['steps'] == pytest.approx(2*first.card['steps'], rel=.05)
    assert more.card['recipe']['steps'] == more.card['steps']


def test_a_run_by_the_clock_survives_a_kill(tmp_path, monkeypatch):
    Clock(monkeypatch)
    small = dict(steps=None, width=4, depth=1, dim=8, minutes=.2, every=.5)
    with monkeypatch.context() as m:
        killed_at(120, m)
        with pytest.raises(RuntimeError, match='killed'): tiny(tmp_path, **small)
    before = read_state(tmp_path/'checkpoint.safetensors')
    assert 100 <= before['step'] <= 120
    net = tiny(tmp_path, **small)
    assert net.card['steps'] == net.card['recipe']['steps'] == pytest.approx(240, rel=.1)
    assert net.card['plans'][0] == before['plans'][0]


def test_minutes_with_steps_only_stop(tmp_path):
    t = time.time()
    net = tiny(tmp_path, steps=10**6, minutes=.02)
    assert time.time() - t < 20
    assert 0 < net.card['steps'] < 10**6
    assert net.card['plans'] == [[0, 10**6]]
    with pytest.raises(ValueError, match='how long'): tiny(tmp_path/'x', steps=None)


def flipped(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(bytes(data))


@pytest.mark.parametrize('share', [.3, .5, .9, .999])
def test_a_flipped_bit_is_seen(tmp_path, share):
    tiny(tmp_path, steps=4, width=4, depth=1, dim=8)
    path = tmp_path/'checkpoint.safetensors'
    flipped(path, int(share*path.stat().st_size))
    with pytest.raises(ValueError, match='is not a checkpoint') as e: tiny(tmp_path, steps=4, width=4, depth=1, dim=8)
    assert one_line(e)


def rewritten(path, change=None, drop=None, header=None):
    "A checkpoint with other JSON or other tensors, its checksum made to fit."
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    import creativity.networks.train as module
    with safe_open(path, 'pt') as f: meta = f.metadata()
    tensors = {k: v for k, v in load_file(path).items() if k != drop}
    state = json.loads(meta['state'])
    text = json.dumps({k: v for k, v in (state | (change or {})).items() if v is not None}) if change is not None or drop else meta['state']
    save_file(tensors, path, header if header is not None else {'state': text, 'sha256': module._checksum(text, tensors)})


@pytest.mark.parametrize('change', [
    dict(step='5'), dict(step=-1), dict(step=True), dict(step=None), dict(seconds='x'), dict(seconds=float('nan')), dict(seconds=-1), dict(curve=3),
    dict(curve=[3]), dict(curve=[{}]), dict(plans=[]), dict(plans=[3]), dict(plans=[[0, 'x']]), dict(plans=None), dict(recipe=[]), dict(args=None), dict(data='x')], ids=str)
def test_edited_json_is_one_line(tmp_path, change):
    small = dict(steps=4, width=4, depth=1, dim=8)
    tiny(tmp_path, **small)
    rewritten(tmp_path/'checkpoint.safetensors', change)
    with pytest.raises(ValueError, match='is not a checkpoint') as e: tiny(tmp_path, **small)
    assert one_line(e)


def test_missing_tensors_and_headers_are_one_line(tmp_path):
    small = dict(steps=4, width=4, depth=1, dim=8)
    tiny(tmp_path, **small)
    path = tmp_path/'checkpoint.safetensors'
    whole = path.read_bytes()
    for how in (dict(drop='net/up.conv.weight'), dict(drop='exp_avg/up.conv.weight'), dict(header={}), dict(header={'state': '{}'}),
                dict(header={'state': '['*9000}), dict(header={'state': '[]'})):
        path.write_bytes(whole)
        rewritten(path, **how)
        with pytest.raises(ValueError, match='is not a checkpoint') as e: tiny(tmp_path, **small)
        assert one_line(e)


@pytest.mark.parametrize('change', [
    dict(shape=[1, 16.5, 16]), dict(shape=[1, 16]), dict(shape=[1, -16, 16]), dict(shape='x'), dict(shape=[True, 16, 16]), dict(shape=[3, 16, 16]), dict(shape=[1, 10**9, 16]),
    dict(network='UNet', args=dict(widths=[])), dict(network='UNet', args=dict(widths=8)), dict(network='UNet', args=dict(widths=[8, 1.5])),
    dict(args=dict(width=True)), dict(args=dict(width=10**7)), dict(args=dict(classes=2.)), dict(args=dict(classes=0)), dict(args=dict(width=None)), dict(args=[]),
    dict(schedule=dict(name='CosineSchedule', offset=float('nan'))), dict(schedule=dict(name='CosineSchedule', offset=9)),
    dict(schedule=dict(name=['x'])), dict(schedule=dict(name='StepSchedule', alphas_cumprod=[2.])),
    dict(class_names='ab'), dict(class_names=['a']), dict(class_names=[1, 2]), dict(recipe=3), dict(begin=[1])], ids=str)
def test_a_card_from_anywhere_is_one_line(trained, tmp_path, change):
    _, path = trained
    new = tmp_path/'n.safetensors'
    new.write_bytes(path.read_bytes())
    card = json.loads(path.with_suffix('.json').read_text())
    if isinstance(change.get('args'), dict) and 'network' not in change: change = dict(change, args=card['args'] | change['args'])
    new.with_suffix('.json').write_text(json.dumps(card | change))
    with pytest.raises(ValueError, match=r'n\.json|n\.safetensors') as e: load_network(new)
    assert one_line(e)


def test_deep_nesting_and_flipped_weights_are_one_line(trained, tmp_path):
    _, path = trained
    new = tmp_path/'n.safetensors'
    new.write_bytes(path.read_bytes())
    new.with_suffix('.json').write_text('{"network": ' + '['*100_000)
    with pytest.raises(ValueError, match='not JSON') as e: load_network(new)
    assert one_line(e)
    new.with_suffix('.json').write_bytes(path.with_suffix('.json').read_bytes())
    flipped(new, int(.9*new.stat().st_size))
    with pytest.raises(ValueError, match=r'SHA-256 differs|NaN') as e: load_network(new)
    assert one_line(e)


def test_full_disk_loses_nothing(tmp_path, monkeypatch):
    tiny(tmp_path, steps=20)
    before = checkpoint(tmp_path)

    def no_space(part, path): raise OSError(28, 'No space left on device')
    monkeypatch.setattr('pathlib.Path.replace', no_space)
    with pytest.raises(OSError, match=r'cannot write .*No space left') as e: tiny(tmp_path, steps=20)
    assert one_line(e)
    assert all(torch.equal(before[k], v) for k, v in checkpoint(tmp_path).items())


def test_full_disk_between_weights_and_card(tmp_path, monkeypatch):
    "The old card does not pass for that of the new weights; the checkpoint holds both, and the same command writes them."
    import creativity.networks.card as module
    tiny(tmp_path, steps=20)
    real = module.write_json

    def full(path, data):
        if path.name == 'network.json': raise OSError(f'cannot write {path}: No space left on device')
        real(path, data)
    monkeypatch.setattr(module, 'write_json', full)
    with pytest.raises(OSError, match='No space left'): tiny(tmp_path, steps=30)
    with pytest.raises(ValueError, match='not the weights of its card') as e: load_network(tmp_path/'network.safetensors')
    assert one_line(e)
    monkeypatch.setattr(module, 'write_json', real)
    assert tiny(tmp_path, steps=30).card['steps'] == 30
    assert load_network(tmp_path/'network.safetensors').card['steps'] == 30


def test_unwritable_folder(tmp_path):
    (tmp_path/'file').write_text('')
    with pytest.raises(OSError, match='cannot write') as e: tiny(tmp_path/'file'/'run')
    assert one_line(e)


def test_diverging_training_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(Recipe, 'rate', lambda self, step: 1e30)
    with pytest.raises(ValueError, match='not finite') as e: tiny(tmp_path)
    assert one_line(e)
    assert not (tmp_path/'checkpoint.safetensors').exists()


def photos(folder, n=20):
    "A folder of colour images, PNG and JPEG, larger than a network's and not square."
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(n):
        small = Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8))
        small.resize((50, 60), Image.BILINEAR).save(folder/f'{i:03}.{"png" if i % 2 else "jpg"}')
    return folder


def test_folder_of_images(tmp_path):
    data = photos(tmp_path/'my photos')
    net = run_with(data, tmp_path/'out', steps=2, batch=2)
    assert (net.shape, net.num_classes, net.card['data']['images'], net.card['data']['name']) == ((3, 32, 32), 0, 18, 'my photos')
    assert "--data 'my photos' --arch" in net.card['command']
    assert len(training_images(data, n=7)) == 7
    assert training_images(data, n=7, size=(8, 12)).x.shape == (7, 3, 8, 12)
    (tmp_path/'one').mkdir()
    (data/'001.png').rename(tmp_path/'one'/'1.png')
    with pytest.raises(ValueError, match='one image is too few') as e: run_with(tmp_path/'one', tmp_path/'o1', steps=2)
    assert one_line(e)
    with pytest.raises(FileNotFoundError, match="no folder or file 'nowhere'") as e: run_with('nowhere', tmp_path/'o2', steps=2)
    assert one_line(e)


def test_a_folder_does_not_stand_in_for_an_official_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('CREATIVITY_DATA', str(tmp_path/'cache'))
    photos(tmp_path/'mnist', 2)
    with pytest.raises(FileNotFoundError, match='the full mnist'): training_images('mnist', full=True)
    assert len(training_images('mnist')) == 5000
    write_npz('own', 'train', np.zeros((30, 32, 32, 3), np.uint8))
    assert training_images('own').x.shape == (30, 3, 32, 32)


def test_training_says_on_which_images(tmp_path, capsys):
    "The shipped subset unless all is asked for; some of it, or another size, if asked for, and the command says so."
    small = dict(steps=1, batch=2, width=4, depth=1, dim=8, n=20, size=16)
    net = run_with('mnist', tmp_path/'a', **small, progress=True)
    out = capsys.readouterr().out
    assert out == 'training on 20 images of mnist (the subset in the package; --full, or full=True, takes the full set), 256 held out for the loss curve\n'
    assert (net.shape, net.card['data']['images']) == ((1, 16, 16), 20)
    assert '--data mnist --size 16 --n 20 --arch' in net.card['command']
    run_with(toy(), tmp_path/'b', steps=1, batch=2, width=4, depth=1, dim=8, progress=True)
    assert capsys.readouterr().out == 'training on 58 images of toy, 6 held out for the loss curve\n'
    run_with('mnist', tmp_path/'c', **small)
    assert capsys.readouterr().out == ''


def test_a_dictionary_is_trained_on(tmp_path):
    d = make_dictionary(tmp_path/'dict', 'fashion_mnist', n=30)
    net = run_with(tmp_path/'dict', tmp_path/'net', steps=2, batch=4, width=4, depth=1, dim=8)
    assert (net.shape, net.num_classes, net.card['data']['images']) == ((1, 32, 32), 10, 29)
    assert len(d) == 30


def test_unlabelled_and_unconditional(tmp_path):
    net = run_with(toy(labels=False), tmp_path, width=8, dim=16, steps=5, batch=8)
    assert net.num_classes == 0
    assert sample(net, 2, 3).shape == (2, 1, 16, 16)
    with pytest.raises(ValueError, match='no classes'): net.denoise(seed_noise([0], net.shape), .5, 1)


def test_precision_is_known():
    assert mixed_precision(torch.device('cpu')) in (None, torch.bfloat16)
    assert mixed_precision(torch.device('meta')) is None


# weights and cards

@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp('trained')
    return tiny(out, steps=5), out/'network.safetensors'


@pytest.mark.parametrize('arch', ARCHS)
def test_roundtrip(tmp_path, arch):
    net = build(arch, channels=3, classes=5)
    state = dict(arch=arch, network=type(net).__name__, args=net.args, shape=[3, 16, 16], schedule=CosineSchedule(.008).to_dict(),
                 recipe=dict(steps=1, batch=1, lr=1, ema=0, seed=0), data=dict(name='x', images=9), precision='', plans=[], curve=[], step=0, seconds=0)
    m = save_network(net, tmp_path/'n.safetensors', make_card(state))
    assert m.schedule == CosineSchedule(.008)
    assert (m.shape, m.num_classes) == ((3, 16, 16), 5)
    for p, q in zip(net.parameters(), m.net.parameters(), strict=True): assert torch.equal(p.half().float(), q)
    x = seed_noise(range(2), m.shape)
    exact = Network(net, m.schedule, m.shape).noise(x, .5, 1)
    assert (m.noise(x, .5, 1) - exact).abs().max() < 2e-3
    assert m.noise(x.double(), .5, 1).dtype == torch.float64


@pytest.mark.parametrize('change', [dict(network=['ResNet']), dict(args=dict(classes=-1)), dict(data='mnist'), dict(schedule='cosine'),
                                    dict(schedule=dict(name='CosineSchedule', offset='x')), dict(shape=3)])
def test_damaged_card_is_one_line(tmp_path, change):
    net = build(width=4, depth=1, dim=8)
    path = tmp_path/'n.safetensors'
    save_network(net, path, dict(network='ResNet', args=net.args, shape=[1, 8, 8], schedule=S.to_dict()))
    card = json.loads(path.with_suffix('.json').read_text())
    path.with_suffix('.json').write_text(json.dumps(card | change | ({'args': net.args | change['args']} if 'args' in change else {})))
    with pytest.raises(ValueError, match=r'n\.json') as e: load_network(path)
    assert '\n' not in str(e.value)


def test_held_out_images_are_of_every_class():
    data = toy(100)
    rest, held = hold_out(data[data.y.argsort(stable=True)])
    assert (len(rest), len(held), held.y.tolist()) == (90, 10, [0]*5 + [1]*5)
    assert torch.equal(hold_out(Images(data.x))[1].x, data.x[:10])
    rest, held = hold_out(Images(data.x[:3], torch.tensor([0, 1, 1])))
    assert (rest.y.tolist(), held.y.tolist()) == ([0, 1], [1])
    rest, held = hold_out(Images(torch.rand(1000, 1, 1, 1), torch.arange(1000) % 300))
    assert set(rest.y.tolist()) == set(range(300))
    with pytest.raises(ValueError, match='one image'): hold_out(data[:1])


def test_rare_classes_do_not_end_a_training(tmp_path):
    data = toy(40)
    data.y = torch.tensor([9]*4 + [i % 9 for i in range(36)])
    with pytest.raises(ValueError, match='labels go up to 9, but there are 2 class names'): run_with(data, tmp_path/'a', steps=55)
    data.class_names = None
    net = run_with(data, tmp_path/'a', steps=55, width=4, depth=1, dim=8, batch=8)
    assert net.num_classes == 10
    data.y[3] = -1
    with pytest.raises(ValueError, match='labels must be 0 or more'): run_with(data, tmp_path/'b', steps=1, width=4, depth=1, dim=8)


@pytest.mark.parametrize('minutes', [0, -1, math.nan, math.inf])
def test_minutes_that_are_none(tmp_path, minutes):
    with pytest.raises(ValueError, match='minutes must be'): run_with(toy(), tmp_path/'a', steps=3, minutes=minutes)
    assert not (tmp_path/'a').exists()


def test_images_seen_by_large_batches(tmp_path):
    net = run_with(toy(20), tmp_path, steps=3, batch=500, width=4, depth=1, dim=8)
    assert net.card['images_seen'] == 3*18


@pytest.mark.parametrize('state', ['[]', '{}', '3'])
def test_checkpoint_without_what_it_needs(tmp_path, state):
    from safetensors.torch import save_file
    save_file({'a': torch.zeros(1)}, tmp_path/'checkpoint.safetensors', {'state': state})
    with pytest.raises(ValueError, match='is not a checkpoint'): read_state(tmp_path/'checkpoint.safetensors')


def test_ctrl_c_loses_no_step(tmp_path, monkeypatch):
    small, whole = dict(steps=8, batch=8, width=4, depth=1, dim=8), Trainer.advance
    before = signal.signal(signal.SIGINT, signal.default_int_handler) # a job in the background ignores the signal
    straight = run_with(toy(), tmp_path/'a', **small)

    def advance(self):
        if self.step == 4: os.kill(os.getpid(), signal.SIGINT)
        return whole(self)
    monkeypatch.setattr(Trainer, 'advance', advance)
    with pytest.raises(KeyboardInterrupt): run_with(toy(), tmp_path/'b', **small)
    monkeypatch.setattr(Trainer, 'advance', whole)
    assert read_state(tmp_path/'b'/'checkpoint.safetensors')['step'] == 5
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
    again = run_with(toy(), tmp_path/'b', **small)
    for p, q in zip(straight.net.parameters(), again.net.parameters(), strict=True): assert torch.equal(p, q)


def test_card(trained):
    net, path = trained
    card = json.loads(path.with_suffix('.json').read_text())
    assert card == net.card
    assert len(card['data']['sha256']) == len(card['sha256']) == 64
    assert card['images_seen'] == 40
    assert card['loss_times'] == loss_times
    for part in ('creativity train', '--arch resnet', '--steps 5', '--batch 8', '--seed 0'): assert part in card['command']
    with pytest.raises(ValueError, match='give a label'): net.denoise(seed_noise([0], net.shape), .5)


def edited(trained, tmp_path, **changes):
    _, path = trained
    new = tmp_path/'n.safetensors'
    new.write_bytes(path.read_bytes())
    card = {k: v for k, v in {**json.loads(path.with_suffix('.json').read_text()), **changes}.items() if v is not None}
    new.with_suffix('.json').write_text(json.dumps(card))
    return new


@pytest.mark.parametrize(('changes', 'says'), [
    (dict(schedule=None), 'no schedule'), (dict(args=None), 'no args'), (dict(network='VAE'), 'unknown network'),
    (dict(schedule=dict(name='Sine')), 'unknown schedule'), (dict(network='UNet', args={}), 'another architecture'),
    (dict(args=dict(width=32, classes=2)), 'another architecture'), (dict(args=dict(wide=3)), 'wide')])
def test_bad_cards(trained, tmp_path, changes, says):
    with pytest.raises(ValueError, match=says) as e: load_network(edited(trained, tmp_path, **changes))
    assert one_line(e)


def test_bad_files(trained, tmp_path):
    path = edited(trained, tmp_path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match='not a safetensors file'): load_network(path)
    path.with_suffix('.json').write_text('{"network": ')
    with pytest.raises(ValueError, match='not JSON'): load_network(path)
    path.with_suffix('.json').unlink()
    with pytest.raises(FileNotFoundError, match='card'): load_network(path)
    with pytest.raises(FileNotFoundError, match='no network') as e: load_network('fashion_mnist-vit')
    assert isinstance(e.value, CreativityError)


def test_weights_with_nan(tmp_path):
    net = build(width=8)
    net.up.conv.weight[0, 0, 0, 0].data.fill_(float('nan'))
    card = dict(network='ResNet', args=net.args, shape=[1, 16, 16], schedule=S.to_dict())
    with pytest.raises(ValueError, match='NaN'): save_network(net, tmp_path/'n.safetensors', card)


def test_shipped_networks():
    from pathlib import Path

    import creativity
    for path in (Path(creativity.__file__).parent/'assets'/'networks').glob('*.safetensors'):
        net = load_network(path.stem)
        assert path.stat().st_size <= 3e6
        assert net.card['name'] == path.stem
        x = seed_noise(range(2), net.shape)
        assert net.denoise(x, .5, 3 if net.num_classes else None).isfinite().all()


@pytest.mark.parametrize('name', ['mnist-resnet', 'mnist-unet'])
def test_a_seed_gives_the_same_image_alone_and_in_a_batch(name):
    net = load_network(name)
    alone, beside = sample(net, [0], 20, progress=False)[0], sample(net, 6, 20, progress=False)[0]
    assert (alone - beside).abs().max() < 1e-3


# begun with another

def test_a_run_begins_with_a_trained_network(tmp_path):
    first = tiny(tmp_path/'a', steps=20)
    net = tiny(tmp_path/'b', steps=1, lr=1e-12, arch='resnet-circular', begin=tmp_path/'a'/'network.safetensors')
    for p, q in zip(first.net.parameters(), net.net.parameters(), strict=True): assert torch.equal(p, q)
    assert net.net.args['padding'] == 'circular'
    assert net.card['begin'] == {k: first.card[k] for k in ('name', 'sha256', 'images_seen')} | dict(curve=whole_curve(first.card))
    assert f'--begin {first.card["name"]} ' in net.card['command']
    assert 'begin' not in first.card
    third = tiny(tmp_path/'e', steps=2, begin=tmp_path/'b'/'network.safetensors')
    assert third.card['begin']['images_seen'] == first.card['images_seen'] + net.card['images_seen']
    assert whole_curve(third.card)[:-1] == whole_curve(net.card)
    assert whole_curve(third.card)[-1][0] == total_seen(third.card)
    assert total_seen(third.card) == sum(n.card['images_seen'] for n in (first, net, third))
    with pytest.raises(ValueError, match='begin name'): tiny(tmp_path/'b', steps=2, lr=1e-12, arch='resnet-circular')
    with pytest.raises(ValueError, match='cannot begin a'): tiny(tmp_path/'c', begin='mnist-resnet')
    with pytest.raises(FileNotFoundError, match='no network'): tiny(tmp_path/'d', begin='mnist-resnot')


def test_loading_a_network_imports_no_compiler():
    "PyTorch's takes a second, which every program that loads a network would pay."
    code = "import sys, creativity; creativity.load_network('fashion_mnist-resnet'); print('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout == 'False\n'
