"Dictionaries on disk: written from anything, read by name, parts of them, and never a file of a user's lost."
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from imagefiles import encode, one_line, put

from creativity.data import disk
from creativity.data.disk import (
    choose_rows,
    from_images,
    is_dictionary,
    open_dictionary,
    write_dictionary,
)
from creativity.data.find import load, make_dictionary
from creativity.data.images import Images, to_uint8
from creativity.errors import CreativityError


def pieces(n=3, value=0): return iter([np.full((n, 1, 4, 4), value, np.uint8)])


def write(folder, n=3, value=0): return write_dictionary(folder, pieces(n, value), (n, 1, 4, 4))


@pytest.fixture
def pets(tmp_path):
    "A folder of nine images in three classes, and a dictionary of it."
    u = np.random.default_rng(0).integers(256, size=(9, 8, 8, 3), dtype=np.uint8)
    names = [f'{"aaaabbbcc"[i]}/{i}.png' for i in range(9)]
    put({n: encode(v) for n, v in zip(names, u, strict=True)}, tmp_path/'pets')
    return tmp_path, make_dictionary(tmp_path/'disk', tmp_path/'pets', size=8)


# --- one way to name it ---------------------------------------------------------------------------------------------

def test_a_dictionary_is_loaded_like_anything_else(pets):
    tmp, d = pets
    images = load(tmp/'pets', size=8)
    for source in tmp/'disk', str(tmp/'disk'), d:
        got = load(source)
        assert (got.name, got.class_names, len(got)) == ('disk', ['a', 'b', 'c'], 9)
        assert torch.equal(got.x, images.x)
        assert torch.equal(got.y, images.y)
        for label in 'b', 1, '1':
            part = load(source, label=label)
            assert (part.class_slices, part.y.tolist()) == ({1: slice(0, 3)}, [1, 1, 1])
            assert torch.equal(part.read(0, 3), images.x[images.y == 1])
    for kw, part in ((dict(label='fox'), "no class 'fox'"), (dict(n=10), 'there are 9'), (dict(size=16), '8x8'),
                     (dict(n=4, label='b'), 'there are 3'), (dict(n=0), 'n=0')):
        with pytest.raises(CreativityError) as e: load(tmp/'disk', **kw)
        one_line(e, part)


@pytest.mark.parametrize('n', range(1, 10))
def test_n_takes_the_classes_in_turn(pets, n):
    tmp, _ = pets
    d, images = load(tmp/'disk', n=n), load(tmp/'pets', size=8, n=n)
    order = images.y.argsort(stable=True)
    assert torch.equal(d.x, images.x[order])
    assert torch.equal(d.y, images.y[order])
    assert [s.stop - s.start for s in d.class_slices.values()] == images.y.bincount()[images.y.unique()].tolist()
    first, end = n//3, n - n//4                         # any part of a part, read across the gaps
    assert torch.equal(d.read(first, end), d.x[first:end])
    again = choose_rows(d, label=d.class_names[0])
    assert torch.equal(again.x, d.x[:len(again)])


def test_dictionaries_of_dictionaries_arrays_and_images(pets):
    tmp, d = pets
    np.savez(tmp/'a.npz', images=to_uint8(d.x), labels=d.y, class_names=d.class_names)
    sources = tmp/'disk', d, tmp/'a.npz', Images(d.x, d.y, 'mine', d.class_names)
    for i, source in enumerate(sources):
        made = make_dictionary(tmp/f'd{i}', source, n=5)
        assert made.class_names == ['a', 'b', 'c']
        assert torch.equal(made.x, load(d, n=5).x)
        assert torch.equal(make_dictionary(tmp/f'e{i}', source, label='c').x, d.x[7:])
    with pytest.raises(CreativityError, match='no latents'): make_dictionary(tmp/'f', Images(d.x*9, range=None))
    with pytest.raises(CreativityError, match='no labels'): make_dictionary(tmp/'f', d.x, label='a')


def test_files_that_cannot_be_read_are_left_out_of_a_dictionary(pets):
    tmp, _ = pets
    put({'a/bad.png': b'', 'b/bad.png': b''}, tmp/'pets')
    with pytest.raises(CreativityError, match='2 of 11 files') as e: make_dictionary(tmp/'new', tmp/'pets')
    one_line(e, 'a/bad.png', 'b/bad.png')
    assert not (tmp/'new').exists()
    with pytest.warns(UserWarning, match='2 of 11 files'): d = make_dictionary(tmp/'new', tmp/'pets', size=8, skip=True)
    assert d.class_slices == {0: slice(0, 4), 1: slice(4, 7), 2: slice(7, 9)}
    assert open_dictionary(tmp/'new').shape == (9, 3, 8, 8)
    with pytest.warns(UserWarning, match='2 of 11'):
        wide = make_dictionary(tmp/'wide', tmp/'pets', (4, 6), grey=True, skip=True)
    assert wide.shape == (9, 1, 4, 6)


# --- nothing of a user's is removed ----------------------------------------------------------------------------------

@pytest.mark.parametrize('mine', ['thesis.txt', '.hidden', 'images.npy.bak', 'folder'])
def test_a_folder_with_anything_else_in_it_is_left_alone(tmp_path, mine):
    write(tmp_path/'d')
    if mine == 'folder': (tmp_path/'d'/mine).mkdir()
    else: (tmp_path/'d'/mine).write_text('years of work')
    with pytest.raises(CreativityError) as e: write(tmp_path/'d', 5)
    one_line(e, mine, 'choose another folder')
    assert (tmp_path/'d'/mine).exists()
    assert len(open_dictionary(tmp_path/'d')) == 3


@pytest.mark.parametrize('facts', ['{}', '{"format": 1}', '[]', 'words of a user'])
def test_a_file_named_dictionary_json_is_no_dictionary(tmp_path, facts):
    (tmp_path/'d').mkdir()
    (tmp_path/'d'/'dictionary.json').write_text(facts)
    with pytest.raises(CreativityError, match='is no dictionary') as e: write(tmp_path/'d')
    one_line(e)
    assert (tmp_path/'d'/'dictionary.json').read_text() == facts
    (tmp_path/'file').write_text(facts)
    with pytest.raises(CreativityError, match='is a file'): write(tmp_path/'file')


def test_a_file_that_appears_meanwhile_stays(tmp_path):
    write(tmp_path/'d')

    def slowly():
        (tmp_path/'d'/'new.txt').write_text('written during the work')
        yield from pieces(5)

    with pytest.raises(CreativityError, match=r'holds new\.txt'): write_dictionary(tmp_path/'d', slowly(), (5, 1, 4, 4))
    assert sorted(p.name for p in (tmp_path/'d').iterdir()) == ['dictionary.json', 'images.npy', 'new.txt']
    assert [p.name for p in tmp_path.iterdir()] == ['d']


def test_a_failure_leaves_the_old_one(tmp_path):
    write(tmp_path/'d', value=7)

    def broken():
        yield from pieces(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt): write_dictionary(tmp_path/'d', broken(), (5, 1, 4, 4))
    assert (to_uint8(open_dictionary(tmp_path/'d').x) == 7).all()
    assert [p.name for p in tmp_path.iterdir()] == ['d']


def killed_before(step, work):
    "Do the work in a process that dies before its step of that number of moving and removing files; did it die?"
    pid = os.fork()
    if pid: return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    try:
        done = itertools.count()

        def counted(real):
            def call(*args, **how):
                if next(done) == step: os._exit(9)
                return real(*args, **how)
            return call

        for name in 'rename', 'replace', 'unlink', 'rmdir': setattr(Path, name, counted(getattr(Path, name)))
        work()
    finally: os._exit(0)


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_whoever_is_killed_finds_one_of_the_two(tmp_path):
    "The old dictionary or the new one is there, wherever the process dies; and the next writing goes through."
    for step in itertools.count():
        folder = write(tmp_path/f'{step}'/'d', value=7).folder
        died = killed_before(step, lambda folder=folder: write(folder, 5, 9))
        d = open_dictionary(folder)
        assert (len(d), *to_uint8(d.x).unique().tolist()) in ((3, 7), (5, 9))
        if step == 0: assert len(d) == 3
        write(folder, value=1)
        assert (to_uint8(open_dictionary(folder).x) == 1).all()
        assert not is_dictionary(disk._aside(folder))
        if not died: break
    assert len(d) == 5
    assert step > 6         # it moves two folders and removes files, and dies before each


def test_a_link_stays_a_link(tmp_path):
    write(tmp_path/'real')
    (tmp_path/'link').symlink_to(tmp_path/'real')
    write(tmp_path/'link', 5)
    assert os.readlink(tmp_path/'link') == str(tmp_path/'real')
    assert len(open_dictionary(tmp_path/'real')) == 5


def test_labels_are_not_cut(tmp_path):
    d = load('mnist', n=4)
    for wrong in ([.5, 1, 2, 3], [np.nan]*4, [2**63]*4, [1j]*4):
        with pytest.raises(CreativityError, match='whole numbers'): disk.spans(wrong)
    assert from_images(d).classes == {c: slice(c, c + 1) for c in range(4)}
