"A user's own images: files of every kind, folders, zips, arrays; read right, or refused with the reason."
import io

import numpy as np
import pytest
import safetensors.torch
import torch
from imagefiles import encode, one_line, put
from PIL import Image

from creativity.data.find import load
from creativity.data.images import from_uint8, to_uint8
from creativity.data.own import load_arrays, load_folder


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


