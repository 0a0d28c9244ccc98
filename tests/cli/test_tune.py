"""tune: what it plans, and what it tells on the way."""

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from kbn.cli.progress import CommandProgress
from kbn.recipe.loading import load_recipe
from kbn.report.results import Results
from kbn.run.project import Project
from kbn.search.ranking import REPEATS, best_first
from kbn.tracking.attempts import Attempt
from kbn.tracking.journal import Journal


def attempt(trial, score=None, **fields):
    status = "FAILED" if score is None else "COMPLETED"
    fields = {"values": {}, "began": 1000, "ended": 3000, "status": status, **fields}
    return Attempt(trial, 1, score=score, **fields)


def test_a_dry_run_tells_the_points_that_the_search_then_begins_with(kbn, finished):
    begun = [a.values for a in Journal(finished / "searches" / "small" / "journal").attempts()]
    before = sorted(finished.rglob("*"))
    told = json.loads(kbn("tune", "small.yaml", "--dry-run", "--json").stdout)
    (planned,) = told["searches"]
    assert planned["points"] == begun[: len(planned["points"])]
    assert planned["points"]
    assert sorted(finished.rglob("*")) == before


@pytest.mark.parametrize(
    ("given", "learned"),
    [("auto", "3 trials of small"), ("[small]", "3 trials of small"), ("none", None)],
)
def test_a_dry_run_tells_what_the_search_learns_from(kbn, finished, given, learned):
    changes = "name=other", f"search.from={given}"
    (planned,) = json.loads(kbn("tune", "small.yaml", *changes, "--dry-run", "--json").stdout)[
        "searches"
    ]
    assert planned["learns_from"] == learned
    assert ("tuner/from" in planned["points"][0]) == (learned is not None)


def test_an_unknown_earlier_search_is_a_fault_that_names_the_one_meant(kbn, finished):
    result = kbn("tune", "small.yaml", "name=other", "search.from=[smal]")
    assert result.exit_code == 3
    assert "Did you mean small?" in result.stderr


def test_a_dry_run_tells_the_rounds_that_the_search_then_has(kbn, recipe_file, workspace):
    import keras_tuner

    from kbn.run.plan import declared, make_oracle

    recipe = load_recipe(recipe_file, ["search.trials=12"])
    hp = keras_tuner.HyperParameters()
    declared(hp, recipe)
    oracle = make_oracle(recipe, hp)
    oracle._set_project_dir(workspace, "reference")
    oracle.verbose = 0
    for number in range(12):
        trial = oracle.create_trial("one")
        oracle.update_trial(trial.trial_id, {"val_accuracy": number % 5 / 5})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    told = json.loads(kbn("tune", recipe_file, "search.trials=12", "--dry-run", "--json").stdout)
    assert told["searches"][0]["rounds"] == [
        {"trials": [one.first, one.end - 1], "side": one.side} for one in oracle.rounds
    ]


def test_a_dry_run_prints_a_recipe_that_says_the_same_with_all_its_defaults(
    kbn, recipe_file, workspace
):
    result = kbn("tune", recipe_file, "search.trials=7", "--dry-run")
    assert (result.exit_code, result.stderr) == (0, "")
    printed, _, plan = result.stdout.partition("\nquick: the first trials\n")
    resolved = workspace / "resolved.yaml"
    resolved.write_text(printed)
    expected = load_recipe(recipe_file, ["search.trials=7"]).model_dump()
    assert load_recipe(resolved).model_dump() == expected
    assert yaml.safe_load(printed)["search"]["tuner"] == "coarse_to_fine"
    assert plan.splitlines()[0].split() == ["learning_rate", "batch_size"]
    assert "quick: the rounds" in plan
    assert {path.name for path in workspace.iterdir()} == {"quick.yaml", "resolved.yaml"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("lost", [False, True])
def test_a_stop_ends_with_the_command_that_goes_on(
    kbn, recipe_file, monkeypatch, number, code, lost
):
    def stopped(recipe, *, fresh, watch):
        assert fresh
        print("from a library")  # noqa: T201
        try:
            signal.raise_signal(number)
        except BaseException:
            if lost:
                raise RuntimeError("what native code made of it") from None
            raise

    monkeypatch.setattr("kbn.run.search.tune", stopped)
    uri = "tracking.uri=http://me:password@127.0.0.1:9"
    result = kbn("tune", recipe_file, "search.trials=2", uri, "--fresh")
    assert (result.exit_code, result.stdout) == (code, "")
    again = re.search(r"It goes on with: (.*)$", result.stderr)[1]
    shown = "tracking.uri=http://***@127.0.0.1:9"
    assert shlex.split(again)[1:] == ["tune", str(recipe_file), "search.trials=2", shown]
    assert result.stderr.splitlines()[:2] == ["quick: 2 trials of 2 epochs", "from a library"]


def oracle_of(rounds):
    return SimpleNamespace(rounds=rounds, past=(), prior=())


@pytest.mark.parametrize("begun", [False, True])
def test_a_stop_before_the_old_search_is_removed_tells_to_begin_anew_again(
    kbn, recipe_file, workspace, monkeypatch, begun
):
    recipe = load_recipe(recipe_file)
    project = Project(recipe)
    project.path.mkdir(parents=True)
    Project(load_recipe(recipe_file, ["search.seed=9"])).begin()

    def stopped(recipe, *, fresh, watch):
        if begun:
            project.begin()
            watch.search(project, oracle_of(()))
            watch.ended(attempt("0", 0.5))
        raise KeyboardInterrupt

    monkeypatch.setattr("kbn.run.search.tune", stopped)
    result = kbn("tune", recipe_file, "--fresh")
    assert result.exit_code == 130
    assert ("best so far: trial 0  val_accuracy 0.5000" in result.stderr) == begun
    again = re.search(r"It goes on with: (.*)$", result.stderr)[1]
    assert shlex.split(again)[2:] == [str(recipe_file), *([] if begun else ["--fresh"])]
    if begun:
        project.check_unchanged()  # the command is not rejected


def test_the_best_of_a_growing_search_is_told_as_the_ranking_of_all_has_it(recipe_file, workspace):
    minimized = ["objective.metric=val_loss", "objective.direction=min"]
    lines = CommandProgress(project := Project(load_recipe(recipe_file, minimized)))
    lines.search(project, oracle_of(()))
    rng, trials = np.random.default_rng(0), []
    for number in range(60):
        values = {}
        if number % 7 == 6:  # of the best one, which may have been lucky
            best = Results(tuple(trials), "min").best
            values = {REPEATS: best.values.get(REPEATS, best.trial)}
        score = None if number % 5 == 4 else float(rng.integers(20))
        trials.append(attempt(str(number), score, values=values))
        results = Results(tuple(trials), "min")
        lines.ended(trials[-1])
        assert lines.best == results.best


def test_telling_of_a_trial_ranks_no_more_trials_the_longer_the_search(
    recipe_file, workspace, monkeypatch
):
    lines = CommandProgress(Project(load_recipe(recipe_file)))
    for number in range(1000):
        lines.ended(attempt(str(number), number / 1000))
    ranked = []

    def counting(given, direction):
        given = list(given)
        ranked.append(len(given))
        return best_first(given, direction)

    monkeypatch.setattr("kbn.report.results.best_first", counting)
    last = attempt("1000", 0.5)
    lines.ended(last)
    assert lines.best.trial == "999"
    assert max(ranked) <= 2


def test_a_line_a_trial_tells_its_place_its_score_the_best_and_why_it_failed(
    recipe_file, workspace, capsys
):
    lines = CommandProgress(Project(load_recipe(recipe_file)))
    first, second = (
        attempt("0", 0.5),
        attempt("1", message="Traceback:\n  File x\nValueError: no luck"),
    )
    lines.ended(first)
    lines.ended(second)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "1/3  trial 0  val_accuracy 0.5000  best 0.5000  2.0 s",
        "2/3  trial 1  failed  best 0.5000  2.0 s",
        "  ValueError: no luck",
    ]


def test_a_comparisons_lines_name_the_search_and_count_the_trials_of_all(
    recipe_file, workspace, capsys
):
    compare = "compare={seeds: 1, variants: {a: {}, b: {search.epochs: 1}}}"
    lines = CommandProgress(project := Project(load_recipe(recipe_file, [compare])))
    for search in project.searches:
        lines.search(search, oracle_of(()))
        lines.ended(attempt("0", 0.5))
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("quick-a-0  1/6  trial 0")
    assert second.startswith("quick-b-0  2/6  trial 0")


def test_a_search_that_goes_on_counts_what_ended_before_but_not_what_was_stopped(
    recipe_file, workspace
):
    journal = Journal(workspace / "searches" / "quick" / "journal")
    for trial, status in (("0", "COMPLETED"), ("1", "FAILED"), ("2", "KILLED")):
        score = 0.5 if status == "COMPLETED" else None
        journal.end(trial, journal.begin(trial, {}), status, {}, score=score)
    project = Project(load_recipe(recipe_file))
    for fresh, done in ((False, 2), (True, 0)):
        lines = CommandProgress(project)
        lines.opened(project, fresh=fresh)
        assert (lines.done, lines.planned) == (done, 3)


def test_the_time_left_is_that_of_the_trials_left(recipe_file, workspace):
    lines = CommandProgress(Project(load_recipe(recipe_file)))
    assert lines.seconds_left is None
    lines.ended(attempt("0", 0.5))
    assert lines.seconds_left == pytest.approx(2 * 2.0)


# paints a frame, prints something, and is stopped while it paints
PAINTER = """
import os, signal, sys
from kbn.cli.command import Group
from kbn.cli.watching import watching
from kbn.recipe.loading import load_recipe
from kbn.run.project import Project

try:
    with watching(Project(load_recipe(sys.argv[1]))):
        print("from a library")  # noqa: T201
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()
except KeyboardInterrupt:
    print("stopped", file=sys.stderr)
"""


def test_a_stopped_display_leaves_the_terminal_as_it_was_and_stdout_to_results(
    recipe_file, workspace
):
    main, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-c", PAINTER, str(recipe_file)],
        stdout=subprocess.PIPE,
        stderr=terminal,
        env=environment,
    ) as painter:
        os.close(terminal)
        painted = b""
        while chunk := read(main):
            painted += chunk
        assert painter.communicate()[0] == b""
    os.close(main)
    text = painted.decode()
    assert "TensorFlow starts" in text
    assert "from a library" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor hidden and shown
    *_, after = text.partition("\x1b[?25h")
    lines = text.split("TensorFlow starts")[-1]
    assert lines.count("\x1b[2K") >= 2  # both lines of the display are erased
    assert after.endswith("stopped\r\n")


def read(main):
    try:
        return os.read(main, 4096)
    except OSError:  # how Linux tells that nobody has the terminal open any more
        return b""
