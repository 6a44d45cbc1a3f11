"What all commands promise: one meaning for an option, stored commands that parse, errors in one line, and a terminal that may be poor."
import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
import typer.main
from PIL import Image
from typer.testing import CliRunner

from creativity.app import cli, terminal
from creativity.data.find import load, make_dictionary
from creativity.data.show import save_grid
from creativity.diffusion import sample
from creativity.errors import CreativityError
from creativity.files import asset
from creativity.machines.widths import calibrated_scales, published_scales
from creativity.machines.windows import BBELSMachine
from creativity.networks.card import load_network, stored_cards
from creativity.networks.train import Recipe
from creativity.studies import table

pytestmark = pytest.mark.usefixtures('brief_look', 'rough_intervals')
PROGRAM = [sys.executable, '-m', 'creativity']
COMMANDS = typer.main.get_command(cli.app)
NAMES = [*COMMANDS.commands, *(f'study {name}' for name in cli.study_titles())]


def find(name):
    "A command, or a command of the group `study`."
    command = COMMANDS
    for word in name.split(): command = command.get_command(None, word)
    return command


def parse(line):
    "Parse a command line with the parser of the program; nothing is run."
    words = shlex.split(line)
    assert words[0] == 'creativity'
    name = ' '.join(words[1:3]) if words[1] == 'study' else words[1]
    find(name).make_context(name, words[1 + len(name.split()):])


def commands_in(value):
    "Every command that a stored record names."
    if isinstance(value, dict):
        for key, v in value.items(): yield from [v] if key == 'command' else commands_in(v)
    if isinstance(value, list):
        for v in value: yield from commands_in(v)


# One meaning for an option

@pytest.mark.parametrize('name', [n for n in NAMES if n != 'study'])
def test_shared_options_mean_the_same(name):
    params = find(name).params
    assert not [p for p in params if '--subset' in p.opts]
    for p in params:
        if p.name in terminal.SHARED and p.param_type_name == 'option': assert terminal.SHARED[p.name] in p.help, p.name
        if p.name in ('seeds', 'seed', 'steps', 'n', 'images'): assert p.name in terminal.LEAST


@pytest.mark.parametrize('name', [n for n in NAMES if n != 'study'])
def test_seed_is_the_first_of_seeds_where_there_are_some(name):
    params = {p.name: p for p in find(name).params}
    if 'seed' in params: assert ('the first of --seeds' in params['seed'].help) == ('seeds' in params)


def test_train_says_that_images_are_held_out():
    assert 'a tenth, at most 256, is held out' in next(p.help for p in find('train').params if p.name == 'data')


def test_shared_options_have_one_type():
    functions = [f for n, f in vars(cli).items() if n.startswith('run_')]
    functions += [import_module(f'creativity.studies.{n}').run_study for n in cli.study_titles()]
    found = {}
    for f in functions:
        for p in inspect.signature(f).parameters.values(): found.setdefault(p.name, set()).add(str(p.annotation).replace('<class ', '').strip("'>").split(' |')[0].removesuffix(' | None'))
    assert {len(found[n]) for n in (*terminal.SHARED, 'seeds', 'steps') if n in found} == {1}, found


def test_images_of_every_kind_are_named_alike(run, tmp_path):
    "What `dictionary` writes, arrays, folders with classes, zips: `--data` reads them all, with `--label` and `--size`."
    d = load('fashion_mnist', n=20)
    for i, (x, y) in enumerate(zip(d.x, d.y, strict=True)):
        folder = tmp_path/'photos'/('cat' if y < 5 else 'dog')
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(((x[0] + 1)*127.5).round().byte().numpy()).save(folder/f'{i}.png')
    u = ((d.x + 1)*127.5).round().to(torch.uint8).numpy()
    np.savez(tmp_path/'a.npz', images=u, labels=(d.y >= 5).long().numpy())
    np.save(tmp_path/'b.npy', u)
    make_dictionary(tmp_path/'dict', str(tmp_path/'photos'), grey=True)
    made = {}
    for data in ('photos --label cat', 'a.npz --label 0', 'b.npy', 'dict --label cat'):
        code, _, err = run(f'sample --machine ls --data {data} --k 3 --seeds 1 --steps 2 --out s')
        assert code == 0, (data, err)
        with np.load('s/samples.npz') as z: made[data] = z['images']
    assert np.abs(made['photos --label cat'] - made['a.npz --label 0']).max() < 1e-5
    assert np.abs(made['photos --label cat'] - made['dict --label cat']).max() < 1e-5
    assert np.abs(made['photos --label cat'] - made['b.npy']).max() > .1
    assert run('sample --machine ls --data photos --size 16 --k 3 --seeds 1 --steps 2 --out s')[0] == 0
    with np.load('s/samples.npz') as z: assert z['images'].shape == (1, 1, 16, 16)


@pytest.mark.parametrize(('line', 'says'), [
    ('sample --seeds 99999999999999999999', '--seeds must be at most'), ('sample --steps 99999999999999999999', '--steps must be at most'),
    ('sample --ranks 1000000000000', '--ranks must be at most 256'), ('sample --n 99999999999999999999', '--n must be at most'),
    ('calibrate --seeds 99999999999999999999', '--seeds must be at most'), ('audit --seeds 99999999999999999999', '--seeds must be at most'),
    ('explore --port 65536', '--port must be at most 65535'), ('train --minutes nan', '--minutes must be at least'),
    ('study sampling --few -1', '--few must be at least 1'), ('study sampling --sizes 50,many', '--sizes must be numbers of images'),
    ('study sampling --first -1', '--first must be at least 0'), ('study sampling --few 1000000000', 'cannot be taken'),
    ('audit --scales -1', 'a window width k must be odd'), ('audit --scales 3,65', 'from 1 to 63'),
    ("sample --machine ''", '--machine is empty'), ("compare --scales ''", '--scales is empty'), ("compare --out ''", '--out is empty'),
    ("compare --network=", '--network is empty'), ("dictionary fashion_mnist --background ''", '--background is empty'), ("data ''", 'an argument is empty'),
    ("study onestep --out ''", '--out is empty'), ("calibrate --data ''", '--data is empty'),
    ("compare --data ''", '--data is empty'), ("audit --data ''", '--data is empty')])
def test_numbers_beyond_any_machine_and_empty_names_are_refused(refused, line, says): refused(line, says)


# Stored commands

def test_every_stored_command_parses():
    lines = [line for p in asset().rglob('*.json') for line in commands_in(json.loads(p.read_text(encoding='utf-8')))]
    assert len(lines) > 100
    for line in lines:
        for part in line.split(' && '): parse(part)
    with pytest.raises(Exception, match='subset'): parse('creativity train --subset')
    with pytest.raises(Exception, match='limb_seeds'): parse('creativity study place --limb_seeds 3')


def test_every_command_of_the_front_page_parses():
    text = (Path(__file__).parent.parent/'README.md').read_text(encoding='utf-8')
    blocks = re.findall(r'^```sh\n(.*?)^```', text, re.M | re.S)
    lines = [s.split('#')[0].strip() for b in blocks for s in b.splitlines() if s.startswith('creativity ')]
    assert {'demo', 'sample', 'explain', 'calibrate', 'compare', 'train', 'data'} <= {s.split()[1] for s in lines}
    for line in lines: parse(line)


def test_the_command_of_a_card_gives_its_recipe(tmp_path, monkeypatch):
    "Its last commands, one for each plan, say the steps that were planned then; those before made what it begins with."
    class Asked(BaseException): pass

    def ask(data, out, recipe, setup, minutes, stop, full): raise Asked(data, recipe, setup, minutes, stop, full)
    monkeypatch.setattr('creativity.networks.train.train', ask)
    cards = stored_cards()
    assert len(cards) >= 8
    for name, card in cards.items():
        asked = []
        for part in card['command'].split(' && '):
            given = find('train').make_context('train', shlex.split(part, comments=True)[2:]).params
            with pytest.raises(Asked) as e: cli.run_train(**given | dict(out=tmp_path))
            asked.append(e.value.args)
        data, recipe, setup, minutes, _, full = asked[-1]
        assert asdict(recipe) == asdict(Recipe(**card['recipe'])), name
        assert [a[1].steps for a in asked[-len(card['plans']):]] == [n for _, n in card['plans']], name
        assert (setup.arch, setup.conditional, minutes) == (card.get('arch', setup.arch), bool(card['args']['classes']), None), name
        assert (data, full) == (card['data']['name'], data != 'faces'), name
        assert bool(setup.begin) == bool(card.get('begin')), name


def test_stored_commands_say_which_images():
    "Records of full sets ask for them, those of subsets do not."
    for p in asset('networks').glob('*.json'):
        record = json.loads(p.read_text(encoding='utf-8'))
        if 'subset' in record and record['data'] != 'faces': assert ('--full' in record['command']) != record['subset'], p
    for row in json.loads(asset('studies', 'table.json').read_text())['rows'].values():
        assert ('--full' in row['command']) == (row['data'] != 'faces')


@pytest.mark.parametrize('name', list(cli.study_titles()))
def test_the_example_of_a_study_parses(run, name):
    code, out, err = run(f'study {name} --help')
    assert code == 0, err
    parse(out.split('Example:\n')[1].splitlines()[0].strip())


def test_studies_are_listed_without_importing_them():
    code = 'from creativity.app import cli; import sys; cli.study_titles(); assert not {"torch", "matplotlib"} & set(sys.modules)'
    subprocess.run([sys.executable, '-c', code], check=True)
    assert {'agreement', 'limbs', 'place'} <= set(cli.study_titles())


@pytest.mark.parametrize(('name', 'command'), [('table', 'table1'), ('speed', 'bench')])
def test_studies_with_a_command_of_their_own_name_it(run, name, command):
    assert command in COMMANDS.commands
    assert name not in cli.study_titles()
    code, _, err = run(f'study {name}')
    assert (code, err.count('\n')) == (2, 1)
    assert f'it is `creativity {command}`' in err
    assert f'it is `creativity {command}`' in run('study --help')[1]


# What a command chooses, it says

def test_chosen_widths_are_said(run, tmp_path):
    (tmp_path/'mine').mkdir()
    for i, x in enumerate(load('cifar10', n=3).x): save_grid(x, tmp_path/'mine'/f'{i}.png', scale=1)
    out = run('sample --machine ls --data mine --seeds 1 --steps 2')[1]
    assert 'calibrated on cifar10-resnet, as there are none for mine-resnet' in out
    assert 'window widths' not in run('sample --machine ls --data mine --k 3 --seeds 1 --steps 2')[1]
    out = run('compare --n 10 --seeds 1 --steps 2 --network-steps 2 --machines ls --out c')[1]
    assert 'calibrated on fashion_mnist-resnet' in out
    assert 'the widths were fitted on 1 of these 1 seeds; --seed 10 asks others' in out
    # other seeds, other widths, and a machine without any: there is nothing to say
    few = 'compare --n 10 --seeds 1 --steps 2 --network-steps 2 --no-nulls'
    for others in ('ls --seed 10', 'ls --scales 3', 'is'):
        assert 'fitted on' not in run(f'{few} --out c{len(others)} --machines {others}')[1]


def test_sample_takes_our_calibrated_widths(run):
    "As the name in `scales=` does: ours where there are some, else the published ones."
    line = 'sample --machine ls --data fashion_mnist --label 3 --n 3 --seeds 1 --steps 20 --out'
    code, out, err = run(f'{line} a')
    assert code == 0, err
    ours, theirs = calibrated_scales('fashion_mnist-resnet'), published_scales('fashion_mnist-resnet')
    assert ours != theirs
    assert f'window widths {",".join(map(str, ours))}: calibrated on fashion_mnist-resnet' in out
    assert run(f'{line} b --scales published:fashion_mnist-resnet')[0] == 0
    with np.load('a/samples.npz') as a, np.load('b/samples.npz') as b:
        assert (a['scales'].tolist(), b['scales'].tolist()) == (ours, theirs)
        assert np.abs(a['images'] - b['images']).max() > .01


def test_one_class_is_compared_and_calibrated(run, refused):
    code, _, err = run('compare --n 10 --label Dress --seeds 2 --steps 2 --network-steps 2 --machines is --no-nulls --out c')
    assert code == 0, err
    assert json.loads(Path('c/table.json').read_text())['labels'] == [3, 3]
    code, _, err = run('calibrate --n 10 --label 3 --seeds 2 --steps 2 --widths 3 --out k')
    assert code == 0, err
    record = json.loads(Path('k/fashion_mnist-resnet-scales.json').read_text())
    assert record['labels'] == [3, 3]
    assert '--label 3 ' in record['command'] + ' '
    for command in ('compare', 'calibrate'):
        refused(f'{command} --label Hat', 'Hat')
        refused(f'{command} --network mnist-resnet --label 3', 'no classes')


@pytest.mark.parametrize(('data', 'subset'), [(None, True), ('fashion', True), ('some.npy', False)])
def test_a_row_says_whether_its_images_are_a_subset(tmp_path, monkeypatch, data, subset):
    "Of the row's set, of another set, or of a file."
    class Seen(BaseException): pass

    def see(row, how): raise Seen(how['subset'])
    np.save(tmp_path/'some.npy', np.zeros((3, 32, 32), np.uint8))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(table, 'stored_row', see)
    with pytest.raises(Seen) as e: table.measure(table.RowJob('mnist-resnet', data=data, n=2), 1, extend=True)
    assert e.value.args == (subset,)


def test_contradictions_are_refused(refused):
    refused('sample --k 5 --scales 3,5', '--k and --scales')
    refused('sample --machine is --k 5', 'whole images')
    refused('sample --network fashion_mnist-resnet --scales 3', '--scales is about a machine')
    refused('sample --network mnist-resnet --label 3', 'no classes')
    refused('sample --data ""', '--data is empty')
    refused('sample --size 0', '--size must be a side')
    refused('sample --device meta', 'choose cpu, cuda or mps')


@pytest.mark.parametrize('line', ['sample --k 3', 'sample --network fashion_mnist-resnet', 'compare --n 10', 'calibrate --n 10'])
def test_more_images_than_memory_are_refused_at_once(refused, line):
    start = time.perf_counter()
    refused(f'{line} --seeds 1000000000', '--seeds', 'GiB', 'at most')
    assert time.perf_counter() - start < 30


# Networks and files of samples

def test_a_network_is_sampled(run):
    code, _, err = run('sample --network fashion_mnist-resnet --label Dress --seeds 2 --seed 3 --steps 2 --out n')
    assert code == 0, err
    with np.load('n/samples.npz') as z: got, labels = torch.tensor(z['images']), z['labels'].tolist()
    assert labels == [3, 3]
    want = sample(load_network('fashion_mnist-resnet'), [3, 4], 2, torch.tensor([3, 3]))
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
    assert run('sample --network fashion_mnist-resnet --seeds 2 --steps 2 --out n')[0] == 0
    with np.load('n/samples.npz') as z: assert z['labels'].tolist() == [0, 1]


def test_explain_reads_samples_by_index(run, refused):
    assert run('sample --machine is --label 3 --n 12 --seeds 2 --steps 3 --out s')[0] == 0
    code, out, err = run('explain s/samples.npz --index 1 --label 3 --n 12 --null 3 --out e')
    assert code == 0, err
    facts = json.loads(Path('e/explain.json').read_text())
    assert facts['verdict'].startswith('a copy of training image')
    assert facts['verdict'] in out
    exact = facts['nearest_image_distance']
    assert run('explain s/seed_000001.png --label 3 --n 12 --null 0 --out e')[0] == 0
    assert abs(json.loads(Path('e/explain.json').read_text())['nearest_image_distance'] - exact) < .01
    refused('explain s', 's is a folder: give one picture')
    refused('explain s/samples.npz --index 2 --label 3 --n 12', '--index must be from 0 to 1')
    refused('explain s/samples.npz --data cifar10 --n 12', 'choose other --data')
    refused('explain s/samples.npz --index -1 --n 12', '--index must be at least 0')


# Errors

def test_our_errors_are_one_line_and_bugs_keep_their_traceback(monkeypatch):
    def raising(e):
        def f(*args, **kwargs): raise e
        return f
    for e, code in ((CreativityError('k must\n be odd'), 2), (OSError('no file'), 2), (MemoryError(), 2),
                    (RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried"), 2)):
        monkeypatch.setattr(cli, 'read_device', raising(e))
        r = CliRunner().invoke(cli.app, ['sample', '--k', '3'])
        assert (r.exit_code, r.stderr.count('\n')) == (code, 1)
        with pytest.raises(type(e)): CliRunner().invoke(cli.app, ['sample', '--k', '3', '--debug'], catch_exceptions=False)
    for e in (ValueError('numpy'), TypeError('torch'), RuntimeError('shape')):
        monkeypatch.setattr(cli, 'read_device', raising(e))
        assert CliRunner().invoke(cli.app, ['sample', '--k', '3']).exception is e


def test_errors_and_warnings_are_not_glued_to_a_bar(tmp_path):
    code = '''
import time, warnings
from tqdm import tqdm
from creativity.app import terminal
from creativity.errors import CreativityError
app = terminal.new_program()
@app.callback()
def top(): ...
@terminal.command(app, 'creativity work')
def run_work():
    "Work, and fail."
    for i in tqdm(range(5), 'work', leave=False):
        if i == 1: warnings.warn('slow way')
        if i == 3: raise CreativityError('no more')
app()
'''
    (tmp_path/'work.py').write_text(code)
    r = subprocess.run([sys.executable, str(tmp_path/'work.py'), 'work'], capture_output=True, text=True)
    assert r.returncode == 2, r.stderr
    last = r.stderr.replace('\r', '\n').splitlines()
    assert 'creativity: warning: slow way' in last
    assert last[-1] == 'creativity: error: no more'


# the program, with intervals that take no time
NO_INTERVALS = 'from creativity import __main__, metrics; metrics.bootstrap_interval = lambda v, **_: (v[0], v[0]); __main__.main()'


@pytest.mark.parametrize('line', ['table1', '--help', 'study'])
def test_a_poor_terminal_is_no_error(tmp_path, line):
    env = os.environ | {'PYTHONIOENCODING': 'ascii', 'PYTHONUTF8': '0'}
    program = [sys.executable, '-c', NO_INTERVALS] if line == 'table1' else PROGRAM
    r = subprocess.run([*program, *line.split()], capture_output=True, env=env, cwd=tmp_path)
    assert r.returncode == 0, r.stderr
    assert r.stdout.isascii()
    if line == 'table1': assert b'r2 (square of r)' in r.stdout


@pytest.mark.parametrize('after', [0, .02, .1, .3])
def test_ctrl_c_while_it_starts(tmp_path, after):
    "No traceback once the program's own first line has run, which sets a handler; before it, Python itself is starting."
    code = f'''
import os, runpy, signal, sys, threading, time
stands, plain = threading.Event(), signal.signal
def watched(number, handler):
    before = plain(number, handler)
    stands.set()
    return before
signal.signal = watched
def interrupt():
    stands.wait()
    time.sleep({after})
    while True: # Python loses one that falls into a callback or a finaliser: then one presses again
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(3)
threading.Thread(target=interrupt, daemon=True).start()
sys.argv = ['creativity', 'sample', '--seeds', '50']
runpy.run_module('creativity', run_name='__main__')
'''
    p = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, timeout=120,
                       preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    assert p.returncode == 130, p.stderr
    assert 'Traceback' not in p.stderr
    assert p.stderr.splitlines()[-1] == 'creativity: interrupted'


# Several processes

def test_ranks_make_what_one_process_makes(run, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    code, _, err = run('sample --label 3 --n 20 --k 3 --seeds 2 --steps 2 --ranks 2 --out r')
    assert code == 0, err
    assert capfd.readouterr().out.splitlines()[-1].startswith('wrote r/samples.png, r/samples.npz')     # by a rank
    d = load('fashion_mnist', n=20)
    with np.load(tmp_path/'r'/'samples.npz') as z: got = torch.tensor(z['images'])
    want = sample(BBELSMachine(d.x, d.y, scales=3), [0, 1], 2, 3)
    torch.testing.assert_close(got, want, atol=1e-3, rtol=0)


def test_what_all_ranks_refuse_is_said_once(refused, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    refused('sample --data nowhere --k 3 --ranks 2', 'nowhere')
