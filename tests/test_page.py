"The page: its arithmetic in node against the oracles, what it brings along, its server and its command."
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from importlib.metadata import metadata
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch

import creativity
from creativity.app.explore import (
    CHOICES,
    STEPS,
    differences,
    few_tones,
    pack_set,
    page_folder,
    page_images,
    page_server,
    pixels_from,
    read_pack,
    serve_page,
    write_packs,
)
from creativity.data.images import from_uint8, to_uint8
from creativity.diffusion import CosineSchedule, sample, samples, seed_noise
from creativity.machines.named import machine_named
from creativity.machines.widths import calibrated_scales, scale_at
from creativity.machines.windows import BBELSMachine, LSMachine
from creativity.networks.card import load_network
from creativity.theory.belief import ideal_belief
from creativity.theory.windows import bbels_belief, els_belief, local_belief

TESTS = Path(__file__).resolve().parent
NODE = shutil.which('node')
ORACLES = {'is': ideal_belief, 'ls': local_belief, 'bbels': bbels_belief, 'els': els_belief,
           'elsInside': lambda *args: els_belief(*args, wrapped=False)}
COSINE = CosineSchedule()


def plain(v): return v.flatten().tolist()


def levels(t): return float(COSINE.a(t)), float(COSINE.sigma(t))


def case(machine, x, data, k, t, skip=-1, unique=True):
    "What an oracle believes, for the page to find; with image `skip` left out of the dictionary."
    keep = torch.tensor([n for n in range(len(data)) if n != skip])
    b = ORACLES[machine](x, data[keep], *levels(t), *([] if machine == 'is' else [k]))
    found = {name: plain(getattr(b, name)) for name in ('mean', 'log_evidence', 'entropy', 'n_eff', 'weight')}
    W = x.shape[2]
    return dict(machine=machine, k=k, t=t, skip=skip, unique=unique,
                oracle=found | dict(image=plain(keep[b.image]), place=plain(b.place[0]*W + b.place[1])))


def beliefs():
    "Random images and adversarial ones, grey and colour, of unequal sides, all machines."
    g = torch.Generator().manual_seed(0)
    rand = lambda *s: torch.rand(s, generator=g)*2 - 1
    grey, colour = rand(5, 1, 8, 6), rand(4, 3, 5, 7)
    twins = torch.stack([grey[0], grey[0], torch.ones(1, 8, 6), -torch.ones(1, 8, 6)])
    data, queries = dict(grey=grey, colour=colour, twins=twins), []
    for name, images in data.items():
        for t in (.02, .3, .7, 1.):
            a, sigma = levels(t)
            x = a*images[1] + sigma*torch.randn(images.shape[1:], generator=g)
            # far from all that is in the dictionary
            if name == 'twins': x = 3*x
            widths = (1, 3, 5, 2*max(x.shape[1:]) - 1)
            many = [(m, k) for m in ('ls', 'bbels', 'els') for k in widths] + [('elsInside', 3), ('elsInside', 5), ('is', 1)]
            cases = [case(m, x, images, k, t, unique=name != 'twins') for m, k in many]
            if name != 'twins': cases += [case(m, x, images, 3, t, skip=2) for m in ('is', 'ls', 'bbels', 'els')]
            queries.append(dict(data=name, x=plain(x), cases=cases))
    return dict(data={n: dict(shape=list(v.shape), images=plain(v)) for n, v in data.items()}, queries=queries)


def real_belief(machine, images, k, t, pixel):
    "What the package believes of real images at full size, in float64, and what stands behind a pixel."
    a, sigma = levels(t)
    m = machine_named(machine)(images, scales=None if machine == 'is' else k)
    x = (a*images[3] + sigma*seed_noise([7], tuple(images.shape[1:]))[0]).double()
    b, W = m.belief(x[None], t), images.shape[3]
    s = m.sources(x, t, pixel=(pixel//W, pixel % W), top=4)
    return dict(machine=machine, k=k, t=t, x=plain(x), mean=plain(b.mean), n_eff=plain(b.n_eff), pixel=pixel,
                weights=plain(s.weight), images=plain(s.image), places=plain(s.place[:, 0]*W + s.place[:, 1]))


def real():
    "Images of the page's own sets, few enough for JavaScript without a vector unit."
    for name, n in (('fashion_mnist', 12), ('cifar10', 6)):
        images = page_images(name)[0].x[:n]
        asked = [('bbels', 3, .1), ('bbels', 7, .5), ('bbels', 13, .9), ('els', 7, .5), ('ls', 7, .3), ('is', None, .4), ('bbels', 63, .6)]
        found = [real_belief(m, images, k, t, pixel) for (m, k, t), pixel in zip(asked, (0, 400, 555, 37, 800, 1023, 96), strict=True)]
        scales, noise = calibrated_scales(f'{name}-resnet'), seed_noise([23], tuple(images.shape[1:])).double()
        image = sample(BBELSMachine(images, scales=scales), noise, 4)
        flow = dict(machine='bbels', scales=scales, steps=4, noise=plain(noise), image=plain(image))
        yield dict(shape=list(images.shape), images=plain(images), beliefs=found, flow=flow)


def small():
    "Images of the page's own sets, cut to 16×16 and few: a graphics card made of software is slow."
    for name, n in (('fashion_mnist', 4), ('cifar10', 3)):
        images = page_images(name)[1].x[:n, :, 8:24, 8:24].contiguous()
        cases = []
        for t in (.05, .2, .5, 1.):
            a, sigma = levels(t)
            x = (a*images[1] + sigma*seed_noise([round(100*t)], tuple(images.shape[1:]))[0]).double()
            asked = [('bbels', 3), ('bbels', 7), ('bbels', 31), ('els', 5), ('ls', 7), ('ls', 31), ('is', 1)]
            cases.append(dict(data=name, x=plain(x), cases=[case(m, x, images.double(), k, t, unique=False) for m, k in asked]))
        yield name, images, cases


def for_the_card():
    "What the graphics card is compared with: most of the beliefs above, and those of small real images."
    found = beliefs()
    for q in found['queries']: q['cases'] = [c for c in q['cases'] if c['k'] not in (1, 5) or c['machine'] == 'is']
    for name, images, cases in small():
        found['data'][name] = dict(shape=list(images.shape), images=plain(images))
        found['queries'] += cases
    return found


def stored_sets():
    "A few of the images that the page brings along."
    for name in CHOICES:
        x = torch.cat([p.x for p in page_images(name)])
        *_, drawn = read_pack(name)
        classes = len(CHOICES[name].labels) or 1
        yield dict(name=name, classes=classes, seeds=CHOICES[name].seeds, first=plain(x[0]), last=plain(x[-1]), drawn=plain(from_uint8(drawn[-1])))


@pytest.fixture(scope='module')
def fixtures(tmp_path_factory):
    folder, t = tmp_path_factory.mktemp('page'), torch.linspace(.01, 1, 57).double()
    scales = calibrated_scales('cifar10-resnet')
    noise = [dict(seed=s, noise=plain(seed_noise([s], shape))) for s, shape in ((0, (1, 32, 32)), (23, (3, 32, 32)), (2**31 + 5, (1, 4, 4)))]
    what = dict(beliefs=beliefs(), real=list(real()), noise=noise, sets=list(stored_sets()),
                schedule=dict(t=plain(t), a=plain(COSINE.a(t)), sigma=plain(COSINE.sigma(t)), scales=scales,
                              width=[scale_at(scales, v) for v in t.tolist()]))
    for name, v in what.items(): (folder/f'{name}.json').write_text(json.dumps(v))
    return folder


@pytest.mark.skipif(NODE is None, reason='node is not installed')
def test_arithmetic_is_that_of_the_oracles(fixtures):
    r = subprocess.run([NODE, '--test', '--test-reporter=tap', str(TESTS/'page.test.mjs')],
                       env=os.environ | {'FIXTURES': str(fixtures)}, capture_output=True, text=True)
    assert r.returncode == 0, r.stdout[-6000:] + r.stderr[-2000:]
    passed = int(re.search(r'^# pass (\d+)$', r.stdout, re.M)[1])
    assert passed >= 11, r.stdout
    print(*re.findall(r'^\s*# (.*e-\d+|.*e\+0)$', r.stdout, re.M), sep='\n')


def correlation(x, y): return float(np.corrcoef(plain(x), plain(y))[0, 1])


def nearest(x, images):
    "Root mean square distance to the nearest training image."
    return float(((x - images)**2).mean((1, 2, 3)).min().sqrt())


def seen():
    "What a reader sees who opens the page, goes to step 12, widens the window, leaves out an image, takes another machine or set."
    images, t, pixel = page_images('fashion_mnist')[0].x, .4, (11, 15)
    scales, noise = calibrated_scales('fashion_mnist-resnet'), seed_noise([23], (1, 32, 32)).double()
    m = BBELSMachine(images, scales=scales)
    flow = [s.x for s in samples(m, noise, STEPS)]
    drawn = from_uint8(read_pack('fashion_mnist')[2][23])
    behind = {k: m.sources(flow[12], t, pixel=pixel, k=k, top=1) for k in (scales[7], 15)}
    share = m.sources(flow[12], t, top=1)
    without = images[torch.arange(len(images)) != int(share.image)]
    cut = sample(BBELSMachine(without, scales=scales), noise, STEPS)
    local = LSMachine(images, scales=scales)
    alone = [s.x for s in samples(local, noise, STEPS)]
    colour, rgb, wide = page_images('cifar10')[0].x, seed_noise([5], (3, 32, 32)).double(), calibrated_scales('cifar10-resnet')
    horse, mosaic = sample(LSMachine(colour, scales=wide), rgb, STEPS), BBELSMachine(colour, scales=wide)
    early = next(s.x0 for s in samples(mosaic, rgb, STEPS) if s.i == STEPS - 4)
    return dict(
        r=correlation(flow[-1], drawn), nearest=nearest(flow[-1], images),
        pixel=[dict(k=k, n_eff=b.n_eff, weight=float(b.weight[0]), image=int(b.image[0])) for k, b in behind.items()],
        share=float(share.weight[0]), source=int(share.image[0]), cut=float((cut - flow[-1]).square().mean().sqrt()),
        ls=dict(r=correlation(alone[-1], drawn), n_eff=local.sources(alone[12], t, pixel=pixel).n_eff),
        cifar10=dict(r=correlation(horse, from_uint8(read_pack('cifar10')[2][5])), nearest=nearest(horse, colour),
                     believed=early[0, :, 16, 16].tolist()))


def test_what_a_reader_sees():
    "The numbers that the browser's check compares the page with: `python tests/test_page.py` writes them."
    stored, now = json.loads((TESTS/'assets'/'page.json').read_text()), seen()
    assert stored.keys() == now.keys()
    for name in ('r', 'nearest', 'share', 'source', 'cut', 'ls'): assert now[name] == pytest.approx(stored[name], abs=1e-3), name
    for name, value in now['cifar10'].items(): assert value == pytest.approx(stored['cifar10'][name], abs=1e-3), name
    for a, b in zip(now['pixel'], stored['pixel'], strict=True): assert a == pytest.approx(b, rel=1e-3)


def test_what_the_page_brings_along():
    "The shipped images and what the networks make now, to a byte's last bit or two; small enough for a phone."
    for name, (labels, n, seeds) in CHOICES.items():
        header, images, drawn = read_pack(name)
        assert [c['count'] for c in header['classes']] == [n]*(len(labels) or 1)
        assert 100 <= len(images) <= 300
        # the last label's last noise, drawn anew
        again = few_tones(to_uint8(sample(load_network(f'{name}-resnet'), [seeds - 1], STEPS, labels[-1] if labels else None)).numpy())
        assert np.abs(again[0].astype(int) - drawn[-1]).max() <= 4
        assert header['network']['steps'] == STEPS
        assert header['network']['seeds'] == seeds
    assert sum(p.stat().st_size for p in page_folder().rglob('*') if p.is_file()) < 1e6


@pytest.mark.parametrize('shape', [(2, 1, 5, 7), (3, 3, 4, 4), (1, 3, 1, 1)])
def test_differences_are_undone(shape):
    x = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8).numpy()
    for images in (x, np.zeros_like(x), np.full_like(x, 255)): assert (pixels_from(differences(images)) == images).all()


def test_packs_are_written_whole(tmp_path, monkeypatch):
    "As they are stored, but for the last bits of what a network draws on another machine."
    monkeypatch.setattr('creativity.app.explore.CHOICES', {'mnist': CHOICES['mnist']})
    path, = write_packs(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ['mnist.bin']
    stored = page_folder()/'data'/'mnist.bin'
    assert path.stat().st_size == pytest.approx(stored.stat().st_size, rel=.01)
    raw, was = gzip.decompress(path.read_bytes()), gzip.decompress(stored.read_bytes())
    images = CHOICES['mnist'].n*32*32 + 4 + int.from_bytes(raw[:4], 'little')
    assert raw[:images] == was[:images] == pack_set('mnist')[:images]
    assert len(raw) == len(was)


def test_the_page_asks_nobody_else():
    "No address but those of links a reader may follow, no inline script: the server's policy would refuse it."
    for path in page_folder().glob('*.*'):
        text = path.read_text(encoding='utf-8')
        found = set(re.findall(r'https?://[^\s"\'<>)]+', text))
        assert found <= {'http://www.w3.org/2000/svg', creativity_docs()}, path.name
    html = (page_folder()/'index.html').read_text(encoding='utf-8')
    assert not re.search(r'\son\w+=|style=|<style|<script(?![^>]*src=)', html)
    for name in re.findall(r'(?:src|href)="([^":#]+)"', html): assert (page_folder()/name).is_file(), name


def luminance(colour):
    "Relative luminance of #rrggbb (WCAG 2)."
    v = [int(colour[i:i + 2], 16)/255 for i in (1, 3, 5)]
    return sum(w*(c/12.92 if c <= .04045 else ((c + .055)/1.055)**2.4) for w, c in zip((.2126, .7152, .0722), v, strict=True))


@pytest.mark.parametrize('theme', [0, 1])
def test_text_can_be_read(theme):
    "Text on its grounds, light and dark: a contrast of at least 4.5."
    rules = re.findall(r':root \{[^}]*--paper[^}]*\}', (page_folder()/'page.css').read_text(encoding='utf-8'))
    whole = lambda c: c if len(c) == 7 else '#' + ''.join(2*d for d in c[1:])
    found = {n: whole(c) for n, c in re.findall(r'--(\w+): (#\w+)', rules[theme])}
    for text, ground in (('ink', 'paper'), ('ink', 'panel'), ('soft', 'paper'), ('soft', 'panel'), ('accent', 'paper'), ('on', 'accent'), ('bad', 'paper')):
        a, b = sorted((luminance(found[text]), luminance(found[ground])))
        assert (b + .05)/(a + .05) >= 4.5, (text, ground)


def creativity_docs():
    "The address of the documentation."
    return dict(u.split(', ') for u in metadata('creativity').get_all('Project-URL'))['Documentation']


def test_server_answers_on_the_loopback_and_gives_nothing_else():
    with page_server() as server:
        assert server.server_address[0] == '127.0.0.1'
        thread = Thread(target=server.serve_forever)
        thread.start()
        get = lambda name: urllib.request.urlopen(f'http://127.0.0.1:{server.server_port}/{name}')
        try:
            for name, kind in (('', 'text/html; charset=utf-8'), ('page.js', 'text/javascript'), ('page.css', 'text/css'), ('data/mnist.bin', 'application/octet-stream')):
                with get(name) as r:
                    assert r.headers['content-type'] == kind
                    assert r.read() == (page_folder()/(name or 'index.html')).read_bytes()
            for name in ('data/', '../explore.py', 'nothing.js'):
                with pytest.raises(urllib.error.HTTPError): get(name)
        finally:
            server.shutdown()
            thread.join()


def test_command_serves_until_interrupted(tmp_path):
    r = subprocess.Popen([sys.executable, '-m', 'creativity', 'explore', '--no-browser'], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         env=os.environ | {'PYTHONPATH': str(TESTS.parent)})
    address = re.search(r'http://127\.0\.0\.1:\d+/', r.stdout.readline())[0]
    with urllib.request.urlopen(address) as page: assert '<h1>Take a flow apart</h1>' in page.read().decode()
    r.send_signal(signal.SIGINT)
    out, err = r.communicate(timeout=20)
    assert (r.returncode, err) == (0, ''), out


def test_browser_is_opened(monkeypatch, capsys):
    opened = []
    monkeypatch.setattr('webbrowser.open', opened.append)
    monkeypatch.setattr('http.server.ThreadingHTTPServer.serve_forever', lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    serve_page()
    assert opened[0] in capsys.readouterr().out
    serve_page(browser=False)
    assert len(opened) == 1


@pytest.mark.parametrize('port', [-1, 70000])
def test_bad_ports_are_one_line(port):
    with pytest.raises(creativity.CreativityError, match=r'port .* choose another') as e: page_server(port)
    assert '\n' not in str(e.value)


if __name__ == '__main__':
    # with a file's name: what the browser's check compares the graphics card with
    if sys.argv[1:]: Path(sys.argv[1]).write_text(json.dumps(for_the_card()))
    else: (TESTS/'assets'/'page.json').write_text(json.dumps(seen(), indent=1) + '\n')
