"Data: what ships, sets of images and their labels, one way to name them, and pictures."
from pathlib import Path

import numpy as np
import pytest
import torch
from imagefiles import one_line
from PIL import Image

from creativity.data.find import load, make_dictionary
from creativity.data.images import (
    Images,
    choose,
    from_uint8,
    interleave,
    to_uint8,
)
from creativity.data.sets import SETS, read_subset
from creativity.data.show import image_grid, save_grid, show_images
from creativity.errors import CreativityError

ROOT = Path(__file__).parent.parent
COUNTS = dict(mnist=(5000, 500), fashion_mnist=(5000, 500), cifar10=(2000, 300))


# --- what ships ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('name', COUNTS)
def test_shipped(name):
    for split, total in zip(('train', 'test'), COUNTS[name], strict=True):
        d = load(name, split)
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
    (dict(source='imagenet'), ('mnist, fashion_mnist, cifar10',)),
    (dict(source='../mnist', full=True), ('no image set',)),
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
    with pytest.raises(ValueError) as e: load(**dict(dict(source='mnist'), **kw))     # noqa: PT011 (the text is checked)
    one_line(e, *parts)


@pytest.mark.parametrize(('x', 'part'), [
    (torch.zeros(2, 4, 4), 'float32 [N,C,H,W]'), (torch.zeros(2, 1, 4, 4).double(), 'float32'),
    (torch.zeros(0, 1, 4, 4), 'no images'), (torch.full((1, 1, 2, 2), 1.01), '[-1, 1]'), (torch.full((1, 1, 2, 2), torch.nan), 'NaN'),
    (torch.full((1, 1, 2, 2), 300.), 'go from 300 to 300'), (torch.full((1, 1, 2, 2), 2.), 'range=None keeps them')])
def test_images_bad_input(x, part):
    with pytest.raises(ValueError) as e: Images(x)      # noqa: PT011
    one_line(e, part)


# --- one way to name images ------------------------------------------------------------------------------------------

def test_images_and_tensors_pass_through():
    d = load('fashion', n=30)
    assert load(d) is d
    for source in d.x, d.x.numpy().astype(np.float32), to_uint8(d.x), to_uint8(d.x).numpy():
        if isinstance(source, np.ndarray) and source.dtype != np.uint8:
            with pytest.raises(ValueError, match='give the range'): load(source)
            assert torch.equal(load(source, range=(-1, 1)).x, d.x)
        else: assert torch.equal(load(source).x, d.x)
    assert load(d, label='Dress').y.tolist() == [3, 3, 3]
    assert load(d, n=12).y.tolist() == [i % 10 for i in range(12)]
    assert torch.equal(load(d, label=3, n=2).x, load('fashion', label='dress', n=2).x)
    assert load(d, size=(16, 8)).x.shape == (30, 1, 16, 8)
    for source in 3, None, [1, 2], dict(x=d.x):
        with pytest.raises(ValueError, match='a name, a path, Images or a tensor') as e: load(source)
        one_line(e)
    with pytest.raises(ValueError, match='range=None') as e: load(3*d.x)
    one_line(e, 'range=(-1, 1)', 'from -3 to 3')


@pytest.mark.parametrize('empty', ['', '  ', 'a\0b'])
def test_nothing_is_no_name(tmp_path, monkeypatch, empty):
    "The empty string is not the current folder, though there are images in it."
    Image.new('L', (8, 8)).save(tmp_path/'a.png')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match='names no images') as e: load(empty)
    one_line(e, 'mnist, fashion_mnist, cifar10')
    assert len(load('.')) == 1


def test_a_set_comes_before_a_folder_of_its_name(tmp_path, monkeypatch):
    (tmp_path/'mnist').mkdir()
    Image.new('L', (8, 8)).save(tmp_path/'mnist'/'a.png')
    monkeypatch.chdir(tmp_path)
    assert len(load('mnist')) == 5000
    assert len(load('./mnist')) == len(load('./mnist', full=True)) == 1


def test_what_is_not_there(tmp_path):
    for source, error, part in (('imagenet', FileNotFoundError, 'no image set'), ('photos/', FileNotFoundError, 'no image set'),
                                ('photos/cats', FileNotFoundError, 'does not exist'),
                                (tmp_path/'a.npz', FileNotFoundError, 'does not exist')):
        with pytest.raises(error, match=part) as e: load(source)
        one_line(e)
        assert isinstance(e.value, CreativityError)
    make_dictionary(tmp_path/'d', 'mnist', n=2)
    with pytest.raises(CreativityError, match=r'is one file of a dictionary: give its folder, .*/d$'): load(tmp_path/'d'/'dictionary.json')
    with pytest.raises(CreativityError, match=r'or a tensor, not list: torch.stack them$'): load([torch.zeros(1, 4, 4)])
    (tmp_path/'a.mat').write_bytes(b'')
    with pytest.raises(ValueError, match='neither a folder nor a whole zip'): load(tmp_path/'a.mat')
    with pytest.raises(ValueError, match='for named sets'): load(tmp_path, 'test')


def test_sets_that_are_not_square():
    x = load('mnist', n=2, size=28).x
    assert torch.equal(load('mnist', n=2, size=(28, 20)).x, x[..., 4:24])
    assert torch.equal(load('mnist', n=2, size='28x20').x, x[..., 4:24])
    assert torch.equal(load('mnist', n=2, size='28').x, x)
    for wrong in '28x', 'x', '1x2x3', 'wide', '':
        with pytest.raises(CreativityError, match=r'give the side in pixels, or .height, width.'): load('mnist', n=2, size=wrong)
    assert load('cifar10', n=2, size=(16, 32)).x.shape == (2, 3, 16, 32)
    assert torch.equal(load('mnist', n=2, size=(30, 34), resize='pad').x[..., 1:29, 3:31], x)


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
