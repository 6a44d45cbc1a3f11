#!/usr/bin/env python
"""Build the documentation site into _docs, without Quarto.

  tools/docs.py            process the notebooks as nbdev does, render them with smalldocs
  tools/docs.py --check    build, then fail on links, anchors and pictures that lead nowhere
  tools/docs.py --sidebar  write the navigation, nbs/sidebar.yml, which `nbdev_docs` needs
  tools/docs.py --page     put the page that computes in the browser into _docs/explore

The deployed site is rendered by Quarto (`nbdev_docs`) from the same processed notebooks. Where the
browser check's tools are installed, KaTeX is taken from there: equations show offline too.
"""
import argparse
import os
import posixpath
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from house import FLOORS, modules, notebooks, public

ROOT = Path(__file__).resolve().parent.parent
STAGE, SITE = ROOT/'.cache'/'site', ROOT/'_docs'
EXPLORE = ROOT/'creativity'/'app'/'page'       # served as it is
KATEX = ROOT/'.cache'/'browser'/'node_modules'/'katex'/'dist'
# Links to notebooks, in Markdown and in HTML, whose file names start with a number.
LINK_START = r'(?:\]\(|href=\\?["\'])(?!\w+:)'
NUMBERED = re.compile(rf'({LINK_START}(?:[\w.-]+/)*)\d+[a-zA-Z0-9]*_(\w+\.ipynb)')
# Not part of the site, but their links must hold too.
PAGES = ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md')
# The library in reading order: a page, or a group of pages with the folder that they lie in
# ('' is `library` itself).
LIBRARY = [
    ('Data', 'data'),
    'library/diffusion.ipynb',
    ('Machines', 'machines'),
    ('Networks', 'networks'),
    ('Measuring', 'measure'),
    ('Applications', 'app'),
    ('Definitions', 'theory'),
    ('Engine', 'engine'),
    ('Foundations', ''),
]


def height(page):
    "A page's place in the order of the modules; what has no floor stands first."
    name = page.removesuffix('.ipynb').removeprefix('library/').replace('/', '.')
    return FLOORS.index(name) if name in FLOORS else -1


def library_entry(item, pages):
    "An item of `LIBRARY` for the navigation: a page, or a group with its pages from the ground up."
    if isinstance(item, str): return item
    title, folder = item
    inside = below(pages, f'library/{folder}'.rstrip('/'))
    alone = [page for page in LIBRARY if isinstance(page, str)]
    return {'section': title, 'contents': [p for p in sorted(inside, key=height) if p not in alone]}


def below(pages, folder):
    "The pages that lie in this very folder, by name."
    return sorted(p for p in pages if posixpath.dirname(p) == folder)


def navigation(nbs):
    "The notebooks under `nbs` in reading order, as Quarto's sidebar: Course, Library, Studies."
    pages = [p.relative_to(nbs).as_posix() for p in notebooks(nbs.parent)]
    groups = {
        'Course': below(pages, 'course'),
        'Library': [library_entry(item, pages) for item in LIBRARY],
        'Studies': sorted(below(pages, 'studies'), key=height),
    }
    return ['index.ipynb', *({'section': s, 'contents': c} for s, c in groups.items())]


def sidebar():
    "Write nbs/sidebar.yml, which Quarto and smalldocs read."
    import yaml
    contents = {'website': {'sidebar': {'contents': navigation(ROOT/'nbs')}}}
    text = yaml.safe_dump(contents, sort_keys=False)
    (ROOT/'nbs'/'sidebar.yml').write_text(text, encoding='utf-8')


def unnumbered(path):
    "A notebook's path under the name of its page: `course/03_ideal.ipynb` is `course/ideal.ipynb`."
    head, tail = posixpath.split(path)
    return posixpath.join(head, re.sub(r'^\d+[a-zA-Z0-9]*_', '', tail))


def unshown():
    "The index's links to names that no page shows, because their modules keep them to themselves."
    from creativity._modidx import d
    paths = modules(ROOT/'creativity')
    for module, symbols in d['syms'].items():
        inside = module.removeprefix('creativity.')
        shown = public(paths[inside]) if inside in paths else []
        for symbol, (link, _) in symbols.items():
            if symbol.removeprefix(f'{module}.').split('.')[0] not in shown: yield link


def rename(entry):
    "An entry of the navigation under the names of its pages."
    if isinstance(entry, str): return unnumbered(entry)
    return entry | {'contents': [rename(e) for e in entry['contents']]}


def stage(cfg):
    "The processed notebooks under the names of their pages, with links to match."
    import yaml
    from nbdev.serve import proc_nbs
    sidebar()
    proc = proc_nbs(force=True, n_workers=2)
    shutil.rmtree(STAGE, ignore_errors=True)
    shutil.copytree(proc, STAGE, ignore=shutil.ignore_patterns('_docs'))
    home = f'{cfg.doc_host}{cfg.doc_baseurl}'.rstrip('/') + '/'
    pageless = [f'{home}{link})' for link in unshown()]
    for f in list(STAGE.rglob('*.ipynb')):
        name = f.relative_to(STAGE).as_posix()
        text = f.read_text(encoding='utf-8')
        # a name that its page does not show links to the page itself
        for link in pageless: text = text.replace(link, link.split('#')[0] + ')')
        text = NUMBERED.sub(r'\1\2', text).replace(home, '../'*name.count('/') or './')
        f.unlink()
        (STAGE/unnumbered(name)).write_text(text, encoding='utf-8')
    nav = yaml.safe_load((STAGE/'sidebar.yml').read_text(encoding='utf-8'))
    in_bar = nav['website']['sidebar']
    in_bar['contents'] = [rename(c) for c in in_bar['contents']]
    (STAGE/'sidebar.yml').write_text(yaml.safe_dump(nav, sort_keys=False), encoding='utf-8')


def build(cfg):
    "Render the site; return its pages."
    from smalldocs import site
    stage(cfg)
    made = site.build(STAGE, quiet=True)
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.move(made.out, SITE)
    offline()
    add_page()
    return sorted(SITE.rglob('*.html'))


def add_page():
    "Put the page that computes in the browser into the site."
    shutil.copytree(EXPLORE, SITE/'explore', dirs_exist_ok=True)


def offline():
    "Let the site load nothing from elsewhere: no web fonts, KaTeX from a copy if there is one."
    for f in (SITE/'site_libs'/'themes').rglob('*.css'):
        css = f.read_text(encoding='utf-8')
        f.write_text(re.sub(r'@import url\(.?https?:[^)]*\);?', '', css), encoding='utf-8')
    if not KATEX.is_dir(): return
    shutil.copytree(KATEX, SITE/'site_libs'/'katex')
    for f in SITE.rglob('*.html'):
        html, up = f.read_text(encoding='utf-8'), '../'*(len(f.relative_to(SITE).parts) - 1)
        local = re.sub(r'https://[^"]+/katex@[\d.]+/dist', f'{up}site_libs/katex', html)
        f.write_text(local, encoding='utf-8')


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
    source, home = f'{cfg.git_url}/blob/{cfg.branch}/', f'{cfg.doc_host}{cfg.doc_baseurl}/'
    if link.startswith(source):
        return (ROOT/unquote(urlsplit(link[len(source):]).path)).is_file()
    url = urlsplit(link)
    if link.startswith(home):
        url, page = urlsplit(link[len(home):] or 'index.html'), SITE/'index.html'
    elif url.scheme or url.netloc: return True
    # the site lives below a base path, so that a path from the root leads out of it
    if not link or url.path.startswith('/'): return False
    return leads_inside(url, page, pages)


def leads_inside(url, page, pages):
    "Whether a relative link leads to a file of the site, or of the project, and an anchor in it."
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
            if leads(link, f, pages, cfg): continue
            yield f'{f.relative_to(ROOT)}: {link or "an empty link"}'


def main():
    as_written = argparse.RawDescriptionHelpFormatter
    p = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    p.add_argument('--check', action='store_true', help='fail on dead links, anchors and pictures')
    p.add_argument('--sidebar', action='store_true', help='write nbs/sidebar.yml only')
    p.add_argument('--page', action='store_true', help='copy the page into _docs/explore only')
    a = p.parse_args()
    os.chdir(ROOT)
    if a.sidebar: return sidebar()
    if a.page: return add_page()
    from nbdev.config import get_config
    cfg = get_config()
    pages = build(cfg)
    print(f'{len(pages)} pages in {SITE.relative_to(ROOT)}')
    if not a.check: return
    bad = list(dead([*pages, *(ROOT/f for f in PAGES)], cfg))
    if bad: raise SystemExit('dead links:\n  ' + '\n  '.join(bad))
    print('every internal link, anchor and picture resolves')


if __name__ == '__main__': main()
