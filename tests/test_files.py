"Files: whole or not at all, one writer for each kind, errors in one line, and a quiet import."
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image

from creativity.errors import CreativityError
from creativity.files import (
    asset,
    brief,
    read_json,
    writable_folder,
    write_all,
    write_arrays,
    write_atomic,
    write_figure,
    write_json,
    write_text,
)


def test_import_is_quiet():
    "Whoever writes a text does not wait for PyTorch or matplotlib."
    code = "import sys, creativity.files; print([m for m in ('torch', 'matplotlib', 'PIL') if m in sys.modules])"
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert r.stdout.strip() == '[]', r.stdout + r.stderr


@pytest.mark.parametrize('stop', [KeyboardInterrupt, MemoryError])
def test_a_file_appears_whole_or_not_at_all(tmp_path, stop):
    path = write_atomic(tmp_path/'new'/'a.txt', lambda f: f.write(b'whole'))

    def interrupted(f):
        f.write(b'half')
        raise stop

    with pytest.raises(stop): write_atomic(path, interrupted)
    assert path.read_bytes() == b'whole'
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_written_is_one_line(tmp_path):
    write_text(tmp_path/'a', 'text')
    for write in (lambda: write_text(tmp_path/'a'/'b', ''), lambda: writable_folder(tmp_path/'a')):
        with pytest.raises(OSError, match='cannot write') as e: write()
        assert '\n' not in str(e.value)
    with pytest.raises(CreativityError, match='b cannot be kept'): write_arrays(tmp_path/'a.npz', {'a': 1, 'b': [{}]})
    assert [p.name for p in tmp_path.iterdir()] == ['a']


def test_each_kind_comes_back(tmp_path):
    record = {'name': 'Zürich 東京', 'r': .25, 'seeds': [1, 2]}
    assert read_json(write_json(tmp_path/'a.json', record)) == record
    assert write_json(tmp_path/'b.json', record, indent=None).read_text().count('\n') == 1
    assert write_text(tmp_path/'a.txt', 'a line').read_bytes() == write_text(tmp_path/'b.txt', 'a line\n').read_bytes()
    x = torch.arange(6.).reshape(2, 3).requires_grad_()
    for compress in True, False:
        with np.load(write_arrays(tmp_path/'a.npz', {'x': x, 'label': 'Dress'}, compress), allow_pickle=False) as z:
            assert z['x'].tolist() == x.tolist()
            assert str(z['label']) == 'Dress'


def test_figures_are_closed(tmp_path):
    before = plt.get_fignums()
    path = write_figure(tmp_path/'a.png', plt.figure(figsize=(2, 1)))
    assert Image.open(path).size == (300, 150)
    assert Image.open(write_figure(path, plt.figure(figsize=(2, 1)), dpi=50)).size == (100, 50)
    assert plt.get_fignums() == before


def test_a_result_is_drawn_before_anything_is_written(tmp_path):
    fig, out = plt.figure(), tmp_path/'out'
    files = write_all(out, {'a.txt': 'text\n', 'a.json': {'r': 1}, 'a.png': fig})
    assert [p.name for p in files] == ['a.txt', 'a.json', 'a.png']
    assert json.loads((out/'a.json').read_text()) == {'r': 1}

    class Broken:
        def savefig(self, *args, **how): raise RuntimeError('no figure')

    with pytest.raises(RuntimeError): write_all(out, {'a.txt': 'other', 'b.png': Broken()})
    assert (out/'a.txt').read_text() == 'text\n'


@pytest.mark.parametrize(('raw', 'part'), [
    (b'{"r": 1', 'is damaged'), (b'\xff\xfe', 'is damaged'), (b'[1, 2]', 'must hold a dict, not a list'),
    (b'['*100_000 + b']'*100_000, 'is damaged'), (b'', 'is damaged'), (b'null', 'not a NoneType')])
def test_damaged_json_is_one_line(tmp_path, raw, part):
    (tmp_path/'a.json').write_bytes(raw)
    with pytest.raises(CreativityError, match=r'a\.json') as e: read_json(tmp_path/'a.json')
    assert part in str(e.value)
    assert '\n' not in str(e.value)


def test_brief():
    assert brief(ValueError('one\ntwo')) == 'one'
    assert brief(ValueError()) == 'ValueError'
    error = OSError('cannot identify image file <_io.BytesIO object at 0x7f31c0a0>')
    assert brief(error) == 'cannot identify image file'


def test_assets():
    assert asset('scales.json').is_file()
    assert not asset('none', 'such').exists()
