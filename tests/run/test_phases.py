"""Training in phases: what it changes, how fast, and what comes out of a search of it."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_digits

import kbn
from kbn.cli.main import cli
from kbn.errors import RecipeError
from kbn.recipe.backbones import backbone_of, blocks
from kbn.run import tuner as tuner_module
from kbn.run.final import recalibrate_trained, refit
from kbn.run.fitting import Timeout
from kbn.run.hypermodel import RecipeModel
from kbn.run.plan import hyperparameters_of
from kbn.run.preflight import prepare
from kbn.run.project import Project
from kbn.run.tuner import RecipeTuner
from kbn.tracking.journal import Journal


def tiny(*, include_top, weights, input_shape, alpha=1.0):
    """A network of three blocks with the names of MobileNetV2's, which trains in a moment."""
    assert not include_top
    if weights is not None:
        raise OSError("URL fetch failure on https://storage.googleapis.com/: no network")
    x = inputs = keras.Input(input_shape)
    for block in ("Conv1", "block_1_project", "block_2_project"):
        x = keras.layers.Conv2D(round(4 * alpha), 3, strides=4, padding="same", name=block)(x)
        x = keras.layers.BatchNormalization(name=f"{block}_BN", momentum=0.9)(x)
        x = keras.layers.ReLU(name=f"{block}_relu")(x)
    return keras.Model(inputs, x)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(keras.applications, "MobileNetV2", tiny)


def a_recipe(model=(), space=(), training=(), **search):
    return kbn.Recipe(
        name="fine",
        dataset={"name": "digits", "shape": [8, 8, 1], "validation": 300, "test": 1000},
        model={
            "application": "MobileNetV2", "weights": "none", "value_range": [0, 16], **dict(model),
        },
        objective={"metric": "val_loss"},
        training=dict(training),
        search={"trials": 1, "epochs": 4, "seed": 1, **search},
        space={
            "learning_rate": 0.01, "fine_learning_rate": 0.002, "unfrozen": 1, "head_share": 0.5,
            "batch_size": 128, "dropout": 0.0, **dict(space),
        },
        tracking={"enabled": False},
    )  # fmt: skip


class Watch(keras.callbacks.Callback):
    """Notes the epochs, the learning rates, and the weights before and after each phase."""

    def __init__(self):
        super().__init__()
        self.epochs, self.rates, self.weights = [], [], []

    def note(self):
        layers = {layer.name: layer.get_weights() for layer in backbone_of(self.model).layers}
        self.weights.append({**layers, "output": self.model.layers[-1].get_weights()})

    def on_train_begin(self, logs=None):
        self.note()

    def on_train_end(self, logs=None):
        self.note()

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs.append(epoch)
        self.rates.append(float(self.model.optimizer.learning_rate))


def trained(recipe, callbacks=()):
    data = prepare(recipe)
    hypermodel, hp, watch = RecipeModel(recipe, data), hyperparameters_of(recipe), Watch()
    model = hypermodel.build(hp)
    history = hypermodel.fit(hp, model, callbacks=[watch, *callbacks])
    return model, history, watch, data


def changed(before, after):
    """The layers of which any weight is not bit-equal, in order."""
    return [
        name
        for name in before
        if any((a != b).any() for a, b in zip(before[name], after[name], strict=True))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("norm", [None, {"layer": "kbn.BatchNormalization"}])
def test_the_head_is_trained_alone_then_the_last_blocks_with_it(norm):
    _, _, watch, _ = trained(a_recipe({"norm": norm}))
    begin, head, middle, end = watch.weights
    assert changed(begin, head) == ["output"]
    assert changed(head, middle) == []
    norms = ["block_2_project_BN"] if norm else []  # else it stays in inference mode
    assert changed(middle, end) == ["block_2_project", *norms, "output"]
    assert watch.epochs == [0, 1, 2, 3]


@pytest.mark.slow
def test_each_phase_has_its_learning_rate_and_a_schedule_over_its_own_steps():
    _, _, watch, _ = trained(a_recipe(space={"decay": 0.01, "head_share": 0.6}, epochs=5))
    expected = [0.01 * 0.01 ** (epoch / 3) for epoch in range(3)]
    expected += [0.002 * 0.01 ** (epoch / 2) for epoch in range(2)]
    assert watch.rates == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "phases"),
    [
        ({"unfrozen": 0}, [(4, 0)]),
        ({"head_share": 0.0}, [(4, 1)]),
        ({"head_share": 0.99, "unfrozen": 9}, [(3, 0), (1, 9)]),
    ],
)
def test_a_training_has_the_phases_that_its_values_leave(space, phases):
    recipe = a_recipe(space=space)
    hypermodel, hp = RecipeModel(recipe, prepare(recipe)), hyperparameters_of(recipe)
    found = hypermodel._phases(hypermodel._values(hp))
    assert [(phase.epochs, phase.unfrozen) for phase in found] == phases
    _, history, watch, _ = trained(recipe)
    assert watch.epochs == history.epoch == [0, 1, 2, 3]
    assert len(watch.weights) == 2 * len(phases)
    assert watch.rates == pytest.approx(
        [0.002 if unfrozen else 0.01 for epochs, unfrozen in phases for _ in range(epochs)]
    )


@pytest.mark.slow
def test_it_trains_as_two_calls_of_fit_in_plain_keras_do():
    recipe = a_recipe(space={"optimizer": "sgd", "momentum": 0.9, "unfrozen": 2})
    data = prepare(recipe)
    hypermodel, hp = RecipeModel(recipe, data), hyperparameters_of(recipe)
    plain, model = hypermodel.build(hp), hypermodel.build(hp)
    keras.utils.set_random_seed(3)
    history = hypermodel.fit(hp, model)

    keras.utils.set_random_seed(3)
    layers, expected = backbone_of(plain).layers, []
    for rate, names, span in [
        (0.01, (), (0, 2)),
        (0.002, ("block_1_project", "block_2_project"), (2, 4)),
    ]:
        for layer in layers:
            layer.trainable = layer.name in names
        schedule = keras.optimizers.schedules.ExponentialDecay(rate, 1, 1.0)
        plain.compile(
            keras.optimizers.SGD(schedule, momentum=0.9),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        expected += plain.fit(
            data.x_train, data.y_train, batch_size=128, verbose=0, initial_epoch=span[0],
            epochs=span[1], validation_data=(data.x_val, data.y_val),
        ).history["val_loss"]  # fmt: skip
    np.testing.assert_allclose(history.history["val_loss"], expected, rtol=1e-4)


class StopIn(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch == 0


@pytest.mark.slow
def test_early_stopping_ends_a_phase_and_anything_else_the_training():
    stopping = {"name": "EarlyStopping", "min_delta": 9.0}  # no epoch is so much better
    _, history, watch, _ = trained(a_recipe(training={"callbacks": [stopping]}, epochs=10))
    assert history.epoch == watch.epochs == [0, 1, 2, 3]
    assert watch.rates == pytest.approx([0.01, 0.01, 0.002, 0.002])
    assert len(history.history["val_loss"]) == 4

    model, history, _, _ = trained(a_recipe(), [StopIn()])
    assert history.epoch == [0]
    # ready for what a checkpoint of the last phase holds
    assert len(model.trainable_variables) == 4


def test_a_timeout_counts_from_the_begin_of_the_first_phase(monkeypatch):
    clock = iter(range(1, 1000))
    monkeypatch.setattr("kbn.run.fitting.time.monotonic", lambda: next(clock))
    timeout = Timeout(5)
    timeout.set_model(keras.Sequential())
    for _ in range(3):
        timeout.on_train_begin()
        timeout.on_train_batch_end(0)
        timeout.on_train_batch_end(1)
    assert timeout.model.stop_training


def val_loss(model, data):
    """The loss of a saved model, which takes the digits as they are."""
    outputs = model.predict(data.x_val, verbose=0)
    picked = outputs[np.arange(len(outputs)), data.y_val]
    return -np.log(picked).mean()


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "best"), [(50.0, 1), (0.002, 3)])
def test_the_best_epoch_of_either_phase_is_saved_and_trained_again_alike(workspace, rate, best):
    recipe = a_recipe({"norm": {}}, {"fine_learning_rate": rate, "optimizer": "sgd"})
    tuned = kbn.tune(recipe)
    assert not any(getattr(e, "compiled", False) for e in tuned.best_model()._flatten_layers())
    (attempt,) = Journal(workspace / "searches" / "fine" / "journal").attempts()
    losses = [epoch.metrics["val_loss"] for epoch in attempt.epochs]
    assert [epoch.epoch for epoch in attempt.epochs] == [0, 1, 2, 3]
    assert int(np.nanargmin(losses)) == best
    data = prepare(recipe)
    assert val_loss(tuned.best_model(), data) == pytest.approx(min(losses), rel=1e-4)
    assert tuned.best.score == pytest.approx(min(losses))

    tuner = RecipeTuner(recipe, data, workspace / "searches" / "fine")
    trial = tuner.oracle.get_best_trials()[0]
    tuner_module.drop_weights(tuner._best_weights(trial.trial_id))
    assert val_loss(tuner.load_model(trial), data) == pytest.approx(min(losses), rel=1e-4)


INTERRUPTING = """\
import keras, pathlib, signal

class Interrupting(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 3 and not pathlib.Path("once").exists():
            pathlib.Path("once").touch()
            signal.raise_signal(signal.SIGINT)
"""


@pytest.mark.slow
def test_a_search_goes_on_with_its_weights_file_and_with_no_other_one(workspace):
    source = tiny(include_top=False, weights=None, input_shape=(32, 32, 3))
    source.save_weights("first.weights.h5")
    source.save("whole.keras")
    (workspace / "interrupting.py").write_text(INTERRUPTING)
    callbacks = [{"python": "interrupting.py:Interrupting"}]
    recipe = a_recipe({"weights": "first.weights.h5"}, training={"callbacks": callbacks})
    _, _, watch, _ = trained(a_recipe({"weights": "whole.keras"}))
    for name in ("Conv1", "Conv1_BN"):
        for ours, theirs in zip(
            watch.weights[-1][name], source.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)

    with pytest.raises(KeyboardInterrupt):
        kbn.tune(recipe)
    tuned = kbn.tune(recipe)
    attempts = Journal(workspace / "searches" / "fine" / "journal").attempts()
    assert [(each.status, len(each.epochs)) for each in attempts] == [
        ("KILLED", 3),
        ("COMPLETED", 4),
    ]
    (conv,) = (e for e in tuned.best_model()._flatten_layers() if e.name == "Conv1")
    np.testing.assert_array_equal(conv.get_weights()[0], source.get_layer("Conv1").get_weights()[0])

    tiny(include_top=False, weights=None, input_shape=(32, 32, 3)).save_weights("first.weights.h5")
    with pytest.raises(RecipeError, match=r"files\.first\.weights\.h5: must stay as in the search"):
        kbn.tune(recipe)


def test_weights_that_cannot_be_had_are_found_before_anything_is_written(workspace):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights("other.weights.h5")
    hint = "Save them with save_weights of the application, made with include_top=False."
    for weights, rule in {
        "other.weights.h5": f"must hold the weights of MobileNetV2 without its top; got .*{hint}",
        "imagenet": "Keras must be able to load the weights of MobileNetV2; got OSError: URL fetch"
        " failure.*Try again with a network",
    }.items():
        with pytest.raises(RecipeError, match=f"model.weights: {rule}"):
            kbn.tune(a_recipe({"weights": weights}))
    assert sorted(file.name for file in workspace.iterdir()) == ["other.weights.h5"]


def averages(model):
    norms = [e for e in model._flatten_layers() if isinstance(e, keras.layers.BatchNormalization)]
    return {norm.name: np.array(norm.moving_mean) for norm in norms}


@pytest.mark.slow
def test_the_trained_norms_alone_get_the_statistics_of_all_examples():
    model, _, _, data = trained(a_recipe({"norm": {}}))
    before = averages(model)
    recalibrate_trained(model, data)
    after = averages(model)
    assert [name for name in after if (after[name] != before[name]).any()] == ["block_2_project_BN"]
    backbone = backbone_of(model)
    inputs = keras.Model(backbone.inputs, backbone.get_layer("block_2_project").output)
    pixels = np.repeat(keras.ops.image.resize(data.x_train * (255 / 16), (32, 32)), 3, -1)
    values = inputs.predict(pixels / 127.5 - 1, verbose=0)
    np.testing.assert_allclose(after["block_2_project_BN"], values.mean((0, 1, 2)), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("norm", [None, {}])
def test_a_model_that_is_trained_anew_keeps_its_frozen_norms(norm):
    recipe = a_recipe({"norm": norm}, final={"refit": True})
    model, scores = refit(recipe, prepare(recipe), hyperparameters_of(recipe))
    means = averages(model)
    assert not means["Conv1_BN"].any()
    assert means["block_2_project_BN"].any() == (norm is not None)
    assert set(scores) == {"test_loss", "test_accuracy"}


@pytest.mark.slow
@pytest.mark.parametrize("recalibrate", [False, True])
def test_the_best_model_is_recalibrated_where_that_is_asked_for(workspace, recalibrate):
    recipe = a_recipe({"norm": {"recalibrate": recalibrate}}, {"norm_momentum": 0.5})
    tuned = kbn.tune(recipe)
    found = averages(tuned.best_model())["block_2_project_BN"]
    data = prepare(recipe)
    tuner = RecipeTuner(recipe, data, Project(recipe).path)
    model = tuner.load_model(tuner.oracle.get_best_trials()[0])
    as_trained = averages(model)["block_2_project_BN"]
    recalibrate_trained(model, data)
    expected = averages(model)["block_2_project_BN"] if recalibrate else as_trained
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert not np.allclose(averages(model)["block_2_project_BN"], as_trained, rtol=1e-3)


def test_blocks_of_the_small_network_are_three():
    network = tiny(include_top=False, weights=None, input_shape=(32, 32, 3))
    assert [layers[-1].name for layers in blocks(network)] == [
        "Conv1_relu", "block_1_project_relu", "block_2_project_relu",
    ]  # fmt: skip


PREDICT = """\
import json, kbn, sklearn.datasets
images = sklearn.datasets.load_digits().images[:5, ..., None]
print(json.dumps(kbn.load_model("searches/fine/best.keras").predict(images, verbose=0).tolist()))
"""


@pytest.mark.slow
def test_a_tuned_application_predicts_in_another_process(workspace):
    text = a_recipe({"norm": {}}).model_dump_json(exclude_unset=True)
    (workspace / "fine.yaml").write_text(text)
    result = CliRunner().invoke(cli, ["tune", "fine.yaml", "--json"])
    assert result.exit_code == 0, result.stderr
    done = subprocess.run(
        [sys.executable, "-c", PREDICT], check=True, capture_output=True, text=True
    )
    images = load_digits().images[:5, ..., None]
    expected = kbn.load_model("searches/fine/best.keras").predict(images, verbose=0)
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-5)
