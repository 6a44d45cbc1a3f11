#!/usr/bin/env python
"""Measure the house: who imports whom, what is public, how long lines and functions are.

  tools/house.py                    this checkout, as a table
  tools/house.py OLD . --mypy       two checkouts side by side, with the errors that mypy finds

The order of the modules from the ground up, `FLOORS`, is here; tests and navigation read it.
"""
import argparse
import ast
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# From the ground up: a module imports only from what stands before it, above or on its left.
ROWS = """
errors
files
runs
metrics
diffusion
data.images data.sets data.own data.show data.store data.disk data.find
theory.belief theory.windows theory.ideal theory.locality theory.equivariance theory.rivals
engine.lanes engine.plan engine.sums engine.margins
engine.sweep engine.local engine.flash engine.stream engine.second
machines.widths machines.windows machines.whole machines.named
machines.rivals machines.sampled machines.mix machines.conditional machines.bounded machines.shared
networks.architectures networks.wrap networks.card networks.train networks.diffusers
measure.receptive measure.likelihood measure.place measure.provenance measure.limbs measure.pair
measure.calibrate measure.nulls measure.onestep measure.compare
measure.copies measure.report measure.audit
studies.command
app.explorer app.demo app.explore app.course app.terminal app.cli
"""
FLOORS = ROWS.split()
# All other studies stand just above this one, on one floor.
STUDIES = FLOORS.index('studies.command')


def floor(module):
    "The floor of a module, e.g. `engine.plan`; None for one that has none yet."
    if module in FLOORS: return float(FLOORS.index(module))
    return STUDIES + .5 if module.startswith('studies.') else None


def modules(package):
    "The modules of a package: {name below the package: path}; generated `_` files are left out."
    paths = sorted(p for p in package.rglob('*.py') if not p.name.startswith('_'))
    return {'.'.join(p.relative_to(package).with_suffix('').parts): p for p in paths}


def imports(name, path, known):
    "The modules of the package that a module imports, wherever in its text: {module: names}."
    package, found = path.parents[name.count('.')].name, {}
    for base, names in import_statements(name, path, package):
        if base != package and not base.startswith(package + '.'): continue
        inside = base[len(package) + 1:]
        if inside in known:
            found.setdefault(inside, set()).update(names)
            continue
        # from creativity.engine import plan
        for n in names:
            whole = f'{inside}.{n}'.lstrip('.')
            if whole in known: found.setdefault(whole, set())
    return found


def import_statements(name, path, package):
    "Every import of a module, relative ones spelt out: (module, names taken from it)."
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            for a in node.names: yield a.name, ()
        if isinstance(node, ast.ImportFrom):
            above = [package, *name.split('.')][:-node.level] if node.level else []
            below = [node.module] if node.module else []
            yield '.'.join(above + below), tuple(a.name for a in node.names)


def arrows(package):
    "Every import between two modules: (importer, imported)."
    known = modules(package)
    return [(a, b) for a, path in known.items() for b in imports(a, path, known)]


def violations(package):
    "Imports that do not point down, and modules that have no floor."
    for name in modules(package):
        if floor(name) is None: yield f'{name} has no floor: name it in ROWS of tools/house.py'
    for a, b in arrows(package):
        if floor(a) is None or floor(b) is None: continue
        if floor(b) >= floor(a): yield f'{a} imports {b}, which does not stand below it'
        elif b.startswith('studies.') and b != 'studies.command' and not a.startswith('app.'):
            yield f'{a} imports the study {b}'


def public(path):
    "The names in a module's `__all__`."
    for node in ast.parse(path.read_text(encoding='utf-8')).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '__all__':
            return ast.literal_eval(node.value)
    return []


def functions(path):
    "Every function and method by qualified name; a nested one belongs to the function around it."
    for node in ast.parse(path.read_text(encoding='utf-8')).body:
        if isinstance(node, ast.FunctionDef): yield node.name, node
        if isinstance(node, ast.ClassDef):
            for f in node.body:
                if isinstance(f, ast.FunctionDef): yield f'{node.name}.{f.name}', f


def body_lines(function):
    "How many lines the body of a function has, its docstring left out."
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def parameters(function):
    "How many parameters a function has, `self` and `cls` and the starred ones left out."
    a = function.args
    names = [p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
    return len([n for n in names if n not in ('self', 'cls')])


def code_cells(notebook):
    "The source of every cell of code in a notebook."
    cells = json.loads(notebook.read_text(encoding='utf-8'))['cells']
    return [''.join(c['source']) for c in cells if c['cell_type'] == 'code']


def generated_lines(text):
    "The lines of a module, from 0, that nbdev writes: `__all__` and the marks of its cells."
    marks = {i for i, line in enumerate(text.splitlines()) if line.startswith('# %%')}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '__all__':
            marks |= set(range(node.lineno - 1, node.end_lineno))
    return marks


def long_lines(path, limit=100):
    "How many lines of a notebook's code, or of a module, are longer than `limit`."
    if path.suffix == '.ipynb':
        lines = [line for cell in code_cells(path) for line in cell.splitlines()]
    else:
        text = path.read_text(encoding='utf-8')
        generated = generated_lines(text)
        lines = [line for i, line in enumerate(text.splitlines()) if i not in generated]
    return sum(len(line) > limit for line in lines)


def names_in(source):
    "Every identifier in a piece of code: names, attributes, imports; none in what does not parse."
    try: nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError: return set()
    names = {n.id for n in nodes if isinstance(n, ast.Name)}
    attributes = {n.attr for n in nodes if isinstance(n, ast.Attribute)}
    imported = {a.name for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names}
    return names | attributes | imported


def used_names(root):
    "What tests and cells that are not exported name, and what theory, studies and app import."
    found = set()
    for test in (root/'tests').glob('*.py'): found |= names_in(test.read_text(encoding='utf-8'))
    for notebook in notebooks(root):
        for cell in code_cells(notebook):
            if not cell.startswith('#| export'): found |= names_in(cell)
    known = modules(root/'creativity')
    for name, path in known.items():
        if not name.startswith(('theory.', 'studies.', 'app.')): continue
        for names in imports(name, path, known).values(): found |= names
    return found


def unused_names(root):
    "The public names that no test, lesson or study uses, as `module.name`."
    used = used_names(root)
    paths = modules(root/'creativity')
    return sorted(f'{m}.{n}' for m, path in paths.items() for n in public(path) if n not in used)


def notebooks(root):
    "The notebooks of a checkout."
    nbs = root/'nbs'
    is_ours = lambda p: not any(s[0] in '._' for s in p.relative_to(nbs).parts)
    return sorted(p for p in nbs.rglob('*.ipynb') if is_ours(p))


def mypy_errors(root):
    "How many errors mypy finds in the package, signatures and bodies, without any allowance."
    cmd = [sys.executable, '-m', 'mypy', '--no-incremental', '--config-file=',
           '--check-untyped-defs', '--ignore-missing-imports', 'creativity']
    out = subprocess.run(cmd, cwd=root, capture_output=True, text=True).stdout
    return sum(': error:' in s for s in out.splitlines())


def measure(root, mypy=False):
    "The table's column for one checkout."
    package = root/'creativity'
    paths = modules(package)
    all_functions = [f for p in paths.values() for _, f in functions(p)]
    bodies = sorted(map(body_lines, all_functions))
    twentieths = statistics.quantiles(bodies, n=20, method='inclusive')
    found = {
        'modules': len(paths),
        'floors': len({floor(m) for m in paths} - {None}),
        'arrows between files': len(arrows(package)),
        'arrows that do not point down': sum('imports' in v for v in violations(package)),
        'public names': sum(len(public(p)) for p in paths.values()),
        'public names that nothing else uses': len(unused_names(root)),
        'lines of code over 100, notebooks': sum(map(long_lines, notebooks(root))),
        'lines over 100, modules': sum(map(long_lines, paths.values())),
        'longest function body': bodies[-1],
        '95% of bodies have at most': round(twentieths[-1]),
        'most parameters': max(map(parameters, all_functions)),
    }
    return found | ({'errors of mypy': mypy_errors(root)} if mypy else {})


def table(roots, columns):
    "A row for everything that is measured, a column for every checkout, as Markdown."
    yield '| | ' + ' | '.join(r.resolve().name for r in roots) + ' |'
    yield '|---' + '|---:'*len(columns) + '|'
    for row in columns[0]: yield f'| {row} | ' + ' | '.join(str(c[row]) for c in columns) + ' |'


def main():
    as_written = argparse.RawDescriptionHelpFormatter
    p = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    p.add_argument(
        'roots', nargs='*', type=Path, default=[ROOT], help='checkouts to measure (this one)')
    p.add_argument('--mypy', action='store_true', help='count the errors that mypy finds too')
    a = p.parse_args()
    columns = [measure(r.resolve(), a.mypy) for r in a.roots]
    print(*table(a.roots, columns), sep='\n')
    for v in violations(a.roots[-1].resolve()/'creativity'): print(v)


if __name__ == '__main__': main()
