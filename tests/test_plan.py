"The engine's plans: which places meet, each pair once, and how images go on past their border."
from itertools import product

import numpy as np
import pytest
import torch

from creativity.engine.plan import (
    Plan,
    Shifts,
    _stretches,
    bbels_rule,
    box_sum,
    els_inside_rule,
    els_rule,
    ls_rule,
    pad,
    rectangles,
    wrap_index,
)


def inside(p, n, k): return k//2 <= p < n - k//2


# which places q a pixel p meets, as one would say it
MEETS = {
    ls_rule: lambda p, q, n, k: p == q,
    bbels_rule: lambda p, q, n, k: p == q or (inside(p, n, k) and inside(q, n, k)),
    els_rule: lambda p, q, n, k: True,
    els_inside_rule: lambda p, q, n, k: inside(q, n, k)}
SIZES = [(n, k) for n in (1, 2, 5, 8) for k in (1, 3, 5)]


@pytest.mark.parametrize('rule', MEETS, ids=lambda f: f.__name__)
@pytest.mark.parametrize(('n', 'k'), SIZES)
def test_every_pair_of_places_once(rule, n, k):
    if rule is els_inside_rule and k > n: return
    found = sorted((p, (p + d) % n) for d, first, end in rule(n, k) for p in range(first, end))
    assert found == [(p, q) for p, q in product(range(n), range(n)) if MEETS[rule](p, q, n, k)]
    assert all(first < end for _, first, end in rule(n, k))
    if rule is not els_rule: assert all(0 <= p + d < n for d, first, end in rule(n, k) for p in range(first, end))


@pytest.mark.parametrize('rule', [bbels_rule, els_inside_rule, els_rule], ids=lambda f: f.__name__)
def test_shifts_ascend(rule):
    shifts = [d for d, *_ in rule(9, 3)]
    assert shifts == sorted(set(shifts))


@pytest.mark.parametrize('k', range(1, 10))
@pytest.mark.parametrize('dim', [0, 1, 2])
def test_box_sums(k, dim):
    x = torch.arange(9*10*11.).reshape(9, 10, 11)**1.5 % 7
    kept = x.clone()
    torch.testing.assert_close(box_sum(x, k, dim), x.unfold(dim, k, 1).sum(-1))
    assert torch.equal(x, kept)


@pytest.mark.parametrize(('asked', 'found'), [
    ((3, 1, 3, False), [-1, 0, 1, 2, -1]), ((3, 1, 3, True), [2, 0, 1, 2, 0]), ((2, 0, 4, False), [0, 1, -1, -1]),
    ((2, 3, 2, True), [1, 0, 1, 0, 1, 0, 1, 0]), ((4, 2, 1, False), [-1, -1, 0, 1, 2])])
def test_rows_past_the_border(asked, found): assert wrap_index(*asked).tolist() == found


def test_rectangles_are_all_pairs_of_an_axis_each():
    rows, cols = np.array([[0, 1, 2], [3, 4, 5]]), np.array([[6, 7, 8], [9, 10, 11], [12, 13, 14]])
    found = rectangles(rows, cols).tolist()
    assert found == [[r[0], c[0], r[1], r[2], c[1], c[2]] for r in rows.tolist() for c in cols.tolist()]
    assert Shifts(*found[1])._asdict() == dict(dy=0, dx=9, top=1, bottom=2, left=10, right=11)


@pytest.mark.parametrize(('rule', 'circular'), [(ls_rule, False), (bbels_rule, False), (els_rule, True), (els_inside_rule, False)])
@pytest.mark.parametrize(('shape', 'k'), [((5, 7), 3), ((6, 5), 5), ((4, 4), 1)])
def test_a_plan_counts_what_pixels_meet(rule, circular, shape, k):
    plan = Plan(rule, shape, k, circular, circular)
    H, W = shape
    meets = lambda p, n: sum(MEETS[rule](p, q, n, k) for q in range(n))
    wanted = [[meets(i, H)*meets(j, W) for j in range(W)] for i in range(H)]
    assert plan.counts.tolist() == wanted
    assert plan.pairs == np.sum(wanted)
    assert (plan.k, plan.r, plan.shape, plan.d_circular) == (k, k//2, shape, circular)
    assert plan.names.tolist() == list(range(len(plan.shifts)))
    assert [axis.tolist() for axis in plan.axes] == [[list(s) for s in rule(n, k)] for n in shape]
    assert np.array_equal(np.stack(plan.columns, 1), plan.shifts)


@pytest.mark.parametrize(('x_circular', 'd_circular'), [*product([False, True], repeat=2)])
def test_a_plan_continues_query_and_dictionary(x_circular, d_circular):
    plan = Plan(els_rule, (4, 6), 3, x_circular, d_circular)
    places = plan.x_rows, plan.x_cols, plan.d_rows, plan.d_cols
    wanted = (4, 1, 4, x_circular), (6, 1, 6, x_circular), (4, 1, 7, d_circular), (6, 1, 11, d_circular)
    for found, asked in zip(places, wanted, strict=True): assert torch.equal(found, wrap_index(*asked))


def test_a_plan_cuts_and_reaches_no_farther_than_it_must():
    plan = Plan(bbels_rule, (5, 7), 3)
    assert [len(v) for v in (plan.x_rows, plan.x_cols, plan.d_rows, plan.d_cols)] == [7, 9, 7, 9]
    assert plan.x_rows[0] == plan.d_rows[0] == plan.x_cols[-1] == -1


@pytest.mark.parametrize(('rows', 'cols'), [
    ([-1, 0, 1, 2, -1], [1, 2, 3, 0, 1]), ([2, 0, 1, 2, 0], [-1, -1, 0, 1, -1]), ([0], [3]), ([-1, -1], [0, 1]), ([2, 1, 0], [0, 2])])
@pytest.mark.parametrize('behind', [(), (2,)])
def test_padding_takes_rows_and_columns(rows, cols, behind):
    x = torch.arange(1., 1 + 2*3*4*max(1, *behind, 1)).reshape(2, 3, 4, *behind)
    found = pad(x, torch.tensor(rows), torch.tensor(cols))
    for (i, r), (j, c) in product(enumerate(rows), enumerate(cols)):
        wanted = x[:, r, c] if min(r, c) >= 0 else torch.zeros_like(x[:, 0, 0])
        assert torch.equal(found[:, i, j], wanted)
    assert found.shape == (2, len(rows), len(cols), *behind)


@pytest.mark.parametrize(('places', 'stretches'), [
    ([0, 1, 2], [(0, 3)]), ([-1, -1, 0, 1, -1], [(-1, 2), (0, 2), (-1, 1)]), ([2, 0, 1, 2, 0], [(2, 1), (0, 3), (0, 1)]),
    ([3, 3], [(3, 1), (3, 1)]), ([1, 2, 0], [(1, 2), (0, 1)]), ([0, -1], [(0, 1), (-1, 1)])])
def test_rows_that_follow_each_other_are_taken_together(places, stretches):
    assert _stretches(torch.tensor(places)) == stretches
