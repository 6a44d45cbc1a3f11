"Past one machine: dictionaries on disk, ranks that share one, ranks that fail, and runs that go on."
import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from forks import on_ranks, program
from PIL import Image

from creativity.app.cli import free_port
from creativity.data.disk import image_version, open_dictionary, write_dictionary
from creativity.data.find import load, make_dictionary
from creativity.data.images import from_uint8
from creativity.data.store import TensorStore
from creativity.diffusion import add_noise, sample, seed_noise
from creativity.errors import CreativityError
from creativity.machines.shared import ranks, sample_shared, seed_group, share, wait_for_ranks
from creativity.machines.whole import ESMachine, ISMachine
from creativity.machines.windows import BBELSMachine, ELSMachine, LSMachine, Machine
from creativity.runs import reopen_run
from creativity.studies.growth import step_cost

HERE = Path(__file__).resolve().parent


def make(folder, n=40, labels=(12, 1, 27)):
    "A dictionary of n real images of 12×12 pixels, in classes of these sizes."
    a = np.ascontiguousarray(((load('fashion_mnist', n=n).x.numpy() + 1)*127.5).round().astype(np.uint8)[:, :, 10:22, 10:22])
    ends = np.cumsum(labels).tolist()
    classes = {c: slice(e - m, e) for c, (e, m) in enumerate(zip(ends, labels, strict=True))}
    return write_dictionary(folder, iter([a[:7], a[7:]]), a.shape, classes, 'test')


def query(d, t, seed=0):
    m = LSMachine(d.read(0, 2))
    return add_noise(d.read(0, 2), seed_noise([seed, seed + 1], d.shape[1:]), t, m.schedule)


# The dictionary on disk

@pytest.mark.parametrize('kind', [LSMachine, BBELSMachine, ELSMachine, ISMachine, ESMachine])
@pytest.mark.parametrize(('t', 'label'), [(.02, None), (.5, 2), (1., 1)])
def test_on_disk_as_in_memory(tmp_path, kind, t, label):
    d = make(tmp_path/'d')
    y = torch.cat([torch.full((s.stop - s.start,), c) for c, s in d.class_slices.items()])
    a, b, x = kind(replace(d, piece_bytes=4000)), kind(d.read(0, 40), y), query(d, t)
    widths = {'k': 5} if kind.windowed else {}
    p, q = (m.belief(x, t, label=label, **widths) for m in (a, b))
    torch.testing.assert_close(p.mean, q.mean, atol=1e-4, rtol=0)
    torch.testing.assert_close(p.variance, q.variance, atol=1e-4, rtol=0)
    torch.testing.assert_close(p.entropy, q.entropy, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(p.log_evidence, q.log_evidence, atol=2e-2, rtol=1e-5)
    clear = q.weight > .6
    assert (p.image == q.image)[clear].all()
    unset = ', no widths' if kind.windowed else ''
    assert repr(a) == f'{kind.__name__}(40 images 1×12×12, 3 classes{unset}, CosineSchedule)'
    with pytest.raises(ValueError, match='label 9 is not in the data'): a.denoise(x, t, label=9, **widths)


def test_rivals_in_different_pieces_are_doubted_together():
    "Each piece is sure of its only candidate; merged in float32, they would be wrong by more than the promise allows."
    base, other = load('cifar10', 'test', n=2).x.split(1)
    a, sigma = (f(.02).item() for f in (LSMachine(base).schedule.a, LSMachine(base).schedule.sigma))
    for seed in range(3):
        twin = (base + 1e-5*seed_noise([seed], (3, 32, 32))).clamp(-1, 1)
        twin[:, :, 16, 16] = -base[:, :, 16, 16]
        q = a*other
        q[:, :, 16, 16] = a*(base + twin)[:, :, 16, 16]/2
        m = LSMachine(TensorStore(torch.cat([base, twin]), most=1))
        truth = LSMachine(torch.cat([base, twin]).double()).denoise(q.double(), .02, k=17)
        once, = Machine.class_sums(m, q, None, 17, [a], [sigma], False)
        assert (once.num/once.z - truth[0]).abs().max() > 3e-4
        torch.testing.assert_close(m.denoise(q, .02, k=17).double(), truth, atol=1e-5, rtol=0)


def test_sources(tmp_path):
    rng = np.random.default_rng(0)
    a, y = rng.integers(0, 256, (9, 8, 8, 3), np.uint8), np.array([1, 0, 1, 0, 0, 1, 2, 2, 0])
    np.save(tmp_path/'a.npy', a)
    np.savez(tmp_path/'b.npz', images=a, labels=y)
    for i in range(9):
        (tmp_path/'c'/str(y[i])).mkdir(parents=True, exist_ok=True)
        Image.fromarray(a[i]).save(tmp_path/'c'/str(y[i])/f'{i}.png')
    channels = a.transpose(0, 3, 1, 2)
    plain, sorted_, files = (make_dictionary(tmp_path/f'to_{n}', str(tmp_path/n), size=8) for n in ('a.npy', 'b.npz', 'c'))
    assert plain.class_slices == {}
    assert torch.equal(plain.read(0, 9), from_uint8(channels))
    for d in (sorted_, files):
        assert d.class_slices == {0: slice(0, 4), 1: slice(4, 7), 2: slice(7, 9)}
        assert torch.equal(d.read(0, 9), from_uint8(channels[np.argsort(y, kind='stable')]))
    named = make_dictionary(tmp_path/'mnist', 'mnist', versions=3)
    assert named.shape == (3*len(load('mnist')), 1, 32, 32)
    assert len(list(tmp_path.glob('.*'))) == 0
    open_dictionary(tmp_path/'mnist')
    assert make_dictionary(tmp_path/'mnist', str(tmp_path/'a.npy')).shape == (9, 3, 8, 8)    # replaced


def test_versions_differ():
    a = np.random.default_rng(0).integers(0, 256, (1, 1, 8, 8), np.uint8)
    assert len({image_version(a, v).tobytes() for v in range(50)}) == 50
    with pytest.raises(ValueError, match='0 to 49'): image_version(a, 50)


def damage(folder, how):
    images, facts = folder/'images.npy', folder/'dictionary.json'
    raw, text = images.read_bytes(), facts.read_text()
    if how == 'cut off': images.write_bytes(raw[:-1])
    if how == 'SHA-256': images.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    if how == 'no .npy file': images.write_bytes(b'PK' + raw[2:])
    if how == 'must hold uint8': np.save(images, np.zeros((2, 1, 3, 3)))
    if how == 'lies outside': images.rename(folder.parent/'x.npy'); images.symlink_to(folder.parent/'x.npy')
    if how == 'there is no dictionary.json': facts.unlink()
    if how == 'is damaged': facts.write_text(text[:50])
    if how == 'has format 2': facts.write_text(json.dumps(json.loads(text) | {'format': 2}))
    if how == 'does not fit': facts.write_text(json.dumps(json.loads(text) | {'classes': {'0': [0, 5], '1': [6, 40]}}))


@pytest.mark.parametrize('how', ['cut off', 'SHA-256', 'no .npy file', 'must hold uint8', 'lies outside', 'there is no dictionary.json',
                                 'is damaged', 'has format 2', 'does not fit'])
def test_damaged_dictionaries_are_refused_in_one_line(tmp_path, how):
    damage(make(tmp_path/'d').folder, how)
    with pytest.raises((ValueError, FileNotFoundError), match=how) as e: open_dictionary(tmp_path/'d')
    assert '\n' not in str(e.value)


def test_bad_sources(tmp_path):
    np.save(tmp_path/'objects.npy', np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path/'floats.npy', np.zeros((2, 8, 8)))
    (tmp_path/'other').mkdir()
    (tmp_path/'other'/'a.png').write_bytes(b'no image')
    for data, what in (('objects.npy', 'pickle'), ('floats.npy', 'uint8'), ('none.npy', 'is no image set'), ('other', 'cannot be read'), ('nothing', 'no image set')):
        with pytest.raises((ValueError, FileNotFoundError), match=what): make_dictionary(tmp_path/'d', str(tmp_path/data))
    with pytest.raises(ValueError, match='versions are made of named'): make_dictionary(tmp_path/'d', str(tmp_path/'floats.npy'), versions=2)
    with pytest.raises(ValueError, match='no dictionary'): make_dictionary(tmp_path/'other', 'mnist')
    with pytest.raises(ValueError, match='instead of 3'): write_dictionary(tmp_path/'d', iter([np.zeros((2, 1, 4, 4), np.uint8)]), (3, 1, 4, 4))
    with pytest.raises(ValueError, match='pieces must be uint8'): write_dictionary(tmp_path/'d', iter([np.zeros((2, 1, 4, 5), np.uint8)]), (2, 1, 4, 4))
    assert sorted(p.name for p in tmp_path.iterdir()) == ['floats.npy', 'objects.npy', 'other']


# Ranks

def agree(rank, folder, world, port):
    "One rank of several: it answers as one process does, and to the bit as the others."
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    torch.set_num_threads(1)
    d = open_dictionary(folder)
    y = torch.cat([torch.full((s.stop - s.start,), c) for c, s in d.class_slices.items()])
    P = world
    every_cut = (None, [0]*P + [40], [*[0, 30, *[30]*(P - 2), 40][:P], 40], [0, *[13]*(P - 1), 40])
    with ranks(60):
        for kind in (BBELSMachine, LSMachine, ISMachine):
            widths = {'k': 5} if kind.windowed else {}
            for t, label in ((.02, 0), (.4, 1), (.6, None)):
                x = query(d, t)
                c = kind(d.read(0, 40), y).belief(x, t, label=label, **widths)
                for cuts in every_cut:
                    m = kind(share(replace(d, piece_bytes=4000), dist.group.WORLD, cuts, timeout=60))
                    b, case = m.belief(x, t, label=label, **widths), f'{kind.__name__} {cuts} {t} {label}'
                    assert torch.allclose(b.mean, c.mean, atol=1e-4, rtol=0), case
                    if t == .6: assert torch.allclose(m.denoise(x, t, label, **widths), c.mean.to(x), atol=1e-4, rtol=0), case
                    assert torch.allclose(b.entropy, c.entropy, atol=2e-3, rtol=1e-3), case
                    assert torch.allclose(b.log_evidence, c.log_evidence, atol=2e-2, rtol=1e-5), case
                    assert (b.image == c.image)[c.weight > .6].all(), case
                    if t == .4: assert torch.allclose(b.variance, c.variance, atol=1e-4, rtol=0), case
                    both = [torch.empty_like(b.mean) for _ in range(P)]
                    dist.all_gather(both, b.mean)
                    images = [torch.empty_like(b.image) for _ in range(P)]
                    dist.all_gather(images, b.image)
                    assert all(torch.equal(v, b.mean) for v in both), case # to the bit, on every rank
                    assert all(torch.equal(v, b.image) for v in images), case
        assert dist.get_world_size() == P
    return P


def torchrun(n, *words, cwd, **env):
    env = os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONPATH': os.pathsep.join([str(HERE), str(HERE.parent)])} | env
    cmd = [sys.executable, '-m', 'torch.distributed.run', '--standalone', f'--nproc-per-node={n}', *map(str, words)]
    return subprocess.run(cmd, capture_output=True, text=True, cwd=cwd, env=env, timeout=150)


def command(rank, words, world, port, cwd):
    "The program as torchrun starts it on one rank: exit code and what it wrote."
    env = dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    return program(words, env, cwd)


@pytest.mark.parametrize('n', [2, 4])
def test_ranks_agree_with_one_process(tmp_path, n):
    "Equal shares; all images on the last rank; uneven ones with empty shards; class 0 on rank 0 alone."
    d, port = make(tmp_path/'d'), free_port()
    assert on_ranks(n, agree, d.folder, n, port) == [n]*n


@pytest.fixture
def world(tmp_path):
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    yield dist.group.WORLD
    dist.destroy_process_group()


def test_one_rank(tmp_path, world):
    d = make(tmp_path/'d')
    x = query(d, .5)
    m = BBELSMachine(share(d, world))
    torch.testing.assert_close(m.denoise(x, .5, k=5), BBELSMachine(d.read(0, 40)).denoise(x, .5, k=5), atol=1e-4, rtol=0)
    wait_for_ranks(world, 1)
    with pytest.raises(ValueError, match='shards=2'): seed_group(2, 5)
    for cuts in ([0, 39], [0, 20, 40], [40, 0]):
        with pytest.raises(ValueError, match='cuts must rise'): share(d, world, cuts)


BROKEN = '''
import sys, os, time
from creativity.__main__ import main
from creativity.machines.shared import SharedStore
calls, share = [], SharedStore.share
def broken(*args):
    calls.append(1)
    if os.environ['RANK'] == '1' and len(calls) == 3: os._exit(9) if os.environ['HOW'] == 'dies' else time.sleep(1000)
    return share(*args)
SharedStore.share = broken
main()
'''


@pytest.mark.parametrize('how', ['dies', 'hangs'])
def test_a_lost_rank_ends_the_run_and_it_goes_on(tmp_path, how):
    d = make(tmp_path/'d')
    (tmp_path/'broken.py').write_text(BROKEN)
    words = ['sample', '--data', d.folder, '--scales', 3, '--seeds', 3, '--steps', 2, '--timeout', 5, '--out', tmp_path/'out']
    r = torchrun(2, 'broken.py', *words, cwd=tmp_path, HOW=how)
    assert r.returncode != 0
    if how == 'hangs': assert 'rank 0: another rank died, or did not answer within 5 s' in r.stderr
    assert ('exitcode  : 9' if how == 'dies' else 'Rank 1') in r.stderr         # torchrun, and rank 0, say which
    run = reopen_run(tmp_path/'out')
    assert run.seeds() == [0]
    # one of the two goes on
    if how == 'hangs': return
    before = run.path(0).stat().st_mtime_ns
    codes, out, err = zip(*on_ranks(2, command, [*words, '--shards', 1], 2, free_port(), tmp_path), strict=True)       # now two groups of one rank
    assert not any(codes), err
    assert ''.join(out).count('made') == 2
    assert run.path(0).stat().st_mtime_ns == before
    x = torch.stack([torch.from_numpy(run.read(s)[0]['image']) for s in range(3)])
    torch.testing.assert_close(x, sample(BBELSMachine(d.read(0, 40), scales=3), [0, 1, 2], 2), atol=1e-3, rtol=0)
    assert (tmp_path/'out'/'samples.png').is_file()


def test_one_run_goes_on_and_another_is_refused(tmp_path, world, capsys):
    d = make(tmp_path/'d')
    def make_machine(group, d=d, kind=BBELSMachine): return kind(share(d, group), scales=3)
    def go_on(make=make_machine, seeds=(0, 1), **settings): return sample_shared(make, tmp_path/'out', seeds, **{'steps': 2} | settings)
    first = go_on(seeds=[0])
    assert torch.equal(go_on()[0], first[0])
    assert capsys.readouterr().out.splitlines() == ['seed 0: made', 'seed 1: made']
    for other, words in ((dict(steps=3), 'steps 2, not 3'), (dict(label=1), 'label null, not 1'), (dict(method='ddpm'), 'method'),
                         (dict(make=partial(make_machine, kind=LSMachine)), 'kind "BBELSMachine", not "LSMachine"'),
                         (dict(make=partial(make_machine, d=d[:39])), 'crc'), (dict(facts={'n': 3}), 'n null, not 3')):
        with pytest.raises(CreativityError, match=f'holds another run, with {words}'): go_on(**other)
    path = reopen_run(tmp_path/'out').path(1)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CreativityError, match='is damaged'): go_on(seeds=(0, 1, 2))
    assert capsys.readouterr().out == ''


def test_costs_on_paper():
    c = step_cost(1000, 10, (3, 8, 8), 4, 2., bandwidth=1e9, latency=0)
    assert c['sums'] == pytest.approx(1000*10*2e-9/4)
    assert c['volume'] == 8*5*64
    assert c['reduce'] == pytest.approx(1.5*c['volume']/1e9)
