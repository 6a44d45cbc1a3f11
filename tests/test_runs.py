"Runs: what is finished stays, what does not belong or is damaged is refused in one line, versions are told."
import json
import math
from functools import partial

import numpy as np
import pytest

import creativity
from creativity import runs
from creativity.files import write_arrays
from creativity.runs import open_run, read_run, reopen_run, same_facts

FACTS = dict(kind='squares', parts=dict(a=1, b=[1., 2.]))
EXPECTED = dict(square=('float64', (2,)), name=('uint8', (3,)))


def square(i): return dict(square=np.array([i, i*i], float), name=np.arange(3, dtype=np.uint8))
def finish(run, i, **particular): return run.finish(i, partial(square, i), **particular)


@pytest.fixture
def run(tmp_path):
    run = open_run(tmp_path/'run', FACTS, EXPECTED)
    for i in (0, 3): finish(run, i, label=i)
    return run


def refused(f, *words):
    with pytest.raises(ValueError, match='.*'.join(words)) as e: f()
    assert '\n' not in str(e.value)


def test_a_finished_seed_is_read_not_made(run):
    before = run.path(0).stat().st_mtime_ns
    again = open_run(run.folder, FACTS, EXPECTED)
    assert again.finish(0, None, label=0)['square'].tolist() == [0, 0]
    assert again.finish(3, None, label=3)['square'].tolist() == [3, 9]
    assert run.path(0).stat().st_mtime_ns == before
    assert again.seeds() == [0, 3]


def test_without_a_folder_nothing_is_kept(tmp_path):
    run = open_run(None, FACTS, EXPECTED)
    assert finish(run, 2)['square'].tolist() == [2, 4]
    assert run.seeds() == []
    refused(lambda: run.path(1), 'keeps no files')


def test_seeds_are_sorted_as_numbers(run):
    for i in (1_000_000, 2**62, 999_999): finish(run, i)
    assert run.seeds() == [0, 3, 999_999, 1_000_000, 2**62]


def test_other_facts_are_named(run):
    refused(lambda: open_run(run.folder, FACTS | dict(kind='cubes'), EXPECTED), 'another run, with kind "squares", not "cubes"')
    other = dict(FACTS, parts=dict(a=2, b=[1., 2.]))
    refused(lambda: open_run(run.folder, other, EXPECTED), 'with parts a 1, not 2')
    refused(lambda: open_run(run.folder, FACTS | dict(more=1), EXPECTED), 'with more null, not 1')


def test_facts_may_differ_by_rounding(run):
    near = dict(FACTS, parts=dict(a=1, b=[1 + 1e-9, 2.]))
    assert open_run(run.folder, near, EXPECTED).finish(0, None, label=0)
    assert same_facts([1., {'a': None}], [1 + 1e-6, {'a': None}])
    for a, b in (([1.], [1.001]), ([1], [1, 2]), ({'a': 1}, {'b': 1}), (1, '1'), (dict(), dict(a=None))): assert not same_facts(a, b)


def test_what_is_particular_to_a_seed_is_held(run):
    refused(lambda: finish(run, 0, label=1), 'seed_000000.npz was made with label 0, not 1')
    refused(lambda: finish(run, 0), 'was made with label 0, not null')


@pytest.mark.parametrize('bad', [
    dict(square=np.array([math.nan, 0]), name=np.zeros(3, np.uint8)),
    dict(square=np.array([math.inf, 0]), name=np.zeros(3, np.uint8)),
    dict(square=np.zeros(3), name=np.zeros(3, np.uint8)),
    dict(square=np.zeros(2, np.float32), name=np.zeros(3, np.uint8)),
    dict(name=np.zeros(3, np.uint8)),
])
def test_wrong_arrays_are_refused_when_made_and_when_read(run, bad):
    "NaN, Inf, another shape, another type, one that is missing."
    refused(lambda: run.finish(7, lambda: bad), 'seed 7')
    assert not run.path(7).exists()
    loose = {n: (a.dtype.str, a.shape) for n, a in bad.items()}
    about = dict(format=runs.seed_format, facts=run.facts, seed=7, particular={}, version='0.2')
    runs._write_seed(run.path(7), about, bad)
    assert list(loose) == list(runs._read_seed(run.path(7))[1])
    refused(lambda: finish(run, 7), 'seed_000007.npz')


def altered(path, change):
    "Rewrite a seed's file with its parts changed, and the checksum as it was."
    with np.load(path) as z: parts = {n: z[n] for n in z.files}
    change(parts)
    write_arrays(path, parts)


def new_pixels(parts): parts['array_0'] = parts['array_0'] + 1
def new_label(parts): parts['about'] = str(parts['about']).replace('"label": 3', '"label": 4')
def new_facts(parts): parts['about'] = str(parts['about']).replace('squares', 'cubes')


@pytest.mark.parametrize('change', [new_pixels, new_label, new_facts])
def test_an_altered_seed_is_refused(run, change):
    "A zip archive's own checksums see none of these."
    altered(run.path(3), change)
    refused(lambda: finish(run, 3, label=3), 'seed_000003.npz was altered')


@pytest.mark.parametrize('content', [b'', b'PK', b'no archive at all', b'\x93NUMPY'])
def test_a_damaged_seed_is_refused(run, content):
    run.path(3).write_bytes(content)
    refused(lambda: finish(run, 3, label=3), 'seed_000003.npz is damaged')


def test_a_cut_off_seed_is_refused(run):
    whole = run.path(3).read_bytes()
    for n in (len(whole)//3, len(whole) - 30):
        run.path(3).write_bytes(whole[:n])
        refused(lambda: finish(run, 3, label=3), 'is damaged')


def test_a_seed_of_another_run_or_name_is_refused(run, tmp_path):
    other = open_run(tmp_path/'other', FACTS | dict(kind='cubes'), EXPECTED)
    finish(other, 5)
    run.path(5).write_bytes(other.path(5).read_bytes())
    refused(lambda: finish(run, 5), 'is of a run with kind "cubes", not "squares"')
    run.path(4).write_bytes(run.path(3).read_bytes())
    refused(lambda: finish(run, 4, label=3), 'is of seed 3')


def test_no_pickle_is_opened(run):
    class Bomb:
        def __reduce__(self): return (exec, ('raise SystemExit',))
    with run.path(0).open('wb') as f: np.savez(f, about=np.array(Bomb(), dtype=object))
    refused(lambda: finish(run, 0, label=0), 'is damaged')


def test_another_version_goes_on_and_says_so(run, monkeypatch):
    first = creativity.__version__
    monkeypatch.setattr(creativity, '__version__', '9.9')
    later = open_run(run.folder, FACTS, EXPECTED)
    for i in (0, 3, 4): later.finish(i, partial(square, i), **(dict(label=i) if i < 4 else {}))
    assert later.record() == FACTS | dict(version='9.9', versions=sorted([first, '9.9']))
    alone = open_run(None, FACTS, EXPECTED)
    finish(alone, 0)
    assert alone.record() == FACTS | dict(version='9.9')


def test_folders_of_version_one_are_refused(tmp_path):
    for i, name in enumerate(('comparison.json', 'seed-00001.npz', 'seed_000001.npz', 'seed_00000001.npy')):
        folder = tmp_path/str(i)
        folder.mkdir()
        (folder/name).write_bytes(b'{}')
        refused(lambda folder=folder: open_run(folder, FACTS, EXPECTED), 'of version 0.1')
    (tmp_path/'run.json').write_text('{"version": "0.1.0", "machine": "ELSMachine"}')
    refused(lambda: open_run(tmp_path, FACTS, EXPECTED), 'another version')


@pytest.mark.parametrize('text', ['{"format": ', '3', '{"format": "creativity-run/1"}', '{"format": "creativity-run/1", "facts": 3, "expected": {}}'])
def test_a_damaged_record_is_refused(run, text):
    (run.folder/'run.json').write_text(text)
    refused(lambda: open_run(run.folder, FACTS, EXPECTED), 'run.json')


def test_reopened_without_knowing_the_facts(run, tmp_path):
    again = reopen_run(run.folder)
    arrays, particular = again.read(3)
    assert (arrays['square'].tolist(), particular, again.facts) == ([3, 9], dict(label=3), FACTS)
    with pytest.raises(FileNotFoundError, match='no run in'): reopen_run(tmp_path/'nowhere')


def test_a_seed_may_hold_more_than_the_others(run):
    more = EXPECTED | dict(extra=('float32', (1,)))
    made = run.finish(8, lambda: square(8) | dict(extra=np.ones(1, np.float32)), more)
    assert made['extra'].tolist() == open_run(run.folder, FACTS, EXPECTED).finish(8, None, more)['extra'].tolist() == [1]
    refused(lambda: finish(run, 8), "instead of")


def test_names_of_arrays_are_free(tmp_path):
    "`file` is a parameter of `numpy.savez`, and a slash would be a folder in the archive."
    names = ['file', 'a/b', 'network, other label', '🙂', 'about']
    run = open_run(tmp_path, FACTS, {n: ('float64', ()) for n in names})
    run.finish(0, lambda: {n: np.array(float(i)) for i, n in enumerate(names)})
    found, _ = reopen_run(tmp_path).read(0)
    assert {n: v.item() for n, v in found.items()} == {n: i for i, n in enumerate(names)}
    assert json.loads((tmp_path/'run.json').read_text())['expected']['file'] == ['float64', []]
    assert read_run(tmp_path)['facts'] == FACTS
