"""The study of benchmarks/tabulated, on a task of its own: it needs no published tables."""

import sys
from pathlib import Path

import keras_tuner as kt
import numpy as np
import pytest

import kbn.search.sampling
from kbn.search.sampling import SAMPLING

sys.path.append(str(Path(__file__).parents[2]))  # the repository, of which benchmarks is no package

from benchmarks.tabulated.earlier import earlier
from benchmarks.tabulated.narrowed import narrowed
from benchmarks.tabulated.report import markdown, regrets_by_seed
from benchmarks.tabulated.search import Curve, search
from benchmarks.tabulated.settings import set_number
from benchmarks.tabulated.study import Run, execute_all, read
from benchmarks.tabulated.task import Reference, Task
from benchmarks.tabulated.tuners import TUNERS


class Bowl(Task):
    """A loss in [0, 2], lower after more epochs."""

    epochs = 9

    def names(self):
        return ["flat", "steep", "deep"]

    def declare(self, hp):
        hp.Float("x", 0.0, 1.0)
        hp.Choice("kind", ["a", "b"])

    def losses(self, many, epochs=None):
        losses = np.array([abs(v["x"] - 0.3) + (v["kind"] == "b") for v in many])
        return losses + 1 / (epochs or 9) - 1 / 9

    def measure_reference(self):
        return Reference(best=0.0, median=1.0)


BOWL = Bowl("bowls", "flat")


def test_regret_is_zero_at_the_best_and_one_from_the_median_on():
    assert [BOWL.regret(loss) for loss in (-1, 0, 0.25, 1, 2)] == [0, 0, 0.25, 1, 1]


def test_a_task_lists_the_others_of_its_suite():
    assert [(type(task), task.name) for task in BOWL.others()] == [(Bowl, "steep"), (Bowl, "deep")]


def test_a_trial_counts_from_the_epoch_at_which_it_ends():
    curve = Curve(BOWL)
    for x, epochs in ((0.7, 9), (0.5, 3), (0.4, 3), (0.35, 6), (0.3, 6)):
        curve.add({"x": x, "kind": "a"}, epochs, BOWL.loss({"x": x, "kind": "a"}, epochs))
    # the second mark falls into the fourth trial, the third one on the end of the fifth
    assert curve.regrets == pytest.approx([0.4, 0.1, 0.0])
    assert curve.padded(5) == pytest.approx([0.4, 0.1, 0.0, 0.0, 0.0])


SLOW = {"bayesian", "optuna-gp", "botorch"}


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("tuner", sorted(TUNERS.keys() - SLOW))
def test_every_tuner_searches_and_repeats_itself(tuner, workers):
    regrets = search(tuner, BOWL, 12, 3, workers)
    assert len(regrets) == 12
    assert 0 <= regrets[-1] <= 0.2 < regrets[0] + 0.2
    assert search(tuner, BOWL, 12, 3, workers) == regrets


def test_earlier_searches_are_of_other_tasks_and_turned_if_they_are_to_mislead():
    past, misleading = (earlier(BOWL, 3, 0, misleading=on) for on in (False, True))
    assert [len(trials) for trials in past] == [25, 25]  # the suite has no more tasks
    assert [-loss for _, loss in past[0]] == [loss for _, loss in misleading[0]]
    assert search("ours", BOWL, 5, 3, past=past) == search("ours", BOWL, 5, 3, past=past)


def test_a_narrowed_task_searches_a_share_of_each_numeric_range_and_of_no_choice():
    ranges = []
    for task in (BOWL, narrowed(BOWL, 0.25, 1), narrowed(BOWL, 0.25, 2)):
        hp = kt.HyperParameters()
        task.declare(hp)
        x, kind = hp.space
        ranges.append((x.min_value, x.max_value))
        assert kind.values == ["a", "b"]
    whole, *parts = ranges
    assert whole == (0, 1)
    assert parts[0] != parts[1]
    for low, high in parts:
        assert high - low == pytest.approx(0.25)
        assert 0 <= low < high <= 1


def test_a_tuner_that_trains_less_says_that_a_task_must_know_epochs():
    whole = Bowl("bowls", "flat")
    whole.epochs = None
    with pytest.raises(ValueError, match=r"epochs needs .* fewer epochs\. Got bowls/flat"):
        search("epochs", whole, 5, 0)


def test_suites_count_alike_however_many_tasks_they_have():
    runs = {
        Run("ours", suite, task, seed, 2): [regret + seed, regret]
        for suite, task, regret in (("a", "1", 0.1), ("a", "2", 0.3), ("b", "1", 0.6))
        for seed in (0, 1)
    }
    assert regrets_by_seed(runs) == pytest.approx(np.array([[0.4, 0.4], [1.4, 0.4]]))
    table = markdown(runs, "tasks", [1, 2]).splitlines()
    assert table[0] == "| tasks | tasks | seeds | @1 | @2 |"
    assert table[2] == '| ours, `surrogate="gp"` | 3 | 2 | .900 ± .500 | .400 ± .000 |'


def test_runs_of_the_file_are_not_run_again(tmp_path):
    run, file = Run("ours", "bowls", "flat", 0, 2, settings=("zoom.final_side=.1",)), tmp_path / "f"
    file.write_text(
        '{"tuner": "ours", "suite": "bowls", "task": "flat", "seed": 0, "budget": 2, "workers": 1, '
        '"settings": ["zoom.final_side=.1"], "regrets": [0.5, 0.25]}\n'
    )
    assert read(file) == {run: [0.5, 0.25]}
    assert execute_all([run], None, file, 1) == {run: [0.5, 0.25]}
    assert read(tmp_path / "none") == {}


def test_another_number_reaches_the_module_that_uses_it(monkeypatch):
    monkeypatch.setattr(kbn.search.sampling, "SAMPLING", SAMPLING)  # and is undone
    set_number("sampling.kept_shares=(0.5, 1)")
    assert kbn.search.sampling.SAMPLING.kept_shares == (0.5, 1)
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("tuner.x=1", "--set takes one of search, "),
        ("zoom.x=1", "zoom has the fields final_side, "),
    ],
)
def test_an_unknown_number_is_rejected_with_those_there_are(assignment, message):
    with pytest.raises(ValueError, match=message):
        set_number(assignment)
