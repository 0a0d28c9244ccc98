import math

import numpy as np
import pytest

from kbn.search.fidelity import (
    EPOCHS,
    FIDELITY,
    INITIAL_EPOCH,
    PARENT,
    EpochRange,
    Ladder,
    rungs,
)

FAILED = math.nan


class Search:
    """Trials on a ladder, one at a time; `losses` of the trials that start anew, in their order."""

    def __init__(self, max_epochs, losses, budget=math.inf):
        self.ladder, self.budget, self.losses = Ladder(max_epochs), budget, iter(losses)
        self.steps = []  # of trials "0", "1", ...
        self.loss = {}  # {trial: its loss}, which one that goes on keeps

    def run(self, trials):
        for _ in range(trials):
            step, trial = self.ladder.next(self.budget), str(len(self.steps))
            self.steps.append(step)
            self.loss[trial] = self.loss[step.parent] if step.parent else next(self.losses)
            self.ladder.start(step.values)
            self.ladder.end(trial, step.values, self.loss[trial])
        return self.steps


@pytest.mark.parametrize(
    ("max_epochs", "expected"),
    [
        (1, (1,)),
        (2, (1, 2)),
        (3, (1, 3)),
        (9, (1, 3, 9)),
        (52, (2, 6, 17, 52)),
        (81, (3, 9, 27, 81)),
    ],
)
def test_rungs_are_shares_of_the_epochs_that_rise_by_the_factor(max_epochs, expected):
    assert rungs(max_epochs) == expected


def test_any_number_of_epochs_has_rungs_up_to_it():
    for max_epochs in range(1, 200):
        found = rungs(max_epochs)
        assert 1 <= len(found) <= FIDELITY.rungs
        assert list(found) == sorted(set(found))
        assert found[0] >= 1
        assert found[-1] == max_epochs


def test_levels_rise_to_one_with_the_rungs():
    ladder = Ladder(52)
    levels = [ladder.level({EPOCHS: epochs}) for epochs in rungs(52)]
    assert levels == sorted(set(levels))
    assert levels[-1] == 1
    assert min(levels) >= 0


def test_a_step_tells_what_it_costs_and_what_a_trials_values_tell_of_it():
    new, on = EpochRange(2), EpochRange(6, 2, "07")
    assert (new.cost, on.cost) == (2, 4)
    assert new.values == {EPOCHS: 2, INITIAL_EPOCH: 0}
    assert on.values == {EPOCHS: 6, INITIAL_EPOCH: 2, PARENT: "07"}


def test_the_best_of_the_first_three_goes_on_then_new_ones_start():
    steps = Search(9, [3.0, 1.0, 2.0, 4.0]).run(5)
    assert steps == [
        EpochRange(1),
        EpochRange(1),
        EpochRange(1),
        EpochRange(3, 1, "1"),
        EpochRange(1),
    ]


def test_a_trial_of_the_highest_rung_goes_on_first():
    ladder = Ladder(9)
    for trial, epochs in enumerate((1, 1, 1, 3, 3, 3)):
        ladder.end(str(trial), EpochRange(epochs).values, loss=float(trial))
    for expected in (EpochRange(9, 3, "3"), EpochRange(3, 1, "0"), EpochRange(1)):
        assert ladder.next(math.inf) == expected
        ladder.start(expected.values)


def test_of_a_rung_the_best_third_goes_on_each_trial_once_and_no_failed_one():
    rng = np.random.default_rng(0)
    losses = np.where(rng.random(300) < 0.2, FAILED, rng.random(300))
    search = Search(27, losses)
    steps = search.run(300)
    parents = [step.parent for step in steps if step.parent]
    assert len(set(parents)) == len(parents) > 10
    ended = {epochs: [] for epochs in rungs(27)}
    for number, step in enumerate(steps):
        if step.parent:
            assert steps[int(step.parent)].epochs == step.initial_epoch
            rung = ended[step.initial_epoch]
            finished = sorted(loss for loss in rung if not math.isnan(loss))
            assert search.loss[step.parent] in finished[: len(rung) // FIDELITY.factor]
        ended[step.epochs].append(search.loss[str(number)])


def test_a_trial_that_still_runs_does_not_go_on_and_none_goes_on_twice_at_once():
    ladder = Ladder(9)
    for _ in "012":
        ladder.start(EpochRange(1).values)
    for trial in "01":
        ladder.end(trial, EpochRange(1).values, 1.0)
    assert ladder.next(math.inf).parent is None
    ladder.end("2", EpochRange(1).values, 0.5)
    step = ladder.next(math.inf)
    assert step.parent == "2"
    ladder.start(step.values)
    assert ladder.next(math.inf).parent is None


def test_what_was_spent_is_the_epochs_of_all_that_started():
    search = Search(27, np.arange(100.0))
    steps = search.run(40)
    assert search.ladder.spent == sum(step.epochs - step.initial_epoch for step in steps)
    assert search.ladder.whole_trainings == search.ladder.spent / 27
    assert search.ladder.first_cost == 1 / 27


@pytest.mark.parametrize("trainings", [math.inf, 100, 10], ids=str)
@pytest.mark.parametrize("max_epochs", [52, 9, 3, 1])
def test_later_trials_begin_at_higher_rungs(max_epochs, trainings):
    search = Search(max_epochs, [FAILED] * 1000, trainings * max_epochs)  # none goes on
    steps = search.run(400)
    spent = np.cumsum([0, *(step.cost for step in steps[:-1])]) / max_epochs
    *lower, _ = rungs(max_epochs)
    # the higher ones of a short ladder last as long as a long one's
    ends = [
        min(most, share * trainings)
        for most, share in FIDELITY.stages[len(FIDELITY.stages) - len(lower) :]
    ]
    for before, step in zip(spent, steps, strict=True):
        assert step == EpochRange(rungs(max_epochs)[sum(before >= end for end in ends)])
