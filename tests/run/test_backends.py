"""A whole tuning run with Keras on JAX and on PyTorch: search, tracking, report and best model."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import mlflow
import pytest

import kbn
from kbn.recipe.datasets import load_dataset

RECIPE = ("digits_mlp", "search.trials=2", "search.epochs=2", "dataset.test=0.1")
RECIPE += ("search.final.refit=true", "tracking.register_model=true")
# in place of TensorFlow, which these backends must not need
ABSENT = "raise ImportError('TensorFlow must not be imported')"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_recipe_is_tuned_on_another_backend_without_tensorflow(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: `make test-backends` installs it")
    (tmp_path / "tensorflow.py").write_text(ABSENT)

    def run(*arguments):
        done = subprocess.run(
            [Path(sys.executable).with_name("kbn"), *arguments],
            cwd=tmp_path,
            env=os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    printed = json.loads(run("tune", *RECIPE, "--json"))
    assert [trial["status"] for trial in printed["trials"]] == ["COMPLETED", "COMPLETED"]
    assert json.loads(run("best", *RECIPE, "--json"))["score"] == printed["best"]["score"]
    page = tmp_path / run("report", *RECIPE).strip()
    assert page == tmp_path / printed["report"]
    assert backend in tags_of_the_search(tmp_path).values()

    # the best model is the same on TensorFlow
    run("export", *RECIPE, "--fold", "--to", "folded.keras")
    recipe = kbn.load_recipe(RECIPE[0], RECIPE[1:])
    data = load_dataset(recipe.dataset, recipe.search.seed, recipe.home)
    for file in (printed["model"], "folded.keras"):
        model = keras.saving.load_model(tmp_path / file)
        right = model.predict(data.as_given(data.x_test), verbose=0).argmax(1) == data.y_test
        assert right.mean() == pytest.approx(printed["test"]["test_accuracy"]), file


def tags_of_the_search(directory):
    client = mlflow.MlflowClient(f"sqlite:///{directory / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'digits_mlp'")
    runs = client.search_runs([experiment.experiment_id])
    return next(run.data.tags for run in runs if "mlflow.parentRunId" not in run.data.tags)
