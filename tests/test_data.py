"Data: what ships, the full sets in every format, downloads that go wrong, a user's own images, bad input."
import gzip
import hashlib
import http.server
import importlib.util
import io
import sys
import tarfile
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pooch
import pytest
import safetensors.torch
import torch
from PIL import Image

from creativity.data import sets as data
from creativity.data.find import load
from creativity.data.images import (
    Images,
    choose,
    digest,
    from_uint8,
    interleave,
    to_size,
    to_uint8,
)
from creativity.data.own import load_arrays, load_folder
from creativity.data.sets import SETS, cache_dir, fetch, is_there, read_subset, write_npz
from creativity.data.show import image_grid, save_grid, show_images

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent/'shared'/'data'
COUNTS = dict(mnist=(5000, 500), fashion_mnist=(5000, 500), cifar10=(2000, 300))


def tool(name):
    "A script of tools/ as a module."
    spec = importlib.util.spec_from_file_location(name, ROOT/'tools'/f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def one_line(e, *parts):
    "The error's text: one line, with these words in it."
    text = str(e.value)
    assert '\n' not in text
    for part in parts: assert part in text, text
    return text


@pytest.fixture
def cache(tmp_path, monkeypatch):
    "An empty cache folder."
    monkeypatch.setenv('CREATIVITY_DATA', str(tmp_path/'cache'))
    monkeypatch.delenv('CREATIVITY_MIRROR', raising=False)
    return tmp_path/'cache'


# --- official files, made small from what ships --------------------------------------------------------------------

def idx(a):
    head = bytes([0, 0, 8, a.ndim]) + b''.join(n.to_bytes(4, 'big') for n in a.shape)
    return head + a.astype(np.uint8).tobytes()


def batch(images, labels):
    return b''.join(bytes([y]) + u.transpose(2, 0, 1).tobytes() for u, y in zip(images, labels, strict=True))


def tar(members):
    b = io.BytesIO()
    with tarfile.open(fileobj=b, mode='w:gz') as t:
        for name, raw in members.items():
            info = tarfile.TarInfo(f'cifar-10-batches-bin/{name}')
            info.size = len(raw)
            t.addfile(info, io.BytesIO(raw))
    return b.getvalue()


@pytest.fixture(scope='session')
def official():
    "Small sets in the official formats: name -> file -> bytes, and name -> split -> (images, labels)."
    pick = dict(train=50, test=20)
    sets = {s: {p: tuple(a[:n] for a in read_subset(s, p)) for p, n in pick.items()} for s in SETS}
    out = {}
    for s in 'mnist', 'fashion_mnist':
        out[s] = {f'{stem}-{kind}-ubyte.gz': gzip.compress(idx(a), mtime=0)
                  for p, stem in (('train', 'train'), ('test', 't10k'))
                  for kind, a in zip(('images-idx3', 'labels-idx1'), sets[s][p], strict=True)}
    images, labels = sets['cifar10']['train']
    bins = {f'data_batch_{i + 1}.bin': batch(images[10*i:10*i + 10], labels[10*i:10*i + 10]) for i in range(5)}
    bins['test_batch.bin'] = batch(*sets['cifar10']['test'])
    bins['batches.meta.txt'] = b'airplane\n'
    out['cifar10'] = {'cifar-10-binary.tar.gz': tar(dict(reversed(bins.items())))}
    return out, sets, bins


@pytest.fixture
def small(official, monkeypatch):
    "The small sets take the place of the official ones."
    raw, sets, _ = official
    for s in SETS:
        files = {f: hashlib.sha256(b).hexdigest() for f, b in raw[s].items()}
        monkeypatch.setitem(SETS, s, replace(SETS[s], files=files, digests={p: digest(*a) for p, a in sets[s].items()}))
    return raw, sets


class Server(http.server.ThreadingHTTPServer):
    "Serves `files` (path -> bytes); `cut` maps a path to how many times it is to be cut off in the middle."
    def __init__(self):
        self.files, self.cut, self.asked = {}, {}, []
        super().__init__(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.server_port}'


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *a): pass

    def do_GET(self):
        s = self.server
        s.asked.append(self.path)
        raw = s.files.get(self.path)
        if raw is None: return self.send_error(404)
        self.send_response(200)
        self.send_header('Content-Length', str(len(raw)))
        self.end_headers()
        if s.cut.get(self.path, 0):
            s.cut[self.path] -= 1
            raw = raw[:len(raw)//2]
        self.wfile.write(raw)
        self.close_connection = True


@pytest.fixture
def server(small, monkeypatch):
    s = Server()
    s.files = {f'/{name}/{file}': raw for name, files in small[0].items() for file, raw in files.items()}
    threading.Thread(target=s.serve_forever, kwargs=dict(poll_interval=.01), daemon=True).start()
    monkeypatch.setattr(pooch.core.time, 'sleep', lambda s: None)      # no waiting between attempts
    yield s
    s.shutdown()
    s.server_close()


# --- what ships ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('name', COUNTS)
def test_shipped(name):
    for split, total in zip(('train', 'test'), COUNTS[name], strict=True):
        t = time.perf_counter()
        d = load(name, split)
        assert time.perf_counter() - t < 2
        channels = 3 if name == 'cifar10' else 1
        assert d.x.shape == (total, channels, 32, 32)
        assert (d.x.dtype, d.y.dtype, d.name, d.class_names) == (torch.float32, torch.int64, name, SETS[name].class_names)
        assert d.x.is_contiguous()
        assert d.x.min() == -1
        assert d.x.max() == 1
        assert d.y.bincount().tolist() == [total//10]*10
    assert repr(d) == f'{name}: {total} images of {channels}x32x32, 10 classes'


def test_shipped_files_are_small():
    assert sum(p.stat().st_size for p in (ROOT/'creativity'/'assets'/'data').iterdir()) < 8e6


@pytest.mark.parametrize('name', COUNTS)
def test_train_and_test_differ(name):
    rows = lambda split: {u.tobytes() for u in read_subset(name, split)[0]}
    assert not rows('train') & rows('test')


@pytest.mark.parametrize(('alias', 'name'), [
    ('MNIST', 'mnist'), ('fashion', 'fashion_mnist'), ('Fashion-MNIST', 'fashion_mnist'),
    ('FashionMNIST', 'fashion_mnist'),
    ('cifar', 'cifar10'), ('CIFAR-10', 'cifar10'), ('cifar_10', 'cifar10')])
def test_aliases(alias, name):
    assert load(alias, 'test', n=1).name == name


def test_n_takes_the_classes_in_turn():
    d = load('mnist', n=23)
    assert d.y.tolist() == [i % 10 for i in range(23)]
    assert torch.equal(d.x, load('mnist').x[:23])
    y = np.repeat([3, 1, 4], [5, 1, 9])        # uneven classes, odd labels
    assert y[interleave(y)].tolist() == [1, 3, 4, 3, 4, 3, 4, 3, 4, 3, 4, 4, 4, 4, 4]
    assert choose(None, 5, 3).tolist() == [0, 1, 2]
    assert choose(np.array([1, 0, 1, 1]), 4, 2, label=1).tolist() == [0, 2]


def test_label_by_number_or_name():
    a, b = load('fashion', label=5), load('fashion', label='sandal', n=500)
    assert torch.equal(a.x, b.x)
    assert a.y.unique().tolist() == [5]
    assert torch.equal(a.x, load('fashion').x[load('fashion').y == 5])
    assert load('mnist', label='7', n=2).y.tolist() == [7, 7]


def test_sizes():
    native = from_uint8(read_subset('mnist')[0][:4])[:, None]
    x = load('mnist', n=4).x
    assert torch.equal(x[..., 2:-2, 2:-2], native)
    assert (x[..., :2, :] == -1).all()
    assert (x[..., :, -2:] == -1).all()
    assert torch.equal(load('mnist', n=4, size=28).x, native)
    assert torch.equal(load('mnist', n=4, size=29, resize='pad').x[..., :28, :28], native)
    y = load('mnist', n=4, resize='bilinear').x
    assert y.shape == x.shape
    assert (x - y).abs().max() > .5
    small = load('cifar10', n=3, size=8).x              # each 4x4 block weighs in: the mean colour stays
    assert (small.mean((2, 3)) - load('cifar10', n=3).x.mean((2, 3))).abs().max() < .02


def test_bytes_survive():
    u = np.arange(256, dtype=np.uint8)
    x = from_uint8(u)
    assert (to_uint8(x).numpy() == u).all()
    assert torch.equal(x, -x.flip(0))
    assert (x.double() - (torch.arange(256.).double()/127.5 - 1)).abs().max() < 6e-8


def test_images_index():
    d = load('cifar10', n=20)
    assert torch.equal(d[3], d.x[3])
    assert torch.equal(d[np.int64(3)], d.x[3])
    assert len(d[:7]) == 7
    assert d[d.y == 3].y.tolist() == [3, 3]
    assert d[[0, 5]].class_names == d.class_names
    assert sum(1 for _ in d) == 20


@pytest.mark.parametrize(('kw', 'parts'), [
    (dict(name='imagenet'), ('mnist, fashion_mnist, cifar10',)),
    (dict(name='../mnist', full=True), ('no image set',)),
    (dict(split='valid'), ("'train' or 'test'",)),
    (dict(size=0), ('size=0',)),
    (dict(size=2.5), ('size=2.5',)),
    (dict(n=0), ('n=0', '5000')),
    (dict(n=5001), ('n=5001', '5000')),
    (dict(label=3, n=501), ('n=501', '500')),
    (dict(label=10), ('no class 10', '0 to 9')),
    (dict(label=-1), ('no class -1',)),
    (dict(label='cat'), ("no class 'cat'",)),
    (dict(resize='cubic'), ("'pad' or 'bilinear'",)),
    (dict(size=16, resize='pad'), ('cannot shrink',))])
def test_load_bad_input(kw, parts):
    with pytest.raises(ValueError) as e: load(**dict(dict(name='mnist'), **kw))     # noqa: PT011 (the text is checked)
    one_line(e, *parts)


@pytest.mark.parametrize(('x', 'part'), [
    (torch.zeros(2, 4, 4), 'float32 [N,C,H,W]'), (torch.zeros(2, 1, 4, 4).double(), 'float32'),
    (torch.zeros(0, 1, 4, 4), 'no images'), (torch.full((1, 1, 2, 2), 1.01), '[-1, 1]'), (torch.full((1, 1, 2, 2), torch.nan), 'NaN')])
def test_images_bad_input(x, part):
    with pytest.raises(ValueError) as e: Images(x)      # noqa: PT011
    one_line(e, part)


# --- full sets -----------------------------------------------------------------------------------------------------

def test_cache_dir(monkeypatch, tmp_path):
    monkeypatch.setenv('CREATIVITY_DATA', str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv('CREATIVITY_DATA')
    assert cache_dir().name == 'creativity'


@pytest.mark.parametrize('name', COUNTS)
def test_full_set_missing(cache, name):
    with pytest.raises(FileNotFoundError) as e: load(name, full=True)
    one_line(e, f'`creativity data {name}`', str(cache))
    assert not cache.exists()
    assert not is_there(name)


@pytest.mark.parametrize('where', ['mnist', 'MNIST', 'MNIST/raw', '.'])
@pytest.mark.parametrize('packed', [True, False])
def test_mnist_folders(cache, small, where, packed):
    (cache/where).mkdir(parents=True)
    for f, raw in small[0]['mnist'].items():
        (cache/where/(f if packed else f[:-3])).write_bytes(raw if packed else gzip.decompress(raw))
    for split, (images, labels) in small[1]['mnist'].items():
        d = load('mnist', split, full=True, size=28)
        assert torch.equal(d.x[:, 0], from_uint8(images))
        assert d.y.tolist() == labels.tolist()
    assert is_there('mnist')
    assert not is_there('fashion_mnist')        # the same file names, other content
    if where == '.':
        with pytest.raises(ValueError) as e: load('fashion', full=True)     # noqa: PT011
        one_line(e, 'not from the official Fashion-MNIST', '`creativity data fashion_mnist`')


@pytest.mark.parametrize('where', ['cifar10', 'CIFAR-10', 'cifar-10-batches-bin', 'cifar/cifar-10-batches-bin', '.'])
def test_cifar_folders(cache, official, small, where):
    (cache/where).mkdir(parents=True)
    for f, raw in official[2].items(): (cache/where/f).write_bytes(raw)
    check_cifar(official)


@pytest.mark.parametrize('where', ['cifar10', '.'])
def test_cifar_archive(cache, official, small, where):
    (cache/where).mkdir(parents=True)
    (cache/where/'cifar-10-binary.tar.gz').write_bytes(official[0]['cifar10']['cifar-10-binary.tar.gz'])
    check_cifar(official)
    assert [p.name for p in (cache/where).iterdir()] == ['cifar-10-binary.tar.gz']     # nothing is unpacked to disk


def check_cifar(official):
    for split, (images, labels) in official[1]['cifar10'].items():
        d = load('cifar10', split, full=True)
        assert torch.equal(d.x, from_uint8(images).permute(0, 3, 1, 2))
        assert d.y.tolist() == labels.tolist()


def damage(raw, how):
    if how == 'cut off': return raw[:len(raw)//2]
    if how == 'empty': return b''
    if how == 'html': return b'<html>not found</html>'
    i = len(raw)//2
    return raw[:i] + bytes([raw[i] ^ 255]) + raw[i + 1:]


@pytest.mark.parametrize('how', ['cut off', 'empty', 'html', 'altered'])
@pytest.mark.parametrize('packed', [True, False])
def test_damaged_idx(cache, small, how, packed):
    (cache/'mnist').mkdir(parents=True)
    for f, raw in small[0]['mnist'].items():
        raw = raw if packed else gzip.decompress(raw)
        (cache/'mnist'/(f if packed else f[:-3])).write_bytes(damage(raw, how) if f.startswith('train-images') else raw)
    with pytest.raises(ValueError) as e: load('mnist', full=True)       # noqa: PT011
    one_line(e, 'train-images-idx3-ubyte', '`creativity data mnist`')
    assert len(load('mnist', 'test', full=True)) == 20      # the other split is whole


@pytest.mark.parametrize('how', ['cut off', 'empty', 'html', 'altered'])
@pytest.mark.parametrize('file', ['cifar-10-binary.tar.gz', 'data_batch_3.bin'])
def test_damaged_cifar(cache, official, small, how, file):
    cache.mkdir()
    for f, raw in (official[0]['cifar10'] if file.endswith('gz') else official[2]).items():
        (cache/f).write_bytes(damage(raw, how) if f == file else raw)
    with pytest.raises(ValueError) as e: load('cifar10', full=True)     # noqa: PT011
    one_line(e, '`creativity data cifar10`')


def test_archive_without_a_batch(cache, official, small):
    cache.mkdir()
    (cache/'cifar-10-binary.tar.gz').write_bytes(tar({k: v for k, v in official[2].items() if k != 'data_batch_2.bin'}))
    with pytest.raises(ValueError) as e: load('cifar10', full=True)     # noqa: PT011
    one_line(e, 'data_batch_2.bin')


def test_idx_of_other_types(tmp_path):
    p = tmp_path/'floats'
    for raw in '0000 0d01 0000 0001 0000 0000', '0000 0803 0000 0001', '0000 08', '0000 0800', '0800 0001':
        p.write_bytes(bytes.fromhex(raw))
        with pytest.raises(ValueError) as e: data.read_idx(p)       # noqa: PT011
        one_line(e, str(p))


def test_a_class_of_an_own_set(cache):
    u = np.random.default_rng(0).integers(256, size=(6, 8, 8), dtype=np.uint8)
    write_npz('mine', 'train', u, np.array([0, 2, 1, 2, 0, 2]))
    d = load('mine', full=True, size=8, label=2)
    assert torch.equal(d.x, from_uint8(u[[1, 3, 5]])[:, None])
    assert torch.equal(load('mine', full=True, size=8, label='2').x, d.x)
    with pytest.raises(ValueError, match='choose 0 to 2'): load('mine', full=True, label=3)


def test_own_set(cache):
    u = np.random.default_rng(0).integers(256, size=(9, 16, 16, 3), dtype=np.uint8)
    path = write_npz('mine', 'train', u)
    assert [p.name for p in path.parent.iterdir()] == ['mine_train.npz']
    d = load('mine', full=True, size=16)
    assert torch.equal(d.x, from_uint8(u).permute(0, 3, 1, 2))
    assert (d.y, d.class_names) == (None, None)
    assert len(load('mine', full=True, n=4)) == 4
    for kw, part in ((dict(label=3), 'no labels'), (dict(split='test'), 'not in')):
        with pytest.raises((ValueError, FileNotFoundError)) as e: load('mine', full=True, **kw)
        one_line(e, part)
    with pytest.raises(ValueError, match='no name for an image set'): write_npz('../mine', 'train', u)
    raw = path.read_bytes()
    for bad in (raw[:100], raw[:-30], b''):
        path.write_bytes(bad)
        with pytest.raises(ValueError) as e: load('mine', full=True)        # noqa: PT011
        one_line(e, 'cut off or corrupt')
    np.savez(path, images=u, labels=np.zeros(0, np.uint8), sha256=digest(u[1:]))
    with pytest.raises(ValueError, match='altered'): load('mine', full=True)
    np.savez(path, images=np.array([{}]), labels=np.zeros(1), sha256='')
    with pytest.raises(ValueError, match='allow_pickle=False'): load('mine', full=True)


def test_own_format_of_an_official_set_is_checked(cache, small):
    images, labels = small[1]['mnist']['train']
    write_npz('mnist', 'train', images, labels)
    assert len(load('mnist', full=True)) == 50
    write_npz('mnist', 'train', images[::-1], labels)      # carries a right digest, but not MNIST's
    with pytest.raises(ValueError, match='not from the official MNIST'): load('mnist', full=True)


# --- downloads -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('name', COUNTS)
def test_fetch(cache, server, small, name):
    assert fetch(name, server.url, progress=False) == cache/name
    assert sorted(p.name for p in (cache/name).iterdir()) == sorted(SETS[name].files)
    for split, (_, labels) in small[1][name].items(): assert load(name, split, full=True).y.tolist() == labels.tolist()
    asked = len(server.asked)
    fetch(name, server.url, progress=False)     # it is there: nothing is asked for
    assert len(server.asked) == asked


def test_fetch_from_mirror_in_environment(cache, server, monkeypatch, capfd):
    monkeypatch.setenv('CREATIVITY_MIRROR', server.url + '/')
    fetch('Fashion-MNIST')
    assert is_there('fashion_mnist')
    assert '100%' in capfd.readouterr().err     # the progress bar


def test_official_places(monkeypatch, cache):
    urls = []
    def download(self, url, *a, **kw):
        urls.append(url)
        raise OSError('offline')
    monkeypatch.setattr(pooch.HTTPDownloader, '__call__', download)
    for name in SETS:
        with pytest.raises(OSError, match='offline'): fetch(name, retries=0)
    assert urls == ['https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz',
                    'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz',
                    'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz']


@pytest.mark.parametrize('how', ['cut off', 'empty', 'html', 'altered'])
@pytest.mark.parametrize('name', ['mnist', 'cifar10'])
def test_damaged_download_is_not_kept(cache, server, name, how):
    file = list(SETS[name].files)[-1]
    server.files[f'/{name}/{file}'] = damage(server.files[f'/{name}/{file}'], how)
    with pytest.raises(ValueError) as e: fetch(name, server.url, retries=1, progress=False)     # noqa: PT011
    one_line(e, file, 'cut off or altered', 'nothing was kept')
    assert server.asked.count(f'/{name}/{file}') == 2
    assert not [p for p in (cache/name).iterdir() if p.name not in list(SETS[name].files)[:-1]]


def test_broken_connection_is_retried(cache, server):
    path = '/mnist/train-images-idx3-ubyte.gz'
    server.cut[path] = 2
    fetch('mnist', server.url, retries=2, progress=False)
    assert is_there('mnist')
    assert server.asked.count(path) == 3


def test_broken_connection_for_good(cache, server):
    path = '/cifar10/cifar-10-binary.tar.gz'
    server.cut[path] = 99
    with pytest.raises(OSError, match='could not be fetched') as e:
        fetch('cifar10', server.url, retries=1, progress=False)
    one_line(e, 'cifar-10-binary.tar.gz')
    assert not list((cache/'cifar10').iterdir())
    server.cut[path] = 0
    fetch('cifar10', server.url, progress=False)        # a later call starts afresh
    assert is_there('cifar10')


def test_interrupted_download(cache, server, monkeypatch):
    def interrupted(self, url, output_file, pooch):
        Path(output_file).write_bytes(b'half of it')
        raise KeyboardInterrupt
    with monkeypatch.context() as m:
        m.setattr(pooch.HTTPDownloader, '__call__', interrupted)
        with pytest.raises(KeyboardInterrupt): fetch('mnist', server.url, progress=False)
    assert not list((cache/'mnist').iterdir())
    fetch('mnist', server.url, progress=False)
    assert is_there('mnist')


def test_damaged_file_in_the_cache_is_replaced(cache, server):
    file = 'train-labels-idx1-ubyte.gz'
    fetch('mnist', server.url, progress=False)
    (cache/'mnist'/file).write_bytes(b'damaged')
    with pytest.raises(ValueError, match='`creativity data mnist`'): load('mnist', full=True)
    server.asked.clear()
    fetch('mnist', server.url, progress=False)
    assert server.asked == [f'/mnist/{file}']
    assert is_there('mnist')


@pytest.mark.parametrize('mirror', ['{url}/nowhere', 'http://127.0.0.1:9', 'no url'])
def test_no_server(cache, server, mirror):
    with pytest.raises(OSError, match='could not be fetched') as e:
        fetch('mnist', mirror.format(url=server.url), retries=0, progress=False)
    one_line(e, 'train-images-idx3-ubyte.gz')


def test_fetch_unknown():
    with pytest.raises(ValueError, match='choose mnist, fashion_mnist, cifar10'): fetch('imagenet')


# --- a user's own images -------------------------------------------------------------------------------------------

def encode(u, kind='png', **kw):
    b = io.BytesIO()
    Image.fromarray(u).save(b, kind, **kw)
    return b.getvalue()


@pytest.fixture(scope='session')
def photos():
    "Files of a user: path -> bytes; wide, tall, grey, palette, transparent."
    rng = np.random.default_rng(0)
    u = rng.integers(256, size=(4, 32, 32, 3), dtype=np.uint8)
    u[2] = np.arange(32)[:, None]*6 + 30        # smooth, as JPEG expects
    wide, tall = np.zeros((32, 48, 3), np.uint8), np.full((50, 32, 3), 255, np.uint8)
    wide[:, 8:40], tall[9:41] = u[0], u[1]
    palette = io.BytesIO()
    Image.fromarray(u[2]).quantize(16).save(palette, 'png')
    return u, {'b/wide.png': encode(wide), 'b/tall.PNG': encode(tall), 'a.jpeg': encode(u[2], 'jpeg', quality=95),
               'c/deep/grey.png': encode(u[3, :, :, 0]), 'c/palette.png': palette.getvalue(),
               'notes.txt': b'not an image', '.hidden.png': b'not an image', '__MACOSX/b/._wide.png': b'not an image'}


def put(files, where, packed):
    "Write them to a folder or a zip."
    if packed:
        with zipfile.ZipFile(where.with_suffix('.zip'), 'w') as z:
            for name, raw in reversed(files.items()): z.writestr(name, raw)
        return where.with_suffix('.zip')
    for name, raw in files.items():
        (where/name).parent.mkdir(parents=True, exist_ok=True)
        (where/name).write_bytes(raw)
    return where


@pytest.mark.parametrize('packed', [True, False])
def test_load_folder(tmp_path, photos, packed):
    u, files = photos
    path = put(files, tmp_path/'mine', packed)
    d = load_folder(path)
    assert (len(d), d.x.shape[1:], d.y, d.name) == (5, (3, 32, 32), None, 'mine')
    assert torch.equal(to_uint8(d[1]).permute(1, 2, 0), torch.tensor(u[1]))     # sorted by path
    assert torch.equal(to_uint8(d[2]).permute(1, 2, 0), torch.tensor(u[0]))
    assert torch.equal(to_uint8(d[3]), torch.tensor(u[3, :, :, 0]).expand(3, 32, 32))
    assert (d[0] - from_uint8(u[2]).permute(2, 0, 1)).abs().mean() < .05
    assert load_folder(path, size=20, color=False).x.shape == (5, 1, 20, 20)
    assert torch.equal(load_folder(path, n=2).x, d.x[:2])
    with pytest.raises(ValueError, match=r'n=6 .* there are 5'): load_folder(path, n=6)


def test_grey_folder_stays_grey(tmp_path, photos):
    u, _ = photos
    put({f'{i}.png': encode(a[:, :, 0]) for i, a in enumerate(u)}, tmp_path/'grey', False)
    assert torch.equal(load_folder(tmp_path/'grey').x[:, 0], from_uint8(u[..., 0]))
    assert load_folder(tmp_path/'grey', color=True).x.shape == (4, 3, 32, 32)


def test_orientation_of_photographs(tmp_path):
    u = np.zeros((32, 32), np.uint8)
    u[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6        # to be turned by 90 degrees clockwise
    (tmp_path/'a.jpg').write_bytes(encode(u, 'jpeg', quality=100, exif=exif))
    x = load_folder(tmp_path).x[0, 0]
    assert x[:, -8:].mean() > .9
    assert x[:, :-8].mean() < -.9


@pytest.mark.parametrize('packed', [True, False])
def test_unreadable_files_are_all_named(tmp_path, photos, packed):
    u, files = photos
    bad = {'b/cut.png': files['b/wide.png'][:1000], 'c/empty.jpg': b'', 'd/text.png': b'not an image',
           'd/gif.png': encode(u[0], 'gif'), 'e/deep.png': encode(u[0, :, :, 0].astype(np.uint16)*256)}
    path = put(files | bad, tmp_path/'mine', packed)
    with pytest.raises(ValueError) as e: load_folder(path)      # noqa: PT011
    one_line(e, '5 of 10 files', *bad)
    with pytest.warns(UserWarning, match='5 of 10 files'): d = load_folder(path, skip=True)
    assert len(d) == 5
    (tmp_path/'none').mkdir()
    (tmp_path/'none'/'x.png').write_bytes(b'')
    with pytest.raises(ValueError, match='1 of 1 files'): load_folder(tmp_path/'none', skip=True)


def test_folder_bad_input(tmp_path):
    (tmp_path/'empty').mkdir()
    (tmp_path/'cut.zip').write_bytes(b'PK\x03\x04 and no more')
    for path, error, part in (('empty', ValueError, 'no PNG or JPEG'), ('gone', FileNotFoundError, 'does not exist'),
                              ('cut.zip', ValueError, 'neither a folder nor a whole zip')):
        with pytest.raises(error) as e: load_folder(tmp_path/path)
        one_line(e, part, path)


def test_load_arrays_layouts_and_ranges():
    x = load('cifar10', n=6).x
    u = to_uint8(x)
    same = lambda d, tol=1e-6: (d.x - x).abs().max() <= tol
    assert same(load_arrays(u), 0)
    assert same(load_arrays(u.permute(0, 2, 3, 1).numpy()), 0)
    assert same(load_arrays(x, range=(-1, 1)), 0)
    assert same(load_arrays(x.double().numpy(), range=(-1, 1)))
    assert same(load_arrays(x.half(), range=(-1, 1)), 1e-3)
    assert same(load_arrays(u.float()/255, range=(0, 1)))
    assert same(load_arrays(u.float(), range=(0, 255)))
    grey = load_arrays(u[:, 0], labels=np.arange(6), size=16)
    assert (grey.x.shape, grey.y.tolist()) == ((6, 1, 16, 16), list(range(6)))


def test_load_arrays_files(tmp_path):
    x, y = load('cifar10', n=6).x, torch.arange(6)
    u = to_uint8(x)
    np.save(tmp_path/'a.npy', u)
    np.savez(tmp_path/'b.npz', images=u, labels=y)
    np.savez_compressed(tmp_path/'c.npz', whatever=u)
    safetensors.torch.save_file({'x': u, 'y': y}, tmp_path/'d.safetensors')
    torch.save(u, tmp_path/'e.pt')
    torch.save({'x': u, 'y': y}, tmp_path/'f.pth')
    np.savez(tmp_path/'g.npz', first=u[:2], second=u)
    for file, labels in (('a.npy', 0), ('b.npz', 1), ('c.npz', 0), ('d.safetensors', 1), ('e.pt', 0), ('f.pth', 1)):
        d = load_arrays(str(tmp_path/file))
        assert torch.equal(d.x, x)
        assert d.name == file[0]
        assert (d.y is None) == (not labels)
        if labels: assert torch.equal(d.y, y)
    assert torch.equal(load_arrays(tmp_path/'g.npz', key='second').x, x)
    for key in None, 'third':
        with pytest.raises(ValueError, match='first, second'): load_arrays(tmp_path/'g.npz', key=key)


def test_load_arrays_bad_input(tmp_path):
    u = np.zeros((4, 8, 8), np.uint8)
    for source, kw, part in (
            (u/255, {}, 'give the range'), (u + 2., dict(range=(0, 1)), 'do not lie in range=(0, 1)'),
            (u*np.nan, dict(range=(0, 1)), 'NaN'), (u.astype(np.int64), {}, 'uint8 or floats'), (u[0], {}, '[N,H,W]'),
            (np.zeros((2, 5, 8, 8), np.uint8), {}, '1 or 3 channels'), (np.zeros((0, 8, 8), np.uint8), {}, 'no images'),
            (u, dict(labels=[1, 2]), 'int64 [4]'), (np.array([[[{}]]]), {}, 'arrays of numbers'),
            ([['a']], {}, 'arrays of numbers')):
        with pytest.raises(ValueError) as e: load_arrays(source, **kw)      # noqa: PT011
        one_line(e, part)


class Trap:
    "Unpickling one of these is noticed."
    sprung = False
    def __reduce__(self): return setattr, (Trap, 'sprung', True)


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
def test_no_pickle_is_read(tmp_path):
    import pickle
    np.save(tmp_path/'a.npy', np.array([Trap()]), allow_pickle=True)
    np.savez(tmp_path/'b.npz', images=np.array([Trap()]))
    torch.save(Trap(), tmp_path/'c.pt')
    (tmp_path/'d.npy').write_bytes(pickle.dumps(Trap()))
    (tmp_path/'e.npz').write_bytes(pickle.dumps(Trap()))
    (tmp_path/'f.pt').write_bytes(pickle.dumps(Trap()))
    for file in sorted(tmp_path.iterdir()):
        with pytest.raises(ValueError) as e: load_arrays(file)      # noqa: PT011
        one_line(e, file.name, 'pickle')
    assert not Trap.sprung


def test_damaged_array_files(tmp_path):
    u = np.zeros((4, 8, 8), np.uint8)
    np.save(tmp_path/'a.npy', u)
    np.savez(tmp_path/'b.npz', u)
    safetensors.torch.save_file({'x': torch.tensor(u)}, tmp_path/'c.safetensors')
    torch.save(torch.tensor(u), tmp_path/'d.pt')
    for file in sorted(tmp_path.iterdir()):
        raw = file.read_bytes()
        for bad in raw[:len(raw)//2], b'':
            file.write_bytes(bad)
            with pytest.raises(ValueError) as e: load_arrays(file)      # noqa: PT011
            one_line(e, file.name, 'corrupt')
    (tmp_path/'e.mat').write_bytes(b'')
    with pytest.raises(ValueError, match=r'choose a \.npy'): load_arrays(tmp_path/'e.mat')
    with pytest.raises(FileNotFoundError, match='does not exist'): load_arrays(tmp_path/'gone.npy')


# --- pictures ------------------------------------------------------------------------------------------------------

def test_grid():
    x = load('cifar10', n=5).x
    g = image_grid(x, ncols=3, gap=2)
    assert g.shape == (66, 100, 3)
    assert (g[:32, 34:66] == to_uint8(x[1]).permute(1, 2, 0).numpy()).all()
    assert (g[34:66, 68:] == 255).all()
    assert image_grid(2*x[:1]).max() == 255     # clipped, not wrapped


def test_save_grid(tmp_path):
    d = load('mnist', n=6)
    path = save_grid(d, tmp_path/'out'/'g.png', ncols=3, scale=1)
    assert (np.asarray(Image.open(path)) == image_grid(d.x, 3, gap=2)).all()
    save_grid(d[0], path, scale=2)
    assert Image.open(path).size == (64, 64)
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(ValueError, match=r'must end in \.png'): save_grid(d, tmp_path/'g.jpg')
    with pytest.raises(ValueError, match='NaN'): save_grid(d.x*torch.nan, path)
    assert Image.open(path).size == (64, 64)


def test_show_images():
    import matplotlib.pyplot as plt
    d = load('fashion', n=12)
    ax = show_images(d, ncols=6, titles=d.y.tolist())
    assert [t.get_text() for t in ax.texts] == [str(i) for i in d.y.tolist()]
    assert show_images(d[0], ax=ax) is ax
    plt.close('all')


def test_nothing_but_square_images_is_resized():
    with pytest.raises(ValueError, match='only square images'): to_size(torch.zeros(1, 1, 4, 6), 8)


# --- the real full sets, where they are ----------------------------------------------------------------------------

@pytest.mark.parametrize('name', COUNTS)
def test_subsets_come_from_the_full_sets(name):
    if not is_there(name): pytest.skip(f'no full {name} in the cache')
    tool('make_subsets').check(name, 'train')
    tool('make_subsets').check(name, 'test')
    n = COUNTS[name][0]
    a, b = load(name, full=True, n=n), load(name)
    assert torch.equal(a.x, b.x)
    assert torch.equal(a.y, b.y)


@pytest.fixture
def import_shared(monkeypatch):
    "tools/import_shared.py, called with arguments."
    def run(*args):
        monkeypatch.setattr(sys, 'argv', ['import_shared.py', *map(str, args)])
        tool('import_shared').main()
    return run


def test_import_from_shared_folder(cache, import_shared, capsys):
    if not (SHARED/'SHA256SUMS').is_file(): pytest.skip('no shared data folder')
    import_shared(SHARED, '--only', 'mnist', 'Fashion-MNIST')
    assert capsys.readouterr().out == f'4 files in {cache}\n'
    for name in 'mnist', 'fashion_mnist':
        tool('make_subsets').check(name, 'train')
        tool('make_subsets').check(name, 'test')


def test_import_refuses_what_is_altered_or_missing(tmp_path, cache, import_shared):
    np.savez(tmp_path/'mnist_train.npz', images=np.zeros((1, 28, 28), np.uint8), labels=np.zeros(1, np.uint8))
    with pytest.raises(SystemExit, match='SHA256SUMS is missing'): import_shared(tmp_path)
    (tmp_path/'SHA256SUMS').write_text(f'{"0"*64}  mnist_train.npz\n')
    with pytest.raises(SystemExit, match='cut off or altered'): import_shared(tmp_path)
    with pytest.raises(SystemExit, match='holds no cifar10'): import_shared(tmp_path, '--only', 'cifar10')
    assert not cache.exists()
