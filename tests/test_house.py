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
import textwrap
import tomllib
import zipfile
from functools import cache
from importlib import import_module, metadata
from pathlib import Path

import pytest
import torch
import yaml
from fastcore.docments import docments
from nbdev.doclinks import NbdevLookup
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import creativity

ROOT = Path(__file__).resolve().parent.parent
NBS, PACKAGE = ROOT/'nbs', ROOT/'creativity'
sys.path.insert(0, str(ROOT/'tools'))
house = import_module('house')
NOTEBOOKS = sorted(p for p in NBS.rglob('*.ipynb') if not any(s[0] in '._' for s in p.relative_to(NBS).parts))
MODULES = house.modules(PACKAGE)                    # {'engine.plan': path}
each_notebook = pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: str(p.relative_to(NBS).with_suffix('')))
each_module = pytest.mark.parametrize('name', MODULES)


def settings():
    ini = configparser.ConfigParser()
    ini.read(ROOT/'settings.ini')
    return ini['DEFAULT']


def pyproject(): return toml()['project']
def toml(): return tomllib.loads((ROOT/'pyproject.toml').read_text())
@cache
def tree(path): return ast.parse(path.read_text(encoding='utf-8'))
@cache
def public_names(): return {name for path in MODULES.values() for name in house.public(path)}
def cells(path): return json.loads(path.read_text(encoding='utf-8'))['cells']
def source(cell): return ''.join(cell['source'])


# One version, one description, every dependency pinned

def test_one_version():
    version = settings()['version']
    assert creativity.__version__ == version == metadata.version('creativity')
    assert yaml.safe_load((ROOT/'CITATION.cff').read_text())['version'] == version
    assert f'## [{version}]' in (ROOT/'CHANGELOG.md').read_text()


def defined(body):
    "The names that a body of statements defines, with the statement of each."
    for n in body:
        if isinstance(n, ast.FunctionDef | ast.ClassDef): yield n.name, n
        targets = n.targets if isinstance(n, ast.Assign) else [n.target] if isinstance(n, ast.AnnAssign) else []
        yield from ((t.id, n) for target in targets for t in ast.walk(target) if isinstance(t, ast.Name))


def is_defined(target):
    "Is there such a module, name in a module, or method of a class in one? `runs.Run.path`"
    module = max((m for m in MODULES if f'{target}.'.startswith(f'{m}.')), key=len)
    body = tree(MODULES[module]).body
    for name in target.removeprefix(module).split('.')[1:]:
        found = dict(defined(body))
        if name not in found: return False
        body = getattr(found[name], 'body', [])
    return True


def test_changelog_leads_to_names_that_exist():
    "The right column of the table of moved names: a module, a new name in one, or the command of a study."
    table = (ROOT/'CHANGELOG.md').read_text().split('<!-- names of 0.1 -->')[1].split('<!-- end')[0]
    rows = re.findall(r'^\| `(\w+)` \| (.+?) \| (.+?) \|$', table, re.M)
    assert len(rows) > 50
    missing = []
    for _, names, place in rows:
        if place == 'gone': continue
        target = place.strip('`')
        if target.startswith('creativity study '): targets = [f'studies.{target.split()[-1]}.run_study']
        elif target in MODULES: targets = [f'{target}.{n}' for n in re.findall(r'`(\w+)`', names)]
        else: targets = [target]
        missing += [t for t in targets if not is_defined(t)]
    assert missing == []


@pytest.mark.parametrize(('target', 'there'), [
    ('runs', True), ('runs.Run', True), ('runs.Run.path', True), ('engine.plan.pad', True), ('diffusion.samplers', True),
    ('runs.Nope', False), ('runs.Run.nope', False), ('engine.plan.torch', False)])
def test_names_that_lead_nowhere_are_found(target, there): assert is_defined(target) is there


def test_settings_agree_with_pyproject():
    ini, project = settings(), pyproject()
    assert project['description'] == ini['description']
    assert project['requires-python'] == f'>={ini["min_python"]}'
    assert project['urls']['Homepage'] == ini['git_url']
    assert project['name'] == ini['lib_name'] == ini['repo']


def test_every_dependency_is_pinned():
    lines = [s for s in (ROOT/'constraints.txt').read_text().splitlines() if s and not s.startswith('#')]
    assert all(re.fullmatch(r'[\w.-]+==[\d.]+(post\d+)?', s) for s in lines)
    pins = dict(s.lower().split('==') for s in lines)
    pins = {canonicalize_name(k): v for k, v in pins.items()}
    for r in map(Requirement, pyproject()['dependencies'] + pyproject()['optional-dependencies']['dev']):
        assert r.specifier.contains(pins.get(canonicalize_name(r.name), '0')), f'{r} has no pin that satisfies it'


DISTRIBUTIONS = {'PIL': 'pillow'}        # where a package is imported under a name of its own
OPTIONAL = {'diffusers', 'ipyevents', 'triton'}    # each imported where it is used, and named when it is missing


def imported(path):
    "The top names of what a module imports, wherever in its text."
    for n in ast.walk(tree(path)):
        if isinstance(n, ast.Import): yield from (a.name.split('.')[0] for a in n.names)
        if isinstance(n, ast.ImportFrom) and not n.level: yield n.module.split('.')[0]


def test_dependencies_are_what_the_package_imports():
    "A fresh install has what every module needs, and nothing that no module needs."
    files = [*MODULES.values(), PACKAGE/'__init__.py', PACKAGE/'__main__.py']
    needs = {n for f in files for n in imported(f)} - set(sys.stdlib_module_names) - {'creativity'}
    has = {Requirement(r).name for r in pyproject()['dependencies']}
    assert {DISTRIBUTIONS.get(n, n) for n in needs - OPTIONAL} == has
    extras = {Requirement(r).name for rs in pyproject()['optional-dependencies'].values() for r in rs}
    assert extras >= OPTIONAL


# Notebooks

@each_notebook
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


def linked_twice(text):
    "Links in Markdown whose text has a name in backticks that the documentation links itself."
    known = NbdevLookup()
    texts = re.findall(r'\[([^\[\]]*`[^\[\]]*)\]\(', text)
    return [t for t in texts if any(known[name] for name in re.findall(r'`([^`]+)`', t))]


@each_notebook
def test_links_are_not_linked_again(path):
    prose = [source(c) for c in cells(path) if c['cell_type'] == 'markdown']
    assert not linked_twice('\n\n'.join(prose))


def test_links_that_would_be_linked_again_are_found():
    assert linked_twice('[`Recorder`](a.ipynb) and [the `t`](b.ipynb), `Sampled` of [c](c.ipynb)') == ['`Recorder`']


@each_notebook
def test_cells_hold_imports_or_code(path):
    for c in cells(path)[:-1]:
        if c['cell_type'] != 'code': continue
        kinds = {isinstance(n, ast.Import | ast.ImportFrom) for n in ast.parse(source(c)).body}
        assert len(kinds) <= 1, f'imports and code in one cell:\n{source(c)}'


# Modules

def public(name):
    module = import_module(f'creativity.{name}')
    return {n: getattr(module, n) for n in module.__all__ if not n.startswith('_')}


ALL_FUNCTIONS = [(f'{m}.{n}', f) for m, path in MODULES.items() for n, f in house.functions(path)]
# Commands of a terminal, and two functions that tie everything together, take what they need.
MANY_PARAMETERS = ('app.cli.', 'diffusion.sample', 'measure.compare.compare')
COMMAND_OF_A_STUDY = '.run_study'


def not_yet_clean(rule):
    "The names that pyproject.toml excuses from a rule of the house; the lists only shrink."
    return set(toml()['tool']['house'][rule])


def excuses():
    "How many names, notebooks and modules pyproject.toml excuses, by rule, and how many names are public."
    tool = toml()['tool']
    lines = [p for p, rules in tool['ruff']['lint']['per-file-ignores'].items() if 'E501' in rules and '*' not in p]
    types = [m for o in tool['mypy']['overrides'] if o.get('ignore_errors') for m in o['module']]
    return {rule: len(tool['house'][rule]) for rule in ('many-parameters', 'unused-names')} | {
        'long-lines': len(lines), 'types': len(types),
        'public-names': sum(len(house.public(p)) for p in house.modules(ROOT/'creativity').values())}


def test_excuses_only_shrink():
    "No list of excuses is longer than the number stored beside it, which is lowered when a list has shrunk."
    most = toml()['tool']['house']['most']
    assert {rule: n for rule, n in excuses().items() if n > most[rule]} == {}


def test_functions_are_short():
    lengths = {n: house.body_lines(f) for n, f in ALL_FUNCTIONS}
    assert {n: k for n, k in lengths.items() if k > 40} == {}
    assert sorted(lengths.values())[len(lengths)*95//100] <= 20


def test_functions_take_few_parameters():
    free = lambda n: n.startswith(MANY_PARAMETERS) or n.endswith(COMMAND_OF_A_STUDY)
    many = {n for n, f in ALL_FUNCTIONS if house.parameters(f) > 10 and not free(n)}
    assert many - not_yet_clean('many-parameters') == set()


def test_public_names_are_used():
    "Each by a test, a lesson or a study; what only its own module needs is not public (`#| exporti`, or an underscore)."
    assert set(house.unused_names(ROOT)) - not_yet_clean('unused-names') == set()


def test_what_is_long_or_unused_is_found(tmp_path):
    (tmp_path/'creativity').mkdir()
    (tmp_path/'tests').mkdir()
    (tmp_path/'nbs').mkdir()
    module = tmp_path/'creativity'/'errors.py'
    module.write_text('__all__ = ["f", "g"]\ndef f(a, *, b, **c):\n    "Doc."\n    x = 1\n\n    return x\ndef g(): pass\n' + '#'*101)
    (tmp_path/'tests'/'test_x.py').write_text('from creativity.errors import f')
    f, g = [f for _, f in house.functions(module)]
    assert (house.body_lines(f), house.body_lines(g), house.parameters(f)) == (3, 1, 2)
    assert house.unused_names(tmp_path) == ['errors.g']
    assert house.long_lines(module) == 1


def commented_lines(function):
    "The parameters whose line ends in a comment: `x, y,  # both` speaks of two."
    source = textwrap.dedent(inspect.getsource(function))
    lines, a = source.splitlines(), ast.parse(source).body[0].args
    return {p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs) if '#' in lines[p.end_lineno - 1]}


@each_module
def test_public_names_are_documented(name):
    "A docstring each; a comment for every parameter, but in one-liners of a family that is described once."
    bare = []
    for n, obj in public(name).items():
        if not (inspect.isfunction(obj) or inspect.isclass(obj)): continue
        if not obj.__doc__: bare.append(n)
        if inspect.isclass(obj) or len(inspect.getsource(obj).splitlines()) <= 5: continue
        said = {p for p, doc in docments(obj).items() if doc} | commented_lines(obj)
        bare += [f'{n}({p})' for p, v in inspect.signature(obj).parameters.items()
                 if v.kind not in (v.VAR_POSITIONAL, v.VAR_KEYWORD) and p not in ('self', 'cls') and p not in said]
    assert not bare, 'no docstring or no comment: ' + ', '.join(bare)


# Layers

def test_imports_point_down():
    "Every import goes to a lower floor, each file has one of its own, and no study imports another."
    assert list(house.violations(PACKAGE)) == []


def test_nothing_but_app_imports_a_study():
    above = {a for a, b in house.arrows(PACKAGE) if b.startswith('studies.')}
    assert {a.split('.')[0] for a in above} <= {'studies', 'app'}


@pytest.mark.parametrize(('module', 'line', 'wrong'), [
    ('errors', 'from .files import write', 'errors imports files, which does not stand below it'),
    ('data.images', 'from .own import load_folder', 'data.images imports data.own, which does not stand below it'),
    ('engine.plan', 'from ..machines import windows', 'engine.plan imports machines.windows, which does not stand below it'),
    ('engine.plan', 'import creativity.machines.windows as w', 'engine.plan imports machines.windows, which does not stand below it'),
    ('engine.plan', 'def f():\n    from creativity.engine.sweep import g', 'engine.plan imports engine.sweep, which does not stand below it'),
    ('studies.place', 'from .limbs import x', 'studies.place imports studies.limbs, which does not stand below it'),
    ('measure.compare', 'from ..studies.command import x', 'measure.compare imports studies.command, which does not stand below it'),
    ('elsewhere', '', 'elsewhere has no floor: name it in ROWS of tools/house.py')])
def test_upward_imports_are_found(tmp_path, module, line, wrong):
    package = tmp_path/'creativity'
    rooms = ['errors', 'files', 'data.images', 'data.own', 'engine.plan', 'engine.sweep', 'machines.windows', 'measure.compare',
             'studies.command', 'studies.limbs', 'studies.place', module]
    for name in rooms:
        file = (package/name.replace('.', '/')).with_suffix('.py')
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(line if name == module else '')
    assert list(house.violations(package)) == [wrong]


def test_downward_imports_are_fine(tmp_path):
    (tmp_path/'creativity'/'studies').mkdir(parents=True)
    for name in ('errors', 'files', 'studies/command'): (tmp_path/'creativity'/f'{name}.py').write_text('')
    (tmp_path/'creativity'/'studies'/'place.py').write_text('from .command import x\nfrom ..files import y\nimport torch\n')
    assert list(house.violations(tmp_path/'creativity')) == []
    assert len(house.arrows(tmp_path/'creativity')) == 2


# The names that most people need

CONTRACT = """load load_folder load_arrays Images CosineSchedule LinearSchedule EDMSchedule FlowSchedule Denoiser sample samples
ISMachine ESMachine LSMachine ELSMachine BBELSMachine WienerMachine LocalWienerMachine PCAMachine PSPCMachine SmoothedMachine
GoldenMachine CreativityError published_scales calibrated_scales load_network from_noise from_x0 from_v from_score from_edm from_flow
from_diffusers calibrate receptive_field compare explain audit Guided Conditional Sampled log_likelihood""".split()


def type_checking_imports():
    "What `creativity/__init__.py` imports for type checkers: {name: room}."
    body = tree(PACKAGE/'__init__.py').body
    block = next(n for n in body if isinstance(n, ast.If) and ast.unparse(n.test) == 'TYPE_CHECKING')
    return {a.name: n.module.removeprefix('creativity.') for n in block.body for a in n.names}


def test_lazy_names_agree():
    "What `__all__` lists, what is loaded, and what type checkers see are the same names from the same rooms."
    assert type_checking_imports() == creativity._HOME
    assert creativity.__all__ == sorted(creativity._HOME)
    assert set(creativity.__all__) <= set(dir(creativity))


@pytest.mark.parametrize('name', sorted(creativity._HOME))
def test_lazy_name_resolves(name):
    room = import_module(f'creativity.{creativity._HOME[name]}')
    assert getattr(creativity, name) is getattr(room, name)
    assert name in room.__all__


@pytest.mark.parametrize('name', CONTRACT)
def test_contract_name_that_exists_is_at_the_top(name):
    if name in public_names(): assert name in creativity.__all__


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'creativity' has no attribute 'nope'$"): _ = creativity.nope


@pytest.mark.parametrize(('name', 'room'), [('show_images', 'data.show'), ('as_schedule', 'diffusion'), ('Network', 'networks.card')])
def test_a_name_that_is_not_at_the_top_says_where_it_is(name, room):
    with pytest.raises(AttributeError, match=f"no attribute '{name}': it is in creativity.{room}$"): getattr(creativity, name)
    assert not hasattr(creativity, name)


@pytest.mark.parametrize('name', ['__path__x', 'diffusion', 'data'])
def test_rooms_and_pythons_own_names_are_not_looked_for(name): assert creativity._elsewhere(name) == ''


LAZY = """
import sys, time
start = time.process_time()
import creativity
print(time.process_time() - start)
assert not {'torch', 'numpy', 'matplotlib', 'numba', 'PIL'} & set(sys.modules), 'too much was imported'
assert 'BBELSMachine' in dir(creativity)
assert 'torch' not in sys.modules
creativity.CosineSchedule
assert 'torch' in sys.modules
"""


def test_import_loads_nothing_until_a_name_is_used():
    "The seconds are the processor's own: a busy machine changes nothing."
    r = subprocess.run([sys.executable, '-c', LAZY], cwd=ROOT, capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    assert float(r.stdout) < .1


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


@pytest.mark.parametrize('path', [*MODULES.values(), *sorted((ROOT/'tools').glob('*.py'))], ids=lambda p: str(p.relative_to(ROOT)))
def test_no_unsafe_calls(path):
    assert list(unsafe(path)) == []


def test_unsafe_calls_are_found(tmp_path):
    bad = tmp_path/'bad.py'
    bad.write_text('import pickle\neval("1")\nrun("ls", shell=True)\nnp.load(f)\ntorch.load(f)\nos.system("ls")\n')
    assert [n for n, _ in unsafe(bad)] == [1, 2, 3, 4, 5, 6]


QUIET = '''
import importlib, os, random, sys, threading
import fastcore.all, ipywidgets, matplotlib.pyplot, numpy, PIL.Image, platformdirs, psutil, requests, safetensors.torch
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
for name in sys.argv[1:]: importlib.import_module(name)
assert not seen, seen
assert state() == before, 'importing changed global state'
'''


def test_import_does_nothing_else(tmp_path):
    env = os.environ | {'HOME': str(tmp_path), 'PYTHONDONTWRITEBYTECODE': '1', 'MPLBACKEND': 'agg'}
    names = ['creativity', *(f'creativity.{m}' for m in MODULES)]
    r = subprocess.run([sys.executable, '-c', QUIET, *names], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert r.returncode == 0, r.stderr


# The wheel, built from a copy and used outside the repository

@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    src, out = tmp_path_factory.mktemp('src'), tmp_path_factory.mktemp('dist')
    for name in ('pyproject.toml', 'README.md', 'LICENSE', 'NOTICE'): shutil.copy(ROOT/name, src)
    shutil.copytree(ROOT/'creativity', src/'creativity', ignore=shutil.ignore_patterns('__pycache__'))
    for folder in ('tools', 'nbs/course'): shutil.copytree(ROOT/folder, src/folder, ignore=shutil.ignore_patterns('__pycache__'))
    cmd = [sys.executable, '-m', 'build', '--wheel', '--no-isolation', '--outdir', str(out), str(src)]
    subprocess.run(cmd, check=True, capture_output=True)
    return next(out.glob('*.whl'))


def test_wheel_holds_everything(wheel):
    assert wheel.stat().st_size <= 21e6          # of which the page and the stored studies are one
    with zipfile.ZipFile(wheel) as z: names = set(z.namelist())
    files = [p for p in (ROOT/'creativity').rglob('*') if p.is_file() and '__pycache__' not in p.parts]
    assert {str(p.relative_to(ROOT)) for p in files} <= names
    lessons = [p.name for p in (NBS/'course').glob('*.ipynb')]
    assert {f'creativity/assets/course/{name}' for name in lessons} <= names
    info = f'creativity-{creativity.__version__}.dist-info'
    assert {f'{info}/licenses/LICENSE', f'{info}/licenses/NOTICE', f'{info}/entry_points.txt'} <= names
    assert all(n.startswith(('creativity/', info)) for n in names)


ALONE = '''
import sys, creativity
from creativity import load
assert creativity.__file__.startswith(sys.argv[1]), creativity.__file__
d = load('mnist', n=10)
print(tuple(d.x.shape))
from creativity.app.explore import page_folder, read_pack
print(page_folder(), len(read_pack("mnist")[1]))
'''


def test_wheel_works_alone(wheel, tmp_path):
    lib, cwd = tmp_path/'lib', tmp_path/'elsewhere'         # HOME is elsewhere still: matplotlib keeps its settings there
    cwd.mkdir()
    pip = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--no-index', '--no-compile', '--target', str(lib), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    env = os.environ | {'PYTHONPATH': str(lib), 'HOME': str(tmp_path)}
    run = lambda *cmd: subprocess.run(cmd, cwd=cwd, env=env, capture_output=True, text=True)
    r = run(sys.executable, '-c', ALONE, str(lib))
    assert r.returncode == 0, r.stderr
    assert r.stdout.splitlines() == ['(10, 1, 32, 32)', f'{lib/"creativity"/"app"/"page"} 150']
    r = run(sys.executable, str(lib/'bin'/'creativity'), '--help')
    assert r.returncode == 0, r.stderr
    assert 'demo' in r.stdout
    r = run(sys.executable, str(lib/'bin'/'creativity'), 'course', str(tmp_path/'lessons'))
    assert r.returncode == 0, r.stderr
    lessons = {p.name: json.loads(p.read_text()) for p in (tmp_path/'lessons').iterdir()}
    assert lessons.keys() == {p.name for p in (NBS/'course').glob('*.ipynb')}
    assert 'nbdev' not in json.dumps(lessons), 'a lesson speaks to tools that a reader does not have'
    assert list(cwd.iterdir()) == []


def fields_are_said(record):
    said = inspect.getdoc(type(record))
    for name in type(record).__dataclass_fields__: assert f'    {name}: ' in said, (type(record), name)
    assert said.count('Fields:') == 1


def test_help_says_what_each_parameter_is():
    c = creativity
    for name in c.__all__:
        thing = getattr(c, name)
        if not callable(thing) or thing in (c.CreativityError, c.Denoiser, c.Schedule): continue
        said = inspect.getdoc(thing)
        for p in inspect.signature(thing).parameters.values():
            if p.kind is not p.VAR_KEYWORD: assert f'    {p.name}: ' in said, (name, p.name)
    m, x = c.LSMachine(torch.rand(3, 1, 4, 4)*2 - 1, scales=3), torch.zeros(1, 1, 4, 4)
    for record in (m.sources(x, .5), m.belief(x, .5), c.explain(x[0], m), c.compare(m, {'m': m}, 1, steps=1, network_steps=1),
                   c.flow_sources(m, 0, 2)): fields_are_said(record)
    assert not {'import_module', 'TYPE_CHECKING'} & set(dir(c))


# What holds tensors is compared by identity

def holds_tensors(kind):
    "Is it a dataclass or named tuple with a tensor in it?"
    fields = getattr(kind, '__dataclass_fields__', None) or getattr(kind, '_fields', ())
    told = {name: str(v) for base in kind.__mro__ for name, v in vars(base).get('__annotations__', {}).items()}
    return any('Tensor' in told.get(name, '') or 'ndarray' in told.get(name, '') for name in fields)


def test_what_holds_tensors_is_equal_to_itself_alone():
    "`a == b` of tensors has no one truth value: the comparison of two records would raise."
    rooms, kinds = ('data', 'machines', 'measure', 'theory', 'diffusion'), []
    for name in MODULES:
        if name.split('.')[0] not in rooms: continue
        module = import_module(f'creativity.{name}')
        kinds += [k for k in vars(module).values() if isinstance(k, type) and k.__module__ == module.__name__
                  and k.__name__ in getattr(module, '__all__', []) and holds_tensors(k) and k.__name__ != 'Around']
    assert {'Belief', 'Sources', 'State', 'Estimate', 'Copies', 'Comparison'} <= {k.__name__ for k in kinds}
    for kind in kinds:
        record = kind.__new__(kind, *[None]*len(kind._fields)) if issubclass(kind, tuple) else kind.__new__(kind)
        again = kind.__new__(kind, *[None]*len(kind._fields)) if issubclass(kind, tuple) else kind.__new__(kind)
        same = ([record] == [record], record != again, len({record, again}))
        assert same == (True, True, 2), kind
