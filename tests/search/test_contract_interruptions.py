"""What every mode promises of seeds, processes and interruptions: the same search."""

import shutil

import pytest

from search.contract import (
    MODES,
    finish,
    fresh,
    have_kept_their_scales,
    in_modes,
    run,
    short,
    start,
    step,
)
from search.spaces import BOUNDS, loss_of, scaled

# --- seeds and processes --------------------------------------------------------------------------


@pytest.mark.slow
def test_the_same_seed_gives_the_same_trials_in_another_process(new, mode, elsewhere):
    assert run(new()) == elsewhere[mode]


@in_modes(sorted({*MODES} - {"prior"}))  # all of whose searches begin alike
def test_different_seeds_share_no_rate_but_its_bounds(new):
    searches = [fresh(run(new(seed=seed))) for seed in (0, 1, 2, 100)]
    rates = [{v["rate"] for v in search if 1.1e-4 < v["rate"] < 0.9} for search in searches]
    assert len(set().union(*rates)) == sum(map(len, rates)) > 20


def test_seed_zero_is_one_of_them(new):
    assert run(new(max_trials=4, seed=0)) == run(new(max_trials=4, seed=0))


def test_the_order_in_which_other_searches_run_does_not_matter(new):
    alone = run(new(max_trials=5))
    one, other = new(max_trials=5), new(max_trials=5, seed=6)
    together = [step(one) for _ in alone if step(other) or True]
    assert together == alone


# --- interruptions --------------------------------------------------------------------------------


def test_a_search_stopped_after_any_trial_goes_on_as_if_it_had_not_been(
    new, reloaded, mode, tmp_path
):
    oracle, trials = new(saved=True, max_trials=short(mode)), []
    while values := step(oracle):
        trials.append(values)
        shutil.copytree(tmp_path / "search", tmp_path / str(len(trials)) / "search")
    assert len(trials) > 3
    for stop in range(1, len(trials) + 1):
        after = reloaded(directory=tmp_path / str(stop), max_trials=short(mode))
        assert trials[:stop] + run(after) == trials, stop


def test_a_search_reloaded_before_every_trial_has_the_same_rounds(new, reloaded, mode):
    whole = new(max_trials=short(mode))
    trials = run(whole)
    oracle = new(saved=True, max_trials=short(mode))
    for values in trials:
        assert step(oracle) == values
        oracle = reloaded(saved=True, max_trials=short(mode))
    assert oracle.rounds == whole.rounds


def test_ties_are_broken_alike_after_every_interruption(new, reloaded, mode):
    whole = run(new(max_trials=short(mode)), lambda _: 1.0)
    trials = [step(new(saved=True, max_trials=short(mode)), lambda _: 1.0)]
    trials += [step(reloaded(saved=True, max_trials=short(mode)), lambda _: 1.0) for _ in whole[1:]]
    assert trials == whole


def test_a_trial_in_flight_at_a_kill_is_run_again_with_the_same_values(new, reloaded, mode):
    whole = run(new(max_trials=short(mode)))
    oracle = new(saved=True, max_trials=short(mode))
    before = [step(oracle) for _ in range(3)]
    killed = start(oracle)
    after = reloaded(max_trials=short(mode))
    again = start(after, "another worker")
    assert again.trial_id == killed.trial_id
    assert again.hyperparameters.values == killed.hyperparameters.values == whole[3]
    finish(after, again, loss_of(again.hyperparameters.values))
    assert [*before, whole[3], *run(after)] == whole


def test_a_kill_between_a_trials_result_and_its_end_runs_it_again(new, reloaded, mode):
    whole = run(new(max_trials=short(mode)))
    killed = start(oracle := new(saved=True, max_trials=short(mode)))
    oracle.update_trial(killed.trial_id, {"loss": 1e6})
    after = reloaded(max_trials=short(mode))
    assert run(after) == whole
    # the first result does not count beside the second
    assert after.get_trial(killed.trial_id).score == loss_of(whole[0])


def test_several_in_flight_at_a_kill_are_all_run_again(new, reloaded):
    def go_on(oracle, trials):
        for trial in trials:
            finish(oracle, trial, loss_of(trial.hyperparameters.values))
        return run(oracle)

    oracle = new(saved=True)
    for _ in range(3):
        step(oracle)
    killed = [start(oracle, worker) for worker in "abc"]
    after = reloaded()
    again = sorted((start(after, worker) for worker in "abc"), key=lambda t: t.trial_id)
    for one, other in zip(killed, again, strict=True):
        assert one.trial_id == other.trial_id
        assert one.hyperparameters.values == other.hyperparameters.values
    assert go_on(after, again) == go_on(oracle, killed)


def test_values_names_and_scales_survive_saving_and_loading(new, reloaded):
    values = step(new(scaled, saved=True), lambda values: values["linear"])
    after = reloaded(None)
    (trial,) = after.trials.values()
    assert trial.hyperparameters.values == values
    for hyperparameters in (after.get_space(), trial.hyperparameters):
        bounds = {hp.name: (hp.min_value, hp.max_value) for hp in hyperparameters.space}
        assert bounds == BOUNDS
        assert have_kept_their_scales(hyperparameters)
