"The house rules: one version everywhere, pins, notebooks, layers, safety, a quiet import, and a wheel that works alone."
import ast
import configparser
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import import_module, metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import creativity

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT/'nbs').glob('[!_]*.ipynb'))
MODULES = sorted(p for p in (ROOT/'creativity').glob('*.py') if not p.name.startswith('_'))
LAYERS = [['data'], ['diffusion'], ['ideal', 'locality', 'equivariance'], ['kernel'], ['engine'], ['machines'], ['networks'],
          ['compare', 'table', 'mosaic', 'scales', 'limbs', 'attention', 'place', 'speed', 'tolerance'], ['distributed'],
          ['demo'], ['explorer', 'cli']]
stem = lambda p: p.stem


def settings():
    ini = configparser.ConfigParser()
    ini.read(ROOT/'settings.ini')
    return ini['DEFAULT']


def pyproject(): return tomllib.loads((ROOT/'pyproject.toml').read_text())['project']
def tree(path): return ast.parse(path.read_text(encoding='utf-8'))
def cells(path): return json.loads(path.read_text(encoding='utf-8'))['cells']
def source(cell): return ''.join(cell['source'])


# One version, one description, every dependency pinned

def test_one_version():
    version = settings()['version']
    assert creativity.__version__ == version == metadata.version('creativity')
    assert yaml.safe_load((ROOT/'CITATION.cff').read_text())['version'] == version
    assert f'## [{version}]' in (ROOT/'CHANGELOG.md').read_text()


def test_settings_agree_with_pyproject():
    ini, toml = settings(), pyproject()
    assert toml['description'] == ini['description']
    assert toml['requires-python'] == f'>={ini["min_python"]}'
    assert toml['urls']['Homepage'] == ini['git_url']
    assert toml['name'] == ini['lib_name'] == ini['repo']


def test_every_dependency_is_pinned():
    lines = [s for s in (ROOT/'constraints.txt').read_text().splitlines() if s and not s.startswith('#')]
    assert all(re.fullmatch(r'[\w.-]+==[\d.]+(post\d+)?', s) for s in lines)
    pins = dict(s.lower().split('==') for s in lines)
    pins = {canonicalize_name(k): v for k, v in pins.items()}
    toml = pyproject()
    for r in map(Requirement, toml['dependencies'] + toml['optional-dependencies']['dev']):
        assert r.specifier.contains(pins.get(canonicalize_name(r.name), '0')), f'{r} has no pin that satisfies it'


# Notebooks

@pytest.mark.parametrize('path', NOTEBOOKS, ids=stem)
def test_notebook_has_title_outputs_and_end(path):
    cs = cells(path)
    title = [s for s in source(cs[0]).splitlines() if s.strip()]
    assert cs[0]['cell_type'] == 'markdown'
    assert len(title) == 2, 'the title cell holds the title and one line, nothing else'
    assert title[0].startswith('# ')
    assert title[1].startswith('> ')
    assert source(cs[-1]).split() == '#| hide import nbdev; nbdev.nbdev_export()'.split()
    outputs = [o for c in cs for o in c.get('outputs', [])]
    assert outputs, 'no saved outputs: run tools/nb.py run'
    assert not any(o['output_type'] == 'error' or o.get('name') == 'stderr' for o in outputs)
    assert not any(re.search(r'\d+%\|', ''.join(o.get('text', ''))) for o in outputs), 'a progress bar was saved'


@pytest.mark.parametrize('path', NOTEBOOKS, ids=stem)
def test_cells_hold_imports_or_code(path):
    for c in cells(path)[:-1]:
        if c['cell_type'] != 'code': continue
        kinds = {isinstance(n, ast.Import | ast.ImportFrom) for n in ast.parse(source(c)).body}
        assert len(kinds) <= 1, f'imports and code in one cell:\n{source(c)}'


# Modules

def functions(path):
    "Every function and method of a module with its qualified name; nested ones belong to the function around them."
    for node in tree(path).body:
        if isinstance(node, ast.FunctionDef): yield node.name, node
        if isinstance(node, ast.ClassDef):
            yield from ((f'{node.name}.{f.name}', f) for f in node.body if isinstance(f, ast.FunctionDef))


def public(path):
    module = import_module(f'creativity.{path.stem}')
    return {n: getattr(module, n) for n in module.__all__ if not n.startswith('_')}


@pytest.mark.parametrize('path', MODULES, ids=stem)
def test_functions_are_short(path):
    long = {n: f.end_lineno - f.lineno + 1 for n, f in functions(path)}
    assert {n: k for n, k in long.items() if k > 40} == {}


@pytest.mark.parametrize('path', MODULES, ids=stem)
def test_public_names_are_documented(path):
    "A docstring each; a comment for every parameter, but in one-liners of a family that is described once."
    from fastcore.docments import docments
    bare = []
    for name, obj in public(path).items():
        if not (inspect.isfunction(obj) or inspect.isclass(obj)): continue
        if not obj.__doc__: bare.append(name)
        if inspect.isclass(obj) or len(inspect.getsource(obj).splitlines()) <= 5: continue
        docs = docments(obj)
        bare += [f'{name}({p})' for p, v in inspect.signature(obj).parameters.items()
                 if v.kind not in (v.VAR_POSITIONAL, v.VAR_KEYWORD) and p not in ('self', 'cls') and not docs.get(p)]
    assert not bare, 'no docstring or no comment: ' + ', '.join(bare)


def imported(path):
    "The modules of the package that a module imports, wherever in its text."
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.level: yield from [node.module] if node.module else stems(node)
        elif isinstance(node, ast.ImportFrom) and node.module == 'creativity': yield from stems(node)
        else:
            names = [node.module] if isinstance(node, ast.ImportFrom) else getattr(node, 'names', None) or []
            names = [n if isinstance(n, str) else getattr(n, 'name', '') for n in names]
            yield from (n.split('.')[1] for n in names if n.startswith('creativity.'))


def stems(node): return (a.name for a in node.names if (ROOT/'creativity'/f'{a.name}.py').exists())


def layer(name):
    assert any(name in names for names in LAYERS), f'{name} has no layer yet: name it in LAYERS'
    return next(i for i, names in enumerate(LAYERS) if name in names)


@pytest.mark.parametrize('path', MODULES, ids=stem)
def test_imports_point_down(path):
    up = [n for n in imported(path) if layer(n) > layer(path.stem)]
    assert up == []


FORBIDDEN = {'pickle', 'cPickle', 'marshal', 'shelve', 'dill', 'cloudpickle', 'joblib'}


def unsafe(path):
    "Calls and imports that a library which opens other people's files does not make."
    for n in ast.walk(tree(path)):
        if isinstance(n, ast.Import | ast.ImportFrom):
            names = {a.name.split('.')[0] for a in n.names} | {(getattr(n, 'module', '') or '').split('.')[0]}
            if names & FORBIDDEN: yield n.lineno, names & FORBIDDEN
        if not isinstance(n, ast.Call): continue
        call, kw = ast.unparse(n.func), {k.arg: ast.unparse(k.value) for k in n.keywords}
        if call in ('eval', 'exec', 'os.system', 'os.popen') or kw.get('shell', 'False') != 'False': yield n.lineno, call
        if call == 'torch.load' and kw.get('weights_only') != 'True': yield n.lineno, call
        if call == 'np.load' and kw.get('allow_pickle') != 'False': yield n.lineno, call
        if 'verify' in kw and kw['verify'] == 'False': yield n.lineno, call


@pytest.mark.parametrize('path', [*MODULES, *sorted((ROOT/'tools').glob('*.py'))], ids=stem)
def test_no_unsafe_calls(path):
    assert list(unsafe(path)) == []


def test_unsafe_calls_are_found(tmp_path):
    bad = tmp_path/'bad.py'
    bad.write_text('import pickle\neval("1")\nrun("ls", shell=True)\nnp.load(f)\ntorch.load(f)\nos.system("ls")\n')
    assert [n for n, _ in unsafe(bad)] == [1, 2, 3, 4, 5, 6]


QUIET = '''
import importlib, os, random, sys, threading, time
import fastcore.all, ipywidgets, matplotlib.pyplot, numpy, PIL.Image, platformdirs, pooch, psutil, safetensors.torch
import torch, torch.nn.functional, torch.utils.data, tqdm.auto, typer
def watch(event, args):
    writes = event == 'open' and args[2] & (os.O_WRONLY | os.O_RDWR)
    if '__pycache__' in str(args[:1]): return            # where Python and numba keep compiled code
    if writes or event in ('socket.connect', 'socket.getaddrinfo', 'subprocess.Popen', 'os.system', 'os.mkdir'):
        seen.append(f'{event} {args[0]}')
def state():
    rngs = torch.get_rng_state().tolist(), numpy.random.get_state()[1].tolist(), random.getstate()
    modes = torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(), dict(matplotlib.rcParams)
    return rngs, modes, dict(os.environ), threading.active_count()
seen, before = [], state()
sys.addaudithook(watch)
start = time.perf_counter()
for name in sys.argv[1:]: importlib.import_module(name)
seconds = time.perf_counter() - start
assert not seen, seen
assert state() == before, 'importing changed global state'
print(seconds)
'''


def test_import_does_nothing_else(tmp_path):
    env = os.environ | {'HOME': str(tmp_path), 'PYTHONDONTWRITEBYTECODE': '1', 'MPLBACKEND': 'agg'}
    names = ['creativity', *(f'creativity.{p.stem}' for p in MODULES)]
    r = subprocess.run([sys.executable, '-c', QUIET, *names], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    assert float(r.stdout.split()[-1]) < 3


# The wheel, built from a copy and used outside the repository

@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    src, out = tmp_path_factory.mktemp('src'), tmp_path_factory.mktemp('dist')
    for name in ('pyproject.toml', 'README.md', 'LICENSE', 'NOTICE'): shutil.copy(ROOT/name, src)
    shutil.copytree(ROOT/'creativity', src/'creativity', ignore=shutil.ignore_patterns('__pycache__'))
    cmd = [sys.executable, '-m', 'build', '--wheel', '--no-isolation', '--outdir', str(out), str(src)]
    subprocess.run(cmd, check=True, capture_output=True)
    return next(out.glob('*.whl'))


def test_wheel_holds_everything(wheel):
    assert wheel.stat().st_size <= 20e6
    with zipfile.ZipFile(wheel) as z: names = set(z.namelist())
    files = [p for p in (ROOT/'creativity').rglob('*') if p.is_file() and '__pycache__' not in p.parts]
    assert {str(p.relative_to(ROOT)) for p in files} <= names
    info = f'creativity-{creativity.__version__}.dist-info'
    assert {f'{info}/licenses/LICENSE', f'{info}/licenses/NOTICE', f'{info}/entry_points.txt'} <= names
    assert all(n.startswith(('creativity/', info)) for n in names)


ALONE = '''
import sys, creativity
from creativity.data import load
assert creativity.__file__.startswith(sys.argv[1]), creativity.__file__
d = load('mnist', n=10)
print(tuple(d.x.shape))
'''


def test_wheel_works_alone(wheel, tmp_path):
    lib, cwd = tmp_path/'lib', tmp_path/'elsewhere'         # HOME is elsewhere still: matplotlib keeps its settings there
    cwd.mkdir()
    pip = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--no-index', '--target', str(lib), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    env = os.environ | {'PYTHONPATH': str(lib), 'HOME': str(tmp_path)}
    run = lambda *cmd: subprocess.run(cmd, cwd=cwd, env=env, capture_output=True, text=True)
    r = run(sys.executable, '-c', ALONE, str(lib))
    assert (r.stdout.strip(), r.returncode) == ('(10, 1, 32, 32)', 0), r.stderr
    r = run(sys.executable, str(lib/'bin'/'creativity'), '--help')
    assert r.returncode == 0, r.stderr
    assert 'demo' in r.stdout
    assert list(cwd.iterdir()) == []
