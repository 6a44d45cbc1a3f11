"The mosaic: nearest windows and margins against brute force, fixed points, patches, bad input, files."
import json
import struct
import zlib

import numpy as np
import pytest
import torch

from creativity.data.images import to_uint8
from creativity.data.store import TensorStore
from creativity.diffusion import samples, seed_noise
from creativity.machines.whole import ESMachine, ISMachine
from creativity.machines.windows import BBELSMachine, ELSMachine, LSMachine
from creativity.measure import provenance as mosaic
from creativity.studies.command import stored
from creativity.studies.mosaic import animate, film
from creativity.theory.windows import dictionary

DATA = torch.rand(5, 3, 7, 6, generator=torch.Generator().manual_seed(0))*2 - 1
LABELS = torch.tensor([1, 0, 1, 0, 1])
X = torch.rand(2, 3, 7, 6, generator=torch.Generator().manual_seed(1))*2 - 1
KINDS = [LSMachine, ELSMachine, BBELSMachine]


@pytest.mark.parametrize('kind', [*KINDS, ISMachine])
@pytest.mark.parametrize('label', [None, 0, 1])
def test_training_images_are_consistent_and_their_own_source(kind, label):
    m = kind(DATA, LABELS, scales=None if kind is ISMachine else 3)
    mine = torch.arange(5) if label is None else (LABELS == label).nonzero()[:, 0]
    c = mosaic.consistency(DATA[mine], m, label=label)
    assert (c.share == 1).all()
    assert (c.windows.image == mine[:, None, None]).all()
    assert (c.windows.distance == 0).all()
    assert (c.margin > 0).all()


def test_els_against_brute_force():
    d = torch.arange(-1, 2)
    windows, centres, *_ = dictionary(DATA, torch.arange(7), torch.arange(6), d, d)
    c = mosaic.consistency(X[0], ELSMachine(DATA, scales=3))
    for i, j in [(0, 0), (3, 2), (6, 5)]:
        d2 = ((X[0][:, (i + d)[:, None] % 7, (j + d) % 6] - windows)**2).sum((1, 2, 3))
        best = d2.argmin()
        rival = d2[((centres - centres[best]).abs() > 1/255).any(1)].min()
        torch.testing.assert_close(c.windows.distance[0, i, j], d2.min().double(), atol=1e-4, rtol=0)
        torch.testing.assert_close(c.windows.value[0, :, i, j], centres[best])
        torch.testing.assert_close(c.margin[0, i, j], (rival - d2.min()).double(), atol=1e-4, rtol=0)
        torch.testing.assert_close(c.windows.rms[0, i, j], (d2.min()/27).sqrt().double(), atol=1e-4, rtol=0)


def test_window_sizes_count_what_the_border_leaves():
    n = mosaic.window_sizes(BBELSMachine(DATA).plan(5))
    assert (n[0, 0], n[0, 2], n[3, 2]) == (9, 15, 25)
    assert (mosaic.window_sizes(mosaic.window_plan(ISMachine(DATA), 0)) == 42).all()


@pytest.mark.parametrize('kind', KINDS)
def test_batch_and_order_do_not_matter(kind):
    both, single = kind(DATA, scales=5), kind(DATA.flip(0), scales=5)
    a, b = mosaic.nearest_windows(X, both), mosaic.nearest_windows(X[1:], single)
    torch.testing.assert_close(a.distance[1:], b.distance, atol=1e-4, rtol=1e-5)
    assert (a.image[1:] == 4 - b.image).all()


@pytest.mark.parametrize('kind', KINDS)
def test_what_settles_is_consistent(kind):
    m = kind(DATA, scales=3)
    p = mosaic.project(X, m)
    assert ((mosaic.consistency(p.x, m, margin=False).gap == 0).flatten(1).all(1) == p.settled).all()
    again = mosaic.project(DATA, m)
    assert again.settled.all()
    assert torch.equal(again.x, DATA)


def test_a_chess_board_runs_in_a_circle():
    bw = torch.ones(2, 1, 4, 4)*torch.tensor([-1., 1.])[:, None, None, None]
    i = torch.arange(4)
    board = torch.where((i[:, None] + i) % 2 == 0, 1., -1.)[None, None]
    p = mosaic.project(board, ELSMachine(bw, scales=3), steps=6)
    assert p.settled.tolist() == [True]               # five of nine pixels of each window have the centre's colour
    stripes = torch.where(i % 2 == 0, 1., -1.)[None, None, :, None].expand(1, 1, 4, 4)
    assert not mosaic.project(stripes, ELSMachine(bw, scales=3), steps=6).settled


def test_patches():
    place = torch.stack(torch.meshgrid(torch.arange(9), torch.arange(8), indexing='ij'))
    assert (mosaic.patches(torch.zeros(9, 8).long(), place) == 0).all()
    assert len(mosaic.patches(torch.zeros(9, 8).long(), 0*place).unique()) == 72
    spiral = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
    where = torch.stack(torch.meshgrid(torch.arange(5), torch.arange(4), indexing='ij'))
    assert mosaic.patches(spiral, where).unique().tolist() == [0, 1]
    assert mosaic.patches(spiral, where, spiral == 1).min() == -1


def test_explain(tmp_path):
    m = BBELSMachine(DATA, LABELS, scales=3)
    e = mosaic.explain(DATA[2], m, label=1)
    assert (e.facts['nearest_image'], e.facts['training_images'], e.facts['consistent'], e.facts['sources']) == (2, 3, 1, 1)
    files = mosaic.explain_files(e, tmp_path/'out', dict(file='a.png'))
    assert all(p.stat().st_size for p in files)
    assert json.loads(files[1].read_text())['file'] == 'a.png'
    assert mosaic.explain_figure(e).axes[3].get_title() == f'{e.facts["patches"]} patches'
    assert e.facts['null'] == []
    rest = mosaic.explain(X[0], m)
    assert rest.verdict.endswith('(null=8 does)')
    assert mosaic.explain(torch.full((3, 7, 6), -1.), m).facts['foreground_pixels'] == 42


def test_animation(tmp_path):
    m = LSMachine(DATA, scales=3)
    r = mosaic.Recorder(m)
    states = list(samples(r, seed_noise([0], m.shape), 3))
    assert animate(states, r.beliefs, tmp_path/'a.gif').read_bytes()[:3] == b'GIF'
    with pytest.raises(ValueError, match='must end in'): animate(states, r.beliefs, tmp_path/'a.png')
    with pytest.raises(ValueError, match='no folder'): animate(states, r.beliefs, tmp_path/'none'/'a.gif')


def test_parts_of_the_dictionary_do_not_matter():
    for kind in (*KINDS, ISMachine):
        scales = None if kind is ISMachine else 3
        machines = [kind(TensorStore(DATA, LABELS, most=n), scales=scales) for n in (None, 2)]
        for label in (None, 1, torch.tensor([0, 1])):
            whole, parts = (mosaic.nearest_windows(X, m, label=label) for m in machines)
            torch.testing.assert_close(parts.distance, whole.distance, atol=1e-5, rtol=1e-5)
            assert torch.equal(parts.value, whole.value)
            assert torch.equal(parts.image, whole.image)


def test_a_film_of_a_flow(tmp_path):
    from PIL import Image
    states, beliefs = film(tmp_path/'a.gif', LSMachine(DATA, scales=3), seed=1, steps=3)
    assert (len(states), len(beliefs)) == (4, 3)
    with Image.open(tmp_path/'a.gif') as im: assert im.n_frames >= 3
    with pytest.raises(ValueError, match='must end in'): film(tmp_path/'a.mp4')


def test_the_film_of_the_documentation():
    from pathlib import Path

    from PIL import Image
    path = Path(__file__).resolve().parent.parent/'nbs'/'studies'/'mosaic.gif'
    with Image.open(path) as im: assert im.n_frames >= 20
    assert path.stat().st_size < 2**20


def test_the_stored_study_is_whole():
    rows = stored('mosaic')['rows']
    found = {(r['machine'], r['k'], r['steps']): r['violations'] for r in rows}
    assert len(found) == len(rows) == 24
    assert all(0 < v < 1 for v in found.values())


def test_images_of_any_size_are_read(tmp_path):
    from PIL import Image

    from creativity.app.cli import read_image
    for size, words in (((32, 32), 'as it is'), ((28, 28), 'framed'), ((50, 40), 'resized from 40x50 to 32x32 (--size 40x50 keeps it)')):
        Image.new('RGB', size, (255, 0, 0)).save(tmp_path/'a.png')
        x, how = read_image(tmp_path/'a.png', (3, 32, 32))
        assert (tuple(x.shape), words in how) == ((3, 32, 32), True)
        assert x[:, 16, 16].tolist() == [1, -1, -1]
    (tmp_path/'a.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match='cannot be read'): read_image(tmp_path/'a.png', (3, 32, 32))


def test_a_small_picture_keeps_its_size_among_files(tmp_path):
    from PIL import Image

    from creativity.app.cli import own_size
    (tmp_path/'photos').mkdir()
    Image.new('RGB', (32, 48)).save(tmp_path/'a.png')
    Image.new('RGB', (65, 20)).save(tmp_path/'b.png')
    np.savez(tmp_path/'c.npz', images=np.zeros((2, 3, 80, 90), np.float32))
    (tmp_path/'d.png').write_bytes(b'no image')
    photos = str(tmp_path/'photos')
    assert [own_size(tmp_path/n, photos) for n in ('a.png', 'b.png', 'c.npz', 'd.png')] == ['48x32', None, '80x90', None]
    assert own_size(tmp_path/'a.png', 'cifar10') is own_size(tmp_path/'a.png', str(tmp_path/'c.npz')) is None


def test_a_photo_that_was_turned_counts_as_one_sees_it(tmp_path):
    "Its file says so; one that claims too many pixels has no size, and is refused where it is read."
    from PIL import Image

    from creativity.app.cli import own_size, read_image
    photo, said = Image.new('RGB', (40, 24)), Image.Exif()
    said[274] = 6       # turn it by a quarter
    photo.save(tmp_path/'lying.jpg')
    photo.save(tmp_path/'standing.jpg', exif=said)
    assert [own_size(tmp_path/f'{n}.jpg', str(tmp_path)) for n in ('lying', 'standing')] == ['24x40', '40x24']
    assert read_image(tmp_path/'standing.jpg', (3, 40, 24))[1] == 'as it is, 40x24'
    photo.save(tmp_path/'huge.png')
    raw = bytearray((tmp_path/'huge.png').read_bytes())
    raw[16:24] = struct.pack('>II', 60_000, 60_000)
    raw[29:33] = struct.pack('>I', zlib.crc32(raw[12:29]))
    (tmp_path/'huge.png').write_bytes(raw)
    assert own_size(tmp_path/'huge.png', str(tmp_path)) is None
    with pytest.raises(ValueError, match='more than'): read_image(tmp_path/'huge.png', (3, 32, 32))


def test_sources_are_drawn_where_they_lie():
    m = LSMachine(DATA, scales=3)
    s = m.sources(X[0], .3, pixel=(2, 1), top=2)
    for images in (DATA, m):
        fig = mosaic.show_sources(s, X[0], images, (2, 1))
        assert [ax.get_title() for ax in fig.axes] == ['x', *(f'image {i}' for i in s.image), 'it sees', *(f'{w:.1%}' for w in s.weight)]
        shown = fig.axes[4].images[0].get_array()[..., 0]
        assert torch.equal(torch.from_numpy(shown.copy()), to_uint8(s.window[0][0]))
    with pytest.raises(ValueError, match='with pixel='): mosaic.show_sources(m.sources(X[0], .3), X[0], DATA, (2, 1))
    last = int(s.image.max())
    with pytest.raises(ValueError, match=f'image {last} is a source, and there are only'): mosaic.show_sources(s, X[0], DATA[:last], (2, 1))


def test_a_picture_is_explained_on_its_scale_and_alone_or_in_a_batch_of_one():
    m = LSMachine(DATA, scales=3)
    assert mosaic.explain(DATA[:1], m).facts == mosaic.explain(DATA[0], m).facts
    with pytest.warns(UserWarning, match='image lies in .* the training images in'): mosaic.explain((DATA[0] + 1)*127.5, m)
    with pytest.raises(ValueError, match=r'must be a tensor of shape \[3, 7, 6\], got ndarray'): mosaic.explain(DATA[0].numpy(), m)


@pytest.mark.parametrize(('call', 'words'), [
    (lambda m: mosaic.consistency(X[:, :1], m), 'must hold images of shape'),
    (lambda m: mosaic.consistency(X*float('nan'), m), 'NaN'),
    (lambda m: mosaic.consistency(X, m, k=4), 'odd'),
    (lambda m: mosaic.consistency(X, m, label=7), 'label'),
    (lambda m: mosaic.consistency(X, BBELSMachine(DATA)), 'needs scales='),
    (lambda m: mosaic.consistency(X, ESMachine(DATA)), 'no windows'),
    (lambda m: mosaic.project(X, m, steps=0), 'steps'),
    (lambda m: mosaic.explain(X, m), 'image must be a tensor'),
    (lambda m: mosaic.explain('a.png', m), 'image must be a tensor'),
])
def test_bad_input_is_one_line(call, words):
    with pytest.raises(ValueError, match=words) as e: call(BBELSMachine(DATA, scales=3))
    assert '\n' not in str(e.value)


@pytest.mark.parametrize('most', [None, 2])
@pytest.mark.parametrize('label', [None, 1])
def test_a_control_is_an_image_that_the_machine_does_not_have(most, label):
    mine = torch.arange(5) if label is None else (LABELS == label).nonzero()[:, 0]
    settings = dict(scales=3, wrapped=False)
    m = ELSMachine(TensorStore(DATA, LABELS, most=most), **settings)
    controls = mosaic.null_facts(m, label, None, 2)
    for i, facts in zip((mine[LABELS[mine].argsort(stable=True)])[[0, -1]].tolist(), controls, strict=True):
        rest = ELSMachine(DATA[mine[mine != i]], **settings)
        c = mosaic.consistency(DATA[i], rest, margin=False)
        assert facts == pytest.approx(mosaic.image_facts(c, mosaic.image_patches(DATA[i], c)), abs=1e-5)
        assert facts['consistent'] < .5
    with pytest.raises(ValueError, match=f'null={len(mine)} training images cannot be left out'): mosaic.null_facts(m, label, None, len(mine))


@pytest.mark.parametrize('label', [None, 1])
def test_distances_among_images_leave_out_the_image_itself(label):
    mine = DATA if label is None else DATA[LABELS == label]
    far = torch.cdist(mine.flatten(1), mine.flatten(1)).div(mine[0].numel()**.5).fill_diagonal_(torch.inf).amin(1)
    for most in (None, 2):
        found = mosaic.distances_among(TensorStore(DATA, LABELS, most=most), label)
        torch.testing.assert_close(found.sort().values, far.sort().values)
    assert len(mosaic.distances_among(TensorStore(DATA), most=2)) == 2
    assert len(mosaic.distances_among(TensorStore(DATA[:1]))) == 0
