"""What every mode promises of trials that fail."""

import itertools
import math
import threading

import pytest

from search.contract import Answering, adaptive, finish, modelled, points, run, start, step, texts
from search.spaces import distance, square


@adaptive
@pytest.mark.filterwarnings("ignore:All-NaN")  # KerasTuner, on a trial without a finite score
@pytest.mark.parametrize("failure", [None, math.nan], ids=["failed", "nan"])
def test_where_half_of_the_space_fails_most_trials_end_in_the_other(new, failure):
    def loss(values):
        return failure if values["x"] > 0.5 else distance(values)

    works = []
    for seed in (1, 2):
        oracle = new(square, max_trials=24, seed=seed, max_consecutive_failed_trials=None)
        trials = run(oracle, loss)
        works += [values["x"] <= 0.5 for values in trials[-len(trials) // 3 :]]
    assert works.count(True) >= len(works) * 3 / 4


@modelled
def test_failures_count_as_bad_places_where_all_else_points_at_them(new):
    def loss(values):
        return None if values["x"] > 0.5 else -values["x"]

    works = []
    for seed in (1, 2):
        oracle = new(square, max_trials=24, seed=seed, max_consecutive_failed_trials=None)
        trials = run(oracle, loss)
        works += [values["x"] <= 0.5 for values in trials[-len(trials) // 3 :]]
    assert works.count(True) > len(works) / 2


def test_a_search_in_which_every_trial_fails_goes_on_to_its_end(new):
    oracle = new(max_trials=6, max_consecutive_failed_trials=None)
    trials = run(oracle, lambda _: None)
    assert len(set(texts(trials))) == len(trials) >= 6


def test_a_point_that_failed_is_not_proposed_again(new):
    def loss(values):
        return None if values["ordered"] == 16 else 1.0

    def small(hp):
        hp.Choice("ordered", [16, 32, 64])
        hp.Boolean("boolean")

    trials = run(new(small, max_trials=30, max_consecutive_failed_trials=None), loss)
    failed = [values for values in points(trials) if values["ordered"] == 16]
    assert len(set(texts(failed))) == len(failed) == 2


@pytest.mark.filterwarnings("ignore:All-NaN")
@pytest.mark.parametrize("failure", [None, math.nan], ids=["invalid", "nan"])
def test_an_invalid_trial_is_run_again_as_often_as_wanted(new, failure):
    oracle = new(max_retries_per_trial=2, max_consecutive_failed_trials=None)
    runs = []
    for _ in range(3):
        trial = start(oracle)
        runs.append((trial.trial_id, dict(trial.hyperparameters.values)))
        finish(oracle, trial, failure, "INVALID" if failure is None else "COMPLETED")
    assert runs[0] == runs[1] == runs[2]
    assert oracle.get_trial(runs[0][0]).status == "FAILED"
    assert start(oracle).trial_id != runs[0][0]


@pytest.mark.filterwarnings("ignore:All-NaN")
def test_a_retry_that_succeeds_counts_by_its_own_result(new):
    oracle = new(max_retries_per_trial=1)
    first = start(oracle)
    finish(oracle, first, math.nan)
    again = start(oracle)
    finish(oracle, again, 1.5)
    trial = oracle.get_trial(first.trial_id)
    assert (again.trial_id, trial.status, trial.score) == (first.trial_id, "COMPLETED", 1.5)


@pytest.mark.filterwarnings("ignore:All-NaN")
def test_a_tuner_keeps_the_result_of_a_retry(new, tmp_path):
    results = itertools.chain([math.nan, 1.5], itertools.repeat(2.5))
    tuner = Answering(new(max_trials=1, max_retries_per_trial=1), directory=tmp_path / "tuner")
    tuner.answer = lambda hp: next(results)
    tuner.search()
    assert tuner.oracle.trials[tuner.oracle.start_order[0]].score == 1.5


def test_too_many_failures_in_a_row_end_the_search_with_an_error(new):
    oracle = new(max_consecutive_failed_trials=2)
    step(oracle)
    step(oracle, lambda _: None)
    with pytest.raises(RuntimeError, match="failures exceeded the limit of 2"):
        step(oracle, lambda _: None)


def test_failures_with_successes_between_do_not_end_the_search(new):
    oracle = new(max_trials=6, max_consecutive_failed_trials=2)
    count = itertools.count()
    assert len(run(oracle, lambda _: None if next(count) % 2 else 1.0)) >= 6


def test_a_call_that_raises_does_not_lock_other_threads_out(new):
    oracle = new(max_consecutive_failed_trials=1)
    with pytest.raises(RuntimeError):
        step(oracle, lambda _: None)
    other = threading.Thread(target=oracle.create_trial, args=["other"], daemon=True)
    other.start()
    other.join(timeout=2)
    assert not other.is_alive()
