"""Searches with several objectives, and with constraints."""

import keras_tuner as kt
import numpy as np
import pytest

import kbn
from kbn.search.grid import GridOracle
from search.spaces import LOSS, square

NEAR, FAR = kt.Objective("near", "min"), kt.Objective("far", "max")


def metrics_of(values):
    """Two objectives whose front is y = .5, and a size that grows with x."""
    x, y = values["x"], values["y"]
    off = 2 * abs(y - 0.5)
    return {"near": x + off, "far": x**2 - off, "size": 10 * x, "loss": x + off}


def oracle_in(directory, objective, max_trials=12, kind=kbn.CoarseToFineOracle, **given):
    hp = kt.HyperParameters()
    square(hp)
    oracle = kind(objective, max_trials, hyperparameters=hp, seed=3, **given)
    oracle.verbose = 0
    oracle.use_directory(directory / "search")
    return oracle


def run(oracle, most=1000, too_large=None):
    """Run trials; those whose size is over `too_large` are measured, not trained."""
    for _ in range(most):
        trial = oracle.create_trial("w")
        if trial.status != "RUNNING":
            break
        metrics = metrics_of(trial.hyperparameters.values)
        if too_large is not None and metrics["size"] > too_large:
            oracle.measure(trial.trial_id, {"size": metrics["size"]})
            trial.status = "FAILED"
        else:
            oracle.update_trial(trial.trial_id, metrics)
            trial.status = "COMPLETED"
        oracle.end_trial(trial)
    return [trial.hyperparameters.values for trial in oracle.trials.values()]


FRONTS = {
    "two": {"objective": [NEAR, FAR], "pareto": True},
    "constrained": {"objective": [NEAR, FAR], "pareto": True, "constraints": {"size": {"max": 4}}},
    "one, constrained": {"objective": LOSS, "constraints": {"size": {"min": 3, "max": 6}}},
}


@pytest.mark.parametrize("name", FRONTS)
def test_an_interrupted_search_goes_on_as_if_it_had_never_stopped(name, tmp_path):
    whole = run(oracle_in(tmp_path / "whole", **FRONTS[name]), too_large=8)
    begun = oracle_in(tmp_path / "begun", **FRONTS[name])
    run(begun, most=8, too_large=8)
    begun.create_trial("w")  # is running when the process dies
    later = oracle_in(tmp_path / "begun", **FRONTS[name])
    later.reload()
    assert run(later, too_large=8) == whole


@pytest.mark.parametrize("kind", [kbn.CoarseToFineOracle, GridOracle])
def test_the_front_is_what_no_other_trial_dominates(kind, tmp_path):
    oracle = oracle_in(tmp_path, kind=kind, **FRONTS["constrained"])
    run(oracle, too_large=8)
    known = {i: metrics_of(t.hyperparameters.values) for i, t in oracle.trials.items()}
    feasible = {i: (m["near"], -m["far"]) for i, m in known.items() if m["size"] <= 4}
    assert 0 < len(feasible) < len(known)
    front = {
        i
        for i, a in feasible.items()
        if not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in feasible.values())
    }
    found = [trial.trial_id for trial in oracle.front()]
    assert set(found) == front
    ranked = [trial.trial_id for trial in oracle.get_best_trials(99)]
    assert ranked[: len(found)] == found
    assert set(ranked) == set(feasible)
    assert ranked[0] == min(feasible, key=lambda i: (*feasible[i], i))
    assert oracle.objective == NEAR  # which decides a trial's best epoch


def test_a_list_of_objectives_is_their_sum_unless_the_front_is_asked_for(tmp_path):
    oracle = oracle_in(tmp_path, [NEAR, FAR], max_trials=2)
    run(oracle)
    trial = oracle.get_best_trials()[0]
    metrics = metrics_of(trial.hyperparameters.values)
    assert trial.score == pytest.approx(metrics["near"] - metrics["far"])


def test_a_search_for_the_front_finds_more_of_it_than_random_search(tmp_path):
    """The front is y = .5, from x = 0 to 1: distances to it are those of y."""

    def off(name, **given):
        values = run(oracle_in(tmp_path / name, [NEAR, FAR], 36, pareto=True, **given))
        xs = [v["x"] for v in values[12:] if abs(v["y"] - 0.5) < 0.05]
        return len(xs), np.ptp(xs or [0])

    found, reach = off("ours")
    by_chance, _ = off("random", surrogate=None, rounds=1)
    assert found > 2 * by_chance
    assert reach > 0.6  # not at one point of it alone


@pytest.mark.parametrize("trained", [True, False])
def test_a_search_avoids_what_is_infeasible(trained, tmp_path):
    constraints = {"size": {"min": 3, "max": 4}}  # a tenth of the space; the best is at size 0
    oracle = oracle_in(tmp_path, LOSS, 30, constraints=constraints)
    values = run(oracle, too_large=None if trained else 4)
    late = [3 <= 10 * v["x"] <= 4 for v in values[15:]]
    assert np.mean(late) > 0.3
    best = oracle.get_best_trials()[0].hyperparameters.values
    assert 0.3 <= best["x"] <= 0.4


def test_a_search_whose_trials_are_all_infeasible_has_no_best_one(tmp_path):
    for objective, pareto in ((LOSS, False), ([NEAR, FAR], True)):
        constraints = {"size": {"min": 11}}
        directory = tmp_path / str(pareto)
        oracle = oracle_in(directory, objective, 8, pareto=pareto, constraints=constraints)
        assert len(run(oracle)) == 8
        assert oracle.get_best_trials() == []
        assert oracle.front() == []


def test_importance_is_that_for_the_first_objective(tmp_path):
    oracle = oracle_in(tmp_path, [NEAR, FAR], 30, pareto=True)
    run(oracle)
    assert {each.name for each in oracle.importance()} == {"x", "y"}


def test_a_trial_must_report_every_objective_and_constraint(tmp_path):
    oracle = oracle_in(tmp_path, **FRONTS["constrained"])
    trial = oracle.create_trial("w")
    with pytest.raises(ValueError, match="near, without far, size"):
        oracle.update_trial(trial.trial_id, {"near": 1.0})


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"objective": LOSS}, "list of at least two objectives with pareto=True"),
        ({"objective": [LOSS]}, "list of at least two objectives with pareto=True"),
        (
            {"objective": [NEAR, FAR], "epochs": "coarse_to_fine", "max_epochs": 3},
            "epochs parameter of CoarseToFineOracle must be None with pareto=True",
        ),
    ],
)
def test_a_front_needs_several_objectives_of_whole_trainings(given, rule):
    with pytest.raises(ValueError, match=rule):
        kbn.CoarseToFineOracle(pareto=True, **given)
