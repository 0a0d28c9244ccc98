import math

import numpy as np
import pytest

from kbn.search.axes import Condition, Discrete, Numeric
from kbn.search.fidelity import PARENT
from kbn.search.history import History
from kbn.search.space import Space

SPACE = Space((Numeric("x", 0.0, 1.0), Discrete("k", ("a", "b"))))


def of(losses, level=1.0):
    """A history of trials with these losses; trial i has x = i / n."""
    history = History(SPACE)
    for i, loss in enumerate(losses):
        history.end({"x": i / len(losses), "k": "b"}, [loss], level)
    return history


def test_it_knows_every_trial_in_the_order_of_their_end_however_many_there_are():
    losses = np.random.default_rng(0).random(300)  # more than it has room for at first
    history = of(losses)
    points, levels, known = history.known(1000)
    np.testing.assert_array_equal(known, losses)
    np.testing.assert_array_equal(points, np.column_stack([np.arange(300) / 300, [0.75] * 300]))
    np.testing.assert_array_equal(levels, np.ones(300))
    assert history.ended == 300


def test_it_says_how_far_each_was_trained():
    history = History(SPACE)
    for level in (0.25, 1.0):
        history.end({"x": 0.5, "k": "a"}, [1.0], level)
    assert history.known(9)[1].tolist() == [0.25, 1.0]


@pytest.mark.parametrize("most", [2, 10, 50])
def test_of_more_than_it_is_asked_for_it_tells_the_best_and_the_newest(most):
    losses = np.random.default_rng(1).permutation(100).astype(float)
    losses[-1] = -1.0  # which is both
    points, _, known = of(losses).known(most)
    best = set(np.argsort(losses)[: most // 2])
    newest = set(range(100 - most // 2, 100))
    assert len(best & newest) > 0
    assert [round(100 * x) for x in points[:, 0]] == sorted(best | newest)
    np.testing.assert_array_equal(known, losses[sorted(best | newest)])


def test_a_failed_trial_counts_as_the_worst():
    _, _, losses = of([1.0, math.nan, 3.0, math.nan, 2.0]).known(9)
    assert losses.tolist() == [1, 3, 3, 3, 2]


def test_failed_trials_are_not_among_the_best_of_many():
    _, _, losses = of([math.nan] * 50 + [1.0, 2.0] + [5.0] * 50).known(4)
    assert losses.tolist() == [1, 2, 5, 5]


def test_nothing_is_known_while_all_trials_fail():
    points, levels, losses = of([math.nan] * 3).known(9)
    assert points.shape == (0, 2)
    assert len(levels) == len(losses) == 0


def test_what_was_told_is_not_changed_by_the_trials_after_it():
    history = of([1.0, math.nan])
    _, _, before = history.known(9)
    history.end({"x": 0.5, "k": "a"}, [9.0], 1.0)
    assert before.tolist() == [1, 1]
    assert history.known(9)[2].tolist() == [1, 9, 9]


def test_values_are_tried_from_the_start_of_their_trial_and_with_what_it_found():
    space = Space((SPACE.axes[1], Numeric("late", 0.0, 1.0, conditions=(Condition("k", ("a",)),))))
    history = History(space)
    assert not history.tried({"k": "b"})
    history.start({"k": "b"})
    history.start({"k": "a"})
    assert history.tried({"k": "b"})
    assert history.tried({"k": "b", "tuner/epochs": 3})  # what is no hyperparameter does not count
    history.end({"k": "a", "late": 0.5}, [1.0], 1.0)
    assert history.tried({"k": "a", "late": 0.5})
    assert not history.tried({"k": "a", "late": 0.6})


def test_trials_that_go_on_from_another_one_are_not_fresh():
    history = History(SPACE)
    history.start({"x": 0.5, "k": "a"})
    history.start({"x": 0.5, "k": "a", PARENT: "0"})
    assert (history.started, history.fresh, history.ended) == (2, 1, 0)
