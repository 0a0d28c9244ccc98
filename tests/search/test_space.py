import numpy as np
import pytest

from kbn.search.scales import LINEAR, LOG, REVERSE_LOG, SCALES
from kbn.search.space import Condition, Discrete, Numeric, Space

RATE = Numeric("rate", 1e-4, 1.0, LOG)
UNITS = Numeric("units", 16, 512, LOG, integer=True)
LAYERS = Numeric("layers", 2, 6, LINEAR, integer=True)
BATCH = Discrete("batch", (16, 32, 64, 128), ordered=True)
OPTIMIZER = Discrete("optimizer", ("sgd", "adam", "rmsprop"))
BETA = Numeric("beta", 0.8, 0.99, conditions=(Condition("optimizer", ("adam",)),))
SPACE = Space((RATE, UNITS, LAYERS, BATCH, OPTIMIZER, BETA))


def draws(count=500):
    rng = np.random.default_rng(0)
    return [SPACE.sample(SPACE.whole, rng.random(len(SPACE.axes))) for _ in range(count)]


def test_samples_lie_in_the_space_and_conditions_decide_what_is_active():
    for values in draws():
        assert SPACE.contains(SPACE.whole, values)
        assert type(values["units"]) is int
        assert ("beta" in values) == (values["optimizer"] == "adam")


def test_every_integer_of_a_linear_axis_has_an_equal_share():
    counts = np.bincount([LAYERS.sample(LAYERS.whole, u) for u in np.linspace(0, 1, 5001)[:-1]])
    assert counts[2:] == pytest.approx(1000, abs=1)


@pytest.mark.parametrize("axis", SPACE.axes, ids=lambda axis: axis.name)
@pytest.mark.parametrize("side", [0.1, 0.3, 0.6])
def test_a_narrowed_range_holds_its_centre_and_is_smaller(axis, side):
    for values in draws(100):
        if axis.name not in values:
            continue
        centre = values[axis.name]
        part = axis.narrow(centre, side)
        assert axis.contains(part, centre)
        assert part != axis.whole
        sampled = [axis.sample(part, u) for u in np.linspace(0, 0.999, 50)]
        assert all(axis.contains(part, value) for value in sampled)
        assert all(axis.contains(axis.whole, value) for value in sampled)


def test_a_narrowed_range_has_its_width_also_at_the_edge():
    for centre in (1e-4, 0.01, 1.0):
        low, high = RATE.narrow(centre, 0.25)
        assert high / low == pytest.approx(10)  # a quarter of four decades


@pytest.mark.parametrize("scale", [*SCALES.values(), REVERSE_LOG], ids=lambda scale: scale.name)
def test_the_middle_of_a_box_on_the_scale_is_its_median(scale):
    axis = Numeric("x", 1e-3, 0.9, scale)
    part = axis.narrow(0.3, 0.5)
    start, end = axis.edges(part)
    assert end - start == pytest.approx(0.5)
    assert axis.to_unit(axis.sample(part, 0.5)) == pytest.approx((start + end) / 2)


def test_the_edges_of_a_range_are_its_coordinates_with_the_whole_cell_of_an_integer():
    assert RATE.edges([0.01, 0.1]) == pytest.approx((0.5, 0.75))
    assert LAYERS.edges([4, 4]) == pytest.approx((0.4, 0.6))
    assert all(axis.edges(axis.whole) == pytest.approx((0, 1)) for axis in (RATE, UNITS, LAYERS))


def test_neighbours_of_an_unordered_value_are_those_that_did_well():
    assert OPTIMIZER.narrow("sgd", 0.7, liked=["rmsprop", "sgd", "adam"]) == ["sgd", "rmsprop"]
    assert BATCH.narrow(128, 0.5) == [64, 128]
    assert BATCH.narrow(32, 0.25) == [32]


def test_points_that_differ_in_what_is_active_are_as_far_apart_as_can_be():
    near = {"rate": 0.01, "units": 64, "layers": 3, "batch": 32, "optimizer": "sgd"}
    assert SPACE.distance(near, {**near, "rate": 0.1}) == pytest.approx(0.25)
    assert SPACE.distance(near, {**near, "batch": 64}) == pytest.approx(0.25)
    assert SPACE.distance(near, {**near, "optimizer": "adam", "beta": 0.9}) == 1.0
    assert SPACE.distance(near, near) == 0.0
