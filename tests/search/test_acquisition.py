import dataclasses

import numpy as np
import pytest
from scipy import integrate

from kbn.search import acquisition
from kbn.search.acquisition import ACQUISITION, log_expected_improvement, most_promising
from kbn.search.axes import Condition, Discrete, Numeric
from kbn.search.sampling import Region
from kbn.search.space import Space
from kbn.search.surrogate import Surrogate

T = np.linspace(-40, 8, 4801)


def log_improvement(t):
    """log E[max(t - Z, 0)] of a standard normal Z: with s = t - Z its density at Z is
    density(t) * exp(t * s - s * s / 2).
    """
    shift = max(t, 0.0) ** 2 / 2  # of the exponent's top
    top = max(t, 1 / max(-t, 0.1))
    integral, _ = integrate.quad(
        lambda s: s * np.exp(t * s - s * s / 2 - shift), 0, 60, points=[top, 3 * top], limit=500
    )
    return -t * t / 2 - np.log(2 * np.pi) / 2 + shift + np.log(integral)


# --- the improvement -----------------------------------------------------------------------------


@pytest.mark.parametrize("t", [-40, -20, -8, -5.1, -5, -4.9, -3, -1, -0.1, 0, 0.1, 1, 5, 8])
def test_the_expected_improvement_is_its_integral(t):
    (found,) = log_expected_improvement(np.array([0.0]), np.ones(1), float(t))
    assert found == pytest.approx(log_improvement(float(t)), abs=1e-6)


def test_the_expected_improvement_rises_with_the_distance_to_the_best():
    found = log_expected_improvement(-T, np.ones_like(T), 0.0)
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()


def test_it_is_finite_where_the_model_is_sure_that_nothing_is_gained():
    found = log_expected_improvement(np.array([0.0, 10.0, 1e3]), np.full(3, 1e-6), -1.0)
    assert np.isfinite(found).all()
    assert (np.diff(found) < 0).all()


def test_twice_the_scale_has_twice_the_improvement():
    mean, deviation = np.linspace(-3, 3, 13), np.linspace(0.1, 2, 13)
    one, two = (log_expected_improvement(c * mean, c * deviation, c * -0.5) for c in (1, 2))
    np.testing.assert_allclose(two - one, np.log(2))


def test_of_two_equal_means_the_less_certain_one_promises_more():
    found = log_expected_improvement(np.zeros(3), np.array([0.1, 0.5, 1.0]), -0.2)
    assert (np.diff(found) > 0).all()


# --- the choice ----------------------------------------------------------------------------------

SPACE = Space(
    (
        Numeric("x", 0.0, 1.0),
        Numeric("layers", 1, 9, integer=True),
        Discrete("optimizer", ("sgd", "adam")),
        Numeric("beta", 0.0, 1.0, conditions=(Condition("optimizer", ("adam",)),)),
    )
)
LEFT, RIGHT = ({**SPACE.whole, "x": part} for part in ([0.0, 0.3], [0.6, 0.9]))


def trials(count=30):
    """Points, and losses that are least at x .25, six layers and sgd."""
    points = SPACE.snap(np.random.default_rng(0).random((count, 4)))
    losses = (points[:, 0] - 0.25) ** 2 + (points[:, 1] - 0.6) ** 2 + (points[:, 2] > 0.5)
    return points, losses


@pytest.fixture(scope="module")
def model():
    points, losses = trials()
    model = Surrogate(SPACE.unordered, levelled=False)
    model.learn(points, np.ones(len(points)), losses, len(points))
    return model


def choose(model, *boxes, space=SPACE, seed=1):
    points, losses = trials()
    best_first = points[np.argsort(losses)]
    regions = [Region(space, box) for box in boxes]
    around = [region.around(best_first, best_first[:5]) for region in regions]
    rng = np.random.default_rng(seed)
    return most_promising(space, regions, around, model, np.full(4, 0.15), rng)


def promise(model, points):
    return log_expected_improvement(*model.predict(points), model.best)


@pytest.mark.parametrize(
    "boxes",
    [[LEFT], [RIGHT], [RIGHT, LEFT], [{**SPACE.whole, "beta": [0.7, 0.9]}]],
    ids=["left", "right", "both", "conditional"],
)
def test_the_points_lie_in_the_regions_snapped(model, boxes):
    points = choose(model, *boxes)
    assert 0 < len(points) <= ACQUISITION.offered
    np.testing.assert_array_equal(SPACE.snap(points), points)
    inside = [Region(SPACE, box).contains(points) for box in boxes]
    assert np.any(inside, axis=0).all()
    for point in points:
        assert any(SPACE.contains(box, SPACE.decode(point)) for box in boxes)


def test_the_points_come_by_what_they_promise_best_first(model):
    found = promise(model, choose(model, LEFT, RIGHT))
    assert (np.diff(found) <= 1e-9).all()


def test_no_point_is_offered_twice(model):
    # else the centre, drawn again and again, leaves nothing that was not tried
    points = choose(model, LEFT, RIGHT)
    assert len(np.unique(points, axis=0)) == len(points)


def test_the_first_point_promises_more_than_random_ones_do(model):
    first, *_ = promise(model, choose(model, SPACE.whole))
    random = SPACE.snap(np.random.default_rng(5).random((2000, 4)))
    assert first > promise(model, random).max()


def test_neighbours_of_the_most_promising_points_promise_more(monkeypatch):
    space = Space(tuple(Numeric(name, 0.0, 1.0) for name in "abcd"))
    points = np.random.default_rng(0).random((30, 4))
    model = Surrogate(space.unordered, levelled=False)
    model.learn(points, np.ones(30), ((points - 0.4) ** 2).sum(1), 30)

    def best(seed):
        rng, whole = np.random.default_rng(seed), Region(space, space.whole)
        return promise(model, most_promising(space, [whole], [None], model, np.ones(4) / 4, rng))[0]

    refined = [best(seed) for seed in range(5)]
    unrefined = dataclasses.replace(ACQUISITION, refine_radii=())
    monkeypatch.setattr(acquisition, "ACQUISITION", unrefined)
    assert np.mean(refined) > np.mean([best(seed) for seed in range(5)]) + 0.01


def test_the_same_generator_makes_the_same_choice(model):
    np.testing.assert_array_equal(choose(model, LEFT), choose(model, LEFT))
    assert not np.array_equal(choose(model, LEFT), choose(model, LEFT, seed=2))


def test_a_region_smaller_than_any_neighbourhood_is_no_obstacle(model):
    points = choose(model, {**SPACE.whole, "x": [0.2, 0.2 + 1e-12]})
    assert points[:, 0] == pytest.approx(0.2)
