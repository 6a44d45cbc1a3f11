#!/usr/bin/env python
"""Measure the house: who imports whom, what is public, how long lines and functions are.

  tools/house.py                    this checkout, as a table
  tools/house.py OLD . --mypy       two checkouts side by side, with the errors that mypy finds

The order of the modules from the ground up, `FLOORS`, is here; the tests and the site's navigation read it.
"""
import argparse
import ast
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# From the ground up: a module imports only from rows above its own, and inside a row only from the left.
ROWS = """
errors
files
runs
metrics
diffusion
data.images data.sets data.own data.show data.store data.disk data.find
theory.ideal theory.locality theory.equivariance theory.rivals
engine.lanes engine.plan engine.sums engine.margins engine.sweep engine.flash engine.stream engine.second
machines.widths machines.windows machines.whole machines.named machines.rivals machines.mix machines.bounded machines.shared
networks.architectures networks.wrap networks.card networks.train networks.diffusers
measure.receptive measure.place measure.provenance measure.limbs measure.pair measure.calibrate measure.nulls measure.onestep measure.compare measure.audit
studies.command
app.explorer app.demo app.page app.course app.terminal app.cli
"""
FLOORS = ROWS.split()
STUDIES = FLOORS.index('studies.command')        # all other studies stand just above it, on one floor


def floor(module):
    "The floor of a module, e.g. `engine.plan`; None for one that has none yet."
    if module in FLOORS: return float(FLOORS.index(module))
    return STUDIES + .5 if module.startswith('studies.') else None


def modules(package):
    "The modules of a package: {dotted name below the package: path}; generated `_` files are left out."
    paths = sorted(p for p in package.rglob('*.py') if not p.name.startswith('_'))
    return {'.'.join(p.relative_to(package).with_suffix('').parts): p for p in paths}


def imports(name, path, known):
    "The modules of the package that a module imports, wherever in its text: {module: names}."
    package, found = path.parents[name.count('.')].name, {}
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            bases = [(a.name, ()) for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = [package, *name.split('.')][:-node.level] if node.level else []
            base = '.'.join([*above, *([node.module] if node.module else [])])
            bases = [(base, tuple(a.name for a in node.names))]
        else: continue
        for base, names in bases:
            if base != package and not base.startswith(package + '.'): continue
            base = base[len(package) + 1:]
            if base in known: found.setdefault(base, set()).update(names)
            else:
                for n in names:                  # from creativity.engine import plan
                    whole = f'{base}.{n}'.lstrip('.')
                    if whole in known: found.setdefault(whole, set())
    return found


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
    "Every function and method with its qualified name; a nested one belongs to the function around it."
    for node in ast.parse(path.read_text(encoding='utf-8')).body:
        if isinstance(node, ast.FunctionDef): yield node.name, node
        if isinstance(node, ast.ClassDef):
            yield from ((f'{node.name}.{f.name}', f) for f in node.body if isinstance(f, ast.FunctionDef))


def body_lines(function):
    "How many lines the body of a function has, its docstring left out."
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def parameters(function):
    "How many parameters a function has, `self` and `cls` and the starred ones left out."
    a = function.args
    names = [p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
    return len([n for n in names if n not in ('self', 'cls')])


def long_lines(path, limit=100):
    "How many lines of a notebook's code or of a module are longer than `limit`; the generated `__all__` is left out."
    if path.suffix == '.ipynb':
        cells = json.loads(path.read_text(encoding='utf-8'))['cells']
        lines = [s for c in cells if c['cell_type'] == 'code' for s in ''.join(c['source']).splitlines()]
        return sum(len(s) > limit for s in lines)
    lines = path.read_text(encoding='utf-8').splitlines()
    generated = set()
    for node in ast.parse('\n'.join(lines)).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '__all__':
            generated |= set(range(node.lineno - 1, node.end_lineno))
    return sum(len(s) > limit for i, s in enumerate(lines) if i not in generated and not s.startswith('# %%'))


def names_in(source):
    "Every identifier in a piece of code: names, attributes, imported names. Magics and what does not parse have none."
    try: nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError: return set()
    found = {n.id for n in nodes if isinstance(n, ast.Name)} | {n.attr for n in nodes if isinstance(n, ast.Attribute)}
    return found | {a.name for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names}


def used_names(root):
    "The identifiers in tests, in notebook cells that are not exported, and in what lessons, studies and applications import."
    found = set()
    for test in (root/'tests').glob('*.py'): found |= names_in(test.read_text(encoding='utf-8'))
    for notebook in notebooks(root):
        for cell in json.loads(notebook.read_text(encoding='utf-8'))['cells']:
            text = ''.join(cell['source'])
            if cell['cell_type'] == 'code' and not text.startswith('#| export'): found |= names_in(text)
    known = modules(root/'creativity')
    for name, path in known.items():
        if not name.startswith(('theory.', 'studies.', 'app.')): continue
        for names in imports(name, path, known).values(): found |= names
    return found


def unused_names(root):
    "The public names that no test, lesson or study uses, as `module.name`."
    used = used_names(root)
    return sorted(f'{m}.{n}' for m, path in modules(root/'creativity').items() for n in public(path) if n not in used)


def notebooks(root):
    "The notebooks of a checkout."
    nbs = root/'nbs'
    return sorted(p for p in nbs.rglob('*.ipynb') if not any(s[0] in '._' for s in p.relative_to(nbs).parts))


def mypy_errors(root):
    "How many errors mypy finds in a checkout's package, signatures and bodies, without any allowance."
    cmd = [sys.executable, '-m', 'mypy', '--no-incremental', '--config-file=', '--check-untyped-defs',
           '--ignore-missing-imports', 'creativity']
    out = subprocess.run(cmd, cwd=root, capture_output=True, text=True).stdout
    return sum(': error:' in s for s in out.splitlines())


def measure(root, mypy=False):
    "The table's column for one checkout."
    package = root/'creativity'
    paths = modules(package)
    bodies = sorted(body_lines(f) for p in paths.values() for _, f in functions(p))
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
        '95% of bodies have at most': round(statistics.quantiles(bodies, n=20, method='inclusive')[-1]),
        'most parameters': max(parameters(f) for p in paths.values() for _, f in functions(p)),
    }
    return found | ({'errors of mypy': mypy_errors(root)} if mypy else {})


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('roots', nargs='*', type=Path, default=[ROOT], help='checkouts to measure (this one)')
    p.add_argument('--mypy', action='store_true', help='count the errors that mypy finds too')
    a = p.parse_args()
    columns = [measure(r.resolve(), a.mypy) for r in a.roots]
    print('| | ' + ' | '.join(r.resolve().name for r in a.roots) + ' |\n|---' + '|---:'*len(columns) + '|')
    for row in columns[0]: print(f'| {row} | ' + ' | '.join(str(c[row]) for c in columns) + ' |')
    for v in violations(a.roots[-1].resolve()/'creativity'): print(v)


if __name__ == '__main__': main()
