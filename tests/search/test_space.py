import keras_tuner as kt
import numpy as np
import pytest

import kbn
from kbn.search.axes import MOST_CELLS, Condition, Discrete, Grid, Numeric, Stepped
from kbn.search.hyperparameters import space_of
from kbn.search.scales import LINEAR, LOG, REVERSE_LOG, SCALES
from kbn.search.space import INACTIVE, Space

RATE = Numeric("rate", 1e-4, 1.0, LOG)
UNITS = Numeric("units", 16, 512, LOG, integer=True)
LAYERS = Numeric("layers", 2, 6, LINEAR, integer=True)
DROPOUT = Stepped("dropout", Grid(0.0, 0.1, 6))
BATCH = Discrete("batch", (16, 32, 64, 128), ordered=True)
OPTIMIZER = Discrete("optimizer", ("sgd", "adam", "rmsprop"))
ADAM = (Condition("optimizer", ("adam",)),)
BETA = Numeric("beta", 0.8, 0.99, conditions=ADAM)
AMSGRAD = Discrete("amsgrad", (False, True), conditions=ADAM)
# only where the one above is active
BOUND = Numeric("bound", 1, 3, integer=True, conditions=(Condition("amsgrad", (True,)),))
SPACE = Space((RATE, UNITS, LAYERS, DROPOUT, BATCH, OPTIMIZER, BETA, AMSGRAD, BOUND))

of_each_kind = pytest.mark.parametrize("axis", SPACE.axes, ids=lambda axis: axis.name)


def points(count=500, space=SPACE):
    return np.random.default_rng(0).random((count, len(space.axes)))


def draws(count=500):
    return [SPACE.decode(point) for point in points(count)]


def values_of(grid):
    return [grid[i] for i in range(len(grid))]


# --- axes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [LAYERS, DROPOUT, BATCH, OPTIMIZER], ids=lambda axis: axis.name)
def test_every_value_has_an_equal_share(axis):
    drawn = [axis.sample(axis.whole, u) for u in np.linspace(0, 1, 6001)[:-1]]
    values, counts = np.unique(drawn, return_counts=True)
    assert counts == pytest.approx(6000 / len(values), abs=1)


def test_every_integer_of_a_log_axis_has_the_share_of_its_cell():
    drawn = np.array([UNITS.sample(UNITS.whole, u) for u in np.linspace(0, 1, 20001)[:-1]])
    for value in (16, 17, 100, 512):
        share = np.log((value + 0.5) / (value - 0.5)) / np.log(512.5 / 15.5)
        assert (drawn == value).mean() == pytest.approx(share, abs=2e-4)


@of_each_kind
@pytest.mark.parametrize("side", [0.1, 0.3, 0.6])
def test_a_narrowed_range_holds_its_centre_and_is_smaller(axis, side):
    for centre in {values[axis.name] for values in draws(100) if axis.name in values}:
        part = axis.narrow(centre, side)
        assert axis.contains(part, centre)
        assert part != axis.whole
        for u in np.linspace(0.001, 0.999, 20):
            value = axis.sample(part, u)
            assert axis.contains(part, value)
            assert axis.contains(axis.whole, value)


def test_a_narrowed_range_has_its_width_also_at_the_edge():
    for centre in (1e-4, 0.01, 1.0):
        low, high = RATE.narrow(centre, 0.25)
        assert high / low == pytest.approx(10)  # a quarter of four decades


@pytest.mark.parametrize("scale", [*SCALES.values(), REVERSE_LOG], ids=lambda scale: scale.name)
def test_rounding_does_not_lose_a_centre(scale):
    for low in np.linspace(0.001, 0.1, 20).tolist():
        axis = Numeric("x", low, 10 * low - 0.01, scale)
        for centre in (low, 3 * low, axis.high):
            if low <= centre <= axis.high:
                assert axis.contains(axis.narrow(centre, 1e-17), centre)
                assert axis.contains(axis.narrow(centre, 0.1), centre)


@pytest.mark.parametrize("scale", [*SCALES.values(), REVERSE_LOG], ids=lambda scale: scale.name)
def test_the_middle_of_a_range_on_the_scale_is_its_median(scale):
    axis = Numeric("x", 1e-3, 0.9, scale)
    part = axis.narrow(0.3, 0.5)
    start, end = axis.edges(part)
    assert end - start == pytest.approx(0.5)
    assert axis.to_unit(axis.sample(part, 0.5)) == pytest.approx((start + end) / 2)


def test_the_edges_of_a_range_are_its_coordinates_with_the_whole_cell_of_a_value():
    assert RATE.edges([0.01, 0.1]) == pytest.approx((0.5, 0.75))
    assert LAYERS.edges([4, 4]) == pytest.approx((0.4, 0.6))
    assert DROPOUT.edges([0.2, 0.3]) == pytest.approx((2 / 6, 4 / 6))
    assert BATCH.edges([32, 64]) == pytest.approx((0.25, 0.75))
    assert all(axis.edges(axis.whole) == pytest.approx((0, 1)) for axis in SPACE.axes)


def test_an_ordered_choice_is_narrowed_to_neighbours():
    assert BATCH.narrow(128, 0.5) == [64, 128]
    assert BATCH.narrow(32, 0.25) == [32]
    assert BATCH.narrow(32, 0.75) == [16, 32, 64]


# --- grids ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declare", "values"),
    [
        (lambda hp: hp.Float("x", 0, 0.5, step=0.1), [0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        (lambda hp: hp.Int("x", 10, 105, step=30), [10, 40, 70, 100]),
        (lambda hp: hp.Int("x", 2, 64, step=2, sampling="log"), [2, 4, 8, 16, 32, 64]),
        (lambda hp: hp.Float("x", 1e-3, 1, step=10, sampling="log"), [1e-3, 1e-2, 0.1, 1]),
        (lambda hp: hp.Float("x", 1, 100, step=10, sampling="reverse_log"), [1, 91, 100]),
        (lambda hp: hp.Int("x", 3, 5, step=4), [3]),
    ],
    ids=["float", "int", "int log", "float log", "reverse_log", "one value"],
)
def test_a_step_makes_a_grid_of_all_its_values(declare, values):
    declare(hp := kt.HyperParameters())
    (axis,) = space_of(hp).axes
    assert values_of(axis.grid) == values  # exactly: no .30000000000000004
    assert {type(value) for value in values_of(axis.grid)} == {type(hp.get("x"))}
    for value in values:  # each has the coordinate from which it is drawn
        assert axis.sample(axis.whole, axis.to_unit(value)) == value
        assert axis.to_unit(value * (1 + 1e-9)) == axis.to_unit(value)


@pytest.mark.parametrize("sampling", ["linear", "log", "reverse_log"])
def test_the_values_of_a_grid_are_among_keras_tuners_own(sampling):
    hp = kt.HyperParameters()
    hp.Int("x", 3, 100, step=3, sampling=sampling)
    (axis,), (theirs,) = space_of(hp).axes, hp.space
    drawn = {theirs.prob_to_value(u) for u in np.linspace(0, 1, 501)}
    assert set(values_of(axis.grid)) == drawn


def test_a_default_off_the_grid_counts_as_the_nearest_value():
    assert DROPOUT.to_unit(0.26) == DROPOUT.to_unit(0.3)
    assert DROPOUT.to_unit(9.0) == DROPOUT.to_unit(0.5)
    assert BATCH.to_unit(100) == BATCH.to_unit(128)
    assert RATE.to_unit(0.0) == 0.0


def test_a_grid_too_long_to_be_listed_is_searched_all_the_same():
    axis = Stepped("x", Grid(0.0, 0.5, 10**12 + 1))
    space = Space((axis,))
    assert axis.sample(axis.whole, 0.25) == pytest.approx(1.25e11, rel=1e-9)
    assert axis.sample(axis.whole, 0.25) % 0.5 == 0
    assert axis.narrow(2.5e11, 0.5) == pytest.approx([1.25e11, 3.75e11])
    assert space.encode({"x": 2.5e11}) == pytest.approx(0.5)
    assert space.snap(points(3, space)) == pytest.approx(points(3, space))


# --- points --------------------------------------------------------------------------------------


def test_samples_lie_in_the_space_and_conditions_decide_what_is_active():
    for values in draws():
        assert SPACE.contains(SPACE.whole, values)
        assert type(values["units"]) is int
        adam = values["optimizer"] == "adam"
        assert ("beta" in values) == ("amsgrad" in values) == adam
        assert ("bound" in values) == (adam and values["amsgrad"])


def test_values_survive_being_encoded_and_decoded():
    for values in draws():
        again = SPACE.decode(SPACE.encode(values))
        assert again.keys() == values.keys()
        for name, value in values.items():
            exact = name not in ("rate", "beta")
            assert again[name] == (value if exact else pytest.approx(value, rel=1e-12))


def test_a_point_snaps_bit_for_bit_to_where_its_values_are_encoded():
    # the surrogate asks whether coordinates of an unordered choice are equal
    snapped = SPACE.snap(points())
    encoded = np.array([SPACE.encode(SPACE.decode(point)) for point in points()])
    continuous = [axis.cells is None for axis in SPACE.axes]
    np.testing.assert_array_equal(
        snapped[:, ~np.array(continuous)], encoded[:, ~np.array(continuous)]
    )
    np.testing.assert_allclose(snapped, encoded, rtol=0, atol=1e-12)


@pytest.mark.parametrize("axis", [UNITS, LAYERS, DROPOUT, BATCH, OPTIMIZER], ids=lambda a: a.name)
def test_a_point_just_within_its_cell_stands_for_the_value_that_it_snaps_to(axis):
    space, ends = Space((axis,)), axis.cells[:, None]
    for points in (ends[:-1] + 1e-9, ends[1:] - 1e-9):
        values = [space.decode(point) for point in points]
        assert values == [space.decode(point) for point in space.snap(points)]
        assert len({value[axis.name] for value in values}) == len(ends) - 1


def test_a_snapped_point_stays_where_it_is_and_the_given_one_is_not_changed():
    given = points()
    snapped = SPACE.snap(given)
    np.testing.assert_array_equal(given, points())
    np.testing.assert_array_equal(SPACE.snap(snapped), snapped)


def test_what_is_inactive_has_one_coordinate_whatever_was_drawn():
    names = [axis.name for axis in SPACE.axes]
    for snapped, values in zip(SPACE.snap(points()), draws(), strict=True):
        inactive = [name not in values for name in names]
        assert (snapped[inactive] == INACTIVE).all()


def test_an_integer_axis_with_many_values_is_continuous():
    few, many = (Numeric("x", 1, 1 + n, integer=True) for n in (MOST_CELLS, MOST_CELLS + 1))
    assert len(few.cells) == MOST_CELLS + 2
    assert many.cells is None
    assert Space((many,)).decode(np.array([0.5]))["x"] == pytest.approx(MOST_CELLS / 2, abs=2)


# --- KerasTuner's hyperparameters ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("declare", "axis"),
    [
        (lambda hp: hp.Float("x", 1e-4, 1, sampling="log"), Numeric("x", 1e-4, 1, LOG)),
        (lambda hp: hp.Int("x", 1, 9), Numeric("x", 1, 9, integer=True)),
        (lambda hp: hp.Int("x", 1, 9, step=1), Numeric("x", 1, 9, integer=True)),
        (lambda hp: hp.Int("x", 1, 9, step=4), Stepped("x", Grid(1, 4, 3, integer=True))),
        (lambda hp: hp.Choice("x", [1, 2]), Discrete("x", (1, 2), ordered=True)),
        (lambda hp: hp.Choice("x", ["a", "b"]), Discrete("x", ("a", "b"))),
        (lambda hp: hp.Boolean("x"), Discrete("x", (False, True))),
        (lambda hp: hp.Fixed("x", 7), Discrete("x", (7,), ordered=True)),
        (
            lambda hp: kbn.scales.per_decade(hp, "x", 0.1, 1),
            Numeric("x", 0.1, 1, SCALES["per_decade"]),
        ),
    ],
    ids=["log", "int", "int step 1", "int step", "ordered", "words", "bool", "fixed", "per_decade"],
)
def test_each_hyperparameter_is_an_axis_of_its_kind(declare, axis):
    declare(hp := kt.HyperParameters())
    assert space_of(hp).axes == (axis,)


def test_parents_come_first_also_after_keras_tuners_message():
    hp = kt.HyperParameters()
    hp.Choice("a", ["x", "y"])
    with hp.conditional_scope("a", ["y"]):
        hp.Boolean("b")
        with hp.conditional_scope("b", [True]):
            hp.Float("c", 0, 1)
    received = kt.HyperParameters.from_proto(hp.to_proto())
    assert [h.name for h in received.space] == ["c", "a", "b"]  # by type
    assert [axis.name for axis in space_of(received).axes] == ["a", "b", "c"]
    assert [axis.name for axis in space_of(hp).axes] == ["a", "b", "c"]


def test_a_name_declared_under_two_conditions_is_rejected():
    hp = kt.HyperParameters()
    hp.Choice("optimizer", ["sgd", "adam"])
    for name in ("sgd", "adam"):
        with hp.conditional_scope("optimizer", [name]):
            hp.Float("rate", 0.1, 1)
    with pytest.raises(ValueError, match=r"must be declared once. Got 'rate' under several"):
        space_of(hp)


def test_scaled_hyperparameters_heed_scopes_and_defaults():
    hp = kt.HyperParameters()
    hp.Choice("optimizer", ["sgd", "adam"])
    with hp.name_scope("outer"):
        assert kbn.scales.per_decade(hp, "rate", 0.1, 1, default=0.5) == 0.5
    assert hp.get("outer/rate") == 0.5
    with hp.conditional_scope("optimizer", ["adam"]):
        assert kbn.scales.complement_log(hp, "beta", 0.1, 0.9) is None
    axis = space_of(hp).axes[-1]
    assert axis.conditions == (Condition("optimizer", ("adam",)),)
    assert "scale: 'complement_log'" in repr(hp.space[-1])


def test_scales_serve_any_keras_tuner_oracle():
    hp = kt.HyperParameters()
    kbn.scales.complement_log(hp, "momentum", 0.5, 0.999)
    oracle = kt.oracles.RandomSearchOracle("loss", max_trials=300, hyperparameters=hp, seed=1)
    drawn = [oracle.populate_space("0")["values"]["momentum"] for _ in range(300)]
    assert np.median(drawn) == pytest.approx(1 - np.sqrt(0.5 * 0.001), abs=0.01)


@pytest.mark.parametrize(
    ("bounds", "rule"),
    [
        ({"max_value": float("inf")}, "finite .* max_value=inf"),
        ({"max_value": 0.9, "default": 2.0}, r"default must lie in \[0.5, 0.9\]. Got 2.0"),
    ],
    ids=["infinite", "default"],
)
def test_a_bound_or_default_that_no_scale_admits_is_rejected(bounds, rule):
    with pytest.raises(ValueError, match=rule):
        kbn.scales.per_decade(kt.HyperParameters(), "x", 0.5, **bounds)
