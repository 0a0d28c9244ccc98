import dataclasses

import pytest

from kbn.report.advice import certainty, edge, next_steps
from kbn.report.results import Results
from kbn.search.axes import Discrete, Grid, Numeric, Stepped
from kbn.search.scales import COMPLEMENT_LOG, LOG
from report.builders import importance_of, results_of, search_of, trial


@pytest.mark.parametrize(
    ("axis", "value", "end"),
    [
        (Numeric("a", 1e-4, 1.0, LOG), 1.1e-4, None),
        (Numeric("a", 1e-4, 1.0, LOG), 1.00001e-4, 1e-4),  # printed as the end
        (Numeric("a", 1e-4, 1.0, LOG), 0.99999, None),  # printed as it is
        (Numeric("a", 0.5, 0.999, COMPLEMENT_LOG), 0.5284, None),
        (Numeric("a", 0.5, 0.999, COMPLEMENT_LOG), 0.9989, None),
        (Numeric("a", 0.5, 0.999, COMPLEMENT_LOG), 0.999, 0.999),
        (Numeric("a", 2, 6, integer=True), 6, 6),
        (Numeric("a", 4, 32, LOG, integer=True), 30, None),
        (Numeric("a", 0.0, 1.0), 0.0, None),  # nothing lies beyond 0
        (Numeric("a", 2.0, 2.0), 2.0, None),
        (Stepped("a", Grid(0.1, 0.1, 5)), 0.5, 0.5),
        (Discrete("a", (16, 32, 64), ordered=True), 64, 64),
        (Discrete("a", (16, 32, 64), ordered=True), 32, None),
        (Discrete("a", (16, 32), ordered=True), 32, None),  # one of two is always an end
        (Discrete("a", ("x", "y", "z")), "z", None),
    ],
)
def test_only_the_end_of_a_range_is_its_edge(axis, value, end):
    assert edge(axis, value) == end


@pytest.mark.parametrize(("low", "said"), [(0.1, True), (0.0, False)])
def test_only_a_hyperparameter_that_mattered_asks_for_a_wider_range(low, said):
    best = trial(0, {"rate": 1.0, "optimizer": "adam", "dropout": 0.5}, 0.9)
    found = importance_of(rate=(0.9, low, 1.0), dropout=(0.1, 0.0, 0.3))
    search = search_of(Results((best,), "max"), importance=found)
    steps = [step for step in next_steps(search) if "edge" in step]
    assert steps == ["The best rate is at the edge of its range, 1: widen it."] * said


def test_the_next_steps_follow_from_the_trials():
    results = results_of([0.5, None, None, 0.75, 0.8])
    last = tuple(dataclasses.replace(t, best_step=1) for t in results.trials)
    found = importance_of(rate=(0.9, 0.5, 1.0), dropout=(0.1, 0.0, 0.3))
    assert next_steps(search_of(Results(last, "max"), importance=found)) == [
        "2 of 5 trials failed: find out why, or leave out the values they had; the table says "
        "which.",
        "3 of the 3 best trials had their best epoch last: try more epochs.",
        "The best score came late, from finished trial 3 of 3: more trials may find a better one.",
        "To search fewer hyperparameters, fix those without a visible effect at the best trial's "
        "values first: dropout.",
    ]
    quiet = search_of(results_of([0.9, 0.5, 0.6]))
    assert next_steps(quiet) == ["Nothing in these trials asks for another search."]
    unclear = dataclasses.replace(quiet, importance=importance_of(rate=(0.9, 0.0, 1.0)))
    assert next_steps(unclear) == [
        "Run more trials: these do not show yet which hyperparameters matter."
    ]
    failed = search_of(results_of([None]))
    assert next_steps(failed)[-1] == "Mend what made the trials fail, then begin anew."


def test_how_sure_a_search_is_follows_from_its_trials():
    found = importance_of(rate=(0.9, 0.5, 1.0), dropout=(0.1, 0.0, 0.3))
    search = search_of(results_of([0.5, 0.75, 0.7]), importance=found)
    assert certainty(search) == [
        "The best score is the best of 3, on data that it was chosen by: expect a somewhat worse "
        "one on new data. A test part would show it.",
        "The second best, trial 02, has 0.7. Each was trained once, so that chance may decide "
        "between them: train the two with several seeds to tell.",
        "What mattered is judged from 3 trials of 2 hyperparameters, which is few: more trials "
        "narrow the intervals.",
    ]
    tested = dataclasses.replace(search, test={"test_loss": 0.6})
    assert certainty(tested)[0] == "The test scores are fair: nothing was chosen by them."


def test_repeats_of_the_best_values_show_what_chance_does():
    trials = results_of([0.5, 0.75, 0.7]).trials
    again = dataclasses.replace(trials[2], values={**trials[1].values, "tuner/repeats": "01"})
    assert certainty(search_of(Results((*trials[:2], again), "max")))[1] == (
        "The best values were trained 2 times, with scores from 0.7 to 0.75: trials that differ by "
        "less cannot be told apart."
    )
