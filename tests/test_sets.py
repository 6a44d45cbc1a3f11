"Image sets: the full ones in every format, downloads that go wrong, and what the subsets come from."
import gzip
import hashlib
import http.server
import importlib.util
import io
import sys
import tarfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import requests
import torch
from imagefiles import one_line

from creativity.data import sets as data
from creativity.data.find import load
from creativity.data.images import digest, from_uint8
from creativity.data.sets import (
    SETS,
    RemoteFile,
    cache_dir,
    fetch,
    is_there,
    read_subset,
    write_npz,
)

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent/'shared'/'data'
COUNTS = dict(mnist=(5000, 500), fashion_mnist=(5000, 500), cifar10=(2000, 300))


def tool(name):
    "A script of tools/ as a module."
    spec = importlib.util.spec_from_file_location(name, ROOT/'tools'/f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
        files = {f: RemoteFile(hashlib.sha256(b).hexdigest(), len(b)) for f, b in raw[s].items()}
        digests = {p: digest(*a) for p, a in sets[s].items()}
        monkeypatch.setitem(SETS, s, replace(SETS[s], files=files, digests=digests))
    return raw, sets


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` (path -> bytes).

    `cut` maps a path to how many times it is to be cut off in the middle, `how` to another way of going wrong."""
    def __init__(self):
        self.files, self.cut, self.how, self.asked = {}, {}, {}, []
        self.over = threading.Event()       # the test is done: let go of every connection
        super().__init__(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.server_port}'


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *a): pass

    def do_GET(self):
        s = self.server
        s.asked.append(self.path)
        raw = s.files.get(self.path)
        if raw is None: return self.send_error(404)
        if self.path in s.how: return self.go_wrong(s.how[self.path])
        self.send_response(200)
        self.send_header('Content-Length', str(len(raw)))
        self.end_headers()
        if s.cut.get(self.path, 0):
            s.cut[self.path] -= 1
            raw = raw[:len(raw)//2]
        self.wfile.write(raw)
        self.close_connection = True

    def go_wrong(self, how):
        "End in another bad way, or not at all."
        self.close_connection = True
        zeros = gzip.compress(bytes(2**20), mtime=0)
        wait, part, headers = dict(
            endless=(0, bytes(2**16), {}), bomb=(0, zeros*64, {'Content-Encoding': 'gzip'}),
            slow=(.01, b'0', {}), silent=(1, b'', None))[how]
        try:
            if headers is not None:
                self.send_response(200)
                for name, value in headers.items(): self.send_header(name, value)
                self.end_headers()
            while not self.server.over.wait(wait): self.wfile.write(part)
        except OSError: pass        # the other side is gone


@pytest.fixture
def server(small, monkeypatch):
    s = Server()
    s.files = {f'/{name}/{file}': raw for name, files in small[0].items() for file, raw in files.items()}
    threading.Thread(target=s.serve_forever, kwargs=dict(poll_interval=.01), daemon=True).start()
    monkeypatch.setattr(data, '_WAIT', 0)       # no waiting between attempts
    yield s
    s.over.set()
    s.shutdown()
    s.server_close()


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
    with pytest.raises(ValueError, match='would need pickle'): load('mine', full=True)
    with pytest.raises(ValueError, match='from 0 to 255'): write_npz('mine', 'train', u, np.full(9, 256))


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

    def get(url, **how):
        urls.append(url)
        raise requests.ConnectionError('offline')

    monkeypatch.setattr(requests, 'get', get)
    for name in SETS:
        with pytest.raises(OSError, match='offline'): fetch(name, retries=0, progress=False)
    assert urls == ['https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz',
                    'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz',
                    'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz']


@pytest.mark.parametrize(('how', 'part'), [
    ('endless', 'sends more than'), ('bomb', 'sends more than'),
    ('slow', 'sends fewer than'), ('silent', 'sends fewer than')])
def test_a_download_ends(cache, server, monkeypatch, how, part):
    "A body without an end, a small one that unpacks to gigabytes, 100 bytes a second, and no answer at all."
    monkeypatch.setattr(data, '_PATIENCE', .3)
    file, known = next(iter(SETS['mnist'].files.items()))
    server.how[f'/mnist/{file}'] = how
    with pytest.raises(ValueError, match='could not be fetched') as e:
        fetch('mnist', server.url, retries=5, progress=False)
    one_line(e, file, part)
    assert server.asked == [f'/mnist/{file}']           # not tried again
    assert not [p for p in cache.rglob('*') if p.is_file()]     # and nothing is left
    assert known.size < 2**16


def test_a_slow_download_that_moves_is_waited_for(cache, server, monkeypatch):
    "100 bytes a second, where 10 are enough: it goes on until there are too many."
    monkeypatch.setattr(data, '_PATIENCE', .1)
    monkeypatch.setattr(data, '_LEAST', 10)
    monkeypatch.setattr(data, '_PIECE', 1)
    file, known = next(iter(SETS['mnist'].files.items()))
    monkeypatch.setitem(SETS['mnist'].files, file, known._replace(size=30))
    server.how[f'/mnist/{file}'] = 'slow'
    with pytest.raises(ValueError, match='sends more than 30 bytes'): fetch('mnist', server.url, progress=False)


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
    def interrupted(url, f, known, progress):
        f.write(b'half of it')
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(data, '_download', interrupted)
        with pytest.raises(KeyboardInterrupt): fetch('mnist', server.url, progress=False)
    assert not list((cache/'mnist').iterdir())
    fetch('mnist', server.url, progress=False)
    assert is_there('mnist')


@pytest.mark.parametrize('packed', ['idx', 'tar'])
def test_a_file_that_unpacks_to_too_much_is_refused(cache, packed):
    "A hundred times what a set can have, in a file of less than a megabyte, put into the cache by hand."
    (cache/'mnist').mkdir(parents=True)
    (cache/'cifar10').mkdir()
    zeros = gzip.compress(bytes(2**28), 1)
    if packed == 'tar':
        (cache/'cifar10'/'cifar-10-binary.tar.gz').write_bytes(tar({'junk': bytes(2**28)}))
        with pytest.raises(ValueError, match='unpacks to more bytes') as e: load('cifar10', full=True)
    else:
        for kind in 'images-idx3', 'labels-idx1': (cache/'mnist'/f'train-{kind}-ubyte.gz').write_bytes(zeros)
        with pytest.raises(ValueError, match='unpacks to more than 47,040,016 bytes') as e: load('mnist', full=True)
    one_line(e)


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
