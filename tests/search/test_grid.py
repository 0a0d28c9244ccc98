import copy
import itertools

import keras_tuner
import pytest

from kbn.search.axes import Condition, Discrete, Numeric
from kbn.search.grid import GridOracle, grid_points
from kbn.search.history import History
from kbn.search.scales import LINEAR, LOG
from kbn.search.space import Space

RATE = Numeric("rate", 1e-4, 1.0, LOG)
UNITS = Numeric("units", 10, 50, LINEAR, integer=True)
KIND = Discrete("kind", ("sgd", "adam"), ordered=False)


def test_two_hyperparameters_and_25_trials_make_a_grid_of_5_by_5_on_their_scales():
    points = [(round(p["rate"], 9), p["units"]) for p in grid_points(Space((RATE, UNITS)), 25)]
    assert points == list(itertools.product([1e-4, 1e-3, 1e-2, 1e-1, 1.0], [10, 20, 30, 40, 50]))


def test_a_discrete_hyperparameter_has_all_its_values_whatever_the_size():
    points = list(grid_points(Space((KIND, RATE)), 7))
    assert len(points) == 6  # two kinds, three rates
    assert [p["kind"] for p in points] == ["sgd"] * 3 + ["adam"] * 3


def test_a_combination_that_conditions_make_equal_comes_once():
    momentum = Numeric("momentum", 0.5, 0.9, conditions=(Condition("kind", ("sgd",)),))
    points = list(grid_points(Space((KIND, momentum)), 6))
    assert points[-1] == {"kind": "adam"}
    assert [p.get("momentum") for p in points] == [pytest.approx(m) for m in (0.5, 0.7, 0.9)] + [
        None
    ]


def oracle_in(directory, max_trials=9):
    hp = keras_tuner.HyperParameters()
    hp.Choice("kind", ["sgd", "adam"])
    hp.Boolean("wide")
    oracle = GridOracle("loss", max_trials, seed=1, hyperparameters=hp)
    oracle._set_project_dir(directory, "grid")
    oracle.verbose = 0
    return oracle


def step(oracle):
    """The values of the next trial, which ends; None if there is none."""
    trial = oracle.create_trial("tuner")
    if trial.status != "RUNNING":
        return None
    trial.status = "COMPLETED"
    oracle.update_trial(trial.trial_id, {"loss": 1.0})
    oracle.end_trial(trial)
    return tuple(trial.hyperparameters.values.values())


GRID = [("sgd", False), ("sgd", True), ("adam", False), ("adam", True)]


def test_the_oracle_runs_the_grid_once_and_then_stops(tmp_path):
    oracle = oracle_in(tmp_path)
    assert list(iter(lambda: step(oracle), None)) == GRID
    assert step(oracle) is None
    assert (oracle.rounds, oracle.planned_rounds(), oracle.place("0")) == ((), [], None)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda oracle: oracle_in(oracle._directory)])
def test_a_copy_and_a_search_that_goes_on_begin_where_the_grid_was_left(tmp_path, again):
    oracle = oracle_in(tmp_path)
    assert [step(oracle), step(oracle)] == GRID[:2]
    other = again(oracle)
    assert list(iter(lambda: step(other), None)) == GRID[2:]


def test_the_grid_is_walked_through_once(tmp_path, monkeypatch):
    looked_at = []
    oracle, tried = oracle_in(tmp_path), History.tried
    monkeypatch.setattr(History, "tried", lambda *args: looked_at.append(1) or tried(*args))
    assert list(iter(lambda: step(oracle), None)) == GRID
    assert len(looked_at) == len(GRID)


def test_a_grid_knows_which_hyperparameters_mattered(tmp_path):
    oracle = oracle_in(tmp_path)
    for loss in (1.0, 1.0, 2.0, 2.0):  # the kind alone decides
        trial = oracle.create_trial("tuner")
        oracle.update_trial(trial.trial_id, {"loss": loss})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert [each.name for each in oracle.importance()] == ["kind", "wide"]
