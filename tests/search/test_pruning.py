import math

import keras_tuner
import numpy as np
import pytest

from kbn.errors import KbnError
from kbn.search.fidelity import PRUNED
from kbn.search.oracle import CoarseToFineOracle
from kbn.search.pruning import PRUNING, is_hopeless

OTHERS = [[3.0, 2.0, 1.0], [4.0, 3.0, 2.0], [5.0, 4.0, 3.0], [6.0, 5.0, 4.0], [7.0, 6.0, 5.0]]


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_training_is_hopeless_if_its_best_loss_is_not_among_the_best_third_of_all(epoch):
    limit = [5.0, 4.0][epoch - 1]  # of the third of five: that is the best third, rounded up
    assert not is_hopeless([limit] * epoch, OTHERS, epochs=3)
    assert is_hopeless([limit + 1e-9] * epoch, OTHERS, epochs=3)
    assert not is_hopeless([limit, *[9.0] * (epoch - 1)], OTHERS, epochs=3)  # it was good once


def test_neither_a_first_epoch_of_many_nor_a_last_one_nor_an_early_trial_is_pruned():
    assert not is_hopeless([99.0], OTHERS, epochs=1 + math.ceil(1 / PRUNING.grace))
    assert not is_hopeless([99.0] * 3, OTHERS, epochs=3)
    assert not is_hopeless([99.0], OTHERS[: PRUNING.fewest - 1], epochs=3)


def test_a_loss_that_is_no_number_is_the_worst_of_all():
    assert is_hopeless([math.nan], OTHERS, epochs=3)
    assert not is_hopeless([math.nan], [[math.nan]] * 5, epochs=3)
    assert not is_hopeless([9.0], [*OTHERS[:2], *[[math.nan]] * 4], epochs=3)


def searched(home, trials, after=None, max_epochs=4):
    """Run a search in which the loss is x, and every second trial is pruned after an epoch."""
    hp = keras_tuner.HyperParameters()
    hp.Float("x", 0.0, 1.0)
    oracle = CoarseToFineOracle(
        keras_tuner.Objective("loss", "min"),
        trials,
        seed=1,
        prune=True,
        max_epochs=max_epochs,
        hyperparameters=hp,
    )
    oracle.verbose = 0
    oracle.use_directory(home)
    while len(oracle.end_order) != after:
        trial = oracle.create_trial("tuner")
        if trial.status != "RUNNING":
            break
        x, pruned = trial.hyperparameters["x"], int(trial.trial_id) % 2 == 1
        oracle.note_curve(trial.trial_id, [x] if pruned else [x, math.nan, x, x])
        if pruned:
            trial.hyperparameters.values[PRUNED] = 1
        oracle.update_trial(trial.trial_id, {"loss": x})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    return oracle


def values_of(oracle):
    return [trial.hyperparameters.values for trial in oracle.trials.values()]


def test_the_epochs_that_pruned_trials_save_go_into_further_trials(tmp_path):
    oracle = searched(tmp_path / "s", 10)
    spent = sum(1 if PRUNED in values else 4 for values in values_of(oracle))
    assert len(oracle.trials) > 10
    assert 9 * 4 < spent <= 10 * 4


def test_a_search_that_prunes_goes_on_as_if_it_had_not_stopped_and_knows_its_curves(tmp_path):
    whole = searched(tmp_path / "whole", 8)
    searched(tmp_path / "s", 8, after=5)
    again = searched(tmp_path / "s", 8)
    assert values_of(again) == values_of(whole)
    np.testing.assert_array_equal(again.curves[0], whole.curves[0])
    assert len(again.curves) == len(again.trials)
    assert math.isnan(again.curves[0][1])


def test_a_search_cannot_go_on_without_pruning_or_with_other_epochs(tmp_path):
    searched(tmp_path / "s", 4, after=2)
    with pytest.raises(KbnError, match=r"max_epochs=4\. Got max_epochs=5"):
        searched(tmp_path / "s", 4, max_epochs=5)
    other = CoarseToFineOracle("loss", 4, epochs="coarse_to_fine", max_epochs=4)
    other.use_directory(tmp_path / "s")
    with pytest.raises(KbnError, match=r"prune=True\. Got prune=False"):
        other.reload()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prune": True}, "max_epochs .*prune=True.*Got None"),
        ({"prune": True, "max_epochs": 3, "epochs": "coarse_to_fine"}, "prune .*must be False"),
    ],
)
def test_pruning_needs_the_epochs_of_a_whole_training_and_no_rungs(arguments, message):
    with pytest.raises(ValueError, match=message):
        CoarseToFineOracle("loss", 4, **arguments)
