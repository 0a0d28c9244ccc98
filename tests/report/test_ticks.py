import pytest

from kbn.report.ticks import scale_name, ticks
from kbn.report.words import fixed, number
from kbn.search.axes import Discrete, Grid, Numeric, Stepped
from kbn.search.scales import COMPLEMENT_LOG, LOG, PER_DECADE, REVERSE_LOG


@pytest.mark.parametrize(
    ("axis", "labels", "scale"),
    [
        (Numeric("a", 1e-4, 1.0, LOG), ["0.0001", "0.001", "0.01", "0.1", "1"], "log scale"),
        (Numeric("a", 1e-9, 1e-5, LOG), ["1e-9", "1e-8", "1e-7", "1e-6", "1e-5"], "log scale"),
        (Numeric("a", 0.03, 0.7, LOG), ["0.03", "0.05", "0.1", "0.2", "0.5", "0.7"], "log scale"),
        (
            Numeric("a", 0.5, 0.9999, COMPLEMENT_LOG),
            ["0.5", "0.9", "0.99", "0.999", "0.9999"],
            "log scale of 1 − x",  # noqa: RUF001
        ),
        (Numeric("a", 0.01, 1.0, PER_DECADE), ["0.01", "0.1", "1"], "equal decades"),
        (Numeric("a", 0.0, 0.5), ["0", "0.1", "0.2", "0.3", "0.4", "0.5"], ""),
        (Numeric("a", 2, 6, integer=True), ["2", "3", "4", "5", "6"], ""),
        (Numeric("a", 16, 512, LOG, True), ["16", "32", "64", "128", "256", "512"], "log scale"),
        (Numeric("a", 3.0, 3.0), ["3"], ""),
        (Stepped("a", Grid(0.0, 0.1, 6)), ["0", "0.1", "0.2", "0.3", "0.4", "0.5"], ""),
        (Stepped("a", Grid(1, 10, 3, True, integer=True)), ["1", "10", "100"], "log scale"),
        (Discrete("a", ("relu", "gelu")), ["relu", "gelu"], ""),
        (Discrete("a", (False, True)), ["False", "True"], ""),
    ],
)
def test_labels_are_round_values_of_the_scale_from_end_to_end(axis, labels, scale):
    at = ticks(axis)
    assert list(at.labels) == labels
    assert scale_name(axis) == scale


@pytest.mark.parametrize(
    "axis",
    [
        Numeric("a", 1e-12, 1e6, LOG),
        Numeric("a", 0.013, 0.017, LOG),
        Numeric("a", 1, 1000, LOG, True),
        Numeric("a", 3, 300, LOG, True),
        Numeric("a", 0.0, 0.999, COMPLEMENT_LOG),
        Numeric("a", -1.0, 0.5, COMPLEMENT_LOG),
        Numeric("a", 0.2, 7.0, PER_DECADE),
        Numeric("a", 0.1, 10.0, REVERSE_LOG),
        Numeric("a", -3.3, 12345.6),
        Numeric("a", 0, 1, integer=True),
        Stepped("a", Grid(8, 8, 100, integer=True)),
    ],
)
def test_every_tick_stands_at_its_value_inside_the_axis_and_none_on_another(axis):
    at = ticks(axis)
    assert 2 <= len(at.labels) <= 8
    for place, label in zip(at.places, at.labels, strict=True):
        assert axis.to_unit(float(label)) == pytest.approx(place, abs=0.01)
    assert list(at.places) == sorted(at.places)
    assert min(b - a for a, b in zip(at.places, at.places[1:], strict=False)) > 0.03
    assert all(0 <= place <= 1 for place in (*at.places, *at.minor))
    assert len(at.minor) <= 60


def test_a_choice_of_many_values_labels_some_of_them():
    at = ticks(Discrete("a", tuple(f"kind {i}" for i in range(40))))
    assert 4 <= len(at.labels) <= 8
    assert at.labels[0] == "kind 0"
    assert at.places[0] == pytest.approx(0.5 / 40)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.123456, "0.1235"),
        (0.99987, "0.99987"),
        (0.9999, "0.9999"),
        (1e-5, "1e-5"),
        (2.5e7, "2.5e+7"),
        (512, "512"),
        (True, "True"),
        (float("inf"), "inf"),
    ],
)
def test_a_number_is_short_and_keeps_its_distance_to_1(value, shown):
    assert number(value) == shown


@pytest.mark.parametrize(
    ("value", "width", "shown"),
    [
        (0.0123, 0.016, ".012"),
        (-0.0042, 0.016, "-.004"),
        (0.02, 0.016, ".020"),
        (-0.0001, 0.016, ".000"),
        (12.34, 5.0, "12.3"),
        (1234.5, 100.0, "1234"),
        (0.5, 0.0, ".50"),
        (float("nan"), float("nan"), "none"),
    ],
)
def test_an_uncertain_number_has_two_digits_of_its_uncertainty(value, width, shown):
    assert fixed(value, width) == shown
