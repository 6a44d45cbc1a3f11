"Copies: what is planted is found, what is new is not called a copy more often than promised; runs go on; bad input is refused."
import numpy as np
import pytest
import torch

from creativity.data.find import load
from creativity.data.images import Images
from creativity.errors import CreativityError
from creativity.machines.windows import as_store
from creativity.measure.copies import Copies, copies, nearest_whole, noise_level, part_width

FEW = dict(part_images=20, part_controls=3, progress=False)
DATA, TEST = load('cifar10', n=300, size=16), load('cifar10', 'test', n=200, size=16).x


def noisy(x, s, seed=0): return x + s*torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def test_planted_copies_of_photographs_are_caught_and_held_out_ones_are_not():
    q = DATA.x[:8]
    planted = [q, q.flip(-1), q.roll((-2, 1), (2, 3)), noisy(q, .1), noisy(q.flip(-1).roll(2, 3), .3), (q + .05).clamp(-1, 1)]
    found = copies(torch.cat([*planted, TEST[100:130]]), DATA, TEST[:100], **FEW)
    assert found.kinds[:48].count('copy') >= 47
    assert (found.nearest.image[:32].reshape(4, 8) == torch.arange(8)).all()
    assert found.nearest.mirrored[:32].reshape(4, 8).all(1).tolist() == [False, True, False, False]
    # 30 photographs at a rate of 1%: three or more would happen in 3 of 1,000 cases
    assert found.kinds[48:].count('copy') <= 2


def test_the_rate_of_false_alarms_is_the_one_that_is_stated():
    "Among photographs of which none is a copy, as many fall below p as p says."
    null = copies(TEST[:50], DATA[:100], TEST[100:180], level=.2, **FEW)
    for p in (.1, .2, .5): assert abs((null.p_whole <= p).mean() - p) < 3*np.sqrt(p*(1 - p)/50) + .04
    assert min(null.p_whole) >= 1/81


def test_few_controls_cannot_promise_more_than_they_hold():
    some = np.ones(2)
    few = Copies(np.zeros(1), some, np.ones(1), np.zeros(0), nearest_whole(DATA.x[:1], as_store(DATA)), .01)
    assert few.rate(some) == 1/3
    assert few.kinds == ['copy']
    assert few.verdict(0).startswith('a copy of training image 0: at most 33.3% of new images')


@pytest.mark.parametrize('shape', [(1, 8, 8), (3, 20, 12), (4, 16, 16), (1, 40, 40)])
def test_any_size_and_any_values(shape):
    g = torch.Generator().manual_seed(1)
    coarse = 5*torch.randn(60, shape[0], 4, 4, generator=g)
    x = torch.nn.functional.interpolate(coarse, shape[1:], mode='bilinear')
    found = copies(torch.cat([x[:3], x[:3].flip(-1)]), Images(x[:40], range=None), x[40:], **FEW)
    assert found.kinds == ['copy']*6
    assert part_width(shape) % 2
    assert found.nearest.image.tolist() == [0, 1, 2]*2


LARGE = load('cifar10', n=300) # of 32 pixels: four become one, and a copy may be moved by four


def test_what_moves_a_training_image_back_onto_a_copy_is_said():
    q = LARGE.x[:1]
    for mirrored in (False, True):
        x = (q.flip(-1) if mirrored else q).roll((-4, 3), (2, 3))
        found = nearest_whole(x, as_store(LARGE))
        again = (q.flip(-1) if found.mirrored[0] else q).roll(found.moved[0].tolist(), (2, 3))
        assert torch.equal(again, x)


def test_noise_is_left_out_of_the_distance_where_pixels_are_put_together():
    planted, held = noisy(LARGE.x[:8].flip(-1), .3), load('cifar10', 'test', n=24).x
    found, clean, rough = (nearest_whole(x, as_store(LARGE)) for x in (planted, held, noisy(held, .3)))
    assert (found.image == torch.arange(8)).all()
    assert found.mirrored.all()
    assert found.distance.max() < .5*rough.distance.min()
    assert (rough.distance/clean.distance - 1).abs().max() < .1


def test_noise_of_a_photograph_is_small_and_that_of_noise_is_its_own():
    assert abs(noise_level(noisy(DATA.x, .3)).median() - .3) < .03
    assert noise_level(DATA.x).median() < .1


@pytest.mark.parametrize('s', [.05, .15, .4])
def test_noise_does_not_make_a_new_image_a_copy_nor_its_parts(s):
    d, held = load('mnist', n=200, size=16), load('mnist', 'test', n=64, size=16).x
    found = copies(noisy(held[40:], s), d, held[:40], level=.05, part_images=60, part_controls=19, progress=False)
    # at a rate of 5% each, of 24 six or more would happen in 2 of 1,000 cases
    assert max(found.kinds.count('copy'), found.kinds.count('parts')) <= 5
    assert found.p_part.min() > .05 or s < .1


def test_a_search_goes_on_and_is_not_mixed_with_another(tmp_path, monkeypatch):
    from creativity.measure import copies as room
    x, held = DATA.x[:20], TEST[:20]
    whole = copies(x, DATA, held, **FEW)
    calls = []
    def counted(self, *args, make=room._Search.of):
        calls.append(1)
        if len(calls) == 3: raise KeyboardInterrupt
        return make(self, *args)
    monkeypatch.setattr(room._Search, 'of', counted)
    with pytest.raises(KeyboardInterrupt): copies(x, DATA, held, out=tmp_path, **FEW)
    again = copies(x, DATA, held, out=tmp_path, **FEW)
    assert len(calls) == 5
    for name in ('whole', 'part', 'whole_null', 'part_null'): assert np.array_equal(getattr(whole, name), getattr(again, name))
    with pytest.raises(CreativityError, match='another folder'): copies(x, DATA, TEST[1:21], out=tmp_path, **FEW)


def test_numbers_of_a_store_that_is_sorted_by_class_are_those_of_the_images():
    found = nearest_whole(DATA.x[7:9], as_store(DATA))
    assert found.image.tolist() == [7, 8]
