"""Searches for models of several named inputs, whose data are dicts of arrays."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import kbn
from kbn.errors import RecipeError
from kbn.recipe.loading import load_recipe
from kbn.run.final import complete
from kbn.run.preflight import prepare
from kbn.tracking.context import dataset_of

KBN = Path(sys.executable).with_name("kbn")
RECIPE = """\
name: inputs
dataset: {python: own:load, test: 0.2}
model: {python: own:build}
objective: {metric: val_accuracy}
search: {trials: 1, epochs: 6, seed: 1, final: {refit: true}}
space: {learning_rate: 0.05, units: 8, batch_size: 16}
"""
CODE = """\
import keras, numpy as np, tensorflow as tf

rng = np.random.default_rng(0)
y = np.arange(90) % 3
image = rng.normal(size=(90, 4, 4, 1)) * 5 + 60 + 20 * y[:, None, None, None]
x = {"image": image, "age": rng.normal(size=(90, 2)) * 100 + 1000}
parts = slice(0, 50), slice(50, 70), slice(70, 90)

def load(): return x, y
def quantity(): return x, 100.0 * y + rng.normal(size=90)
def stream(part):
    held = {name: array[part] for name, array in x.items()}
    return tf.data.Dataset.from_tensor_slices((held, y[part]))
def streams(): return tuple(map(stream, parts))

def build(hp, input_shape, classes):
    inputs = {name: keras.Input(shape, name=name) for name, shape in input_shape.items()}
    z = keras.layers.Concatenate()([keras.layers.Flatten()(each) for each in inputs.values()])
    z = keras.layers.BatchNormalization()(keras.layers.Dense(hp.get("units"), "relu")(z))
    last = "softmax" if classes > 1 else None
    return keras.Model(inputs, keras.layers.Dense(classes, last)(z))
def narrow(hp, input_shape, classes):
    given = keras.Input(input_shape["age"], name="other")
    z = keras.layers.Dense(hp.get("units"))(given)
    return keras.Model({"other": given}, keras.layers.Dense(classes, "softmax")(z))
"""


@pytest.fixture
def recipe(workspace):
    """A recipe in the working directory, with its code."""
    (workspace / "own.py").write_text(CODE)
    (workspace / "inputs.yaml").write_text(RECIPE)
    return workspace / "inputs.yaml"


PREDICT = """\
import kbn, mlflow, numpy, tensorflow
from kbn.cli.main import cli
for target in "exported.keras", "exported":
    cli(["export", "inputs.yaml", "--to", target, "--fold"], standalone_mode=False)
x = dict(numpy.load("x.npz"))
for number, file in enumerate(("searches/inputs/best.keras", "exported.keras")):
    numpy.save(f"y{number}", kbn.load_model(file).predict(x, verbose=0))
saved = tensorflow.saved_model.load("exported")
numpy.save("y2", saved.serve(x))

function = mlflow.pyfunc.load_model("searches/inputs/model")  # as it is sent to MLflow
numpy.save("y3", function.predict(x))
names = function.metadata.get_input_schema().input_names()
assert sorted(names) == ["age", "image"], names
shapes = {name: array.shape for name, array in function.input_example.items()}
assert shapes == {"image": (2, 4, 4, 1), "age": (2, 2)}, shapes
"""


def examples(step=20.0):
    """Return x, float32, and y, as the recipe's own code makes them."""
    rng, y = np.random.default_rng(0), np.arange(90) % 3
    image = rng.normal(size=(90, 4, 4, 1)) * 5 + 60 + step * y[:, None, None, None]
    age = rng.normal(size=(90, 2)) * 100 + 1000
    return {"image": image.astype("float32"), "age": age.astype("float32")}, y


@pytest.mark.slow
def test_a_search_leaves_models_that_take_a_dict_of_raw_arrays_in_a_fresh_process(recipe):
    x, y = examples()
    np.savez("x.npz", **x)
    for command in ([KBN, "tune", recipe], [sys.executable, "-c", PREDICT]):
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
    first, *others = (np.load(f"y{number}.npy") for number in range(4))
    assert (first.argmax(1) == y).mean() > 0.9
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-5)


@pytest.mark.slow
def test_streams_of_dicts_are_searched_too(recipe):
    changes = ["dataset.python=own:streams", "dataset.test=null", "tracking.enabled=false"]
    tuned = kbn.tune(load_recipe(recipe, changes))
    x, y = examples()
    assert (tuned.best_model().predict(x, verbose=0).argmax(1) == y).mean() > 0.9


@pytest.mark.slow
def test_a_regression_with_folds_predicts_in_the_data_s_own_units(recipe):
    changes = ["dataset.python=own:quantity", "search.folds=2", "dataset.validation=null"]
    changes += ["dataset.test=null", "search.final.refit=false", "search.epochs=20"]
    changes += ["objective.metric=val_mae", "tracking.enabled=false"]
    tuned = kbn.tune(load_recipe(recipe, changes))
    x, y = examples()
    predicted = tuned.best_model().predict(x, verbose=0)[:, 0]
    assert np.abs(predicted - 100.0 * y).mean() < 25  # answering the mean would be 67


def test_a_model_that_cannot_take_the_inputs_is_reported(recipe):
    def fault(*changes):
        with pytest.raises(RecipeError) as caught:
            prepare(load_recipe(recipe, changes))
        (found,) = caught.value.faults
        return found

    found = fault("model={name: mlp}")
    assert (found.key, found.rule) == ("model.name", "mlp takes a single array")
    assert "the inputs image, age" in str(found)
    found = fault("model.python=own:narrow")
    assert "{'image': (4, 4, 1), 'age': (2,)}" in found.rule
    found = fault("dataset.augmentation=[{name: RandomFlip, mode: horizontal}]")
    assert found.key == "dataset.augmentation"
    found = fault("dataset.shape=[2, 1]")
    assert (found.key, found.rule) == ("dataset.shape", "only a single array has a shape")


def test_a_data_set_in_mlflow_names_every_input():
    x, y = {"a": np.ones((4, 2), "float32"), "b": np.zeros((4, 3))}, np.arange(4)
    found = dataset_of("own", x, y)
    assert '{"name": "features.b", "dtype": "float64", "shape": [-1, 3]}' in found["schema"]
    assert '"targets_shape": [4]' in found["profile"]
    changed = {**x, "b": np.ones((4, 3))}
    assert dataset_of("own", changed, y)["digest"] != found["digest"]


def test_a_model_may_take_its_inputs_as_a_list_of_named_ones(recipe):
    data = prepare(load_recipe(recipe))
    inputs = [keras.Input(shape, name=name) for name, shape in data.shape.items()]
    flat = [keras.layers.Flatten()(each) for each in inputs]
    whole = complete(keras.Model(inputs, keras.layers.Concatenate()(flat)), data)
    x, _ = examples()
    mean, deviation = data.x_scaling["age"]
    scaled = whole.predict(x, verbose=0)[:, 16:]
    np.testing.assert_allclose(scaled, (x["age"] - mean) / deviation, atol=1e-4)
