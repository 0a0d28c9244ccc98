"""Canaries: each private name of a library that kbn.run uses still means what it did."""

import gc
import importlib.util
import os
import subprocess
import sys

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

import kbn
from kbn.run import _keras, _keras_tuner


@pytest.mark.slow
@pytest.mark.parametrize("wrapped", [False, True], ids=["", "loss scaling"])
def test_the_graph_of_a_training_ends_with_its_model(wrapped):
    def trained(release):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        optimizer = keras.optimizers.SGD()
        if wrapped:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        model.compile(optimizer, "mse")
        release(model.optimizer)
        model.fit(np.ones((4, 2)), np.ones(4), verbose=0)

    def graphs():
        gc.collect()
        return sum(type(each).__name__ == "FuncGraph" for each in gc.get_objects())

    before = graphs()
    trained(_keras.reduce_nothing)
    assert graphs() == before, "an optimizer no longer leads through _all_reduce_sum_gradients"
    trained(lambda _: None)
    assert graphs() > before, "Keras keeps no graph any more: reduce_nothing has become needless"


def test_keras_creates_the_metrics_of_a_compiled_model_in_symbolic_build():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    _keras.build_metrics(model, np.ones((1, 2)), np.ones(1))
    assert "mae" in model.get_metrics_result(), (
        "Trainer._symbolic_build no longer creates the metrics that compile was given"
    )


def a_model(**options):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dropout(0.5), kbn.BatchNormalization()]
    model = keras.Sequential([keras.Input((2,)), *layers, keras.layers.Dense(1)])
    optimizer = keras.optimizers.Adam(0.01)
    model.compile(optimizer, "mse", metrics=["mae"], **{"steps_per_execution": 3, **options})
    return model


def batches(count, *, of_known_number=True):
    rng = np.random.default_rng(count)
    x, y = rng.normal(size=(count, 4, 2)), rng.normal(size=(count, 4))
    data = tf.data.Dataset.from_tensor_slices((x, y))
    return data if of_known_number else data.filter(lambda x, y: True)


ENDS_ANYWHERE = pytest.mark.filterwarnings("ignore:Your input ran out of data")


@pytest.mark.parametrize("of_known_number", [pytest.param(False, marks=ENDS_ANYWHERE), True])
@pytest.mark.parametrize("count", [1, 3, 10])
def test_steps_taken_together_give_what_keras_gives(count, of_known_number):
    data, others = (batches(n, of_known_number=of_known_number) for n in (count, 7))
    histories, scores = [], []
    for prepare in (lambda model: None, _keras.run_steps_together):
        model = a_model()
        prepare(model)
        functions = model.train_function, model.test_function
        histories.append(
            model.fit(data, epochs=3, validation_data=others, shuffle=False, verbose=0).history
        )
        scores.append(model.evaluate(others, return_dict=True, verbose=0))
    assert histories[0] == histories[1]
    assert scores[0] == scores[1]
    assert None not in functions
    assert functions == (model.train_function, model.test_function), (
        "fit no longer calls the train_function that it finds"
    )


def test_with_steps_taken_together_a_single_batch_gives_what_keras_gives():
    x, y = next(iter(batches(1)))
    found = []
    for prepare in (lambda model: None, _keras.run_steps_together):
        model = a_model()
        prepare(model)
        trained = model.train_on_batch(x, y, return_dict=True)
        found.append([*trained.values(), *model.test_on_batch(x, y)])
    np.testing.assert_allclose(*found, rtol=1e-5)


@pytest.mark.slow
def test_of_many_short_trainings_tensorflow_does_not_warn(monkeypatch):
    warnings = []
    monkeypatch.setattr(tf.get_logger(), "handle", lambda record: warnings.append(record.msg))
    for _ in range(6):
        model = a_model()
        _keras.run_steps_together(model)
        model.fit(batches(3), shuffle=False, verbose=0)
    assert warnings == []


class OwnSteps(keras.Sequential):
    def train_step(self, data):
        return super().train_step(data)


@pytest.mark.parametrize("options", [{"run_eagerly": True}, {"jit_compile": True}, {}])
def test_steps_are_not_taken_together_where_that_would_change_something(options):
    model = a_model(**options)
    if not options:
        model = OwnSteps(model.layers)
        model.compile("sgd", "mse", steps_per_execution=3)
    _keras.run_steps_together(model)
    assert model.train_function is model.test_function is None


def test_keras_keeps_an_optimizers_schedule_under_learning_rate():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    assert _keras.schedule_of(keras.optimizers.SGD(schedule)) is schedule, (
        "Optimizer._learning_rate is no longer the schedule that it was given"
    )


def test_keras_tuner_passes_trials_of_its_engine_on(tmp_path):
    seen = []

    class Tuner(keras_tuner.RandomSearch):
        def run_trial(self, trial, *args, **kwargs):
            seen.append(trial)
            return 0.0

    hp = keras_tuner.HyperParameters()
    hp.Float("x", 0, 1)
    objective = keras_tuner.Objective("loss", "min")
    Tuner(objective=objective, max_trials=1, hyperparameters=hp, directory=tmp_path).search()
    assert [type(trial) for trial in seen] == [_keras_tuner.Trial], (
        "keras_tuner.engine.trial.Trial is no longer the type of a tuner's trials"
    )


def test_keras_tuner_retrieves_every_declared_hyperparameter_with_retrieve():
    hp = _keras_tuner.Watched()
    for high in (1.0, 2.0):
        hp.Float("x", 0.0, high)
        hp.Int("n", 1, 3)
        hp.Choice("c", [1, 2])
        hp.Boolean("b")
        hp.Fixed("f", high)
    assert hp.redeclared == {"x", "f"}, (
        "HyperParameters._retrieve is no longer called for every declaration"
    )


FAKE = """\
class random:
    set_seed = staticmethod(lambda seed: None)
"""


@pytest.mark.parametrize("left_alone", [False, True])
def test_keras_on_another_backend_imports_tensorflow_unless_told_to_leave_it_alone(
    left_alone, tmp_path
):
    backends = (name for name in ("jax", "torch") if importlib.util.find_spec(name))
    backend = next(backends, None)
    if backend is None:
        pytest.skip("no other backend is installed: `make test-backends` installs two")
    (tmp_path / "tensorflow.py").write_text(FAKE)
    settle = "from kbn.run import _keras; _keras.leave_tensorflow_alone()"
    program = f"""\
import sys, keras
{settle if left_alone else ""}
keras.utils.set_random_seed(1)
print("tensorflow" in sys.modules)"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == str(not left_alone), (
        "keras.src.utils.module_utils.tensorflow.available no longer decides what Keras imports: "
        + done.stderr
    )
