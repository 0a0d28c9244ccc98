"""A recipe's section `training` at work, from the command line to the saved model."""

import dataclasses
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.utils.class_weight import compute_class_weight

import kbn
from kbn.cli.main import cli
from kbn.errors import RecipeError
from kbn.recipe.fitting import TrainingSpec
from kbn.run.fitting import class_weight_of
from kbn.run.hypermodel import RecipeModel
from kbn.run.plan import hyperparameters_of
from kbn.run.preflight import prepare
from kbn.tracking.journal import Journal

TRAINING = """\
# Much of what a training can be told.
name: full
dataset: {path: table.csv, target: kind, validation: 0.3, standardize: true}
model: {name: mlp, norm: {position: before_activation}}
objective: {metric: val_auc}
search: {trials: 3, epochs: 6, seed: 1}
training:
  loss: {name: categorical_crossentropy, from_logits: true}
  metrics: [recall, F1Score]
  class_weight: {rare: 5.0}
  clipnorm: 1.0
  mixed_precision: true
  callbacks:
    - {name: EarlyStopping, patience: 1, min_delta: 1.0}
    - python: own.py:make
space:
  layers: 1
  units: 8
  learning_rate: {type: float, low: 1e-3, high: 1e-1, scale: log}
  label_smoothing: {type: float, low: 0, high: 0.2}
  warmup: {type: float, low: 0, high: 0.3}
  schedule: {type: choice, values: [cosine, exponential]}
  optimizer: {type: choice, values: [adamw, rmsprop, lion]}
  weight_decay: {type: float, low: 1e-6, high: 1e-1, scale: log}
tracking: {enabled: false}
"""
OWN = """\
import keras

class Own(keras.callbacks.Callback):
    trainings = 0

    def on_train_begin(self, logs=None):
        self.trainings += 1
        with open("trainings", "a") as file:
            file.write(f"{self.trainings}\\n")

def make():
    return Own()
"""
PREDICT = """\
import json, numpy, kbn
rows = numpy.loadtxt("table.csv", delimiter=",", skiprows=1, usecols=(0, 1))
print(json.dumps(kbn.load_model("best.keras").predict(rows, verbose=0).tolist()))
"""


@pytest.fixture
def table(workspace):
    """200 examples of two features, of which a tenth is rare; the recipe and its callback."""
    rng = np.random.default_rng(0)
    rare = rng.random(200) < 0.1
    x = rng.normal(size=(200, 2)) * 0.3 + np.outer(rare, [100.0, -1.0])
    rows = [f"{a},{b},{'rare' if r else 'common'}" for (a, b), r in zip(x, rare, strict=True)]
    (workspace / "table.csv").write_text("\n".join(["a,b,kind", *rows]) + "\n")
    (workspace / "full.yaml").write_text(TRAINING)
    (workspace / "own.py").write_text(OWN)
    return rare


@pytest.mark.slow
def test_a_recipe_says_how_its_models_are_trained(table, workspace):
    policy = keras.config.dtype_policy().name
    result = CliRunner().invoke(cli, ["tune", "full.yaml", "--json"])
    assert result.exit_code == 0, result.stderr
    assert keras.config.dtype_policy().name == policy
    attempts = Journal(workspace / "searches" / "full" / "journal").attempts()
    for attempt in attempts:
        # no epoch is better than the first by so much
        assert [epoch.epoch for epoch in attempt.epochs] == [0, 1]
        assert {"val_auc", "val_recall", "val_f1_score", "accuracy"} <= attempt.epochs[
            0
        ].metrics.keys()
    assert (workspace / "trainings").read_text() == "1\n" * 3  # a new callback for each trial

    events = Journal(workspace / "searches" / "full" / "journal").events()
    begin = next(event for event in events if event["event"] == "begin")
    assert (
        begin["params"].items()
        >= {
            "training.loss": "categorical_crossentropy, from_logits=True",
            "training.metrics": "recall, f1_score",
            "training.class_weight": "rare: 5",
            "training.clipnorm": "1.0",
            "training.mixed_precision": "mixed_bfloat16",
            "training.callbacks": "EarlyStopping, own.py:make",
        }.items()
    )

    exported = CliRunner().invoke(cli, ["export", "full.yaml", "--to", "best.keras"])
    assert exported.exit_code == 0, exported.stderr
    done = subprocess.run(
        [sys.executable, "-c", PREDICT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    outputs = np.array(json.loads(done.stdout))
    np.testing.assert_allclose(outputs.sum(1), 1, atol=1e-3)  # probabilities, not logits
    assert ((outputs >= 0) & (outputs <= 1)).all()


def test_the_rate_falls_on_a_plateau(table, workspace):
    recipe = kbn.Recipe(
        name="plateau",
        dataset={"name": "iris"},
        model={"name": "softmax"},
        objective={"metric": "val_loss"},
        search={"trials": 1, "epochs": 6},
        training={
            "schedule": "constant",
            "callbacks": [{"name": "ReduceLROnPlateau", "patience": 1, "min_delta": 100.0}],
        },
        space={"learning_rate": 0.25},
    )
    hypermodel, hp = RecipeModel(recipe, prepare(recipe)), hyperparameters_of(recipe)
    model = hypermodel.build(hp)
    rates = hypermodel.fit(hp, model).history["learning_rate"]
    # after two epochs without gain, and after each further one
    np.testing.assert_allclose(rates, 0.25 * 0.1 ** np.array([0, 0, 1, 2, 3, 4]), rtol=1e-5)


def test_balanced_class_weights_are_scikit_learns(table, workspace):
    recipe = kbn.load_recipe("full.yaml")
    dataset = prepare(recipe)
    weights = class_weight_of(TrainingSpec(class_weight="balanced"), dataset)
    expected = compute_class_weight("balanced", classes=np.arange(2), y=dataset.y_train)
    assert list(weights.values()) == pytest.approx(expected.tolist())
    assert class_weight_of(recipe.training, dataset) == {0: 1.0, 1: 5.0}
    assert class_weight_of(TrainingSpec(), dataset) is None


def test_a_training_without_a_validation_part_monitors_none(table, workspace):
    recipe = kbn.load_recipe("full.yaml")
    dataset = prepare(recipe)
    alone = dataclasses.replace(dataset, x_val=dataset.x_val[:0], y_val=dataset.y_val[:0])
    hypermodel, hp = RecipeModel(recipe, alone), hyperparameters_of(recipe)
    model = hypermodel.build(hp)
    assert len(hypermodel.fit(hp, model).epoch) == 6  # EarlyStopping would end it after two


FAULTS = {
    "training={'loss': 'huber'}": (
        "training.loss: is a loss for a regression; got 'huber'. "
        "The data are a classification; to change that: dataset.task."
    ),
    "training={'metrics': ['auc', 'rmse']}": (
        "training.metrics.1: is a metric for a regression; got 'root_mean_squared_error'. "
        "The data are a classification; to change that: dataset.task."
    ),
    "training={'class_weight': {'comon': 2.0}}": (
        "training.class_weight.comon: must name a class of the data; got 'comon'. "
        "Did you mean common?"
    ),
    "training={'callbacks': [{'python': 'own.py:Other'}]}": (
        "training.callbacks.0.python: must name a function of own.py; got 'Other'. "
        "Use one of: Own, make, number."
    ),
    "training={'callbacks': [{'python': 'own.py:number'}]}": (
        "training.callbacks.0.python: must return a Keras callback; got int. Fix the function."
    ),
    "training={'callbacks': [{'name': 'EarlyStopping', 'monitor': 'val_los'}]}": (
        "training.callbacks.0.monitor: must be a metric that training reports; got 'val_los'. "
        "Did you mean val_loss?"
    ),
}


@pytest.mark.parametrize(("change", "line"), FAULTS.items())
def test_what_does_not_fit_the_data_is_told_before_the_first_trial(table, workspace, change, line):
    (workspace / "own.py").write_text(f"{OWN}\ndef number():\n    return 3\n")
    key, _, value = change.partition("=")
    text = TRAINING[: TRAINING.index("training:")] + TRAINING[TRAINING.index("space:") :]
    value = value.replace("'", "")
    (workspace / "full.yaml").write_text(
        text.replace("  label_smoothing", "  #") + f"{key}: {value}\n"
    )
    with pytest.raises(RecipeError) as caught:
        prepare(kbn.load_recipe("full.yaml"))
    assert [str(fault).partition(": ")[2] for fault in caught.value.faults] == [line]
