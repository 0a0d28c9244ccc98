"""What every mode rejects."""

import keras_tuner as kt
import pytest

import kbn
from search.contract import build_model, in_modes, search_keras, settings, start
from search.spaces import LOSS


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"max_trials": 0}, "max_trials .*at least 1.*Got 0"),
        ({"rounds": 0}, "rounds .*at least 1.*Got 0"),
        ({"rounds": -1}, "rounds .*at least 1.*Got -1"),
        ({"rounds": 2.5}, "rounds .*integer.*Got 2.5"),
        ({"surrogate": "forest"}, "surrogate .*gp.*None.*Got 'forest'"),
        ({"surrogate": False}, "surrogate .*gp.*None.*Got False"),
        ({"epochs": "fine"}, "epochs .*coarse_to_fine.*Got 'fine'"),
        ({"epochs": 9}, "epochs .*coarse_to_fine.*Got 9"),
        ({"epochs": "coarse_to_fine"}, "max_epochs .*Got None"),
        ({"epochs": "coarse_to_fine", "max_epochs": 0}, "max_epochs .*at least.*Got 0"),
        ({"epochs": "coarse_to_fine", "max_epochs": 2.5}, "max_epochs .*integer.*Got 2.5"),
        ({"seed": -1}, "seed .*at least 0.*Got -1"),
        ({"seed": 0.5}, "seed .*integer.*Got 0.5"),
    ],
    ids=str,
)
def test_a_bad_argument_is_rejected_with_its_rule_and_value(arguments, rule):
    with pytest.raises(ValueError, match=f"(?s){rule}") as rejected:
        kbn.CoarseToFineOracle(LOSS, **arguments)
    assert "CoarseToFineOracle" in str(rejected.value)


@pytest.mark.parametrize(
    ("declare", "rule"),
    [
        (lambda hp: kbn.scales.complement_log(hp, "m", 0.5, 1.0), "'m'.*max_value < 1.*1.0"),
        (lambda hp: kbn.scales.per_decade(hp, "m", 0.0, 1.0), "'m'.*min_value > 0.*0.0"),
        (lambda hp: kbn.scales.per_decade(hp, "m", 2.0, 1.0), "'m'.*min_value <= max_value"),
        (lambda hp: hp.Float("m", 0, 1, sampling="log"), "'m'.*log.*0.0"),
    ],
    ids=["complement_log", "per_decade", "order", "log"],
)
def test_a_scale_that_does_not_fit_the_bounds_is_rejected(declare, rule):
    with pytest.raises(ValueError, match=rule):
        declare(kt.HyperParameters())


def test_an_objective_without_a_direction_is_rejected():
    with pytest.raises(ValueError, match=r'"reward".*keras_tuner\.Objective'):
        kbn.CoarseToFineOracle("reward")


@pytest.mark.parametrize(
    ("objective", "wanted"),
    [(kt.Objective("val_loss", "min"), "val_loss"), (None, "objective")],
    ids=["unreported", "none"],
)
def test_an_objective_that_is_not_reported_is_named_beside_what_was(new, objective, wanted):
    oracle = new(objective=objective)
    trial = start(oracle)
    with pytest.raises(ValueError, match=f"(?s){wanted}.*'accuracy'"):
        oracle.update_trial(trial.trial_id, {"accuracy": 1.0})


@in_modes(["gp"])
def test_a_tuner_names_an_objective_that_its_history_lacks_beside_what_it_has(mode, tmp_path):
    tuner = kbn.CoarseToFine(
        build_model, kt.Objective("val_mae", "min"), 3, directory=tmp_path, **settings(mode)
    )
    with pytest.raises((ValueError, RuntimeError), match=r"(?s)'val_loss'.*Got 'val_mae'"):
        search_keras(tuner)
