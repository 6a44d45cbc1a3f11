"The command line: help, files, repeatability, bad input in one line, interrupts that leave nothing half-written, the demo."
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import creativity
from creativity.app import cli, demo
from creativity.data.find import load
from creativity.data.images import from_uint8
from creativity.data.sets import write_npz
from creativity.data.show import save_grid
from creativity.diffusion import sample
from creativity.machines.windows import ELSMachine, LSMachine
from creativity.networks import wrap
from creativity.studies import speed
from creativity.studies.command import stored

pytestmark = pytest.mark.usefixtures('brief_look', 'rough_intervals')
PROGRAM = [sys.executable, "-m", "creativity"]
COMMANDS = sorted(c.name or c.callback.__name__ for c in cli.app.registered_commands)
TINY = '--label 3 --n 6 --seeds 2 --steps 2'


def refused(result, *words):
    "Exit code 2, one line on stderr with these words, nothing on stdout."
    code, out, err = result
    assert (code, out) == (2, '')
    assert err.startswith('creativity: error: ')
    assert err.endswith('\n')
    assert err.count('\n') == 1
    for w in words: assert w in err


def own_images(folder, name='mnist', n=10):
    "Images of the package as files of one's own."
    for i, x in enumerate(load(name, n=n).x): save_grid(x, folder/f'{i}.png', scale=1)


def files(folder): return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob('*') if p.is_file())


# Help

def test_program_in_a_process():
    start = time.perf_counter()
    r = subprocess.run([*PROGRAM, '--help'], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    assert all(f'  {c} ' in r.stdout for c in COMMANDS)
    assert time.perf_counter() - start < 3       # far below what importing torch takes with it
    r = subprocess.run([*PROGRAM, 'sample', '--seeds', '-1'], capture_output=True, text=True)
    refused((r.returncode, r.stdout, r.stderr), '--seeds must be at least 1, got -1')


def test_help_needs_no_torch():
    code = 'import sys, creativity.app.cli; assert not {"torch", "matplotlib", "numba"} & set(sys.modules)'
    subprocess.run([sys.executable, '-c', code], check=True)


@pytest.mark.parametrize('name', COMMANDS)
def test_help_shows_an_example_that_parses(run, name):
    code, out, _ = run(f'{name} --help')
    assert code == 0
    example = re.search(r'Example:\n +(creativity .*)', out).group(1)
    command = cli.typer.main.get_command(cli.app).commands[name]
    command.make_context(name, shlex.split(example)[2:])
    assert all(re.search(rf'{p.opts[0]}\b.* \S', out) for p in command.params if p.param_type_name == 'option' and p.name != 'help')


def test_top(run):
    assert run('--version') == (0, f'creativity {creativity.__version__}\n', '')
    assert run('')[:2] == run('--help')[:2]
    refused(run('smaple'), "'smaple'")
    refused(run('sample --sed 3'), '--sed')
    refused(run('sample --steps ten'), '--steps')


# sample

@pytest.mark.parametrize('machine', ['is', 'es', 'ls', 'els', 'bbels'])
def test_sample_writes_png_and_npz(run, tmp_path, machine):
    widths = '' if machine in ('is', 'es') else '--k 3'
    code, out, _ = run(f'sample --machine {machine} {TINY} {widths} --out a/b')
    assert code == 0
    assert out.splitlines()[-1] == 'wrote a/b/samples.png, a/b/samples.npz, a/b/seed_000000.png, a/b/seed_000001.png'
    assert files(tmp_path) == ['a/b/samples.npz', 'a/b/samples.png', 'a/b/seed_000000.png', 'a/b/seed_000001.png']
    with np.load('a/b/samples.npz', allow_pickle=False) as z: a = dict(z)
    assert (a['images'].shape, a['images'].dtype) == ((2, 1, 32, 32), np.float32)
    assert (str(a['machine']), a['seeds'].tolist(), str(a['label'])) == (f'{machine.upper()}Machine', [0, 1], '3')
    assert ('scales' in a) == bool(widths)
    with Image.open('a/b/samples.png') as im: assert im.size == ((2*32 + 2)*4, 32*4)
    with Image.open('a/b/seed_000001.png') as im: one = from_uint8(np.array(im))[..., 0]
    assert (one - torch.tensor(a['images'][1, 0]).clamp(-1, 1)).abs().max() <= 1/255 + 1e-6


def test_sample_is_what_the_library_gives_and_repeats(run):
    def images(line):
        assert run(f'sample --machine ls --data mnist --label 7 --n 10 --steps 3 --scales 3,5,9 {line} --out x')[0] == 0
        with np.load('x/samples.npz', allow_pickle=False) as z: return torch.tensor(z['images'])
    a = images('--seeds 3 --seed 5')
    d = load('mnist', n=10, label=7)
    assert torch.equal(a, sample(LSMachine(d.x, scales=[3, 5, 9]), range(5, 8), 3))
    assert torch.equal(images('--seeds 3 --seed 5'), a)
    assert torch.allclose(images('--seeds 1 --seed 7')[0], a[2], atol=1e-6)
    assert not torch.equal(images('--seeds 3 --seed 6'), a)
    assert not torch.equal(images('--seeds 3 --seed 5 --method ddpm'), a)


def test_sample_takes_class_names_published_scales_and_folders(run, tmp_path):
    own_images(tmp_path/'mine', 'cifar10', 3)
    assert run('sample --machine ls --label "Ankle boot" --n 4 --seeds 1 --steps 2 --scales mnist-unet')[0] == 0
    with np.load('out/sample/samples.npz', allow_pickle=False) as z:
        assert (str(z['label']), z['scales'].tolist()[-1]) == ('Ankle boot', 27)
    assert run('sample --machine els --data mine --seeds 1 --steps 2 --k 3')[0] == 0
    with np.load('out/sample/samples.npz', allow_pickle=False) as z: got = torch.tensor(z['images'])
    want = sample(ELSMachine(load('cifar10', n=3).x, scales=3), 1, 2)
    assert torch.allclose(got, want, atol=1e-5)


@pytest.mark.parametrize(('line', 'word'), [
    ('--machine elk', 'choose is, es, ls, els, bbels'),
    ('--data cifar11', 'choose mnist, fashion_mnist, cifar10'),
    ('--data cifar11 --full', 'cifar11'),
    ('--full', 'creativity data fashion_mnist'),
    ('--label 10', 'choose 0 to 9 or one of T-shirt/top'),
    ('--label hat', 'Trouser'),
    ('--label 3 --n 0', '--n must be at least 1'),
    ('--label 3 --n 501', 'there are 500'),
    ('--k 4', 'must be odd'),
    ('--k 0', 'must be odd'),
    ('--k -3', 'must be odd'),
    ('--k 65', '63'),
    ('--scales 3,4,5', 'must be odd'),
    ('--scales 3;5', 'there are cifar10-resnet'),
    ('--scales celeba-vit', 'give widths, as 5 or 3,5,7, or a name'),
    ('--seeds 0', '--seeds must be at least 1'),
    ('--seeds -2', '--seeds must be at least 1'),
    ('--seed -1', '--seed must be at least 0'),
    ('--steps 0', '--steps must be at least 1'),
    ('--method dpm', 'choose ddim, ddpm, euler, heun'),
    ('--device abacus', 'choose cpu, cuda or mps'),
    ('--out file/below', 'file/below'),
    ('--data . --label 3', 'no image files'),
    ('--data . --n 1', 'no image files'),
])
def test_sample_refuses(run, tmp_path, line, word):
    (tmp_path/'file').write_text('')
    start = time.perf_counter()
    refused(run(f'sample {line}'), word)
    assert time.perf_counter() - start < 5
    assert files(tmp_path) == ['file']


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='root may write anywhere')
def test_read_only_folder_is_refused(run, tmp_path):
    (tmp_path/'locked').mkdir(mode=0o500)
    refused(run(f'sample {TINY} --out locked/x'), 'locked', 'denied')


# Interrupts and full disks

def test_ctrl_c_leaves_nothing(tmp_path):
    p = subprocess.Popen([*PROGRAM, *'sample --label 3 --seeds 50 --out out'.split()], cwd=tmp_path, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, # and not deaf to it, as what a script starts in the background is:
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        for _ in range(600):
            if (tmp_path/'out').exists() or p.poll() is not None: break
            time.sleep(.05)
        time.sleep(.5)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60)
    finally: p.kill()
    assert (p.returncode, out) == (130, ''), err
    assert err.splitlines()[-1].endswith('creativity: interrupted')
    assert 'Traceback' not in err
    assert files(tmp_path) == []


@pytest.mark.parametrize(('error', 'code', 'words'), [
    (KeyboardInterrupt(), 130, 'creativity: interrupted'),
    (OSError(28, 'No space left on device'), 2, 'creativity: error: cannot write out/samples.npz: No space left on device'),
    (MemoryError(), 2, 'creativity: error: MemoryError'),
])
def test_a_file_is_whole_or_not_there(run, tmp_path, monkeypatch, error, code, words):
    def half(f, **arrays):
        f.write(b'half')
        raise error
    assert run(f'sample {TINY} --machine is --out out')[0] == 0
    before = Path('out/samples.npz').read_bytes()
    monkeypatch.setattr(np, 'savez_compressed', half)
    got = run(f'sample {TINY} --machine is --seed 9 --out out')
    assert (got[0], got[2]) == (code, words + '\n')
    assert files(tmp_path) == ['out/samples.npz', 'out/samples.png', 'out/seed_000000.png', 'out/seed_000001.png']
    assert Path('out/samples.npz').read_bytes() == before


def test_a_bug_keeps_its_traceback(monkeypatch):
    def bug(*args, **kwargs): raise ZeroDivisionError
    monkeypatch.setattr(cli, 'read_device', bug)
    assert isinstance(CliRunner().invoke(cli.app, ['sample']).exception, ZeroDivisionError)


# data, bench and train

def test_data(run, tmp_path):
    code, out, _ = run('data')
    assert code == 0
    assert 'fashion_mnist  Fashion-MNIST  5,000 training' in out
    assert out.splitlines()[-1] == f'cache: {tmp_path/"cache"}'
    refused(run('data kmnist'), 'choose mnist, fashion_mnist, cifar10')
    refused(run('data mnist --retries -1'), '--retries')
    refused(run('data mnist --mirror http://127.0.0.1:9 --retries 0'), 'could not be fetched')
    assert files(tmp_path) == []


def test_bench(run, monkeypatch):
    refused(run('bench --k 3 --k 4'), '--k must be odd')
    refused(run('bench --n 2001'), 'there are 2000')
    asked, found = [], {k: v for k, v in stored('speed').items() if k != 'command'}
    monkeypatch.setattr(speed, 'bench', lambda *args: asked.append(args) or found)
    code, out, _ = run('bench --quick --n 8 --k 17 --out b')
    assert code == 0
    assert asked == [([17], 8, 1, 'cpu', False)]
    assert out == speed.bench_table(found) + '\nwrote b/bench.json, b/bench.txt, b/bench.png\n'
    assert json.loads(Path('b/bench.json').read_text()) == found | dict(command='creativity bench --quick --k 17 --n 8 --repeats 3')


def test_train(run, tmp_path):
    own_images(tmp_path/'mine')
    line = 'train --data mine --batch 4 --out net'
    code, out, _ = run(f'{line} --steps 2')
    assert code == 0
    assert out.splitlines()[0] == 'training on 9 images of mine, 1 held out for the loss curve'
    assert out.splitlines()[-1] == 'wrote ' + ', '.join(f'net/{f}' for f in ('network.safetensors', 'network.json', 'curve.csv', 'checkpoint.safetensors'))
    assert run(f'{line} --steps 3')[0] == 0
    assert json.loads(Path('net/network.json').read_text())['steps'] == 3
    refused(run(f'{line} --steps 4 --seed 1'), 'choose another folder')
    refused(run(line), 'steps, minutes')
    refused(run('train --arch vit --steps 2'), 'choose resnet')
    refused(run('train --preset huge --steps 2'), 'choose paper')
    refused(run('train --data mnist --full --steps 2 --out n2'), 'creativity data mnist')
    refused(run('train --steps 2 --out net/network.json/x'), 'net/network.json')


@pytest.mark.parametrize('rest', ['--steps 3', '--steps 5 --stop 3'])
def test_command_on_the_card_trains_the_same_network(run, tmp_path, rest):
    "Of a run that ended early, was planned anew, and was extended after its end: all that the card says, in another folder."
    own_images(tmp_path/'mine')
    line = 'train --data mine --arch resnet-circular --batch 2 --lr 0.01 --seed 7'
    ends = []
    for plan in (rest, '--steps 4', '--steps 6'):
        code, out, err = run(f'{line} {plan} --out a')
        assert code == 0, err
        ends.append(out.splitlines()[-2])
    assert ends[0] == 'step 3 of 5, ended early by --minutes or --stop' if 'stop' in rest else 'step 3 of 3'
    assert ends[1:] == ['step 4 of 4; planned anew at step 3', 'step 6 of 6; planned anew at step 3, 4']
    card = json.loads(Path('a/network.json').read_text())
    commands = card['command'].split(' && ')
    assert len(commands) == 3
    for c in commands: assert run(f'{c.removeprefix("creativity ")} --out b')[0] == 0
    again = json.loads(Path('b/network.json').read_text())
    assert (again['sha256'], again['plans']) == (card['sha256'], card['plans'])
    refused(run(f'{line} --steps 5 --out a'), 'a run of 6 steps, but 5 were')


@pytest.mark.parametrize(('data', 'begin'), [('fashion_mnist', 'fashion_mnist-resnet'), ('mnist --unconditional', 'mnist-resnet')])
def test_train_begins_with_a_network(run, few_held_out, data, begin):
    line = f'train --data {data} --arch resnet-circular --batch 2 --steps 1 --seed 3'
    assert run(f'{line} --begin {begin} --out a')[0] == 0
    card = json.loads(Path('a/network.json').read_text())
    assert card['begin']['name'] == begin
    assert run(f'{card["command"].removeprefix("creativity ")} --out b')[0] == 0
    assert json.loads(Path('b/network.json').read_text())['sha256'] == card['sha256']
    refused(run(f'{line} --out a'), f'begin name {begin}, but None')
    refused(run(f'{line} --begin mnist-unet --out c'), 'cannot begin a')


def test_folder_of_images_from_training_to_comparison(run, tmp_path, monkeypatch):
    "What makes a row of a user's own images, such as CelebA's: larger than 32 pixels, not square, in a sub-folder, PNG and JPEG."
    looked = []     # why a network of two steps is bad is found elsewhere, and takes more than all else here
    monkeypatch.setattr(wrap, '_cause', lambda *args: looked.append(args) or 'hardly trained')
    folder = tmp_path/'celeba'/'img_align'
    folder.mkdir(parents=True)
    for i, x in enumerate(load('cifar10', n=12).x):
        pixels = Image.fromarray(((x + 1)*127.5).byte().permute(1, 2, 0).numpy())
        pixels.resize((178, 218)).save(folder/f'{i}.{"jpg" if i % 3 else "png"}')
    assert run('train --data celeba --batch 4 --steps 2 --out net')[0] == 0
    card = json.loads(Path('net/network.json').read_text())
    assert (card['name'], card['shape'], card['data']['images']) == ('celeba-resnet', [3, 32, 32], 11)
    small = '--network net/network.safetensors --data celeba --seeds 2 --steps 2'
    code, out, err = run(f'calibrate {small} --widths 3,5 --out cal')
    assert code == 0, err
    assert out.splitlines()[-1] == 'wrote cal/network-scales.json'
    stored = json.loads(Path('cal/network-scales.json').read_text())
    assert (stored['data'], stored['images']) == ('celeba', 12)
    assert '--network network.safetensors --data celeba ' in stored['command']
    assert 'receptive_field' not in stored
    assert run(f'calibrate {small} --widths 3,5 --fields 2 --out cal')[:2] == (0, out)
    stored = json.loads(Path('cal/network-scales.json').read_text())
    assert stored['command'].endswith(' --fields 2')
    field = stored['receptive_field']
    assert len(field['times']) == len(field['width']) == len(field['widths']) == len(field['map'])
    assert all(len(w) == field['images'] == 2 for w in field['widths'])
    refused(run(f'calibrate {small} --widths 3,5 --fields -1'), 'fields')
    assert run('calibrate --network net/network.safetensors --seeds 2 --steps 2 --widths 3,5 --out cal')[1] == out      # the card names it
    code, out, err = run(f'compare {small} --network-steps 2 --scales 3 --out c')
    assert code == 0, err
    assert json.loads(Path('c/table.json').read_text())['images'] == 12
    code, out, err = run(f'table1 --recompute faces-resnet {small} --network-steps 2 --n 5 --out t')
    assert code == 0, err
    assert json.loads(Path('t/table1.json').read_text())['rows']['faces-resnet']['images'] == 5
    refused(run(f'compare {small} --out d'), 'creativity calibrate --network net/network.safetensors --out net')
    assert run(f'calibrate {small} --widths 3,5 --out net')[0] == 0
    code, out, err = run(f'compare {small} --network-steps 2 --out d')
    assert code == 0, err
    assert json.loads(Path('d/table.json').read_text())['scales'] == stored['scales']
    folder.parent.rename(tmp_path/'elsewhere')
    refused(run('calibrate --network net/network.safetensors'), 'trained on celeba', '--data')
    assert len(looked) > 3


def test_own_set_in_the_cache(run, few_held_out):
    "A full set that is not an official one: every command takes all of it, not a subset."
    for split, n in (('train', 9), ('test', 256)): write_npz('mine', split, np.random.default_rng(n).integers(0, 256, (n, 32, 32), dtype=np.uint8))
    assert run('train --data mine --batch 4 --steps 2 --out net')[0] == 0
    small = '--network net/network.safetensors --data mine --seeds 1 --steps 2'
    assert run(f'calibrate {small} --widths 3 --out cal')[0] == 0
    assert json.loads(Path('cal/network-scales.json').read_text())['images'] == 9
    assert run(f'compare {small} --network-steps 2 --scales 3 --out c')[0] == 0
    assert json.loads(Path('c/table.json').read_text())['images'] == 9
    write_npz('fashion_mnist', 'train', np.zeros((4, 28, 28), np.uint8), np.zeros(4, np.uint8))
    refused(run('calibrate --full --n 2'), 'not from the official')


def test_compare(run, tmp_path):
    line = 'compare --n 20 --seeds 2 --steps 2 --network-steps 2 --out c'
    code, out, _ = run(line)
    assert code == 0
    names = ['table.txt', 'table.json', 'grid.png', 'scatter.png']
    assert out.splitlines()[-1] == 'wrote ' + ', '.join(f'c/{n}' for n in names)
    assert files(tmp_path/'c') == sorted([*names, 'run.json', 'seed_000000.npz', 'seed_000001.npz'])
    first = Path('c/seed_000000.npz').stat().st_mtime_ns
    assert run(line)[1] == out
    assert Path('c/seed_000000.npz').stat().st_mtime_ns == first
    assert json.loads(Path('c/table.json').read_text())['images'] == 20
    refused(run(f'{line} --machines is'), 'choose another folder')
    refused(run('compare --machines ls,vae'), 'choose is, es')
    refused(run('compare --network none'), "no network 'none'")
    refused(run('compare --n 20 --out c/table.txt/x'), 'c/table.txt')
    own_images(tmp_path/'mine', n=3)
    for command in ('compare --data mine', 'calibrate --data mine', 'table1 --recompute fashion_mnist-resnet --data mine'):
        refused(run(command), 'conditional', 'no labels')
    (tmp_path/'file').write_text('')
    refused(run('calibrate --n 20 --out file/x'), 'cannot write')


def test_table1(run, tmp_path):
    code, out, _ = run('table1')
    assert code == 0
    assert out.count('published (network 150 steps, machines 20, 100 seeds)') == 2
    assert 'r² (square of r)' in out
    assert files(tmp_path) == []
    line = 'table1 --recompute fashion_mnist-resnet --n 20 --seeds 2 --steps 2 --network-steps 2 --out t'
    code, out, _ = run(line)
    assert code == 0
    assert out.splitlines()[-1] == 'wrote ' + ', '.join(f't/table1.{x}' for x in ('png', 'csv', 'json', 'txt'))
    assert json.loads(Path('t/table1.json').read_text())['rows']['fashion_mnist-resnet']['images'] == 20
    assert Path('t/table1.txt').read_text().strip() in out
    refused(run('table1 --recompute faces-resnet'), '--network PATH')
    refused(run('table1 --recompute celeba'), 'choose mnist-unet')
    refused(run('table1 --quick --recompute mnist-unet'), 'one of')
    refused(run('table1 --n 5'), 'go with --recompute')
    refused(run(f'{line}/table1.csv/x'), 'cannot write')
    refused(run('table1 --recompute mnist-resnet --full'), 'creativity data mnist')


# The demo

def test_demo(run, tmp_path):
    code, out, _ = run('demo --images 8 --steps 3 --out d')
    assert code == 0
    names = ['overview.png', 'provenance.png', 'flow.png', 'table.md', 'table.json', 'images.npz']
    assert out.splitlines()[-1] == 'wrote ' + ', '.join(f'd/{n}' for n in names)
    assert files(tmp_path) == sorted(f'd/{n}' for n in names)
    assert Path('d/table.md').read_text().strip() in out
    assert all(len({len(s) for s in t.splitlines()}) == 1 for t in Path('d/table.md').read_text().strip().split('\n\n'))
    rows = json.loads(Path('d/table.json').read_text())['rows']
    assert list(rows) == ['IS', 'LS', 'bbELS', 'Wiener', 'ResNet, other label', 'trained ResNet', 'held-out images']
    assert len(rows['Wiener']['rs']) == len(rows['ResNet, other label']['rs']) == 6
    assert '| r with the network: ResNet, other label |' in out
    assert len(rows['bbELS']['rs']) == 6
    assert max(rows['IS']['distances']) < .05 < min(rows['bbELS']['distances'])
    assert list(rows['bbELS']['n_eff']) == ['1.0', '0.666667', '0.333333']
    with np.load('d/images.npz', allow_pickle=False) as z:
        assert (z['training_labels'][z['provenance_image']] == z['labels'][:, None, None]).all()
    for n in names[:3]:
        with Image.open(f'd/{n}') as im: assert min(im.size) > 700
    refused(run('demo --images 0'), '--images must be at least 1')
    refused(run('demo --images 501'), 'there are 5000')
    refused(run('demo --steps 1'), '--steps must be at least 2')
    refused(run('demo --out d/table.md/x'), 'd/table.md')


def test_nearest_image_is_exact():
    g = torch.Generator().manual_seed(0)
    d = load('fashion_mnist', n=40)
    x = d.x[[7, 3]] + 1e-4*torch.randn(2, 1, 32, 32, generator=g)
    v, i = demo.nearest_image(x, d)
    assert i.tolist() == [7, 3]
    assert torch.allclose(v, torch.full((2,), 1e-4), rtol=.1)
    v, i = demo.nearest_image(x, d, torch.tensor([8, 3]))
    assert d.y[i].tolist() == [8, 3]
    assert v[0] > .1
