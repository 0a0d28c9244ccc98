import math

import numpy as np
import pytest
from scipy import stats

from kbn.search.scales import REVERSE_LOG, SCALES

BOUNDS = {
    "linear": (-2.0, 3.0),
    "log": (1e-7, 1.0),
    "complement_log": (0.5, 0.9999),
    "per_decade": (2e-4, 30.0),
}


@pytest.mark.parametrize("name", SCALES)
def test_values_and_coordinates_are_inverse(name):
    scale, (low, high) = SCALES[name], BOUNDS[name]
    u = np.linspace(0, 1, 101)
    values = np.array([scale.from_unit(x, low, high) for x in u])
    assert values[[0, -1]] == pytest.approx([low, high])
    assert low <= values[0] < values[-1] <= high
    assert (np.diff(values) > 0).all()
    np.testing.assert_allclose([scale.to_unit(v, low, high) for v in values], u, atol=1e-12)


@pytest.mark.parametrize("name", SCALES)
def test_one_value_is_the_middle_of_its_range(name):
    assert SCALES[name].to_unit(0.9, 0.9, 0.9) == 0.5
    assert SCALES[name].from_unit(0.3, 0.9, 0.9) == 0.9


def test_complement_log_is_a_log_scale_of_one_minus_x():
    scale, u = SCALES["complement_log"], np.random.default_rng(0).random(4000)
    momentum = np.array([scale.from_unit(x, 0.5, 0.9999) for x in u])
    expected = stats.loguniform(1e-4, 0.5)
    assert stats.kstest(1 - momentum, expected.cdf).pvalue > 0.01
    assert scale.from_unit(0.5, 0.5, 0.9999) == pytest.approx(1 - math.sqrt(0.5 * 1e-4))


def test_per_decade_gives_every_power_of_ten_an_equal_share_uniform_within():
    scale, u = SCALES["per_decade"], np.random.default_rng(0).random(6000)
    rates = np.array([scale.from_unit(x, 1e-3, 1.0) for x in u])
    for low in (1e-3, 1e-2, 1e-1):
        inside = rates[(rates >= low) & (rates < 10 * low)]
        assert len(inside) == pytest.approx(2000, abs=150)
        assert stats.kstest(inside, stats.uniform(low, 9 * low).cdf).pvalue > 0.01


def test_reverse_log_is_keras_tuners_own():
    from keras_tuner.engine.hyperparameters import Float

    theirs = Float("x", 0.5, 0.9999, sampling="reverse_log")
    for u in (0.0, 0.2, 0.5, 0.9):
        assert REVERSE_LOG.from_unit(u, 0.5, 0.9999) == pytest.approx(theirs.prob_to_value(u))
        value = theirs.prob_to_value(u)
        assert REVERSE_LOG.to_unit(value, 0.5, 0.9999) == pytest.approx(u, abs=1e-9)
