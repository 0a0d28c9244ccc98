import dataclasses

import numpy as np
import pytest

from kbn.search import sampling
from kbn.search.axes import Condition, Discrete, Grid, Numeric, Stepped
from kbn.search.sampling import SAMPLING, Region, latin_hypercube, near
from kbn.search.space import Space

X, Y = Numeric("x", 0.0, 1.0), Numeric("y", 0.0, 1.0)
LAYERS = Numeric("layers", 1, 9, integer=True)  # 5 lies in the middle of the axis
OPTIMIZER = Discrete("optimizer", ("sgd", "adam", "rmsprop"))
MIXED = Space(
    (
        X,
        LAYERS,
        Stepped("dropout", Grid(0.0, 0.1, 6)),
        Discrete("batch", (16, 32, 64, 128), ordered=True),
        OPTIMIZER,
        Numeric("beta", 0.0, 1.0, conditions=(Condition("optimizer", ("adam",)),)),
        Numeric("warmup", 1, 9, integer=True, conditions=(Condition("optimizer", ("adam",)),)),
    )
)
BOX = {
    **MIXED.whole,
    "x": [0.6, 0.8],
    "layers": [7, 9],
    "dropout": [0.1, 0.2],
    "batch": [16, 32, 64],
    "beta": [0.7, 0.9],
    "warmup": [1, 3],
}


def random(count, space=MIXED, seed=0):
    return space.snap(np.random.default_rng(seed).random((count, len(space.axes))))


def holds(box, point):
    """Whether the box holds the values of a point, but for the rounding of a float."""
    values = MIXED.decode(point)
    inner = {name: values[name] for name in ("x", "beta") if name in values}
    assert all(box[n][0] - 1e-8 <= value <= box[n][1] + 1e-8 for n, value in inner.items())
    return MIXED.contains({**box, "x": [0, 1], "beta": [0, 1]}, values)


# --- the coarse round ----------------------------------------------------------------------------


def hypercube(size, space=None, seed=3):
    space = space or Space((X, Y))
    return np.array([latin_hypercube(space, size, index, seed) for index in range(size)])


@pytest.mark.parametrize("size", [1, 2, 7, 16, 100])
def test_every_stratum_of_every_axis_has_one_point(size):
    for column in hypercube(size, Space((X, LAYERS, OPTIMIZER))).T:
        assert sorted(np.floor(column * size)) == list(range(size))


def test_points_are_random_within_their_strata_and_paired_at_random():
    points = hypercube(400)
    within = points * 400 % 1
    assert within.mean() == pytest.approx(0.5, abs=0.05)
    assert within.std() == pytest.approx(12**-0.5, abs=0.03)
    assert abs(np.corrcoef(points.T)[0, 1]) < 0.15
    assert not np.isin(hypercube(400, seed=4), points).any()


def test_an_axis_found_later_leaves_the_strata_of_the_others():
    np.testing.assert_array_equal(hypercube(9), hypercube(9, Space((LAYERS, X, Y)))[:, 1:])


# --- regions -------------------------------------------------------------------------------------


def test_a_region_contains_the_points_whose_values_its_box_holds():
    box = {**MIXED.whole, "layers": [7, 9], "beta": [0.7, 0.9], "warmup": [1, 3]}
    region, points = Region(MIXED, box), random(3000)
    expected = [MIXED.contains(box, MIXED.decode(point)) for point in points]
    assert sum(expected) > 100
    np.testing.assert_array_equal(region.contains(points), expected)


def test_a_region_contains_a_value_in_the_middle_of_its_axis_only_if_its_box_does():
    space = Space((LAYERS,))
    middle = space.encode({"layers": 5})[None]
    assert Region(space, {"layers": [4, 6]}).contains(middle).all()
    assert not Region(space, {"layers": [7, 9]}).contains(middle).any()


@pytest.mark.parametrize("around", [None, 1, 20], ids=str)
def test_draws_lie_in_their_box(around):
    region = Region(MIXED, BOX)
    inside = [point for point in random(3000) if MIXED.contains(BOX, MIXED.decode(point))]
    points = region.draw(
        1000, np.random.default_rng(1), None if around is None else np.array(inside[:around])
    )
    for point in points:
        assert holds(BOX, point)
        assert holds(BOX, MIXED.snap(point[None])[0])


def test_draws_round_a_point_without_a_hyperparameter_lie_in_its_range_where_they_have_it():
    values = {"x": 0.7, "layers": 8, "dropout": 0.1, "batch": 32, "optimizer": "sgd"}
    points = Region(MIXED, BOX).draw(
        1000, np.random.default_rng(1), around=MIXED.encode(values)[None]
    )
    with_beta = [point for point in points if "beta" in MIXED.decode(point)]
    assert len(with_beta) > 50
    assert all(holds(BOX, point) for point in with_beta)


def test_an_axis_that_a_box_does_not_name_is_whole():
    region = Region(MIXED, {"x": [0.5, 0.6]})
    points = region.draw(500, np.random.default_rng(0))
    assert 0.5 <= points[:, 0].min() < points[:, 0].max() <= 0.6
    assert points[:, 1:].min() < 0.05
    assert points[:, 1:].max() > 0.95


def test_draws_cover_a_range_and_come_to_its_ends_more_often_than_by_chance():
    points = Region(Space((X,)), {"x": [0.5, 0.9]}).draw(20_000, np.random.default_rng(0))
    within = (points - 0.5) / 0.4
    at_ends = (within < 0.03) | (within > 0.97)
    assert at_ends.mean() == pytest.approx(SAMPLING.at_end + 0.06 * (1 - SAMPLING.at_end), abs=0.02)
    counts, _ = np.histogram(within[~at_ends], bins=10, range=(0.03, 0.97))
    assert counts == pytest.approx((~at_ends).sum() / 10, rel=0.1)


def test_blind_draws_have_each_choice_alike_and_others_as_often_as_the_good_points_do():
    space = Space((X, OPTIMIZER))
    region, rng = Region(space, space.whole), np.random.default_rng(0)

    def shares(around):
        drawn = region.draw(20_000, rng, around)[:, 1]
        return np.array([(drawn == middle).mean() for middle in space.middles[1]])

    assert shares(None) == pytest.approx([1 / 3] * 3, abs=0.02)
    good = [
        {"x": 0.5, "optimizer": name} for name in ("adam", "rmsprop", "rmsprop", "adam", "adam")
    ]
    expected = SAMPLING.changed * np.array([1, 4, 3]) / 8  # one more than there are
    expected += [0, 1 - SAMPLING.changed, 0]  # else that of the first
    encoded = np.array([space.encode(values) for values in good])
    assert shares(encoded) == pytest.approx(expected, abs=0.02)


def test_good_points_that_do_not_have_a_choice_say_nothing_of_it():
    adam = (Condition("optimizer", ("adam",)),)
    space = Space((OPTIMIZER, Discrete("schedule", ("flat", "cosine", "step"), conditions=adam)))
    good = np.array([space.encode({"optimizer": "sgd"})] * 5)
    points = Region(space, space.whole).draw(8000, np.random.default_rng(0), good)
    drawn = [space.decode(point).get("schedule") for point in points]
    counts = [drawn.count(value) for value in ("flat", "cosine", "step")]
    assert min(counts) > 50
    assert max(counts) < 1.5 * min(counts)


def test_draws_share_coordinates_with_the_best_point():
    space = Space(tuple(Numeric(name, 0.0, 1.0) for name in "abcdefgh"))
    best, other = random(2, space)
    points = Region(space, space.whole).draw(
        5000, np.random.default_rng(1), np.array([best, other])
    )
    shared = (points == best).mean(1)
    assert shared.mean() == pytest.approx(np.mean(SAMPLING.kept_shares), abs=0.02)
    assert {0.0, 1.0} < set(shared)
    assert not (points == other).any()


def test_draws_are_made_round_the_best_point_that_lies_in_the_box():
    region = Region(Space((X, Y)), {"x": [0.5, 1.0], "y": [0.0, 1.0]})
    best_first = np.array([[0.4, 0.5], [0.9, 0.1], [0.6, 0.2]])
    assert region.around(best_first, best_first)[0].tolist() == [0.9, 0.1]
    assert region.around(best_first[:1], best_first) is None


# --- neighbours ----------------------------------------------------------------------------------


def test_neighbours_stay_in_the_cube_and_move_half_of_the_coordinates_by_the_radius():
    space = Space((X, Y))
    centre = np.full((20_000, 2), 0.5)
    moved = near(space, centre, np.array([0.01, 0.1]), np.random.default_rng(0)) - centre
    still = np.abs(moved) < 1e-12
    assert still.mean(0) == pytest.approx([0.5, 0.5], abs=0.02)
    assert np.std(moved[~still[:, 0], 0]) == pytest.approx(0.01, rel=0.05)
    assert np.std(moved[~still[:, 1], 1]) == pytest.approx(0.1, rel=0.05)
    corners = near(space, np.array([[0.0, 1.0]] * 1000), np.ones(2), np.random.default_rng(0))
    assert 0 <= corners.min() < corners.max() <= 1
    assert len(np.unique(corners[:, 0])) > 100  # not all at the end


def test_neighbours_differ_now_and_then_in_one_discrete_value():
    points = np.repeat(random(1), 20_000, axis=0)
    found = near(MIXED, points, np.full(7, 1e-9), np.random.default_rng(0))
    discrete = [1, 2, 3, 4, 6]
    changed = np.abs(found - points)[:, discrete] > 1e-6
    assert changed.sum(1).max() == 1
    assert changed.mean(0) == pytest.approx(SAMPLING.changed / 5, abs=0.01)


def test_neighbours_of_a_choice_are_not_those_that_were_declared_beside_it(monkeypatch):
    monkeypatch.setattr(sampling, "SAMPLING", dataclasses.replace(SAMPLING, changed=0))
    points = random(200)
    found = near(MIXED, points, np.full(7, 0.3), np.random.default_rng(0))
    moved = (np.abs(found - points) > 1e-12).any(0)
    assert moved.tolist() == [True] * 4 + [False] + [True] * 2
