import keras_tuner
import numpy as np
import pytest

from kbn.search.hyperparameters import space_of
from kbn.search.oracle import CoarseToFineOracle
from kbn.search.past import FROM, PastTrial, fits


def space():
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 1e-4, 1.0, sampling="log")
    hp.Choice("optimizer", ["sgd", "adam"])
    with hp.conditional_scope("optimizer", ["sgd"]):
        hp.Float("momentum", 0.5, 0.9)
    hp.Fixed("units", 8)
    return hp


ADAM = {"rate": 0.01, "optimizer": "adam", "units": 8}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (ADAM, True),
        ({**ADAM, "optimizer": "sgd", "momentum": 0.7}, True),
        ({**ADAM, "optimizer": "sgd"}, False),  # lacks one
        ({**ADAM, "momentum": 0.7}, False),  # is inactive
        ({**ADAM, "layers": 2}, False),  # was removed
        ({**ADAM, "rate": 2.0}, False),
        ({**ADAM, "units": 16}, False),
        ({**ADAM, "optimizer": "lion"}, False),
        ({}, False),
    ],
)
def test_a_trial_fits_a_space_if_it_has_a_value_of_every_active_hyperparameter(values, expected):
    assert fits(space_of(space()), values) is expected


def past(count=8):
    rng = np.random.default_rng(0)
    rates = 10 ** rng.uniform(-4, 0, count)
    return [
        PastTrial({**ADAM, "rate": float(rate)}, -abs(np.log10(rate) + 2), f"old trial {n}")
        for n, rate in enumerate(rates)
    ]


def oracle_in(home, past=(), trials=6):
    oracle = CoarseToFineOracle(
        keras_tuner.Objective("score", "max"),
        trials,
        seed=1,
        past=past,
        hyperparameters=space(),
    )
    oracle.verbose = 0
    oracle.use_directory(home)
    return oracle


def run(oracle, count=None):
    while len(oracle.end_order) != count:
        trial = oracle.create_trial("tuner")
        if trial.status != "RUNNING":
            break
        score = -abs(np.log10(trial.hyperparameters["rate"]) + 2)
        oracle.update_trial(trial.trial_id, {"score": score})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    return [trial.hyperparameters.values for trial in oracle.trials.values()]


def test_the_best_earlier_trial_is_run_again_and_the_others_are_known(tmp_path):
    earlier = past()
    best = max(earlier, key=lambda trial: trial.score)
    oracle = oracle_in(tmp_path / "s", earlier)
    first, *others = run(oracle)
    assert first == {**best.values, FROM: best.source}
    assert len(others) == 5  # earlier trials are none of this search's
    assert [FROM in values for values in others] == [False] * 5
    assert oracle.rounds[1].first == 2  # after one trial at random
    assert all("rate" in box for box in oracle.rounds[1].boxes)
    assert {each.name for each in oracle.importance()} == {"rate", "optimizer", "momentum", "units"}


def test_what_was_taken_stays_as_it_was_when_the_search_began(tmp_path):
    whole = run(oracle_in(tmp_path / "whole", past()))
    run(oracle_in(tmp_path / "s", past()), count=2)
    again = oracle_in(tmp_path / "s", [])  # the earlier search is gone, say
    assert run(again) == whole
    assert again.past == tuple(past())


def test_values_of_ones_own_come_before_the_best_earlier_trial(tmp_path):
    oracle = CoarseToFineOracle(
        keras_tuner.Objective("score", "max"),
        3,
        seed=1,
        first=[{"rate": 0.5}],
        past=past(),
        hyperparameters=space(),
    )
    oracle.verbose = 0
    oracle.use_directory(tmp_path / "s")
    mine, earlier, _ = run(oracle)
    assert (mine["rate"], FROM in earlier) == (0.5, True)
