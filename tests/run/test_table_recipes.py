"""A search on a table of words, dates and gaps, with weights: from its file to its saved model."""

import subprocess
import sys

import keras
import keras_tuner
import mlflow
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import kbn
from kbn.cli.main import cli
from kbn.errors import RecipeError
from kbn.recipe.loading import load_recipe
from kbn.run.hypermodel import RecipeModel
from kbn.run.identity import changes, identity_of
from kbn.run.plan import declared
from kbn.run.preflight import prepare

RECIPE = """\
name: mixed
dataset: {path: mixed.csv, columns: {number: ignore}, weights: weight, validation: val.csv}
model: {name: mlp}
objective: {metric: val_accuracy}
training: {class_weight: balanced}
search: {trials: 1, epochs: 2, seed: 1}
space: {units: 8, layers: 1, learning_rate: 0.05}
tracking: {register_model: true}
"""


@pytest.fixture
def mixed(workspace):
    """A recipe, its table in the working directory, and another for validation."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "number": [f"n{n}" for n in range(80)],
            "kind": rng.choice(["oak", "ash", None], 80),
            "size": np.where(rng.uniform(size=80) < 0.2, np.nan, rng.normal(size=80)),
            "planted": pd.date_range("2026-01-01", periods=80).astype(str),
            "weight": rng.choice([1.0, 3.0], 80),
            "tall": rng.choice(["yes", "no"], 80, p=[0.7, 0.3]),
        }
    )
    frame[:60].to_csv("mixed.csv", index=False)
    frame[60:].to_csv("val.csv", index=False)
    (workspace / "mixed.yaml").write_text(RECIPE)
    return frame


PREDICT = """\
import sys, kbn, numpy, pandas
model = kbn.load_model("searches/mixed/best.keras")
table = pandas.read_csv("val.csv")
numpy.save("predicted", model.predict(table, verbose=0))
"""


@pytest.mark.slow
def test_a_search_leaves_a_model_that_takes_the_table_in_a_fresh_process_and_from_mlflow(
    mixed, workspace
):
    tuned = kbn.tune("mixed.yaml")
    subprocess.run([sys.executable, "-c", PREDICT], check=True, capture_output=True)
    predicted = np.load("predicted.npy")
    assert predicted.shape == (20, 2)
    table, data = pd.read_csv("val.csv"), prepare(tuned.recipe)
    right = predicted.argmax(1) == data.y_val
    assert np.average(right, weights=table["weight"]) == pytest.approx(tuned.best.score, abs=1e-6)

    loaded = mlflow.pyfunc.load_model("searches/mixed/model")  # as it is sent to MLflow
    np.testing.assert_allclose(loaded.predict(table), predicted, atol=1e-6)
    assert loaded.metadata.get_input_schema().input_names() == ["kind", "size", "planted"]
    assert list(loaded.input_example) == ["kind", "size", "planted"]


@pytest.mark.slow
def test_a_saved_model_takes_the_columns_and_tf_lite_says_why_it_cannot(mixed):
    import tensorflow as tf

    kbn.tune("mixed.yaml")
    command = CliRunner().invoke
    assert command(cli, ["export", "mixed.yaml", "--to", "saved"]).exit_code == 0
    model = kbn.load_model("searches/mixed/best.keras")
    loaded = tf.saved_model.load("saved")
    served = loaded.serve(model.preprocessing.tensors(mixed))
    np.testing.assert_allclose(served, model.predict(mixed, verbose=0), atol=1e-6)
    result = command(cli, ["export", "mixed.yaml", "--to", "mixed.tflite"])
    assert result.exit_code == 2
    assert "TF-Lite takes numbers only; the model takes text, as of kind" in result.stderr


def test_class_weights_and_weights_multiply(mixed):
    recipe = load_recipe("mixed.yaml", ["space.layers=0", "space.batch_size=60", "search.epochs=1"])
    data, hp = prepare(recipe), keras_tuner.HyperParameters()
    declared(hp, recipe)
    hypermodel = RecipeModel(recipe, data)
    model = hypermodel.build(hp)
    first = model.predict(data.x_train, verbose=0)
    history = hypermodel.fit(hp, model).history
    share = data.w_train / 60
    of_class = 0.5 / np.bincount(data.y_train, share)
    losses = -np.log(first[np.arange(60), data.y_train])
    expected = np.sum(losses * share * of_class[data.y_train])
    assert history["loss"][0] == pytest.approx(expected, rel=1e-4)


def test_a_changed_file_of_a_part_is_a_change_of_the_recipe(mixed):
    recipe = load_recipe("mixed.yaml")
    begun = identity_of(recipe)
    mixed[50:].to_csv("val.csv", index=False)
    assert [fault.key for fault in changes(recipe, begun)] == ["files.val.csv"]


@pytest.mark.slow
def test_a_text_model_learns_from_words_in_order(workspace):
    rng = np.random.default_rng(0)
    good, filler = rng.integers(0, 2, 200), ["a", "film", "with", "some", "scenes"]
    words = [[*rng.choice(filler, 4), "great" if g else "awful"] for g in good]
    reviews = [" ".join(rng.permutation(w)) for w in words]
    pd.DataFrame({"review": reviews, "good": good}).to_csv("reviews.csv", index=False)
    tuned = kbn.tune(
        {
            "name": "reviews",
            "dataset": {"path": "reviews.csv", "columns": {"review": "tokens"}, "vocabulary": 20},
            "model": {"name": "text"},
            "objective": {"metric": "val_accuracy", "direction": "max"},
            "search": {"trials": 1, "epochs": 8},
            "space": {"embedding": 8, "learning_rate": 0.1, "batch_size": 16},
            "tracking": {"enabled": False},
        }
    )
    assert tuned.best.score > 0.95
    answers = tuned.best_model().predict({"review": ["Great!", "awful", None]}, verbose=0)
    assert answers.shape == (3, 2)
    assert answers[:2].argmax(1).tolist() == [1, 0]


def test_other_backends_are_told_that_such_tables_need_tensorflow(mixed, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RecipeError, match="need Keras on TensorFlow; got jax"):
        prepare(load_recipe("mixed.yaml"))
