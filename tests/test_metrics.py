"Metrics: one order of arguments, no NaN, and intervals that hold what they promise, no less and not much more."
import math

import numpy as np
import pytest
import torch

from creativity.metrics import (
    bootstrap_interval,
    contingency,
    cosine,
    determination,
    higher_is_better,
    holm,
    kappa,
    kappa_interval,
    mean_squared_error,
    paired_test,
    pearson,
    scores,
    skill,
    skill_interval,
    wilson,
)

G = torch.Generator().manual_seed(0)
TRUTH = torch.tensor([[[1., -1.], [1., -1.]]])


def test_scores_of_known_pairs():
    s = scores(TRUTH/2 + .25, TRUTH)
    assert s['r'] == pytest.approx(1)
    assert s['cod'] == pytest.approx(1 - (.0625 + .5625)/2)
    assert s['mse'] == pytest.approx((.0625 + .5625)/2)
    assert scores(-TRUTH, TRUTH) == pytest.approx(dict(r=-1, r2=1, cod=-3, cosine=-1, mse=4))
    assert list(s) == list(higher_is_better)


def test_the_prediction_comes_first():
    "CoD divides by the variance of the truth: of half the contrast it is .75 one way, and 0 the other."
    assert determination(TRUTH/2, TRUTH).item() == pytest.approx(.75)
    assert determination(TRUTH, TRUTH/2).item() == pytest.approx(0)
    assert scores(TRUTH/2, TRUTH)['cod'] == pytest.approx(.75)


@pytest.mark.parametrize('value', [0., .1, -1., 1/3])
def test_constant_images_have_no_score(value):
    "0, never NaN; 0.1 is a constant whose mean is rounded."
    flat, x = torch.full((3, 7, 7), value), torch.rand(3, 7, 7, generator=G)
    for a, b in ((flat, x), (x, flat), (flat, flat)):
        s = scores(a, b)
        assert (s['r'], s['r2']) == (0, 0)
        assert all(map(math.isfinite, s.values()))
    assert scores(x, flat)['cod'] == scores(flat, flat)['cod'] == 0
    if value == 0: assert scores(x, flat)['cosine'] == 0


def test_batches_are_pairs():
    a, b = torch.rand(2, 5, 3, 6, 4, generator=G)
    for f in (pearson, cosine, determination, mean_squared_error):
        assert f(a, b).dtype == torch.float64
        torch.testing.assert_close(f(a, b), torch.stack([f(x, y) for x, y in zip(a, b, strict=True)]))
    want = [np.corrcoef(x.flatten(), y.flatten())[0, 1] for x, y in zip(a, b, strict=True)]
    assert pearson(a, b).tolist() == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize(('a', 'message'), [(torch.zeros(1, 2, 3), 'one shape'), (TRUTH*math.nan, 'NaN')])
def test_bad_images_are_refused(a, message):
    with pytest.raises(ValueError, match=message): scores(a, TRUTH)


def test_interval_is_seeded_and_holds_the_median():
    v = torch.randn(50, generator=G).tolist()
    assert bootstrap_interval(v) == bootstrap_interval(v)
    low, high = bootstrap_interval(v)
    assert low <= sorted(v)[25] <= high
    assert low < bootstrap_interval(v, .4)[0] < bootstrap_interval(v, .4)[1] < high
    assert bootstrap_interval([.5]) == (.5, .5)
    with pytest.raises(ValueError, match='list of numbers'): bootstrap_interval([])


def test_interval_has_the_textbook_width():
    "The median of n normal numbers spreads by 1.2533/√n."
    v = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap_interval(v)
    assert (high - low)/2 == pytest.approx(1.96*1.2533/20, rel=.25)


@pytest.mark.parametrize(('k', 'n', 'low', 'high'), [
    (50, 100, .40383, .59617), (0, 20, 0, .16113), (20, 20, .83887, 1), (3, 10, .10779, .60322)])
def test_wilson_is_the_tabulated_interval(k, n, low, high):
    assert wilson(k, n) == pytest.approx((low, high), abs=2e-5)


def test_wilson_holds_the_truth_as_often_as_it_says():
    "Not less, and not more: an interval twice too wide would hold it always."
    rng = np.random.default_rng(0)
    drawn = rng.binomial(300, .3, 1000)
    for level in (.95, .5):
        found = [wilson(int(k), 300, level) for k in drawn]
        inside = np.mean([low <= .3 <= high for low, high in found])
        assert inside == pytest.approx(level, abs=.04)
    assert wilson(1, 1)[1] == 1
    assert .2 < wilson(1, 1)[0] < .21
    for k, n in ((-1, 5), (6, 5), (0, 0)):
        with pytest.raises(ValueError, match='k must'): wilson(k, n)


def test_contingency_and_kappa():
    t = contingency('0129', [0, 1, 1, 7])
    assert (t.sum(), t.dtype.kind) == (4, 'i')
    assert t.shape[0] == t.shape[1]
    assert (t[0, 0], t[2, 1], t[4, 4]) == (1, 1, 1)
    assert kappa(np.diag([2, 3])) == 1
    assert kappa(np.array([[20, 5], [10, 15]])) == pytest.approx(.4)
    assert kappa(np.diag([5, 0])) == 0
    assert kappa_interval(np.diag([5, 0])) == (0, 0)
    for a, b in (('12', '1'), ('', '')):
        with pytest.raises(ValueError, match='equally many'): contingency(a, b)


def test_kappa_interval_has_the_textbook_width():
    "Fleiss, Cohen and Everitt (1969) give this kappa a standard error of .1270."
    low, high = kappa_interval(np.array([[20, 5], [10, 15]]))
    assert low == pytest.approx(.4 - 1.96*.1270, abs=.04)
    assert high == pytest.approx(.4 + 1.96*.1270, abs=.04)
    assert (low, high) == kappa_interval(np.array([[20, 5], [10, 15]]))
    drawn = np.random.default_rng(4).multinomial(50, np.array([20, 5, 10, 15])/50, 80).reshape(-1, 2, 2)
    for level in (.5, .95):
        ends = np.quantile([kappa(t) for t in drawn], [(1 - level)/2, (1 + level)/2])
        assert kappa_interval(np.array([[20, 5], [10, 15]]), level, 80, 4) == pytest.approx(tuple(ends))


def test_skill():
    assert skill([.1, .2], [.2, .4]) == pytest.approx(.5)
    assert skill([.2, .4], [.2, .4]) == 0
    assert skill([.4, .8], [.2, .4]) == pytest.approx(-1)
    assert skill([0, 0], [0, 0]) == skill([1, 1], [0, 0]) == 0
    # the sum over seeds, not the mean of ratios
    assert skill([.1, 1.], [.2, 1.]) == pytest.approx(1 - 1.1/1.2)


def test_skill_interval_is_paired_by_seed():
    "A skill of one half on every seed is certain, however much the seeds differ."
    reference = np.random.default_rng(0).uniform(.01, 1, 20)
    assert skill_interval(reference/2, reference) == pytest.approx((.5, .5))
    low, high = skill_interval(reference[::-1]/2, reference)
    # not paired, it would be this wide
    assert low < .4
    assert high > .6
    with pytest.raises(ValueError, match='same seeds'): skill_interval([1, 2], [1])


def test_skill_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    found = []
    for _ in range(200):
        reference = rng.uniform(.5, 1.5, 30)
        found.append(skill_interval(reference*rng.uniform(.2, .8, 30), reference, n=400))
    assert np.mean([low <= .5 <= high for low, high in found]) == pytest.approx(.94, abs=.05)


def resampled_skills(mse, reference, n, seed):
    "The definition: seeds drawn with replacement, n times; the skill of each draw."
    rng, found = np.random.default_rng(seed), []
    for row in rng.integers(0, len(mse), (n, len(mse))):
        error, other = (sum(float(v[i]) for i in row) for v in (mse, reference))
        found.append(1 - error/other if other > 0 else 0.)
    return np.array(found)


@pytest.mark.parametrize('level', [.5, .95])
def test_bootstraps_are_what_they_are_defined_to_be(level):
    "Errors far below 1, some of a reference that errs nowhere, given as lists: seed, draws, level and p."
    rng = np.random.default_rng(2)
    reference = [0., 0., *rng.uniform(.001, .02, 4)]
    a, b = ([v*f for v, f in zip(reference, rng.uniform(.3, 1.4, 6), strict=True)] for _ in 'ab')
    of_a, of_b = (resampled_skills(v, reference, 300, 7) for v in (a, b))
    ends = [(1 - level)/2, (1 + level)/2]
    assert skill_interval(a, reference, level, 300, 7) == pytest.approx(tuple(np.quantile(of_a, ends)))
    t = paired_test(a, b, reference, level=level, n=300, seed=7)
    assert (t.low, t.high) == pytest.approx(tuple(np.quantile(of_a - of_b, ends)))
    wrong = min((of_a <= of_b).sum(), (of_a >= of_b).sum())
    assert 0 < wrong < 149
    assert t.p == pytest.approx(2*(wrong + 1)/301)
    assert not np.isnan(resampled_skills([0, 0], [0, 0], 9, 0)).any()
    assert skill_interval([0, 0], [0, 0]) == (0, 0)


def test_defaults_say_how_often_and_from_which_seed():
    "2,000 draws from seed 0, for a test 10,000: a stored interval can be made again."
    rng = np.random.default_rng(3)
    reference = rng.uniform(.1, 1, 9)
    a, b = reference*rng.uniform(.2, 1.2, 9), reference*rng.uniform(.2, 1.2, 9)
    assert skill_interval(a, reference) == skill_interval(a, reference, .95, 2000, 0)
    assert skill_interval(a, reference) != skill_interval(a, reference, .95, 2000, 1)
    assert paired_test(a, b, reference) == paired_test(a, b, reference, None, .95, 10000, 0)
    assert bootstrap_interval(a) == bootstrap_interval(a, .95, 2000, 0)
    assert bootstrap_interval(a, n=50) == bootstrap_interval(a, n=50) != bootstrap_interval(a, n=50, seed=1)
    table = np.array([[20, 5], [10, 15]])
    assert kappa_interval(table) == kappa_interval(table, .95, 2000, 0)


@pytest.mark.parametrize('short', range(4))
def test_every_column_has_every_seed(short):
    columns = [[1., 2.] if i != short else [1.] for i in range(4)]
    with pytest.raises(ValueError, match='same seeds'): paired_test(*columns)


def test_better_is_an_interval_above_zero():
    rng = np.random.default_rng(0)
    reference = rng.uniform(.1, .2, 25)
    a, b = reference*.4, reference*rng.uniform(.4, .6, 25)
    t = paired_test(a, b, reference)
    assert t.better
    assert not paired_test(b, a, reference).better
    assert not paired_test(a, a, reference).better
    assert t.share == 1
    assert paired_test(a, a, reference).share == .5
    assert t.difference == pytest.approx(skill(a, reference) - skill(b, reference))
    assert t.low <= t.difference <= t.high
    assert t.p < .001
    assert paired_test(a, a, reference).p == 1
    twice = paired_test(a, b, reference, 2*reference)
    assert twice.difference == pytest.approx(skill(a, reference) - skill(b, 2*reference))


def test_images_of_little_contrast_have_the_same_scores():
    "Sums of squares far below 1, and a constant image in a batch with others."
    g = torch.Generator().manual_seed(1)
    x, y = (torch.randn(3, 1, 4, 4, generator=g).double() for _ in 'xy')
    for of in (pearson, cosine, determination): assert of(x*1e-4, y*1e-4) == pytest.approx(of(x, y), rel=1e-9)
    x, y = x[..., :3], y[..., :3]
    # the mean of twelve of them is not quite one of them
    flat = torch.cat([torch.full((1, 1, 4, 3), .1, dtype=torch.float64), x[1:]])
    assert (flat[0] - flat[0].mean()).abs().max() > 0
    found = pearson(flat, y)
    assert found[0] == 0
    assert found[1:] == pytest.approx(pearson(x, y)[1:])
    assert determination(y, flat)[0] == 0


def test_holm_adjusts_as_published():
    "The example of Holm's step-down: sorted p times m, m − 1, …, never falling."
    assert holm([.01, .04, .03, .005]) == pytest.approx([.03, .06, .06, .02])
    assert holm([.5, .9]) == holm([.7, .9]) == [1, 1]
    assert holm([.02]) == [.02]
