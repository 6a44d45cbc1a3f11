"A user's own images: files of every kind, folders, zips, arrays; read right, or refused with the reason."
import io
import re
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from forks import forked
from imagefiles import encode, one_line, put
from PIL import Image

from creativity.data.find import load, make_dictionary
from creativity.data.images import from_uint8, to_uint8
from creativity.data.own import load_arrays, load_folder
from creativity.errors import CreativityError


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
def test_unreadable_files_are_named_with_the_reason(tmp_path, photos, packed):
    _, files = photos
    bad = {'b/cut.png': files['b/wide.png'][:1000], 'c/empty.jpg': b'', 'd/text.png': b'not an image'}
    path = put(files | bad, tmp_path/'mine', packed)
    with pytest.raises(ValueError, match='3 of 8 files') as e: load_folder(path)
    one_line(e, *bad, 'no image of a kind that is read', 'image file is truncated', 'skip=True', '--skip-unreadable')
    with pytest.warns(UserWarning, match='3 of 8 files'): d = load_folder(path, skip=True)
    assert len(d) == 5
    many = put({f'{i:02}.png': b'' for i in range(12)}, tmp_path/'none', packed)
    with pytest.raises(ValueError, match='12 of 12 files') as e: load_folder(many, skip=True)
    assert '04.png' in one_line(e, ' and 7 more')
    assert '05.png' not in str(e.value)


GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)*3
RGB = np.stack([GREY, GREY[::-1], GREY.T], 2)


def in_colour(u): return np.repeat(u[..., None], 3, 2)


def transparent(kind, **how):
    "A picture whose upper half is transparent, as a file."
    alpha = np.full((8, 8, 1), 255, np.uint8)
    alpha[:4] = 0
    return encode(np.concatenate([RGB, alpha], 2), kind, **how)


def palette(kind, **how): return encode(Image.fromarray(GREY).convert('P'), kind, **how)


@pytest.mark.parametrize(('raw', 'pixels'), [
    (encode(GREY), GREY), (encode(RGB), RGB), (encode(GREY > 90), (GREY > 90)*np.uint8(255)),
    (palette('png'), in_colour(GREY)), (palette('gif'), in_colour(GREY)), (palette('bmp'), in_colour(GREY)),
    (encode(RGB, 'webp', lossless=True), RGB), (encode(RGB, 'tiff'), RGB), (encode(GREY, 'tiff'), GREY),
    (encode(RGB, 'tiff', compression='tiff_lzw'), RGB), (encode(RGB, 'bmp'), RGB), (encode(GREY, 'gif'), GREY),
    (encode(np.stack([GREY, GREY*0 + 255], 2)), GREY)])
def test_kinds_that_are_read(tmp_path, raw, pixels):
    (tmp_path/'a.png').write_bytes(raw)
    x = to_uint8(load_folder(tmp_path, size=8).x)[0].permute(1, 2, 0).numpy()
    assert (x == pixels.reshape(8, 8, -1)).all()


def png(bits, colour, raw):
    "A PNG file of 8 x 8 pixels, byte by byte."
    def chunk(name, body): return len(body).to_bytes(4, 'big') + name + body + zlib.crc32(name + body).to_bytes(4, 'big')
    head = (8).to_bytes(4, 'big')*2 + bytes([bits, colour, 0, 0, 0])
    rows = b''.join(b'\0' + row for row in raw)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')


DEEP = png(16, 2, [bytes(range(48))]*8)         # red, green, blue of 16 bits each
FRAMES = [Image.fromarray(GREY*0 + 90*i) for i in range(3)]


def moving(kind): return encode(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:])


@pytest.mark.parametrize(('name', 'raw', 'why'), [
    ('a.png', DEEP, '16 bits a channel'), ('a.png', png(16, 0, [bytes(16)]*8), '16 bits a channel'),
    ('a.tif', encode(GREY.astype(np.uint16)*256, 'tiff'), '16 bits a channel'),
    ('a.tif', encode(GREY.astype(np.float32), 'tiff'), '32 bits a channel'),
    ('a.gif', moving('gif'), '3 frames: it is animated'), ('a.webp', moving('webp'), '3 frames: it is animated'),
    ('a.png', moving('png'), '3 frames: it is animated'), ('a.tif', moving('tiff'), '3 pages'),
    ('a.jpg', encode(Image.fromarray(RGB).convert('CMYK'), 'jpeg'), 'CMYK'),
    ('a.tif', encode(Image.fromarray(RGB).convert('CMYK'), 'tiff'), 'CMYK'),
    ('a.heic', b'whatever', 'of a kind that is not read'), ('a.png', b'', 'no image of a kind that is read')])
def test_kinds_that_are_refused(tmp_path, name, raw, why):
    "Pillow would hand out 8 of 16 bits, the first of many frames, and colours of ink as if they were light."
    (tmp_path/name).write_bytes(raw)
    with pytest.raises(ValueError, match='1 of 1 files') as e: load_folder(tmp_path)
    one_line(e, name, why)
    assert ('range=(0, 65535)' in str(e.value)) == ('16 bits' in why)


def test_files_of_other_classes_are_not_counted(tmp_path):
    for name, raw in {'cats/a': encode(GREY), 'cats/b': b'', 'dogs/a': encode(GREY), 'dogs/b': encode(GREY)}.items():
        (tmp_path/name).parent.mkdir(exist_ok=True)
        (tmp_path/f'{name}.png').write_bytes(raw)
    with pytest.raises(CreativityError, match=r'^1 of 2 files of class cats in '): load_folder(tmp_path, label='cats')
    with pytest.raises(CreativityError, match=r'^1 of 4 files in '): load_folder(tmp_path)


def test_sixteen_bits_as_the_message_says(tmp_path):
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8)*1000
    Image.fromarray(deep).save(tmp_path/'a.png')
    x = load(np.stack([np.asarray(Image.open(tmp_path/'a.png'))]), range=(0, 65535)).x
    assert np.allclose(x[0, 0].numpy(), deep/65535*2 - 1, atol=1e-6)


@pytest.mark.parametrize(('kind', 'how'), [('png', {}), ('webp', dict(lossless=True)), ('tiff', {})])
def test_transparency_is_laid_on_a_colour_that_is_said(tmp_path, kind, how):
    (tmp_path/f'a.{kind}').write_bytes(transparent(kind, **how))
    with pytest.warns(UserWarning, match='1 of the images .* is transparent and was laid on white; load'): x = load_folder(tmp_path, size=8).x[0]
    assert (x[:, :4] == 1).all()
    assert (to_uint8(x)[:, 4:].permute(1, 2, 0).numpy() == RGB[4:]).all()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for colour in 'red', '#f00', (255, 0, 0):
            x = load_folder(tmp_path, size=8, background=colour).x[0]
            assert (x[:, :4] == torch.tensor([1., -1, -1])[:, None, None]).all()
    for wrong in 'reddish', (1, 2), 300, 2.5:
        with pytest.raises(ValueError, match='no colour') as e: load_folder(tmp_path, background=wrong)
        one_line(e)


def test_transparent_greys_stay_grey_on_grey(tmp_path):
    (tmp_path/'a.png').write_bytes(encode(np.stack([GREY, GREY*4], 2)))
    assert load_folder(tmp_path, background=0).x.shape[1] == 1
    assert load_folder(tmp_path, background='blue').x.shape[1] == 3


def test_opaque_files_say_nothing(tmp_path):
    (tmp_path/'a.png').write_bytes(encode(np.concatenate([RGB, RGB[..., :1]*0 + 255], 2)))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert (to_uint8(load_folder(tmp_path, size=8).x)[0].permute(1, 2, 0).numpy() == RGB).all()


@pytest.mark.parametrize('kind', ['png', 'webp', 'tiff', 'jpeg'])
def test_orientation_in_every_kind(tmp_path, kind):
    u = np.zeros((32, 32), np.uint8)
    u[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6        # to be turned by 90 degrees clockwise
    how = dict(lossless=True) if kind == 'webp' else {}
    (tmp_path/f'a.{kind}').write_bytes(encode(u, kind, exif=exif, **how))
    x = load_folder(tmp_path).x[0, 0]
    assert x[:, -8:].mean() > .9
    assert x[:, :-8].mean() < -.9


# --- folders and zips -----------------------------------------------------------------------------------------------

@pytest.fixture
def pets(tmp_path):
    "A folder and a zip of the same, with a sub-folder for each class; the zip has a folder around it."
    rng = np.random.default_rng(0)
    u = rng.integers(256, size=(7, 8, 8, 3), dtype=np.uint8)
    names = ['cat/0.png', 'cat/1.png', 'cat/deep/2.png', 'cat/3.png', 'dog/0.png', 'dog/1.png', 'eel/0.png']
    files = {n: encode(v) for n, v in zip(names, u, strict=True)}
    put({f'pets/{n}': raw for n, raw in files.items()}, tmp_path/'packed', True)
    put(files, tmp_path/'pets')
    names = ['cat/0.png', 'cat/1.png', 'cat/3.png', 'cat/deep/2.png']       # sorted by path
    return tmp_path, from_uint8(u[[0, 1, 3, 2, 4, 5, 6]]).permute(0, 3, 1, 2)


@pytest.mark.parametrize('name', ['pets', 'packed.zip'])
def test_sub_folders_are_classes(pets, name):
    folder, x = pets
    d = load(folder/name, size=8)
    assert (d.class_names, d.y.tolist()) == (['cat', 'dog', 'eel'], [0, 0, 0, 0, 1, 1, 2])
    assert torch.equal(d.x, x)
    assert repr(d) == f'{Path(name).stem}: 7 images of 3x8x8, 3 classes'
    for label in 'dog', 'DOG', 1, '1': assert torch.equal(load(folder/name, size=8, label=label).x, x[4:6])
    assert load(folder/name, n=5).y.tolist() == [0, 1, 2, 0, 1]     # the classes in turn
    assert load(folder/name, n=2, label='cat').y.tolist() == [0, 0]
    for kw, part in ((dict(label='fox'), "no class 'fox': choose 0 to 2 or one of cat, dog, eel"),
                     (dict(n=8), 'there are 7'), (dict(n=3, label='dog'), 'there are 2'), (dict(n=0), 'n=0'),
                     (dict(n=2.5), 'n=2.5'), (dict(range=(0, 1)), 'range is for arrays')):
        with pytest.raises(ValueError, match=re.escape(part)): load(folder/name, **kw)


def test_what_is_no_class(tmp_path):
    files = {'a/0.png': encode(GREY), 'a/1.png': encode(GREY)}
    assert load_folder(put(files, tmp_path/'one')).y is None            # one folder says nothing
    assert load_folder(put(files | {'b/0.png': encode(GREY), '2.png': encode(GREY)}, tmp_path/'loose')).y is None
    with pytest.raises(ValueError, match='no labels'): load(tmp_path/'loose', label='a')


@pytest.mark.parametrize(('names', 'packed', 'says'), [
    (['a/0.png', 'b/0.png', '2.png'], False, '{} has no classes: 1 of 3 images is beside its sub-folders'),
    (['a/0.png', 'b/0.png', '2.png'], True, '{} has no classes: 1 of 3 images is beside its sub-folders'),
    (['all/a/0.png', 'all/1.png'], True, '{} has no classes: 1 of 2 images is beside its sub-folders'),
    (['cat/0.png', 'cat/1.png'], False, '{} has no classes: all images lie in one sub-folder, cat, and only two or more'),
    (['cat/0.png', 'cat/1.png'], True, None), (['0.png', '1.png'], False, None), (['a/0.png', 'b/0.png'], False, None)])
def test_classes_that_are_not_taken_are_told(tmp_path, names, packed, says):
    path = put({n: encode(GREY) for n in names}, tmp_path/'mine', packed)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        load(path)
    assert [len(str(w.message).splitlines()) for w in told] == [1]*(says is not None)
    for w in told: assert str(w.message).startswith(says.format(path))


@pytest.mark.parametrize('name', ['cat.jpg', 'cat.HEIC', 'cat'])
def test_one_picture_is_no_set(tmp_path, name):
    (tmp_path/name).write_bytes(encode(GREY))
    with pytest.raises(CreativityError) as e: load(tmp_path/name)
    assert str(e.value) == f'{tmp_path/name} is a single picture, which is no set: give its folder, or a zip of several'


@pytest.mark.parametrize('kind', [np.asarray, torch.as_tensor])
@pytest.mark.parametrize(('shape', 'one'), [((96, 80, 3), 'array[None]'), ((96, 80, 4), 'array[None, ..., :3]'), ((5, 5, 4), 'array[None, ..., :3]')])
def test_one_photograph_is_not_taken_for_many_grey_images(shape, one, kind):
    array = kind(np.zeros(shape, np.uint8))
    with pytest.raises(CreativityError) as e: load(array)
    one_line(e, '[N,H,W] (grey), [N,H,W,C] or [N,C,H,W]', str(list(shape)), f'one photograph: that is {one};')
    assert load(eval(one)).x.shape == (1, 3, *shape[:2])
    assert load(array[:, None]).x.shape == (shape[0], 1, *shape[1:])


@pytest.mark.parametrize('shape', [(2, 8, 3), (8, 3, 3), (9, 8, 5), (3, 8, 8)])
def test_three_axes_are_grey_images(shape): assert load(np.zeros(shape, np.uint8)).x.shape == (shape[0], 1, *shape[1:])


@pytest.mark.parametrize('suffix', ['npz', 'npy', 'safetensors', 'pt'])
def test_a_damaged_file_is_named_once(tmp_path, suffix):
    path = tmp_path/f'text.{suffix}'
    path.write_text('no arrays')
    with pytest.raises(CreativityError) as e: load(path)
    assert one_line(e).count(str(path)) == 1


def test_folders_that_are_numbers_follow_the_numbers(tmp_path):
    d = load_folder(put({f'{i}/0.png': encode(GREY*0 + i) for i in range(12)}, tmp_path/'numbers'))
    assert d.class_names == [str(i) for i in range(12)]
    assert sorted(zip(d.y.tolist(), to_uint8(d.x[:, 0, 0, 0]).tolist(), strict=True)) == [(i, i) for i in range(12)]


def test_unreadable_files_do_not_count(pets):
    folder, _ = pets
    (folder/'pets'/'dog'/'0.png').write_bytes(b'')
    with pytest.warns(UserWarning, match='1 of 7 files'): d = load(folder/'pets', n=5, skip=True)
    assert d.y.tolist() == [0, 2, 0, 1, 0]


def test_sizes_that_are_not_square(tmp_path):
    u = np.zeros((40, 60, 3), np.uint8)
    u[:, 20:40] = 255           # a white block, 20 wide
    put({'a.png': encode(u)}, tmp_path/'wide')
    x = load(tmp_path/'wide', size=(40, 20)).x
    assert x.shape == (1, 3, 40, 20)
    assert (x == 1).all()       # the central part of that shape, unchanged
    assert load(tmp_path/'wide', size=(20, 30)).x.shape == (1, 3, 20, 30)
    assert (load(tmp_path/'wide', size=(40, 60)).x == from_uint8(u).permute(2, 0, 1)).all()
    for size in (0, -1, 2.5, '32x', (32,), (32, 0), (1, 2, 3)):
        with pytest.raises(ValueError, match='size=') as e: load(tmp_path/'wide', size=size)
        one_line(e, '(height, width)')


def test_folder_bad_input(tmp_path):
    (tmp_path/'empty').mkdir()
    (tmp_path/'cut.zip').write_bytes(b'PK\x03\x04 and no more')
    for path, error, part in (('empty', ValueError, 'no image files'), ('gone', FileNotFoundError, 'does not exist'),
                              ('cut.zip', ValueError, 'neither a folder nor a whole zip')):
        with pytest.raises(error) as e: load_folder(tmp_path/path)
        one_line(e, part, path)


def growth(f, *args):
    "Bytes by which this process grows at most."
    import resource
    most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    base = most()
    f(*args)
    return 1024*(most() - base)


def peak_of(f, *args):
    "Bytes that a process which has imported what it needs grows by at most."
    return forked(growth, f, *args)


def is_refused(path, why):
    with pytest.raises(ValueError, match=re.escape(why)): load(path)


def are_read(path, n): assert len(load(path)) == n


def is_read_in_part(path):
    d = load(path, n=5, range=(0, 1))
    assert d.x[3].max() == 0
    assert d.x.max() == 0
    assert d.x[:3].max() == -1


@pytest.mark.parametrize('kind', ['file', 'pixels', 'array'])
def test_a_small_zip_stays_small(tmp_path, kind):
    "Less than a megabyte that would unpack to hundreds: a file in a zip, an image, an array."
    path, why = tmp_path/'a.zip', 'bytes, more than 268,435,456'
    if kind == 'file':
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z, z.open('a.png', 'w') as f:
            for _ in range(300): f.write(bytes(2**20))
    if kind == 'pixels':
        huge, why = encode(Image.new('1', (30_000, 10_000))), 'more than 89,478,485 pixels'
        put({'a.png': huge}, tmp_path/'a', True)
    if kind == 'array':
        path, why = tmp_path/'a.npz', 'would unpack'
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z, z.open('images.npy', 'w', force_zip64=True) as f:
            np.lib.format.write_array_header_1_0(f, dict(descr='|u1', fortran_order=False, shape=(300, 1024, 1024)))
            for _ in range(300): f.write(bytes(2**20))
    assert path.stat().st_size < 1e6
    assert peak_of(is_refused, path, why) < 1e8


def test_images_are_decoded_one_at_a_time(tmp_path):
    "Eight photographs of 12 megapixels, which are 288 MB when decoded, need the memory of a few."
    raw = encode(np.zeros((3000, 4000, 3), np.uint8), 'jpeg')
    put({f'{i}.jpg': raw for i in range(8)}, tmp_path/'many', True)
    assert peak_of(are_read, tmp_path/'many.zip', 8) < 1.5e8


def test_a_size_beyond_memory_is_refused_before_work(tmp_path):
    put({f'{i}.png': encode(GREY) for i in range(3)}, tmp_path/'a')
    with pytest.raises(ValueError, match='of memory') as e: load(tmp_path/'a', size=60_000)
    one_line(e, 'n=', 'size=')


# --- arrays ---------------------------------------------------------------------------------------------------------

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


@pytest.mark.parametrize(('dtype', 'range'), [
    (np.uint16, (0, 65535)), (np.int16, (-32768, 32767)), (np.int64, (0, 255)), (np.float64, (0, 1)),
    (np.float16, (-1, 1)), ('>f4', (-1, 1)), ('>u2', (0, 1000)), (np.bool_, (0, 1)), (np.uint8, (0, 1))])
def test_numbers_of_every_type_say_their_range(tmp_path, dtype, range):
    low, high = range
    v = (low + (high - low)*np.arange(0, 65, 8)/64).astype(dtype).reshape(1, 3, 3)
    np.save(tmp_path/'a.npy', v)
    if v.dtype != np.uint8:
        with pytest.raises(ValueError, match='give the range') as e: load(tmp_path/'a.npy')
        one_line(e, str(v.dtype.newbyteorder('=')))
    want = 2*(v.astype(float) - low)/(high - low) - 1
    for source in tmp_path/'a.npy', v:
        assert np.abs(load(source, range=range).x.numpy()[0] - want).max() < 1e-7
    for wrong in (1, 0), (0,), (0, np.nan), 'white', 5:
        with pytest.raises(ValueError, match='range=') as e: load(tmp_path/'a.npy', range=wrong)
        one_line(e)


def test_latents(tmp_path):
    x = 3*torch.randn(6, 4, 5, 7, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path/'a.npy', x)
    safetensors.torch.save_file({'images': x.bfloat16(), 'y': torch.arange(6) % 2}, tmp_path/'b.safetensors')
    d = load(tmp_path/'a.npy', range=None)
    assert torch.equal(d.x, x)
    assert d.range is None
    assert d[:2].range is None
    assert torch.equal(load(tmp_path/'b.safetensors', range=None, label=1).x, x.bfloat16().float()[1::2])
    assert torch.equal(load(x, range=None, n=2).x, x[:2])
    for bad in np.nan, np.inf, 1e300:
        np.save(tmp_path/'c.npy', np.where(x > 5, bad, x))
        with pytest.raises(ValueError, match='finite'): load(tmp_path/'c.npy', range=None)
    with pytest.raises(ValueError, match='1 or 3 channels') as e: load(tmp_path/'a.npy')
    one_line(e, 'range=None')


@pytest.mark.parametrize('labels', [[.5, 1, 2], [np.nan, 1, 2], [2**63, 1, 2], [1j, 1, 2], [[0], [1], [2]], [0, 1],
                                    [True, False, True], [None, 1, 2]])
def test_labels_are_whole_numbers(tmp_path, labels):
    u = np.zeros((3, 8, 8), np.uint8)
    with pytest.raises(ValueError, match='label') as e: load_arrays(u, labels=labels)
    one_line(e)
    if np.asarray(labels).dtype.hasobject: return
    np.savez(tmp_path/'a.npz', images=u, labels=np.asarray(labels))
    for read in load, lambda path: make_dictionary(tmp_path/'d', path):
        with pytest.raises(ValueError, match='label') as e: read(tmp_path/'a.npz')
        one_line(e)
    assert not (tmp_path/'d').exists()


def test_labels_may_be_names(tmp_path):
    u = np.arange(4, dtype=np.uint8)[:, None, None].repeat(8, 1).repeat(8, 2)
    np.savez(tmp_path/'a.npz', images=u, labels=['dog', 'cat', 'dog', 'eel'])
    d = load(tmp_path/'a.npz')
    assert (d.class_names, d.y.tolist()) == (['cat', 'dog', 'eel'], [1, 0, 1, 2])
    assert to_uint8(load(tmp_path/'a.npz', label='dog').x[:, 0, 0, 0]).tolist() == [0, 2]
    assert load(tmp_path/'a.npz', n=3).y.tolist() == [0, 1, 2]


def test_a_file_that_says_its_range(tmp_path):
    "As `creativity sample` writes it."
    x = load('mnist', n=3).x
    np.savez(tmp_path/'samples.npz', images=x, range=(-1, 1), seeds=np.arange(3), label='')
    assert torch.equal(load(tmp_path/'samples.npz').x, x)
    assert load(tmp_path/'samples.npz', size=(16, 20)).x.shape == (3, 1, 16, 20)


@pytest.mark.parametrize(('kind', 'why'), [
    ('scalar', '[]'), ('negative', 'shape'), ('empty', 'no images'), ('vector', '[N,H,W]'), ('version', 'version'),
    ('liar', 'bytes instead of'), ('text', 'arrays of numbers'), ('complex', 'real numbers')])
def test_odd_arrays_are_one_line(tmp_path, kind, why):
    made = dict(scalar=np.zeros(()), empty=np.zeros((0, 8, 8), np.uint8), vector=np.zeros(5, np.uint8),
                text=np.full((2, 3, 3), 'a'), complex=np.zeros((2, 3, 3), complex))
    path = tmp_path/'a.npy'
    np.save(path, made.get(kind, np.zeros((2, 3, 3), np.uint8)))
    raw = path.read_bytes()
    if kind == 'negative': path.write_bytes(raw.replace(b'(2, 3, 3)', b'(2,-3,-3)'))
    if kind == 'liar': path.write_bytes(raw.replace(b'(2, 3, 3)', b'(2, 3, 9)'))
    if kind == 'version': path.write_bytes(raw[:6] + b'\x09\x00' + raw[8:])
    for read in load, lambda path: make_dictionary(tmp_path/'d', path), lambda p: load(p, range=(0, 1)):
        with pytest.raises(CreativityError) as e: read(path)
        text = one_line(e)
        assert why in text or 'must hold uint8' in text or 'give the range' in text, text


def test_bytes_of_bfloat16_make_no_dictionary(tmp_path):
    safetensors.torch.save_file({'images': torch.zeros(2, 1, 4, 4, dtype=torch.bfloat16)}, tmp_path/'a.safetensors')
    with pytest.raises(ValueError, match='bfloat16') as e: make_dictionary(tmp_path/'d', tmp_path/'a.safetensors')
    one_line(e, 'uint8')
    assert torch.equal(load(tmp_path/'a.safetensors', range=(-1, 1)).x, torch.zeros(2, 1, 4, 4))


def test_only_what_is_wanted_is_converted(tmp_path):
    "A few images of a file of 800 MB."
    f = np.lib.format.open_memmap(tmp_path/'a.npy', 'w+', np.float64, (100, 1, 1000, 1000))
    f[3] = .5
    del f
    assert peak_of(is_read_in_part, tmp_path/'a.npy') < 3e8


def test_load_arrays_bad_input(tmp_path):
    u = np.zeros((4, 8, 8), np.uint8)
    for source, kw, part in (
            (u/255, {}, 'give the range'), (u + 2., dict(range=(0, 1)), 'do not lie in range=(0, 1)'),
            (u*np.nan, dict(range=(0, 1)), 'NaN'), (u.astype(np.int64), {}, 'give the range of these int64'), (u[0], {}, '[N,H,W]'),
            (np.zeros((2, 5, 8, 8), np.uint8), {}, '1 or 3 channels'), (np.zeros((0, 8, 8), np.uint8), {}, 'no images'),
            (u, dict(labels=[1, 2]), 'one label for each of the 4 images'), (np.array([[[{}]]]), {}, 'arrays of numbers'),
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


def test_only_the_newer_format_of_torch_is_read(tmp_path):
    "The older one is a bare pickle: refused in one line, whatever is in it, alone or for a dictionary."
    u = torch.zeros(4, 8, 8, dtype=torch.uint8)
    torch.save(u, tmp_path/'new.pt')
    assert len(load_arrays(tmp_path/'new.pt')) == len(make_dictionary(tmp_path/'d', tmp_path/'new.pt')) == 4
    for name, held in (('a.pt', u), ('b.pth', dict(images=u)), ('c.pt', Trap())):
        torch.save(held, tmp_path/name, _use_new_zipfile_serialization=False)
        for read in (load_arrays, load, lambda p: make_dictionary(tmp_path/'e', p)):
            with pytest.raises(CreativityError) as e: read(tmp_path/name)
            one_line(e, name, 'format before 1.6', 'bare pickle')
    assert not Trap.sprung
    assert not (tmp_path/'e').exists()


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


