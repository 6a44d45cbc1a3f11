"Window widths however they are given: a number, a list, a function, a name; and the words in which bad ones are refused."
import json
import re
from functools import partial

import numpy as np
import pytest
import torch

from creativity import CosineSchedule, CreativityError, LinearSchedule
from creativity.files import asset
from creativity.machines import widths as w

PUBLISHED = json.loads(asset('scales.json').read_text())['scales']
NAME = 'fashion_mnist-resnet'


def refuses(error, words): return pytest.raises(error, match=f'^{re.escape(words)}$')


@pytest.mark.parametrize(('t', 'k'), [(0., 3), (.2499, 3), (.25, 3), (.2501, 5), (.5, 5), (.7, 7), (.75, 7), (.76, 9), (1., 9)])
def test_a_width_serves_its_part_of_the_times(t, k):
    assert w.scale_at([3, 5, 7, 9], t) == k
    assert w.scale_at(11, t) == 11
    assert w.scale_at(lambda t: round(10*t), t) == round(10*t)


@pytest.mark.parametrize(('given', 'number'), [
    (3, 3), (3., 3), (np.int64(5), 5), (torch.tensor(7), 7), (True, None), (False, None), (3.5, None), (float('inf'), None),
    (float('nan'), None), ('3', None), (None, None), (torch.ones(2), None)])
def test_whole_numbers(given, number):
    found = w.whole_number(given)
    assert found == number
    assert type(found) in (int, type(None))


@pytest.mark.parametrize('k', [1, 3, 9, 9.])
def test_odd_widths_up_to_the_widest(k): assert w.check_width(k, 9) == k


@pytest.mark.parametrize('k', [0, -1, 2, 11, 2.5, 'x', None, True])
def test_what_is_no_width(k):
    with refuses(CreativityError, f'a window width k must be odd and whole, from 1 to 9, got {k!r}'): w.check_width(k, 9)


def test_even_widths_where_they_are_widths():
    assert [w.check_width(k, 4, even=True) for k in (1, 2, 4)] == [1, 2, 4]
    with refuses(CreativityError, 'a window width k must be whole, from 1 to 4, got 5'): w.check_width(5, 4, even=True)
    with refuses(CreativityError, 'a window width k must be whole, from 1 to 4, got 0'): w.check_width(0, 4, even=True)


@pytest.mark.parametrize(('given', 'found'), [
    (None, None), (5, 5), (np.int64(5), 5), (5., 5), ([3, 5.], [3, 5]), ((3,), [3]), (np.array([3, 5]), [3, 5]), (torch.tensor([7, 9]), [7, 9])])
def test_scales_in_plain_python(given, found):
    got = w.check_scales(given)
    assert got == found
    for k in got if isinstance(got, list) else [got]: assert type(k) in (int, type(None))


def test_a_function_stays_itself(): assert w.check_scales(len) is len


def test_each_width_is_checked():
    most = partial(w.check_width, most=9)
    assert w.check_scales([3, 9], check=most) == [3, 9]
    assert w.check_scales(5, check=most) == 5
    for given in (11, [3, 11]):
        with refuses(CreativityError, 'a window width k must be odd and whole, from 1 to 9, got 11'): w.check_scales(given, check=most)


@pytest.mark.parametrize('given', [2.5, [3, 'x'], [3, None], {'a': 1}, object])
def test_what_are_no_scales(given):
    if given is object: given = object()
    words = ("scales must be an odd int, a list of them (lowest noise first), a function t -> int, or a name as 'cifar10-resnet', "
             f'got {given!r}')
    with refuses(CreativityError, re.sub(' at 0x[0-9a-f]+', '', words)): w.check_scales(given)


def test_no_scales():
    with refuses(CreativityError, 'scales is empty'): w.check_scales([])


def test_published_scales():
    for name, scales in PUBLISHED.items(): assert w.published_scales(name) == scales
    with refuses(CreativityError, f"no published scales for 'nope', there are {', '.join(PUBLISHED)}"): w.published_scales('nope')


def test_where_a_calibration_lies(tmp_path):
    assert w.scales_file('x') == asset('networks', 'x-scales.json')
    assert w.scales_file(tmp_path/'net.v1.safetensors') == tmp_path/'net.v1-scales.json'
    assert w.scales_file(str(tmp_path/'net.safetensors')) == tmp_path/'net-scales.json'


def test_networks_with_weights_and_calibration():
    found = w.calibrated_networks()
    assert NAME in found
    assert found == sorted(found)
    folder = asset('networks')
    assert set(found) == {p.name.removesuffix('-scales.json') for p in folder.glob('*-scales.json')} & {p.stem for p in folder.glob('*.safetensors')}


def written(folder, **more):
    "A calibration's file."
    record = dict(format='creativity-scales/1', scales=[3, 5, 7], best=[[3, 5, 7]], images=9) | more
    (folder/'net-scales.json').write_text(json.dumps({k: v for k, v in record.items() if v is not None}))
    return folder/'net-scales.json'


def test_calibrations_are_read(tmp_path):
    path = written(tmp_path)
    assert w.read_calibration(path)['images'] == 9
    assert w.calibrated_scales(str(path)) == w.calibrated_scales(tmp_path/'net.safetensors') == [3, 5, 7]
    assert w.named_scales(str(tmp_path/'net.safetensors')) == w.check_scales(path) == [3, 5, 7]


def test_a_calibration_that_is_not_there(tmp_path):
    words = f"no calibrated scales for 'nope': run creativity calibrate, or choose one of {w.calibrated_networks()}"
    with refuses(FileNotFoundError, words): w.read_calibration('nope')


def test_a_damaged_calibration(tmp_path):
    for more in (dict(format='x'), dict(scales=None), dict(best=None), dict(images=None)):
        path = written(tmp_path, **more)
        with refuses(CreativityError, f'{path} is no calibration'): w.read_calibration(path)
    path.write_text('[]')
    with refuses(CreativityError, f'{path} is no calibration'): w.read_calibration(path)
    path.write_text('{')
    with pytest.raises(CreativityError, match=f'^{re.escape(str(path))} is not JSON: .+'): w.read_calibration(path)


def test_ours_before_the_published():
    assert w.named_scales(NAME) == w.calibrated_scales(NAME)
    assert w.named_scales(f'published:{NAME}') == PUBLISHED[NAME]
    words = f"no calibrated scales for 'nope', there are {', '.join(w.calibrated_networks())}, and no published scales for 'nope', there are {', '.join(PUBLISHED)}"
    with refuses(CreativityError, words): w.named_scales('nope')


def test_published_where_ours_are_missing():
    missing = [n for n in PUBLISHED if not w.scales_file(n).exists()]
    for name in missing: assert w.named_scales(name) == PUBLISHED[name]


def test_widths_of_the_same_noise_levels():
    theirs, ours, widths = CosineSchedule(), LinearSchedule(), [3, 5, 7, 9, 11, 13, 15, 17]
    assert w.widths_along(widths, theirs, None) is widths
    assert w.widths_along(widths, theirs, CosineSchedule()) is widths
    found = w.widths_along(widths, theirs, ours)
    assert len(found) == len(widths)
    for i, k in enumerate(found, 1):
        t = torch.tensor(i/8, dtype=torch.float64)
        same = theirs.time(ours.sigma(t)/ours.a(t))
        assert k == w.scale_at(widths, float(same))
    assert found != widths


def test_a_calibration_says_along_which_schedule(tmp_path):
    path = written(tmp_path, scales=[3, 5, 7, 9], schedule=LinearSchedule().to_dict())
    assert w.check_scales(path) == w.check_scales(path, LinearSchedule()) == [3, 5, 7, 9]
    assert w.check_scales(path, CosineSchedule()) == w.widths_along([3, 5, 7, 9], LinearSchedule(), CosineSchedule()) != [3, 5, 7, 9]
    cosine = written(tmp_path, scales=[3, 5, 7, 9])
    assert w.check_scales(cosine, CosineSchedule()) == [3, 5, 7, 9]
    assert w.check_scales(cosine, LinearSchedule()) == w.widths_along([3, 5, 7, 9], CosineSchedule(), LinearSchedule())


@pytest.mark.parametrize(('text', 'found'), [('5', 5), ('3,5,9', [3, 5, 9]), (' 3 , 5', [3, 5]), ('-3', -3), ('+7', 7), (NAME, None), ('published:' + NAME, PUBLISHED[NAME])])
def test_widths_in_words(text, found):
    assert w.read_widths(text) == w.check_scales(text) == (w.named_scales(NAME) if found is None else found)


def test_words_that_are_no_widths():
    words = ("give widths, as 5 or 3,5,7, or a name: "
             f"no calibrated scales for '3,x', there are {', '.join(w.calibrated_networks())}, and no published scales for '3,x', there are {', '.join(PUBLISHED)}")
    with refuses(CreativityError, words): w.read_widths('3, x')


@pytest.mark.parametrize('read', [w.read_calibration, w.calibrated_scales, w.named_scales])
def test_a_calibrations_file_that_is_not_there(read):
    with refuses(FileNotFoundError, 'out/none.json does not exist: creativity calibrate writes such a file'): read('out/none.json')


@pytest.mark.parametrize('read', [w.read_widths, w.check_scales])
def test_widths_in_a_file_that_is_not_there(read):
    words = 'give widths, as 5 or 3,5,7, or a name: out/none.json does not exist: creativity calibrate writes such a file'
    with refuses(FileNotFoundError, words): read('out/none.json')


def test_widths_in_words_along_a_schedule():
    assert w.read_widths(NAME, LinearSchedule()) == w.check_scales(NAME, LinearSchedule()) != w.named_scales(NAME)
