"""What every mode promises of hyperparameters that trials find, also while others run."""

import keras_tuner as kt
import pytest

from search.contract import finish, fresh, grow, points, run_in_flight, texts
from search.spaces import active, nested, square

# --- spaces that grow -----------------------------------------------------------------------------


def test_hyperparameters_that_a_trial_finds_are_searched_from_then_on(new):
    trials = grow(new(None), lambda hp: hp.Float("x", 0, 1) + hp.Choice("k", [1, 2, 3]))
    found = fresh(trials)
    assert found[0] == {"x": 0, "k": 1}
    assert len({values["x"] for values in found}) > len(found) / 2  # some share a good one's
    assert len(set(texts(found))) == len(found) > 3
    assert {1} < {values["k"] for values in found} <= {1, 2, 3}
    assert all(0 <= values["x"] <= 1 for values in found)


def test_conditional_hyperparameters_that_a_trial_finds_are_active_where_they_should(new):
    def build(hp):
        nested(hp)
        return float(hp.get("a") == "x")

    for values in points(grow(new(None), build, trials=8)):
        assert set(values) == active(values)


def test_hyperparameters_found_late_are_searched_from_then_on(new):
    def build(hp):
        layers = hp.Int("layers", 1, 4)
        return sum(abs(hp.Int(f"units_{i}", 1, 1000) - 300) for i in range(layers)) / 1000

    trials = points(grow(new(None), build, trials=16))
    for number, values in enumerate(trials):
        assert {f"units_{i}" for i in range(values["layers"])} < set(values)
        assert all(1 <= value <= 1000 for value in values.values())
        assert set(values) >= set(trials[number - 1] if number else {})


@pytest.mark.parametrize(
    "declare",
    [
        lambda hp: hp.Int("late", 32, 512, step=32, default=100),
        lambda hp: hp.Float("late", 0, 0.5, step=0.2, default=0.3),
        lambda hp: hp.Float("late", 1e-6, 1e-2, sampling="log", default=0.0),
        lambda hp: hp.Float("late", 1.0, 2.0, default=0.0),
    ],
    ids=["int step", "float step", "below log", "below linear"],
)
def test_a_default_off_its_grid_or_range_is_no_obstacle(new, declare):
    default = declare(kt.HyperParameters())
    trials = fresh(grow(new(None, max_trials=6), lambda hp: abs(declare(hp) - default)))
    assert trials[0] == {"late": default}  # which is the best of all
    later = [values["late"] for values in trials[1:]]
    assert later
    assert default not in later


def test_a_space_that_grows_goes_on_after_an_interruption(new, reloaded):
    def build(hp):
        nested(hp)
        return hp.Float("x", 0, 1)

    whole = grow(new(None), build, trials=9)
    trials = grow(new(None, saved=True), build, trials=1)
    for _ in whole[1:]:
        trials += grow(reloaded(None, saved=True), build, trials=1)
    assert trials == whole


def test_new_hyperparameters_are_rejected_where_they_are_not_allowed(new):
    oracle = new(square, allow_new_entries=False)
    with pytest.raises(RuntimeError, match=r"`allow_new_entries` is `False`.*late"):
        grow(oracle, lambda hp: hp.Float("late", 0, 1))


def test_new_hyperparameters_keep_their_default_where_they_are_not_tuned(new):
    def build(hp):
        return hp.get("x") + hp.Float("late", 0, 1, default=0.25)

    oracle = new(square, tune_new_entries=False)
    trials = grow(oracle, build, trials=4)
    assert [values["late"] for values in trials] == [0.25] * 4
    assert [hp.name for hp in oracle.hyperparameters.space] == ["x", "y"]


# --- several in flight ----------------------------------------------------------------------------


def test_no_two_in_flight_get_the_same_point_of_a_small_space(new):
    def small(hp):
        hp.Choice("a", list(range(5)))
        hp.Boolean("b")

    oracle = new(small, max_trials=30)
    trials = [oracle.create_trial(f"w{i}") for i in range(11)]
    running = [t.hyperparameters.values for t in trials if t.status == "RUNNING"]
    assert len(set(texts(running))) == len(running)
    assert len(running) == 10 or trials[-1].status == "IDLE"
    assert trials[-1].status in ("STOPPED", "IDLE")


def test_no_two_of_many_in_flight_get_the_same_point(new):
    trials = run_in_flight(new(max_trials=16), workers=5)
    proposed = fresh([trial.hyperparameters.values for trial in trials])
    assert len(set(texts(proposed))) == len(proposed)


def test_several_in_flight_search_the_same_each_time(new):
    one, other = (run_in_flight(new(max_trials=8), workers=3) for _ in range(2))
    assert [t.hyperparameters.values for t in one] == [t.hyperparameters.values for t in other]


def test_what_trials_in_flight_find_is_searched_from_then_on(new):
    oracle = new(None, max_trials=8)
    for trial in [oracle.create_trial(f"w{i}") for i in range(3)]:
        if trial.status == "RUNNING":
            finish(oracle, trial, trial.hyperparameters.Float("x", 0, 1))
    later = fresh(grow(oracle, lambda hp: hp.Float("x", 0, 1)))
    assert len({values["x"] for values in later}) == len(later) > 1
