"""What every mode makes of scores, and what every oracle of KerasTuner does."""

import math

import keras_tuner as kt
import pytest

from search.contract import (
    MODES,
    epochs,
    fresh,
    point,
    run,
    start,
    step,
    texts,
    trainings,
    with_epochs,
)
from search.spaces import LOSS, MAX_EPOCHS, distance, loss_of, square

# --- the objective --------------------------------------------------------------------------------


def test_to_maximize_is_to_minimize_the_negative(new, mode):
    turned = [[(v, -score) for v, score in one] for one in MODES[mode].get("prior", [])]
    most = new(objective=kt.Objective("loss", "max"), prior=turned)
    assert run(most, lambda values: -loss_of(values)) == run(new())


@pytest.mark.parametrize("power", [-20, 10, 30])
def test_an_objective_scaled_by_a_power_of_two_changes_nothing(new, power):
    assert run(new(), lambda values: loss_of(values) * 2.0**power) == run(new())


def test_several_objectives_are_searched_as_their_sum(new):
    oracle = new(objective=[LOSS, kt.Objective("gain", "max")])
    trials = []
    while trial := start(oracle):
        values = trial.hyperparameters.values
        loss, gain = loss_of(values), values["rate"]
        metrics = {"loss": loss, "gain": gain, "multi_objective": loss - gain}
        oracle.update_trial(trial.trial_id, metrics)  # as KerasTuner's tuner reports a History
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
        trials.append(values)
    assert trials == run(new(), lambda values: loss_of(values) - values["rate"])


@pytest.mark.parametrize("loss", [0.0, -3.5, 1e300], ids=str)
def test_a_constant_objective_is_no_obstacle(new, loss):
    trials = fresh(run(new(), lambda _: loss))
    assert len(set(texts(trials))) == len(trials)


@pytest.mark.parametrize("bad", [math.inf, 1e300, 1e308], ids=str)
def test_a_trial_that_is_far_worse_is_no_obstacle(new, bad):
    def loss(values):
        return bad if values["x"] > 0.7 else distance(values)

    oracle = new(square, max_trials=12)
    trials = run(oracle, loss)
    assert trainings(trials) > 11
    assert oracle.get_best_trials(1)[0].score < 1


# --- what every oracle of KerasTuner does ---------------------------------------------------------


def test_the_budget_is_spent_and_not_exceeded(new):
    oracle = new(max_trials=7)
    spent = trainings(run(oracle))
    assert 6 < spent <= 7
    assert oracle.create_trial("w").status == "STOPPED"
    assert oracle.create_trial("another").status == "STOPPED"
    assert trainings([t.hyperparameters.values for t in oracle.trials.values()]) == spent


def test_a_search_without_an_end_goes_on(new):
    oracle = new(max_trials=None)
    trials = fresh([step(oracle) for _ in range(30)])
    assert len(set(texts(trials))) == len(trials)


def test_a_worker_that_asks_again_gets_the_trial_it_is_running(new):
    oracle = new()
    trial = oracle.create_trial("w")
    assert oracle.create_trial("w") is trial
    assert oracle.create_trial("other").trial_id != trial.trial_id


@pytest.mark.parametrize("direction", ["min", "max"])
def test_the_best_trials_come_first_and_failed_ones_never_before_them(new, direction):
    sign = 1 if direction == "min" else -1

    def loss(values):
        return None if values["optimizer"] == "adam" else sign * loss_of(values)

    oracle = new(objective=kt.Objective("loss", direction), max_consecutive_failed_trials=None)
    run(oracle, loss)
    full = [t for t in oracle.trials.values() if t.status == "COMPLETED" and epochs(t) == 9]
    full.sort(key=lambda t: sign * t.metrics.get_best_value("loss"))
    assert len(full) > 1
    best = [t for t in oracle.get_best_trials(len(oracle.trials)) if t in full]
    assert best == full
    assert oracle.get_best_trials() == full[:1]


@with_epochs
def test_the_best_trial_is_the_best_of_those_trained_longest(new):
    oracle = new(square)
    run(oracle, lambda values: distance(values) - 9 / values["tuner/epochs"])
    trials = [t for t in oracle.trials.values() if t.status == "COMPLETED"]
    longest = [t for t in trials if epochs(t) == max(map(epochs, trials))]
    expected = min(longest, key=lambda t: t.metrics.get_best_value("loss"))
    assert oracle.get_best_trials(1) == [expected]


@with_epochs
def test_a_trial_that_goes_on_from_anothers_weights_has_its_values(new):
    oracle = new()
    trials = run(oracle)
    continued = [values for values in trials if "tuner/trial_id" in values]
    assert continued
    for values in continued:
        before = oracle.get_trial(values["tuner/trial_id"])
        assert before.status == "COMPLETED"
        assert point(before.hyperparameters.values) == point(values)
        assert before.hyperparameters.values["tuner/epochs"] == values["tuner/initial_epoch"]


@with_epochs
def test_early_trials_train_for_a_share_of_the_epochs_and_some_for_all(new):
    trials = run(new())
    assert trials[0]["tuner/epochs"] < MAX_EPOCHS
    assert max(values["tuner/epochs"] for values in trials) == MAX_EPOCHS
    for values in trials:
        begun = values["tuner/initial_epoch"]
        assert 0 <= begun < values["tuner/epochs"] <= MAX_EPOCHS
        assert (begun > 0) == ("tuner/trial_id" in values)


@with_epochs
def test_no_trial_goes_on_from_one_that_failed(new):
    def loss(values):
        return None if values["x"] > 0.5 else -values["x"]

    oracle = new(square, max_consecutive_failed_trials=None)
    for values in run(oracle, loss):
        if "tuner/trial_id" in values:
            assert values["x"] <= 0.5
