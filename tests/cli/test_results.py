"""best, report and export of a finished search."""

import errno
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbn.report.words import number
from kbn.tracking.journal import Journal


def scores(directory):
    attempts = Journal(directory / "searches" / "small" / "journal").attempts()
    return {attempt.trial: attempt for attempt in attempts}


def test_tune_prints_the_search_as_json_alone(searched):
    directory, result = searched
    told = json.loads(result.stdout)
    attempts = scores(directory)
    assert [row["score"] for row in told["trials"]] == [a.score for a in attempts.values()]
    best = told["best"]
    assert best["score"] == max(a.score for a in attempts.values())
    assert best["values"] == attempts[best["trial"]].values
    assert (directory / told["model"]).is_file()
    assert (directory / told["report"]).is_file()


def test_the_refitted_models_test_scores_are_told(searched):
    directory, result = searched
    test = json.loads(result.stdout)["test"]
    model = keras.saving.load_model(directory / "searches" / "small" / "best.keras")
    from kbn.recipe.datasets import load_dataset
    from kbn.recipe.loading import load_recipe

    data = load_dataset(load_recipe(directory / "small.yaml").dataset, 1, directory)
    right = model.predict(data.as_given(data.x_test), verbose=0).argmax(1) == data.y_test
    assert test["test_accuracy"] == pytest.approx(right.mean())
    page = (directory / "searches" / "small" / "report.html").read_text()
    assert f"test_accuracy {number(test['test_accuracy'])}" in page


def test_best_prints_the_best_trials_values_and_score(kbn, finished):
    best = max(scores(finished).values(), key=lambda attempt: attempt.score)
    told = json.loads(kbn("best", "small.yaml", "--json").stdout)
    assert (told["score"], told["values"]) == (best.score, best.values)
    result = kbn("best", "small.yaml")
    assert result.exit_code == 0
    first, *values = result.stdout.splitlines()
    assert first == f"small: best trial {told['trial']}  val_accuracy {best.score:#.4g}"
    assert told["test"].keys() == {"test_accuracy", "test_loss"}  # the recipe has it trained anew
    names = {line.split()[0] for line in values}
    assert names == best.values.keys() | told["test"].keys()


def test_a_report_is_drawn_anew_without_keras(finished):
    program = (
        "import sys; from kbn.cli.main import cli; cli(['report', 'small.yaml'], "
        "standalone_mode=False); assert not {'keras', 'keras_tuner', 'mlflow'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], cwd=finished, check=True)


def test_report_writes_one_page_and_prints_its_path(kbn, finished):
    page = finished / "searches" / "small" / "report.html"
    page.unlink()
    result = kbn("report", "small.yaml")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "searches/small/report.html\n"
    html = page.read_text()
    assert "data:image/png;base64" in html
    assert "http://" not in html
    assert "https://" not in html


@pytest.mark.parametrize("command", ["best", "report", "export"])
def test_without_a_search_there_is_no_result_which_ends_with_4(kbn, recipe_file, command):
    arguments = ["--to", "out.keras"] if command == "export" else []
    result = kbn(command, recipe_file, *arguments)
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr == "searches/quick: there is no such search. First: kbn tune RECIPE\n"


@pytest.mark.parametrize("command", ["tune", "best", "report", "export"])
def test_another_recipe_than_that_of_the_search_is_refused_with_what_differs(
    kbn, finished, command
):
    arguments = ["--to", "out.keras"] if command == "export" else []
    result = kbn(command, "small.yaml", "search.epochs=2", *arguments)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "search.epochs: must stay as in the search so far, 1; got 2." in result.stderr


X = np.random.default_rng(0).normal(5, 1, (7, 4)).astype("float32")


def keras_outputs(path):
    return keras.saving.load_model(path).predict(X, verbose=0)


def saved_model_outputs(path):
    loaded = tf.saved_model.load(str(path))
    return loaded.serve(X).numpy()


def lite_outputs(path):
    with pytest.warns(UserWarning, match="tf.lite.Interpreter is deprecated"):
        interpreter = tf.lite.Interpreter(str(path))
    (given,), (told,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(given["index"], X.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], X)
    interpreter.invoke()
    return interpreter.get_tensor(told["index"])


@pytest.mark.parametrize(
    ("name", "outputs", "fold"),
    [
        ("out.keras", keras_outputs, []),
        ("out.tflite", lite_outputs, ["--fold"]),
        ("out", saved_model_outputs, ["--fold"]),
    ],
)
def test_export_writes_a_model_that_predicts_as_the_best_one(kbn, finished, name, outputs, fold):
    before = {path.name for path in finished.iterdir()}
    result = kbn("export", "small.yaml", "--to", name, *fold)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{name}\n", "")
    assert {path.name for path in finished.iterdir()} - before == {name}
    expected = keras_outputs(finished / "searches" / "small" / "best.keras")
    np.testing.assert_allclose(outputs(finished / name), expected, atol=1e-5)


def test_a_folded_model_has_no_batch_norm_and_still_standardizes(kbn, finished):
    assert kbn("export", "small.yaml", "--to", "out.keras", "--fold").stderr == ""
    best, folded = (
        [layer.__class__.__name__ for layer in keras.saving.load_model(file).layers]
        for file in ("searches/small/best.keras", "out.keras")
    )
    assert "BatchNormalization" in best
    assert folded == [name for name in best if name != "BatchNormalization"]
    assert folded[0] == "Normalization"


def test_export_replaces_its_own_kind_alone(kbn, finished):
    for _ in range(2):
        assert kbn("export", "small.yaml", "--to", "out").exit_code == 0
    result = kbn("export", "small.yaml", "--to", "searches")
    assert result.exit_code == 2
    assert "searches is something else" in result.stderr
    assert (finished / "searches" / "small" / "best.keras").is_file()


def test_export_to_an_unknown_ending_is_refused_with_those_that_it_knows(kbn, finished):
    result = kbn("export", "small.yaml", "--to", "out.h5")
    assert result.exit_code == 2
    assert "must end with .keras or .tflite" in result.stderr
    assert not (finished / "out.h5").exists()


def test_a_better_trial_that_the_search_does_not_hold_is_not_exported_as_another_ones_model(
    kbn, finished
):
    journal = Journal(finished / "searches" / "small" / "journal")
    number = journal.begin("3", {})
    journal.end("3", number, "COMPLETED", {}, score=1.5)
    result = kbn("export", "small.yaml", "search.trials=9", "--to", "out.keras")
    assert result.exit_code == 4
    assert "must hold trial 3, the best one" in result.stderr
    assert not (finished / "out.keras").exists()


def test_export_makes_the_model_again_where_the_search_was_killed_before_its_end(kbn, finished):
    best = finished / "searches" / "small" / "best.keras"
    expected = keras_outputs(best)
    best.unlink()
    result = kbn("export", "small.yaml", "--to", "out.keras")
    assert (result.exit_code, result.stdout) == (0, "out.keras\n")
    assert "made again from the trial's checkpoint" in result.stderr
    np.testing.assert_allclose(keras_outputs(finished / "out.keras"), expected, atol=1e-4)
    assert not best.exists()  # only tune writes in a search


@pytest.fixture
def without_tensorflow(monkeypatch):
    """Fails a command that comes as far as to import TensorFlow."""

    def fail():
        raise AssertionError("TensorFlow is imported")

    monkeypatch.setattr("kbn.cli.export.settle_libraries", fail)


def test_export_makes_no_directories_for_a_path_that_may_be_mistyped(
    kbn, finished, without_tensorflow
):
    result = kbn("export", "small.yaml", "--to", "nowhere/below/out.keras")
    assert result.exit_code == 2
    assert "must lie in a directory that exists; nowhere/below does not" in result.stderr
    assert not (finished / "nowhere").exists()


def test_export_to_a_place_that_cannot_be_written_is_told_before_tensorflow_is_imported(
    kbn, finished, without_tensorflow, monkeypatch
):
    def refuse(*, dir, prefix):  # noqa: A002  as tempfile names it
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(dir / prefix))

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)
    result = kbn("export", "small.yaml", "--to", "out.keras")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "Read-only file system. What was there before is as it was." in result.stderr
    assert "fault of kbn" not in result.stderr


OWN = """\
name: own
dataset: {name: iris, validation: 0.2}
model: {python: "model.py:build"}
objective: {metric: val_accuracy, direction: max}
search: {trials: 1, epochs: 1}
space: {rate: {type: float, low: 1e-3, high: 1e-1, scale: log}}
tracking: {enabled: false}
"""
MODEL = """\
import keras
def build(hp, shape, classes):
    hp.get("rate")
    print("the recipe's own code runs")
    return keras.Sequential([keras.Input(shape), keras.layers.Dense(classes, "softmax")])
"""


@pytest.mark.slow
def test_commands_that_look_run_no_code_of_a_recipe(kbn, workspace, monkeypatch):
    (workspace / "own.yaml").write_text(OWN)
    (workspace / "model.py").write_text(MODEL)
    tuned = kbn("tune", "own.yaml", "--json")
    assert "the recipe's own code runs" in tuned.stderr
    json.loads(tuned.stdout)  # it stands alone there

    def fail(*_):
        raise AssertionError("a recipe's module is imported")

    monkeypatch.setattr("kbn.recipe.code._import", fail)
    for command in ("best", "report", "show", "check"):
        result = kbn(command, "own.yaml")
        assert (result.exit_code, result.stderr) == (0, "")
    assert kbn("ls", ".").exit_code == 0


@pytest.mark.parametrize("target", ["small.tflite", "small"])
def test_formats_that_need_tensorflow_say_so_on_another_backend(kbn, finished, monkeypatch, target):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    result = kbn("export", "small.yaml", "--to", target)
    assert result.exit_code == 2
    assert "need Keras on TensorFlow; got jax" in result.stderr
    assert "KERAS_BACKEND=tensorflow kbn export" in result.stderr
    assert not (finished / target).exists()
