#!/usr/bin/env python
"""Build the documentation site into _docs, without Quarto.

  tools/docs.py            process the notebooks as nbdev does, render them with smalldocs
  tools/docs.py --check    build, then fail on every internal link, anchor or picture that leads nowhere
  tools/docs.py --sidebar  write the navigation, nbs/sidebar.yml, and nothing else: what `nbdev_docs` needs before it runs

The deployed site is rendered by Quarto (`nbdev_docs`) from the same processed notebooks. Where the browser check's
tools are installed, KaTeX is taken from there, and the site shows its equations offline too.
"""
import argparse
import os
import posixpath
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
STAGE, SITE = ROOT/'.cache'/'site', ROOT/'_docs'
KATEX = ROOT/'.cache'/'browser'/'node_modules'/'katex'/'dist'
NUMBERED = re.compile(r'((?:\]\(|href=\\?["\'])(?!\w+:)(?:[\w.-]+/)*)\d+[a-zA-Z0-9]*_(\w+\.ipynb)')   # links to notebooks
PAGES = ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md')       # not part of the site, but their links must hold too
# The library in reading order: a page, or a group of pages with the folder that they lie in ('' is `library` itself).
LIBRARY = [('Data', 'data'), 'library/diffusion.ipynb', ('Machines', 'machines'), ('Networks', 'networks'), ('Measuring', 'measure'),
           ('Applications', 'app'), ('Engine', 'engine'), ('Foundations', '')]


def navigation(nbs):
    "The notebooks under `nbs` in reading order, as Quarto's sidebar: Course, Library, Studies."
    from house import FLOORS
    files = [str(f.relative_to(nbs)) for f in nbs.rglob('*.ipynb') if not any(s[0] in '._' for s in f.relative_to(nbs).parts)]
    below = lambda folder: sorted(f for f in files if posixpath.dirname(f) == folder)
    def height(f):
        name = f.removesuffix('.ipynb').removeprefix('library/').replace('/', '.')
        return FLOORS.index(name) if name in FLOORS else -1
    def entry(item):
        if isinstance(item, str): return item
        title, folder = item
        pages = sorted(below(f'library/{folder}'.rstrip('/')), key=height)
        return {'section': title, 'contents': [p for p in pages if p not in LIBRARY]}
    groups = {'Course': below('course'), 'Library': [entry(i) for i in LIBRARY], 'Studies': sorted(below('studies'), key=height)}
    return ['index.ipynb', *({'section': title, 'contents': c} for title, c in groups.items())]


def sidebar():
    "Write nbs/sidebar.yml, which Quarto and smalldocs read."
    import yaml
    contents = {'website': {'sidebar': {'contents': navigation(ROOT/'nbs')}}}
    (ROOT/'nbs'/'sidebar.yml').write_text(yaml.safe_dump(contents, sort_keys=False), encoding='utf-8')


def unnumbered(path):
    "A notebook's path under the name of its page: `course/03_ideal.ipynb` is `course/ideal.ipynb`."
    head, tail = posixpath.split(path)
    return posixpath.join(head, re.sub(r'^\d+[a-zA-Z0-9]*_', '', tail))


def stage(cfg):
    "The processed notebooks under the names of their pages, with links to match."
    import yaml
    from nbdev.serve import proc_nbs
    sidebar()
    proc = proc_nbs(force=True, n_workers=2)
    shutil.rmtree(STAGE, ignore_errors=True)
    shutil.copytree(proc, STAGE, ignore=shutil.ignore_patterns('_docs'))
    home = f'{cfg.doc_host}{cfg.doc_baseurl}'.rstrip('/') + '/'
    for f in list(STAGE.rglob('*.ipynb')):
        name = f.relative_to(STAGE).as_posix()
        text = NUMBERED.sub(r'\1\2', f.read_text(encoding='utf-8')).replace(home, '../'*name.count('/') or './')
        f.unlink()
        (STAGE/unnumbered(name)).write_text(text, encoding='utf-8')
    rename = lambda c: unnumbered(c) if isinstance(c, str) else c | {'contents': [rename(x) for x in c['contents']]}
    nav = yaml.safe_load((STAGE/'sidebar.yml').read_text(encoding='utf-8'))
    nav['website']['sidebar']['contents'] = [rename(c) for c in nav['website']['sidebar']['contents']]
    (STAGE/'sidebar.yml').write_text(yaml.safe_dump(nav, sort_keys=False), encoding='utf-8')


def build(cfg):
    "Render the site; return its pages."
    from smalldocs import site
    stage(cfg)
    made = site.build(STAGE, quiet=True)
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.move(made.out, SITE)
    offline()
    return sorted(SITE.rglob('*.html'))


def offline():
    "Let the site load nothing from elsewhere: no web fonts, and KaTeX from a copy where there is one."
    for f in (SITE/'site_libs'/'themes').rglob('*.css'):
        f.write_text(re.sub(r'@import url\(.?https?:[^)]*\);?', '', f.read_text(encoding='utf-8')), encoding='utf-8')
    if not KATEX.is_dir(): return
    shutil.copytree(KATEX, SITE/'site_libs'/'katex')
    for f in SITE.rglob('*.html'):
        html, up = f.read_text(encoding='utf-8'), '../'*(len(f.relative_to(SITE).parts) - 1)
        f.write_text(re.sub(r'https://[^"]+/katex@[\d.]+/dist', f'{up}site_libs/katex', html), encoding='utf-8')


class Page(HTMLParser):
    "What a page offers (`ids`) and what it points at (`links`)."
    def __init__(self, html):
        super().__init__()
        self.ids, self.links = set(), []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {v for k, v in attrs.items() if k in ('id', 'name') and v}
        self.links += [v or '' for k, v in attrs.items() if k in ('href', 'src', 'data-src')]


def read(path):
    "The links and anchors of a page, HTML or Markdown (with anchors as GitHub makes them)."
    text = path.read_text(encoding='utf-8')
    if path.suffix == '.html': return Page(text)
    from markdown_it import MarkdownIt
    page = Page(MarkdownIt('commonmark', {'html': True}).enable('table').render(text))
    heads = re.findall(r'^#+ +(.+)$', text, re.M)
    page.ids |= {re.sub(r'[^\w\- ]', '', h.lower()).replace(' ', '-') for h in heads}
    return page


def leads(link, page, pages, cfg):
    "Whether a link on `page` leads to something: other sites are taken on trust."
    if link.startswith(('data:', 'mailto:', 'javascript:')): return True
    url, source, home = urlsplit(link), f'{cfg.git_url}/blob/{cfg.branch}/', f'{cfg.doc_host}{cfg.doc_baseurl}/'
    if link.startswith(source): return (ROOT/unquote(urlsplit(link[len(source):]).path)).is_file()
    if link.startswith(home): url, page = urlsplit(link[len(home):] or 'index.html'), SITE/'index.html'
    elif url.scheme or url.netloc: return True
    if not link or url.path.startswith('/'): return False           # the site lives below a base path
    top = SITE if SITE in page.parents else ROOT
    file = (page.parent/unquote(url.path)).resolve() if url.path else page
    if file.is_dir() and top == SITE: file /= 'index.html'
    if not file.exists() or top not in (file, *file.parents): return False
    return not url.fragment or file not in pages or unquote(url.fragment) in pages[file].ids


def dead(files, cfg):
    "Every link that leads nowhere, as `page: link`."
    pages = {f: read(f) for f in files}
    for f, page in pages.items():
        for link in dict.fromkeys(page.links):
            if not leads(link, f, pages, cfg): yield f'{f.relative_to(ROOT)}: {link or "an empty link"}'


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--check', action='store_true', help='fail on dead links, anchors and pictures')
    p.add_argument('--sidebar', action='store_true', help='write nbs/sidebar.yml only')
    a = p.parse_args()
    os.chdir(ROOT)
    if a.sidebar: return sidebar()
    from nbdev.config import get_config
    cfg = get_config()
    pages = build(cfg)
    print(f'{len(pages)} pages in {SITE.relative_to(ROOT)}')
    if not a.check: return
    bad = list(dead([*pages, *(ROOT/f for f in PAGES)], cfg))
    if bad: raise SystemExit('dead links:\n  ' + '\n  '.join(bad))
    print('every internal link, anchor and picture resolves')


if __name__ == '__main__': main()
