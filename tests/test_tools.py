"The tools that check the project notice what they are there to notice."
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parent.parent


def tool(name):
    if str(ROOT/'tools') not in sys.path: sys.path.insert(0, str(ROOT/'tools'))
    spec = importlib.util.spec_from_file_location(f'tool_{name}', ROOT/'tools'/f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('name', sorted(p.stem for p in (ROOT/'tools').glob('*.py') if p.stem != 'build'))
def test_help(name):
    r = subprocess.run([sys.executable, str(ROOT/'tools'/f'{name}.py'), '--help'], capture_output=True, text=True)
    assert r.returncode == 0
    assert f'tools/{name}.py' in r.stdout


@pytest.fixture
def site(tmp_path, monkeypatch):
    docs = tool('docs')
    monkeypatch.setattr(docs, 'ROOT', tmp_path)
    monkeypatch.setattr(docs, 'SITE', tmp_path/'_docs')
    (tmp_path/'_docs').mkdir()
    (tmp_path/'_docs'/'index.html').write_text('<h1 id="top">x</h1>')
    (tmp_path/'there.py').write_text('')
    cfg = SimpleNamespace(git_url='https://git.example/us/it', branch='main', doc_host='https://us.example', doc_baseurl='/it')
    def dead(html):
        page = tmp_path/'_docs'/'data.html'
        page.write_text(html)
        return list(docs.dead([page, tmp_path/'_docs'/'index.html'], cfg))
    return dead


@pytest.mark.parametrize('link', ['index.html', 'index.html#top', './', '#here', 'https://elsewhere.example/x', 'mailto:a@b.c',
                                  'https://us.example/it/index.html#top', 'https://us.example/it/',
                                  'https://git.example/us/it/blob/main/there.py#L3'])
def test_good_links(site, link): assert site(f'<p id="here"><a href="{link}">x</a>') == []


@pytest.mark.parametrize('link', ['', 'nope.html', 'index.html#nope', '#nope', '/index.html', '../there.py',
                                  'https://us.example/it/nope.html', 'https://us.example/it/index.html#nope',
                                  'https://git.example/us/it/blob/main/nope.py'])
def test_dead_links(site, link): assert site(f'<p id="here"><a href="{link}">x</a>') == [f'_docs/data.html: {link or "an empty link"}']


def test_dead_picture(site): assert site('<img src="nope.png">') == ['_docs/data.html: nope.png']


@pytest.mark.parametrize(('link', 'want'), [
    ('[a](course/03_ideal.ipynb#x)', '[a](nbs/course/03_ideal.ipynb#x)'), ('![a](images/a.png)', '![a](nbs/images/a.png)'),
    ('[a](../LICENSE)', '[a](LICENSE)'), ('<img src="a.png">', '<img src="nbs/a.png">'),
    ('[a](https://x.example)', '[a](https://x.example)'), ('[a](#b)', '[a](#b)')])
def test_readme_links_start_at_the_top(link, want):
    readme = tool('readme')
    assert readme.LINK.sub(readme.rebase, link) == want


def notebook(*outputs, source='show()'):
    cell = SimpleNamespace(cell_type='code', source=source, get=lambda k, d=None: list(outputs) if k == 'outputs' else d)
    return SimpleNamespace(cells=[cell])


def test_stale_outputs_are_found():
    diff = lambda a, b: list(tool('nb').differences(a, b))
    one, two = {'text': ['1\n']}, {'text': ['2\n']}
    assert diff(notebook(one), notebook(one)) == []
    assert diff(notebook(one), notebook(two)) == ['show(): text differs']
    assert diff(notebook(one), notebook()) == ['show(): 1 saved outputs, 0 fresh']
    assert diff(notebook(one, source='#| volatile: true\nt()'), notebook(two)) == []


def test_module_edited_by_hand_is_found(tmp_path):
    ignore = shutil.ignore_patterns('assets', '__pycache__')
    for name in ('nbs', 'creativity', 'tools'): shutil.copytree(ROOT/name, tmp_path/name, ignore=ignore)
    for name in ('settings.ini', 'pyproject.toml'): shutil.copy(ROOT/name, tmp_path)
    with open(tmp_path/'creativity'/'data'/'own.py', 'a') as f: f.write('# by hand\n')
    r = subprocess.run([sys.executable, str(tmp_path/'tools'/'nb.py'), 'sync'], capture_output=True, text=True)
    assert r.returncode == 1
    assert 'creativity/data/own.py' in r.stderr
    assert (tmp_path/'creativity'/'data'/'own.py').read_text().endswith('# by hand\n'), 'the check must not touch the tree'


def test_uv_is_told_what_pip_is_told(tmp_path, monkeypatch):
    "Each place once, those on disk only where they are; nothing of an environment without settings."
    room, here = tool('fast_install'), tmp_path/'wheels'
    here.mkdir()
    said = f""":env:.cert='/certs.pem'
:env:.find-links='{here}'
global.find-links='{here} {tmp_path}/none'
global.extra-index-url='file://{here} file://{tmp_path}/none https://one.example/simple'
global.index-url='https://two.example/simple'
"""
    monkeypatch.setattr(room.subprocess, 'run', lambda *_, **__: SimpleNamespace(stdout=said))
    found = room.settings()
    assert found['cert'] == ['/certs.pem']
    assert list(room.flags(found)) == [
        '--find-links', str(here), '--extra-index-url', f'file://{here}', '--extra-index-url', 'https://one.example/simple',
        '--default-index', 'https://two.example/simple']
    assert list(room.flags({})) == []
