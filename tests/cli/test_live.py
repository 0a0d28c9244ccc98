"""The display on a terminal."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from kbn.cli.live import Display
from kbn.recipe.loading import load_recipe
from kbn.run.project import Project
from kbn.search.zoom import Round
from kbn.tracking.attempts import Attempt

ROUNDS = (
    Round(0, 0, 2, 1.0, ({"learning_rate": [1e-4, 1.0], "batch_size": [16, 32]},), 2, 3),
    Round(
        1,
        2,
        1,
        0.5,
        (
            {"learning_rate": [1e-4, 1e-2], "batch_size": [16, 32], "found": [1, 2]},
            {"learning_rate": [1e-1, 1.0], "batch_size": [16, 32], "found": [3, 4]},
        ),
        3,
        3,
    ),
)
BEST = {"learning_rate": 1e-4, "batch_size": 16}
TRIALS = (
    Attempt("0", 1, BEST, 1000, ended=3000, status="COMPLETED", score=0.75),
    Attempt("1", 1, {}, 1000, ended=3000, status="FAILED", message="ValueError: no luck"),
)


@pytest.fixture
def display(recipe_file, workspace):
    display = Display(project := Project(load_recipe(recipe_file)))
    display.search(project, SimpleNamespace(rounds=ROUNDS, past=(), prior=()))
    for trial in TRIALS:
        display.began(trial.trial, trial.values)
        display.ended(trial)
    display.began("2", {"learning_rate": 1.0, "batch_size": 32, "found": 4})
    display.epoch("2", 1, {"val_accuracy": 0.5})
    return display


def lines(display, width=80, encoding="utf-8"):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=file, width=width, force_terminal=True, color_system=None).print(display)
    file.seek(0)
    return [line.rstrip() for line in file.read().splitlines()]


def test_it_shows_progress_best_running_trial_failures_and_round(display):
    progress, best, running, failed, current, *_ = lines(display)
    assert progress.startswith("quick  ━")
    assert progress.split("━")[-1].strip() in ("2 of 3  0:00:02 left", "2 of 3  0:00:01 left")
    assert best.split(maxsplit=1) == ["best", "val_accuracy 0.7500, trial 0"]
    assert running.split(maxsplit=1) == ["running", "trial 2, epoch 2 of 2, val_accuracy 0.5000"]
    assert failed.split(maxsplit=1) == ["failed", "1, the last: ValueError: no luck"]
    assert current.split(maxsplit=1)[1].startswith("1: trial 2, boxes of 0.50 of an axis")


def test_trials_that_run_at_a_time_have_a_line_each_and_a_mark_each(display):
    display.began("3", {"learning_rate": 1e-4, "batch_size": 16, "found": 1})
    display.epoch("3", 1, {"val_accuracy": 0.25})
    assert lines(display)[2].split(maxsplit=1)[1] == "trial 2, epoch 2 of 2, val_accuracy 0.5000"
    assert lines(display)[3].strip() == "trial 3, epoch 2 of 2, val_accuracy 0.2500"
    rows = {line.split()[0]: line for line in lines(display)[7:]}
    assert rows["learning_rate"].count("●") == 2
    died = Attempt("3", 1, BEST, 1000, ended=2000, status="KILLED", died=True)
    before = display.done
    display.ended(died)
    assert display.done == before  # it will run again
    assert list(display.running) == ["2"]


def test_it_shows_every_hyperparameters_boxes_on_its_own_scale(display):
    rows = {line.split()[0]: line for line in lines(display)[6:]}
    # half of the decades, a quarter of them left out, the last quarter
    strip = rows["learning_rate"].split()[1]
    assert strip == "◆" + 11 * "━" + 6 * "─" + 5 * "━" + "●"
    assert rows["learning_rate"].endswith("  1          0.0001 to 0.01, 0.1 to 1")
    assert rows["batch_size"].endswith("32         16 32")
    assert rows["found"].split() == ["found", "4", "1,", "2,", "3,", "4"]


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_no_line_is_wider_than_the_terminal_and_none_is_broken(display, width):
    shown = lines(display, width)
    assert max(map(len, shown)) <= width
    assert len(shown) == len(lines(display, 120)) - (width < 70)  # without the legend


def test_a_terminal_without_unicode_gets_letters_that_it_has(display):
    shown = "\n".join(lines(display, encoding="ascii"))
    assert shown.isascii()
    assert "*" + 11 * "=" + 6 * "-" + 5 * "=" + "o" in shown


def test_it_tells_what_happens_between_trials(recipe_file, workspace):
    display = Display(project := Project(load_recipe(recipe_file)))
    assert "TensorFlow starts" in lines(display)[1]
    display.search(project, SimpleNamespace(rounds=ROUNDS, past=(), prior=()))
    assert "the first trial is prepared" in lines(display)[1]
    for trial in (*TRIALS, TRIALS[0]):
        display.began(trial.trial, trial.values)
        display.ended(trial)
    assert "the report is written" in lines(display)[2]
