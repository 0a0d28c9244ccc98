import base64
import contextlib
import errno
import os
import re
import shutil
import sys

import keras
import numpy as np
import pytest
from mlflow import MlflowClient

import kbn
from kbn.errors import DamagedError, KbnError, MachineError, NoResultError, RecipeError
from kbn.recipe.searching import FinalSpec
from kbn.report.results import Results
from kbn.run.best import has_best, make_best
from kbn.run.project import Project, recipe_of
from kbn.run.watch import Watch

RECIPE = kbn.Recipe(
    name="quick",
    dataset={"name": "iris"},
    model={"name": "softmax"},
    objective={"metric": "val_loss", "direction": "min"},
    search={"trials": 2, "epochs": 2},
    space={"learning_rate": {"type": "float", "low": 0.01, "high": 1, "scale": "per_decade"}},
    tracking={"enabled": False},
)


@pytest.fixture
def recipe() -> kbn.Recipe:
    return RECIPE


class Told(Watch):
    """Remembers what it is told."""

    def __init__(self):
        self.ends, self.epochs, self.begins = [], [], []

    def search(self, project, oracle):
        self.oracle = oracle

    def began(self, trial, values):
        self.begins.append((trial, values["learning_rate"], len(self.oracle.rounds)))

    def epoch(self, trial, epochs, metrics):
        self.epochs.append((trial, epochs, metrics["val_loss"]))

    def ended(self, attempt):
        self.ends.append(attempt.trial)


def longer(recipe, **search):
    return recipe.model_copy(update={"search": recipe.search.model_copy(update=search)})


@pytest.mark.slow
def test_a_recipe_in_python_gives_its_trials_and_the_best_of_them(recipe, workspace):
    told = Told()
    tuned = kbn.tune(recipe, watch=told)
    assert told.ends == ["0", "1"]
    assert told.begins == [
        (t.trial, t.values["learning_rate"], rounds)
        for t, rounds in zip(tuned.results.trials, (1, 2), strict=True)
    ]
    assert told.epochs == [
        (t.trial, e.epoch + 1, e.metrics["val_loss"])
        for t in tuned.results.trials
        for e in t.epochs
    ]
    assert tuned.values == tuned.best.values
    assert list(tuned.trials["score"]) == [t.score for t in tuned.results.trials]
    assert tuned.best_model().input_shape == (None, 4)
    assert tuned.report.suffix == ".html"
    assert tuned.best.score == min(trial.score for trial in tuned.results.trials)
    assert tuned.best.score == min(e.metrics["val_loss"] for e in tuned.best.epochs)
    assert 0.01 <= tuned.best.values["learning_rate"] <= 1
    assert not (workspace / "mlflow.db").exists()  # tracking was off

    kbn.tune(longer(recipe, trials=3), watch=told)
    assert told.ends == ["0", "1", "2"]  # it went on

    with pytest.raises(
        RecipeError, match=r"search.epochs: must stay as in the search so far, 2; got 5"
    ):
        kbn.tune(longer(recipe, epochs=5))
    anew = kbn.tune(longer(recipe, epochs=5, trials=1), fresh=True)
    assert len(anew.results.trials) == 1


@pytest.mark.slow
def test_on_a_terminal_each_trial_that_ends_is_a_line_unless_the_user_watches(
    recipe, workspace, monkeypatch, capsys
):
    kbn.tune(longer(recipe, trials=1))
    assert capsys.readouterr().out == ""  # a file, or a pipe
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    tuned = kbn.tune(longer(recipe, trials=3))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for place, line in enumerate(lines, 1):
        trial, best = tuned.results.trials[place], min(tuned.trials["score"][: place + 1])
        shown = (
            rf"{place + 1}/3  trial {place}  val_loss {trial.score:#.4g}  best {best:#.4g}  .* s"
        )
        assert re.fullmatch(shown, line)
    kbn.tune(longer(recipe, trials=4), watch=Watch())
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_one_search_runs_in_one_process(recipe, workspace):
    class StartsAnother(Watch):
        def ended(self, attempt):
            with pytest.raises(KbnError, match="searches/quick: a search may run in one process"):
                kbn.tune(recipe)

    kbn.tune(longer(recipe, trials=1), watch=StartsAnother())


@pytest.mark.slow
def test_what_is_wrong_with_the_data_is_told_before_anything_is_written(recipe, workspace):
    tiny = recipe.dataset.model_copy(update={"validation": 0.001})
    with pytest.raises(RecipeError, match=r"dataset.validation: must leave examples"):
        kbn.tune(recipe.model_copy(update={"dataset": tiny}))
    assert list(workspace.iterdir()) == []
    assert len(kbn.tune(recipe).results.trials) == 2  # the mended recipe is not held against it


@pytest.mark.slow
def test_the_best_model_trained_anew_is_tested_and_tracked_with_the_report(recipe, workspace):
    dataset = recipe.dataset.model_copy(update={"test": 0.2})
    final = recipe.search.model_copy(update={"trials": 1, "final": FinalSpec(refit=True)})
    tracked = recipe.tracking.model_copy(update={"enabled": True})
    changed = {"dataset": dataset, "search": final, "tracking": tracked}
    tuned = kbn.tune(recipe.model_copy(update=changed))
    assert tuned.test.keys() == {"test_accuracy", "test_loss"}
    assert Results.test_scores(workspace / "searches" / "quick", tuned.best.trial) == tuned.test

    store = MlflowClient(f"sqlite:///{workspace}/mlflow.db")
    (experiment,) = store.search_experiments(filter_string="name = 'quick'")
    runs = store.search_runs([experiment.experiment_id])
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    assert parent.data.metrics["test_accuracy"] == pytest.approx(tuned.test["test_accuracy"])
    files = {file.path for file in store.list_artifacts(parent.info.run_id)}
    assert {"report.html", "report.png", "recipe.resolved.json"} <= files


def test_a_search_without_a_finished_trial_says_why(recipe, workspace, monkeypatch):
    def fail(*_, **__):
        raise MemoryError("too many units")

    monkeypatch.setattr("kbn.run.hypermodel.RecipeModel.fit", fail)
    with pytest.raises(
        NoResultError, match=r"none of 2 trials finished; .*: MemoryError: too many"
    ):
        kbn.tune(recipe)


class Killed(BaseException):
    """Stands for kill -9: nothing in the code answers to it."""


@pytest.fixture(scope="session")
def searched(tmp_path_factory):
    """A directory with a search of two trials, and what it found."""
    directory = tmp_path_factory.mktemp("searched")
    with contextlib.chdir(directory):
        return directory, kbn.tune(RECIPE)


@pytest.fixture
def tuned(searched, workspace):
    """What the search found, of which the working directory has a copy."""
    shutil.copytree(searched[0], workspace, dirs_exist_ok=True)
    return searched[1]


@pytest.fixture
def project(tuned, workspace):
    """Its directory."""
    return workspace / "searches" / "quick"


@pytest.mark.slow
def test_a_result_is_one_line_at_a_prompt_and_a_table_with_a_figure_in_a_notebook(project, tuned):
    best = min(tuned.results.trials, key=lambda trial: trial.score)
    outcome = f"quick: val_loss {best.score:.4g} in trial {best.trial}; 2 of 2 trials finished"
    assert repr(tuned) == f"<Tuned {outcome}>"
    page = tuned._repr_html_()
    assert outcome in page
    rows = re.findall(r"<td>(\d+)</td><td>([\d.]+)</td>", page)
    ranked = sorted(tuned.results.trials, key=lambda trial: trial.score)
    assert [row[0] for row in rows] == [trial.trial for trial in ranked]
    assert [float(row[1]) for row in rows] == pytest.approx([t.score for t in ranked], rel=1e-3)
    figure = (project / "figures" / "history.png").read_bytes()
    assert base64.b64encode(figure).decode() in page

    (project / "figures" / "history.png").unlink()  # a report may be removed
    assert "<img" not in tuned._repr_html_()


X = np.random.default_rng(0).normal(5, 1, (7, 4)).astype("float32")


def outputs(model):
    return model.predict(X, verbose=0)


def test_a_recipe_may_be_given_as_its_file_or_its_name_or_as_a_mapping(recipe, recipe_file):
    assert recipe_of("digits_softmax").name == "digits_softmax"
    for given in (str(recipe_file), recipe_file):
        assert recipe_of(given).model_dump() == kbn.load_recipe(recipe_file).model_dump()
    data = recipe.model_dump(mode="json")
    assert recipe_of(data).model_dump() == recipe.model_dump()
    assert data == recipe.model_dump(mode="json")  # it is not changed


def test_a_mapping_that_is_no_recipe_is_told_as_a_file_would_be(recipe, workspace):
    data = recipe.model_dump(mode="json")
    data["search"]["trials"] = "many"
    data["dataset"]["nam"] = "iris"
    with pytest.raises(RecipeError) as caught:
        kbn.tune(data)
    told = [str(fault) for fault in caught.value.faults]
    assert len(told) == 2
    assert any(line.startswith("recipe: search.trials: must be a") for line in told)
    assert any("dataset.nam" in line and "Did you mean name?" in line for line in told)
    with pytest.raises(RecipeError, match="recipe: dataset"):
        kbn.tune({})
    with pytest.raises(TypeError, match=r"A recipe must be a kbn\.Recipe, .* Got int"):
        kbn.tune(3)
    assert list(workspace.iterdir()) == []


@pytest.mark.slow
def test_anew_removes_the_search_and_leaves_what_a_user_put_beside_it(recipe, project):
    (project / "notes.txt").write_text("mine")
    first = Results.read(project, "min").trials
    anew = kbn.tune(longer(recipe, trials=1, seed=3), fresh=True)
    assert len(Results.read(project, "min").trials) == len(anew.results.trials) == 1
    assert anew.results.trials[0].values != first[0].values
    assert (project / "notes.txt").read_text() == "mine"


def test_a_users_own_directory_of_the_recipes_name_is_left_alone(recipe, workspace):
    (workspace / "quick" / "model").mkdir(parents=True)
    (workspace / "quick" / "model" / "thesis.tex").touch()
    for fresh in (False, True):
        with pytest.raises(KbnError, match="kbn has not made this one, which holds 'model'"):
            kbn.tune(recipe, directory=".", fresh=fresh)
    assert [path.name for path in workspace.rglob("*")] == ["quick", "model", "thesis.tex"]


def test_a_wrong_recipe_does_not_cost_the_search_that_it_would_begin_anew(recipe, project):
    tiny = recipe.dataset.model_copy(update={"validation": 0.001})
    with pytest.raises(RecipeError, match=r"dataset.validation"):
        kbn.tune(recipe.model_copy(update={"dataset": tiny}), fresh=True)
    assert len(Results.read(project, "min").trials) == 2


@pytest.mark.slow
@pytest.mark.parametrize("instant", ["while Keras writes", "before the rename", "after it"])
def test_a_kill_while_the_best_model_is_written_leaves_a_whole_one_and_the_next_start_writes_it(
    recipe, tuned, project, monkeypatch, instant
):
    before, expected = (project / "best.keras").read_bytes(), outputs(tuned.best_model())
    save = keras.Model.save

    def dies(*_):
        raise Killed

    def half(model, file):
        if instant == "while Keras writes":
            file.write_bytes(before[:100])
        else:
            save(model, file)
        raise Killed

    after = instant == "after it"
    with monkeypatch.context() as patched:
        patched.setattr(*("kbn.run.best.sync", dies) if after else (keras.Model, "save", half))
        with pytest.raises(Killed):
            kbn.tune(recipe)
    best = tuned.best.trial
    if not after:
        assert (project / "best.keras").read_bytes() == before
    np.testing.assert_allclose(outputs(tuned.best_model()), expected, atol=1e-6)
    if not has_best(Project(RECIPE), best):
        np.testing.assert_allclose(outputs(make_best(Project(recipe), best)), expected, atol=1e-6)
    again = kbn.tune(recipe)
    assert has_best(Project(RECIPE), best)
    np.testing.assert_allclose(outputs(again.best_model()), expected, atol=1e-6)


def test_a_best_model_that_is_damaged_or_another_trials_is_not_taken_for_it(tuned, project):
    best, file = tuned.best.trial, project / "best.keras"
    other = next(t.trial for t in tuned.results.trials if t.trial != best)
    assert has_best(Project(RECIPE), best)
    assert not has_best(Project(RECIPE), other)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert not has_best(Project(RECIPE), best)
    file.unlink()
    assert not has_best(Project(RECIPE), best)


def test_the_best_model_is_made_again_from_its_checkpoint_and_nothing_is_written(
    recipe, tuned, project
):
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*") if path.is_file()}
    made = make_best(Project(recipe), tuned.best.trial)
    np.testing.assert_allclose(outputs(made), outputs(tuned.best_model()), atol=1e-6)
    after = {path: path.stat().st_mtime_ns for path in project.rglob("*") if path.is_file()}
    assert after == before
    with pytest.raises(NoResultError, match="must hold trial 7"):
        make_best(Project(recipe), "7")


def test_a_damaged_checkpoint_is_named(recipe, tuned, project):
    checkpoint = project / f"trial_{tuned.best.trial}" / "checkpoint.weights.h5"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(DamagedError, match=rf"trial_{tuned.best.trial}/checkpoint.*--fresh"):
        kbn.tune(recipe)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["best.keras", "report.html"])
def test_a_disk_that_is_full_at_the_end_is_named_with_what_is_safe_and_the_next_start_ends_it(
    recipe, workspace, monkeypatch, name
):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    function = {"best.keras": "keras.Model.save", "report.html": "kbn.report.page.write_report"}
    with monkeypatch.context() as patched:
        patched.setattr(function[name], full)
        message = rf"searches/quick/{name}: .*No space left.* Every trial is saved;.* Make room"
        with pytest.raises(MachineError, match=message):
            kbn.tune(recipe)
    assert len(Results.read(workspace / "searches" / "quick", "min").finished) == 2
    told = Told()
    tuned = kbn.tune(recipe, watch=told)
    assert told.ends == []  # no trial was run again
    assert tuned.report.is_file()
    assert tuned.best_model().input_shape == (None, 4)
