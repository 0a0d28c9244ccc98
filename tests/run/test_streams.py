"""Whole searches on data that do not lie in memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kbn
from kbn.errors import RecipeError
from kbn.recipe.loading import load_recipe
from kbn.run.hypermodel import RecipeModel
from kbn.run.plan import hyperparameters_of
from kbn.run.preflight import load_data, prepare
from kbn.run.reuse import Reuse
from recipe.pictures import make_folder

KBN = Path(sys.executable).with_name("kbn")
PICTURES = """\
name: pictures
dataset:
  path: photos/
  image_size: [12, 10]
  test: 0.2
  augmentation:
    - {name: RandomFlip, mode: horizontal}
    - {name: RandomBrightness, factor: 0.05}
model: {name: cnn, norm: {position: before_activation}}
objective: {metric: val_accuracy}
training: {class_weight: balanced}
search: {trials: 1, epochs: 4, seed: 1, final: {refit: true}}
space:
  learning_rate: {type: float, low: 1e-3, high: 1e-2, scale: log}
  layers: 1
  filters: 2
  batch_size: 8
tracking: {enabled: false}
"""
STREAMS = """\
name: streams
dataset: {python: own:load}
model: {name: mlp, norm: {position: before_activation}}
objective: {metric: val_accuracy}
training: {class_weight: balanced}
search: {trials: 2, epochs: 8, seed: 1, final: {refit: true}}
space:
  learning_rate: {type: float, low: 1e-2, high: 1e-1, scale: log}
  units: 8
  layers: 1
  dropout: 0.1
tracking: {enabled: false}
"""
CODE = """\
import keras, numpy as np, tensorflow as tf

rng = np.random.default_rng(0)
y = np.arange(90) % 3
x = (rng.normal(size=(90, 4)) + 5 * y[:, None] + 100).astype("float32")
parts = slice(0, 50), slice(50, 70), slice(70, 90)

class Batches(keras.utils.PyDataset):
    def __init__(self, part):
        super().__init__()
        self.x, self.y, self.order = x[part], y[part], np.random.permutation(len(x[part]))
    def __len__(self): return -(-len(self.x) // 16)
    def __getitem__(self, i):
        rows = self.order[16 * i : 16 * i + 16]
        return self.x[rows], self.y[rows]
    def on_epoch_end(self): np.random.shuffle(self.order)

def own_batches(): return tuple(map(Batches, parts))

def stream(part): return tf.data.Dataset.from_tensor_slices((x[part], y[part]))
def examples(): return stream(parts[0]).shuffle(50), *map(stream, parts[1:])
"""


def fresh(*command):
    """Run a command in a process of its own."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_a_folder_of_images_is_tuned_exported_and_its_model_takes_raw_pixels(workspace):
    images = make_folder(workspace / "photos", each=20)
    (workspace / "pictures.yaml").write_text(PICTURES)
    np.save("x.npy", np.stack(list(images.values())))
    tuned = fresh(KBN, "tune", "pictures.yaml", "--json")
    assert "Warning" not in tuned.stderr
    assert json.loads(tuned.stdout)["test"].keys() == {"test_loss", "test_accuracy"}
    program = (
        "import kbn, numpy as np; from kbn.cli.main import cli; x = np.load('x.npy');"
        "cli(['export', 'pictures.yaml', '--to', 'exported.keras'], standalone_mode=False);"
        "files = 'searches/pictures/best.keras', 'exported.keras';"
        "models = [kbn.load_model(file) for file in files];"
        "np.save('y.npy', [model.predict(x, verbose=0) for model in models]);"
        "names = [type(layer).__name__ for layer in models[0].layers];"
        "assert 'Normalization' in names and not any('Random' in name for name in names), names"
    )
    fresh(sys.executable, "-c", program)
    first, second = np.load("y.npy")
    np.testing.assert_array_equal(first, second)
    assert (first.argmax(1) == np.repeat([0, 1], 20)).mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("form", ["own_batches", "examples"])
def test_a_search_on_streams_finds_the_same_again_and_makes_its_best_model_from_the_seed(
    workspace, form
):
    (workspace / "own.py").write_text(CODE)
    (workspace / "streams.yaml").write_text(STREAMS)
    recipe = load_recipe("streams.yaml", [f"dataset.python=own:{form}"])
    one, other = (kbn.tune(recipe, directory=workspace / name) for name in ("one", "other"))
    scores = [trial.score for trial in one.results.trials]
    assert scores == [trial.score for trial in other.results.trials]
    assert None not in scores
    assert one.test == other.test
    assert one.test.keys() == {"test_loss", "test_accuracy"}
    x = np.array([[100] * 4, [105] * 4, [110] * 4], "float32")
    model = one.best_model()
    np.testing.assert_array_equal(
        model.predict(x, verbose=0), other.best_model().predict(x, verbose=0)
    )
    assert model.predict(x, verbose=0).argmax(1).tolist() == [0, 1, 2]


@pytest.mark.slow
def test_a_trial_that_is_trained_again_on_a_stream_gets_its_model_again(workspace):
    (workspace / "own.py").write_text(CODE)
    (workspace / "streams.yaml").write_text(STREAMS)
    recipe = load_recipe("streams.yaml", ["dataset.python=own:own_batches"])
    data, hp = load_data(recipe), hyperparameters_of(recipe)
    weights = []
    for reuse in (None, shared := Reuse(), shared):  # new, kept, and kept from another trial
        hypermodel = RecipeModel(recipe, data, reuse)
        model = hypermodel.build(hp)
        hypermodel.fit(hp, model)
        weights.append(model.get_weights())
    for others in weights[1:]:
        for one, other in zip(weights[0], others, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_arrays_with_augmentation_train_and_the_saved_model_has_none(workspace):
    recipe = kbn.Recipe(
        name="digits",
        dataset={"name": "digits", "shape": [8, 8, 1], "augmentation": ["RandomFlip"]},
        model={"name": "cnn"},
        objective={"metric": "val_accuracy"},
        search={"trials": 1, "epochs": 1},
        space={"learning_rate": 0.01, "layers": 1, "filters": 2, "batch_size": 128},
        tracking={"enabled": False},
    )
    tuned = kbn.tune(recipe)
    names = [type(layer).__name__ for layer in tuned.best_model().layers]
    assert names[0] == "Normalization"
    assert not any(name.startswith("Random") for name in names)


def faults_of(*overrides):
    with pytest.raises(RecipeError) as caught:
        prepare(load_recipe("streams.yaml", overrides))
    return [str(fault) for fault in caught.value.faults]


def test_what_does_not_fit_streams_is_reported_before_the_first_trial(workspace):
    (workspace / "own.py").write_text(
        f"{CODE}\ndef weighted(): return tuple(each.map(lambda x, y: (x, y, 1.0)) for each in "
        "examples())\n"
    )
    (workspace / "streams.yaml").write_text(STREAMS)
    own = "dataset.python=own:own_batches"
    assert faults_of(own, "space.batch_size=16") == [
        "command line: space.batch_size: the data come in batches of their own. "
        "Remove it; their size is that of the PyDataset."
    ]
    plain = load_recipe("streams.yaml", ["dataset.python=own:weighted", "training={}"])
    hypermodel = RecipeModel(plain, prepare(plain))
    model = hypermodel.build(hp := hyperparameters_of(plain))
    history = hypermodel.fit(hp, model, epochs=1).history
    assert np.isfinite(history["val_loss"]).all()
    assert faults_of("dataset.python=own:weighted") == [
        "streams.yaml:5: training.class_weight: the data have weights of their own, and Keras "
        "takes only one kind. Remove it."
    ]
