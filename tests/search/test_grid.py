import itertools

import keras_tuner
import pytest

from kbn.search.axes import Condition, Discrete, Numeric
from kbn.search.grid import GridOracle, grid
from kbn.search.scales import LINEAR, LOG
from kbn.search.space import Space

RATE = Numeric("rate", 1e-4, 1.0, LOG)
UNITS = Numeric("units", 10, 50, LINEAR, integer=True)
KIND = Discrete("kind", ("sgd", "adam"), ordered=False)


def test_two_hyperparameters_and_25_trials_make_a_grid_of_5_by_5_on_their_scales():
    points = [(round(p["rate"], 9), p["units"]) for p in grid(Space((RATE, UNITS)), 25)]
    assert points == list(itertools.product([1e-4, 1e-3, 1e-2, 1e-1, 1.0], [10, 20, 30, 40, 50]))


def test_a_discrete_hyperparameter_has_all_its_values_whatever_the_size():
    points = list(grid(Space((KIND, RATE)), 7))
    assert len(points) == 6  # two kinds, three rates
    assert [p["kind"] for p in points] == ["sgd"] * 3 + ["adam"] * 3


def test_a_combination_that_conditions_make_equal_comes_once():
    momentum = Numeric("momentum", 0.5, 0.9, conditions=(Condition("kind", ("sgd",)),))
    points = list(grid(Space((KIND, momentum)), 6))
    assert points[-1] == {"kind": "adam"}
    assert [p.get("momentum") for p in points] == [pytest.approx(m) for m in (0.5, 0.7, 0.9)] + [
        None
    ]


def test_the_oracle_runs_the_grid_once_and_then_stops(tmp_path):
    hp = keras_tuner.HyperParameters()
    hp.Choice("kind", ["sgd", "adam"])
    hp.Boolean("wide")
    oracle = GridOracle("loss", 9, surrogate=None, rounds=1, seed=1, hyperparameters=hp)
    oracle._set_project_dir(tmp_path, "grid")
    oracle.verbose = 0
    seen = []
    while (trial := oracle.create_trial("tuner")).status == "RUNNING":
        seen.append(tuple(trial.hyperparameters.values.values()))
        trial.status = "COMPLETED"
        oracle.update_trial(trial.trial_id, {"loss": 1.0})
        oracle.end_trial(trial)
    assert seen == [("sgd", False), ("sgd", True), ("adam", False), ("adam", True)]
    assert oracle.rounds == ()
