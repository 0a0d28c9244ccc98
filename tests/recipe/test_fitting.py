"""Optimizers, schedules, losses and metrics by name, and what the section `training` rejects."""

import keras
import numpy as np
import pytest
import sklearn.metrics

from kbn.errors import RecipeError
from kbn.recipe.loading import load_recipe
from kbn.recipe.losses import make_loss
from kbn.recipe.metrics import METRICS, better, make_metric, metric_name
from kbn.recipe.training import make_optimizer

STEPS = 100


def rates(**values):
    """Learning rates at some steps of a whole training."""
    schedule = make_optimizer({"learning_rate": 0.5, **values}, STEPS)._learning_rate
    return [float(schedule(step)) for step in (0, 9, 50, STEPS)]


def test_a_cosine_falls_from_the_learning_rate_to_its_final_share():
    wave = [(1 + np.cos(np.pi * step / STEPS)) / 2 for step in (0, 9, 50, STEPS)]
    np.testing.assert_allclose(rates(schedule="cosine"), 0.5 * np.array(wave), atol=1e-6)
    np.testing.assert_allclose(
        rates(schedule="cosine", decay=0.1), 0.5 * (0.1 + 0.9 * np.array(wave)), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("values", "cold"),
    [
        ({"schedule": "constant"}, [0.5] * 4),
        ({"decay": 0.01}, [0.5 * 0.01 ** (step / STEPS) for step in (0, 9, 50, STEPS)]),
    ],
)
def test_a_warm_up_rises_to_the_schedule_and_then_follows_it(values, cold):
    warm = rates(**values, warmup=0.2)
    np.testing.assert_allclose(warm, np.array(cold) * [1 / 20, 10 / 20, 1, 1], rtol=1e-5)


def test_a_constant_schedule_leaves_the_rate_to_callbacks():
    optimizer = make_optimizer({"learning_rate": 0.5, "schedule": "constant"}, STEPS)
    optimizer.learning_rate = 0.25
    assert float(optimizer.learning_rate) == 0.25


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"optimizer": "adamw", "beta_1": 0.8, "adam_epsilon": 1e-5, "weight_decay": 0.1},
            {"beta_1": 0.8, "epsilon": 1e-5, "weight_decay": 0.1},
        ),
        ({"optimizer": "rmsprop", "rho": 0.7, "momentum": 0.3}, {"rho": 0.7, "momentum": 0.3}),
        ({"optimizer": "lion", "beta_2": 0.95}, {"beta_2": 0.95}),
        (
            {"optimizer": "muon", "momentum": 0.9, "beta_1": 0.8},
            {"momentum": 0.9, "adam_beta_1": 0.8},
        ),
        ({"optimizer": "sgd", "clipnorm": 1.5}, {"clipnorm": 1.5}),
        ({"optimizer": "sgd", "clipvalue": 0.0}, {"clipvalue": None}),
        ({"global_clipnorm": 2.0}, {"global_clipnorm": 2.0}),
    ],
)
def test_hyperparameters_reach_the_optimizer_that_is_named(values, expected):
    optimizer = make_optimizer(values, STEPS)
    assert type(optimizer).__name__.lower() == values.get("optimizer", "adam")
    config = optimizer.get_config()
    assert {name: config[name] for name in expected} == expected


@pytest.fixture(params=[2, 4])
def predicted(request):
    """Numbers of classes, of which one is rare, and softmax outputs that are often right."""
    classes, rng = request.param, np.random.default_rng(0)
    y = rng.choice(classes, size=300, p=[0.9 / (classes - 1)] * (classes - 1) + [0.1])
    logits = rng.normal(size=(300, classes)) + 1.5 * np.eye(classes)[y]
    outputs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return y, logits.astype("float32"), outputs.astype("float32")


@pytest.mark.parametrize("name", ["precision", "recall", "f1_score"])
def test_scores_are_of_the_second_of_two_classes_or_the_mean_of_all(predicted, name):
    y, _, outputs = predicted
    metric = make_metric(name, outputs.shape[1])
    for part in np.array_split(np.arange(300), 3):  # batch by batch
        metric.update_state(y[part], outputs[part])
    average = "binary" if outputs.shape[1] == 2 else "macro"
    reference = getattr(sklearn.metrics, name if name == "f1_score" else f"{name}_score")
    expected = reference(y, outputs.argmax(1), average=average)
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("logits", [False, True])
def test_the_area_under_the_curve_is_that_of_each_class_against_the_others(predicted, logits):
    y, z, outputs = predicted
    metric = make_metric("auc", outputs.shape[1], logits=logits)
    metric.update_state(y, z if logits else outputs)
    two = outputs.shape[1] == 2
    expected = sklearn.metrics.roc_auc_score(
        y, outputs[:, 1] if two else outputs, multi_class="ovr", average="macro"
    )
    assert float(metric.result()) == pytest.approx(expected, abs=5e-3)  # of 200 thresholds


@pytest.mark.parametrize("name", ["root_mean_squared_error", "r2_score", "mae", "mse", "mape"])
def test_metrics_of_a_regression_take_a_column_of_outputs(name):
    rng = np.random.default_rng(0)
    y = rng.uniform(1, 2, 50).astype("float32")
    guess = y + rng.normal(0, 0.1, 50).astype("float32")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Identity()])
    model.compile(loss="mse", metrics=[make_metric(name, 1)])
    found = model.evaluate(guess[:, None], y, batch_size=10, verbose=0, return_dict=True)[name]
    references = {
        "root_mean_squared_error": sklearn.metrics.root_mean_squared_error,
        "r2_score": sklearn.metrics.r2_score,
        "mae": sklearn.metrics.mean_absolute_error,
        "mse": sklearn.metrics.mean_squared_error,
        "mape": lambda y, z: 100 * sklearn.metrics.mean_absolute_percentage_error(y, z),
    }
    assert found == pytest.approx(references[name](y, guess), rel=1e-4)


def test_every_name_of_a_metric_leads_to_the_one_that_training_reports():
    for name, kind in METRICS.items():
        for alias in (name, *kind.aliases):
            assert metric_name(alias) == name
            assert metric_name(f"val_{alias}") == f"val_{name}"
            assert better(f"val_{alias}") == kind.better
    assert metric_name("val_own") == "val_own"
    assert better("val_own") is None


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("from_logits", [False, True])
def test_crossentropy_is_keras_own_of_one_hot_targets(predicted, smoothing, from_logits):
    y, logits, outputs = predicted
    classes = outputs.shape[1]
    arguments = {"label_smoothing": smoothing, "from_logits": from_logits}
    given = logits if from_logits else outputs
    expected = keras.losses.CategoricalCrossentropy(**arguments)(np.eye(classes)[y], given)
    for name in ("categorical_crossentropy", "sparse_categorical_crossentropy"):
        loss = keras.losses.get(make_loss(name, arguments, classes))
        value = loss(y, given)
        assert float(np.mean(value)) == pytest.approx(float(expected), rel=1e-5)


def test_losses_take_their_arguments_and_survive_saving():
    huber = make_loss("huber", {"delta": 0.5}, 1)
    assert float(huber(np.zeros((1, 1)), np.full((1, 1), 2.0))) == pytest.approx(0.5 * 2 - 0.125)
    focal = make_loss("categorical_focal_crossentropy", {"gamma": 3.0}, 3)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(focal))
    y, outputs = np.array([0, 2]), np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]], "float32")
    reference = keras.losses.CategoricalFocalCrossentropy(gamma=3.0)(np.eye(3)[y], outputs)
    assert float(again(y, outputs)) == pytest.approx(float(reference))


def faults(recipe_file, text):
    recipe_file.write_text(recipe_file.read_text() + text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(recipe_file))
    return [str(fault).removeprefix(f"{recipe_file}:") for fault in caught.value.faults]


INVALID = {
    "an unknown key": (
        "training: {metric: [auc]}",
        "10: training.metric: unknown key; got 'metric'. Did you mean metrics?",
    ),
    "an unknown optimizer": (
        "training: {optimizer: adamv}",
        "10: training.optimizer: must name a known optimizer; got 'adamv'. Did you mean adam?",
    ),
    "an unknown metric": (
        "training: {metrics: [recal]}",
        "10: training.metrics.0: must name a known metric; got 'recal'. Did you mean recall?",
    ),
    "an unknown loss": (
        "training: {loss: hubr}",
        "10: training.loss: must name a known loss; got 'hubr'. Did you mean huber?",
    ),
    "an argument of another loss": (
        "training: {loss: {name: huber, label_smoothing: 0.1}}",
        "10: training.loss.label_smoothing: huber does not take it; got 0.1. It takes delta.",
    ),
    "an argument out of range": (
        "training: {loss: {name: categorical_crossentropy, label_smoothing: 1.5}}",
        "10: training.loss.label_smoothing: label_smoothing must be in [0, 1); got 1.5. Change it.",
    ),
    "an unknown callback": (
        "training: {callbacks: [EarlyStoping]}",
        "10: training.callbacks.0.name: must name a known callback; got 'EarlyStoping'. "
        "Did you mean EarlyStopping?",
    ),
    "an unknown argument of a callback": (
        "training: {callbacks: [{name: EarlyStopping, patiance: 3}]}",
        "10: training.callbacks.0.patiance: unknown key; got 'patiance'. Did you mean patience?",
    ),
    "a factor that raises the rate": (
        "training: {schedule: constant, callbacks: [{name: ReduceLROnPlateau, factor: 2.0}]}",
        "10: training.callbacks.0.factor: must be less than 1; got 2.0. Change the value.",
    ),
    "a plateau under a schedule": (
        "training: {callbacks: [ReduceLROnPlateau]}",
        "10: training.callbacks: ReduceLROnPlateau needs a learning rate without a schedule. "
        "Add training.schedule: constant.",
    ),
    "two ways to clip": (
        "training: {clipnorm: 1.0, clipvalue: 0.5}",
        "10: training.clipvalue: Keras takes only one of clipnorm, global_clipnorm, clipvalue. "
        "Keep one.",
    ),
    "a share above 1": (
        "training: {warmup: 1.5}",
        "10: training.warmup: warmup must be in [0, 1); got 1.5. Change the value.",
    ),
    "a negative weight of a class": (
        "training: {class_weight: {1: -2.0}}",
        "10: training.class_weight.1: a weight must be >= 0; got -2.0. Change the value.",
    ),
    "an unknown precision": (
        "training: {mixed_precision: float8}",
        "10: training.mixed_precision: must be true, false or one of mixed_bfloat16, "
        "mixed_float16; got 'float8'. Write true.",
    ),
    "a callback that is no function": (
        "training: {callbacks: [{python: callbacks}]}",
        "10: training.callbacks.0.python: must be module:function; got 'callbacks'. "
        "Write it like model:build, or models/model.py:build.",
    ),
}


@pytest.mark.parametrize(("text", "line"), INVALID.values(), ids=INVALID)
def test_what_is_wrong_with_the_training_is_one_line(recipe_file, text, line):
    assert faults(recipe_file, f"{text}\n") == [line]


def test_a_hyperparameter_stands_in_one_place_only(recipe_file):
    text = recipe_file.read_text()
    assert "  batch_size:" in text
    recipe_file.write_text(text.replace("  batch_size:", "  warmup: 0.2\n  batch_size:"))
    assert faults(recipe_file, "training: {warmup: 0.1}\n") == [
        "11: training.warmup: stands in space too. Keep one of the two."
    ]


def test_the_decay_of_a_constant_rate_is_used_by_nothing(recipe_file):
    text = recipe_file.read_text()
    recipe_file.write_text(text.replace("  batch_size:", "  decay: 0.2\n  batch_size:"))
    (fault,) = faults(recipe_file, "training: {schedule: constant}\n")
    assert fault.startswith("9: space.decay: nothing uses this name; got 'decay'.")


def test_the_direction_of_a_known_metric_need_not_be_written(recipe_file):
    text = recipe_file.read_text()
    line = next(line for line in text.splitlines() if line.startswith("objective"))
    for metric, name, direction in [
        ("val_AUC", "val_auc", "max"),
        ("val_loss", "val_loss", "min"),
        ("f1", "f1_score", "max"),
    ]:
        recipe_file.write_text(text.replace(line, f"objective: {{metric: {metric}}}"))
        objective = load_recipe(str(recipe_file)).objective
        assert (objective.metric, objective.direction) == (name, direction)
