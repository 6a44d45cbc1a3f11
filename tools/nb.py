#!/usr/bin/env python
"""Edit, execute and check the notebooks from a terminal.

The .ipynb files are the only source; `.text/` holds throw-away text copies of them to edit.

  tools/nb.py new course/13_next       an empty notebook and its text copy
  tools/nb.py edit engine/plan         write .text/library/engine/plan.py (percent format)
  tools/nb.py save engine/plan         bring the text back, export its module, clean
  tools/nb.py run engine/plan          execute in place and keep the outputs
  tools/nb.py check                    execute all in a scratch copy; saved outputs must match
  tools/nb.py sync                     export all in a scratch copy; the modules must match
"""
import argparse
import base64
import io
import multiprocessing
import os
import re
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1' if 'check' in sys.argv[1:2] else '2')
ROOT = Path(__file__).resolve().parent.parent
NBS, TEXT = ROOT/'nbs', ROOT/'.text'
# Cells that show times or memory of this machine.
VOLATILE = re.compile(r'^#\|\s*volatile', re.M)
# Cells that are not executed here; their outputs are kept.
SKIPPED = re.compile(r'^#\|\s*(slow|gpu|eval:\s*false)|nbdev_export\(\)', re.M)
# What nearly every notebook imports, and takes seconds to import.
HEAVY = ['execnb.shell', 'fastcore.test', 'ipywidgets', 'matplotlib.pyplot', 'nbdev.clean',
         'nbdev.showdoc', 'numba', 'requests', 'scipy.stats', 'torch', 'tqdm.auto', 'typer',
         'creativity.app.cli', 'creativity.machines.rivals', 'creativity.measure.audit']
OPTS = {'cell_metadata_filter': '-all', 'notebook_metadata_filter': '-all'}


def notebooks(names=()):
    "The named notebooks (by the end of a path, with or without suffix); all when none is named."
    is_ours = lambda p: not any(s[0] in '._' for s in p.relative_to(NBS).parts)
    everything = sorted(p for p in NBS.rglob('*.ipynb') if is_ours(p))
    return [one(n, everything) for n in names] if names else everything


def one(name, everything):
    "The one notebook whose path ends like this; a new one must be named from `nbs/` on."
    want = tuple(Path(name.removesuffix('.ipynb').removeprefix('nbs/')).parts)
    found = [p for p in everything if p.relative_to(NBS).with_suffix('').parts[-len(want):] == want]
    exact = [p for p in found if len(p.relative_to(NBS).parts) == len(want)]
    if len(found) > 1 and not exact:
        raise SystemExit(f'{name} could be {", ".join(map(show, found))}')
    return (exact or found or [NBS.joinpath(*want).with_suffix('.ipynb')])[0]


def show(nb): return str(nb.relative_to(NBS).with_suffix(''))
def text_path(nb): return (TEXT/show(nb)).with_suffix('.py')


def clean(nb):
    "Clean one notebook as `nbdev_clean` does."
    from nbdev.clean import nbdev_clean
    nbdev_clean(str(nb))


def new(nb):
    import nbformat
    if nb.exists(): raise SystemExit(f'{nb.name} exists already')
    title = f'# {nb.stem}\n\n> what the reader will be able to do'
    kernel = {'display_name': 'python3', 'language': 'python', 'name': 'python3'}
    nb.parent.mkdir(parents=True, exist_ok=True)
    empty = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell(title)], metadata={'kernelspec': kernel})
    nbformat.write(empty, nb)
    clean(nb)
    edit(nb)


def edit(nb):
    import jupytext
    text_path(nb).parent.mkdir(parents=True, exist_ok=True)
    nbk = jupytext.read(nb)
    nbk.metadata.setdefault('jupytext', {}).update(OPTS)
    jupytext.write(nbk, text_path(nb), fmt='py:percent')
    print(text_path(nb).relative_to(ROOT))


def save(nb):
    from jupytext.cli import jupytext as cli
    from nbdev.export import nb_export
    cli(['--quiet', '--to', 'ipynb', '--update', '-o', str(nb), str(text_path(nb))])
    clean(nb)
    os.chdir(ROOT)
    nb_export(str(nb))


def execute(src, dest):
    "Run `src` in its own folder, write it with outputs to `dest`; stop at a cell's first error."
    from execnb.nbio import read_nb, write_nb
    from execnb.shell import CaptureShell
    os.chdir(src.parent)
    os.environ['IN_TEST'] = '1'
    shell = CaptureShell(src, mpl_format='png')
    nb = read_nb(src)
    code = [c for c in nb.cells if c.cell_type == 'code']
    skip = lambda c: c.cell_type == 'code' and SKIPPED.search(c.source)
    for c in code:
        # a cell that prints nothing would keep its old outputs
        if not skip(c): c['outputs'] = []
    try: shell.run_all(nb, exc_stop=True, preproc=skip)
    except BaseException:
        raise SystemExit(f'{src.name} failed\n' + shell.prettytb(fname=src)) from None
    for c in code: c['outputs'] = [o for o in c.get('outputs', []) if o.get('name') != 'stderr']
    write_nb(nb, dest)


def run(nb):
    t = time.time()
    execute(nb, nb)
    clean(nb)
    print(f'{show(nb)} ran in {time.time() - t:.0f} s', flush=True)


def processes(jobs):
    """A pool that gives each notebook a process of its own.

    Settings of matplotlib that one notebook leaves behind would change the next one's pictures.
    On Linux the processes are forks of one that has imported what is heavy and done nothing else.
    """
    context = multiprocessing.get_context('forkserver' if sys.platform == 'linux' else 'spawn')
    if sys.platform == 'linux': context.set_forkserver_preload(HEAVY)
    return ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1)


def run_all(nbs):
    with processes(1) as pool: list(pool.map(run, nbs))


def pixels(b64):
    import numpy as np
    from PIL import Image
    picture = Image.open(io.BytesIO(base64.b64decode(b64)))
    return np.asarray(picture.convert('RGB')).astype(float)/255


def differences(saved, fresh):
    "What differs between two notebooks' outputs: text exactly, pictures by RMS over 0.02."
    for a, b in zip(saved.cells, fresh.cells, strict=True):
        source = ''.join(a.source)
        if a.cell_type != 'code' or VOLATILE.search(source): continue
        first = next(iter(source.strip().splitlines()), '')
        old, new = a.get('outputs', []), b.get('outputs', [])
        if len(old) != len(new):
            yield f'{first}: {len(old)} saved outputs, {len(new)} fresh'
            continue
        for x, y in zip(old, new, strict=True):
            said = difference(x, y)
            if said: yield f'{first}: {said}'


def difference(x, y):
    "What differs between two outputs; None where nothing does."
    pictures = [o.get('data', {}).get('image/png') for o in (x, y)]
    if any(pictures): return None if same_picture(*pictures) else 'picture differs'
    return None if text_of(x) == text_of(y) else 'text differs'


def text_of(output):
    "What an output prints."
    return ''.join(output.get('text', output.get('data', {}).get('text/plain', '')))


def same_picture(a, b):
    if not a or not b: return False
    a, b = pixels(''.join(a)), pixels(''.join(b))
    return a.shape == b.shape and ((a - b)**2).mean()**.5 < 0.02


def check(nb):
    "Execute a scratch copy of one notebook and compare: (name, seconds, differences)."
    import tempfile

    from execnb.nbio import read_nb
    t = time.time()
    with tempfile.TemporaryDirectory() as tmp:
        dest = Path(tmp)/nb.name
        execute(nb, dest)
        clean(dest)
        return show(nb), time.time() - t, list(differences(read_nb(nb), read_nb(dest)))


def check_all(nbs, jobs):
    bad = 0
    with processes(jobs) as pool:
        for name, secs, diffs in pool.map(check, nbs):
            verdict = 'STALE' if diffs else 'fresh'
            print(f'{name}: {verdict} ({secs:.0f} s)', *diffs, sep='\n  ', flush=True)
            if diffs: bad += 1
    if bad: raise SystemExit(f'{bad} notebook(s) with stale outputs: run tools/nb.py run NAME')


EXPORT = '''
from nbdev.clean import nbdev_clean
from nbdev.doclinks import nbdev_export
nbdev_export()
nbdev_clean()
'''


def exported(folder):
    "Export and clean all in `folder`, a copy of the project: {path: text} of both kinds."
    import subprocess
    subprocess.run([sys.executable, '-c', EXPORT], cwd=folder, check=True)
    return project(folder)


def project(folder):
    files = [*folder.glob('creativity/**/*.py'), *folder.glob('nbs/**/*.ipynb')]
    return {str(f.relative_to(folder)): f.read_text(encoding='utf-8') for f in files}


def sync():
    "Compare modules and notebooks with what a scratch copy exports; nothing here is written."
    import shutil
    import tempfile
    have = project(ROOT)
    with tempfile.TemporaryDirectory() as tmp:
        for name, text in have.items():
            if name.endswith('.py') and '# AUTOGENERATED' in text: continue
            (Path(tmp)/name).parent.mkdir(parents=True, exist_ok=True)
            (Path(tmp)/name).write_text(text, encoding='utf-8')
        for name in ('settings.ini', 'pyproject.toml'): shutil.copy(ROOT/name, tmp)
        want = exported(Path(tmp))
    bad = sorted(n for n in have.keys() | want.keys() if have.get(n) != want.get(n))
    if bad:
        advice = 'run nbdev_export and nbdev_clean'
        raise SystemExit(f'not what the notebooks export ({advice}): ' + ', '.join(bad))
    print(f'{len(want)} files in sync')


def main():
    as_written = argparse.RawDescriptionHelpFormatter
    p = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    p.add_argument('verb', choices='new edit save run check sync'.split())
    p.add_argument('names', nargs='*', help='notebooks, e.g. engine/plan; all when left out')
    p.add_argument('--jobs', type=int, default=2, help='processes for check (default 2)')
    a = p.parse_args()
    nbs = notebooks(a.names)
    if a.verb == 'sync': return sync()
    if a.verb == 'check': return check_all(nbs, a.jobs)
    if a.verb == 'run': return run_all(nbs)
    for nb in nbs: globals()[a.verb](nb)


if __name__ == '__main__': main()
