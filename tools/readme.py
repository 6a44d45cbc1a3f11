#!/usr/bin/env python
"""Write README.md from nbs/index.ipynb, as `nbdev_readme` does but without Quarto.

  tools/readme.py            write README.md and the pictures it shows, index_files/
  tools/readme.py --check    write nothing; fail when they are not what the notebook gives
"""
import argparse
import base64
import os
import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIGURES = 'index_files/figure-commonmark'
# Relative targets of links and pictures.
LINK = re.compile(r'(\]\(|\b(?:src|href)=")(?![a-z]+:|[#/])([^)"\s]+)')


def options(cell):
    "Quarto's `#| key: value` lines of a code cell, and the code below them."
    lines = cell.source.splitlines()
    opts = dict(re.findall(r'^#\|\s*([\w-]+):\s*(\S+)', cell.source, re.M))
    return opts, '\n'.join(s for s in lines if not s.startswith('#|')).strip()


def output(out, name, files):
    "One saved output as Markdown; a picture goes into `files` under this name."
    data = out.get('data', {})
    if 'image/png' in data:
        files[name] = base64.b64decode(''.join(data['image/png']))
        return f'![]({name})'
    if 'text/markdown' in data: return LINK.sub(rebase, ''.join(data['text/markdown']).strip())
    text = ''.join(out.get('text', data.get('text/plain', ''))).rstrip()
    return '\n'.join('    ' + s if s else '' for s in text.splitlines())


def cells(nb, files):
    "The notebook's cells as blocks of Markdown."
    for n, c in enumerate(nb.cells):
        if c.cell_type == 'markdown': yield LINK.sub(rebase, c.source.strip())
        if c.cell_type != 'code': continue
        opts, code = options(c)
        if opts.get('include') == 'false': continue
        if code and opts.get('echo') != 'false': yield f'``` python\n{code}\n```'
        if opts.get('output') == 'false': continue
        for i, o in enumerate(c.get('outputs', []), 1):
            yield output(o, f'{FIGURES}/cell-{n + 1}-output-{i}.png', files)


def rebase(m):
    "A link that is relative to nbs/, made relative to the top folder."
    return m[1] + posixpath.normpath(posixpath.join('nbs', m[2]))


def readme():
    "README.md and its pictures: {path: bytes}."
    from execnb.nbio import read_nb
    from nbdev.processors import FilterDefaults
    os.chdir(ROOT)
    nb = read_nb('nbs/index.ipynb')
    nb = FilterDefaults()(nb) or nb
    files = {}
    head = [f'# {nb.frontmatter_["title"]}', f'> {nb.frontmatter_["description"]}']
    blocks = [b for b in [*head, *cells(nb, files)] if b]
    return {'README.md': ('\n\n'.join(blocks) + '\n').encode(), **files}


def out_of_date(want):
    "The files here that are not what the notebook gives, superfluous pictures too."
    have = {'README.md', *(str(f.relative_to(ROOT)) for f in (ROOT/FIGURES).glob('*'))}
    is_right = lambda f: (ROOT/f).is_file() and (ROOT/f).read_bytes() == want.get(f)
    return sorted(f for f in have | want.keys() if not is_right(f))


def bring_up_to_date(path, content):
    "Write a file, or take it away when there is nothing to be in it."
    if content is None: return path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def main():
    as_written = argparse.RawDescriptionHelpFormatter
    p = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    p.add_argument('--check', action='store_true', help='compare only; exit 1 when out of date')
    check = p.parse_args().check
    want = readme()
    stale = out_of_date(want)
    if check and stale: raise SystemExit(f'out of date, run tools/readme.py: {", ".join(stale)}')
    for f in stale: bring_up_to_date(ROOT/f, want.get(f))
    print('README.md is up to date' if not stale else f'wrote {", ".join(stale)}')


if __name__ == '__main__': main()
