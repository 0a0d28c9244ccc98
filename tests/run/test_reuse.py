import contextlib
import json

import keras
import keras_tuner
import numpy as np
import pytest

import kbn
from kbn.run import reuse as module
from kbn.run.hypermodel import RecipeModel
from kbn.run.plan import declared
from kbn.run.preflight import prepare
from kbn.run.reuse import Reuse

NUMBERS = (
    {"learning_rate": 0.3, "decay": 0.1, "norm_momentum": 0.9, "momentum": 0.9, "beta_2": 0.9},
    {"learning_rate": 0.01, "decay": 0.9, "norm_momentum": 0.6, "momentum": 0.99, "beta_2": 0.9999},
    {"learning_rate": 0.05, "decay": 0.5, "norm_momentum": 0.999, "momentum": 0.5, "beta_2": 0.95},
)


def a_recipe(optimizer="adam", layer="kbn.BatchNormalization", *, dropout=0.0, seed=0, units=8):
    numbers = {"sgd": ["momentum"], "adam": ["beta_2"]}[optimizer]
    lows = dict.fromkeys(("norm_momentum", *numbers), 0.5)
    return kbn.Recipe(
        name="reused",
        dataset={"name": "iris"},
        model={"name": "mlp", "norm": {"layer": layer, "position": "before_activation"}},
        objective={"metric": "val_accuracy", "direction": "max"},
        search={"trials": 3, "epochs": 3, "seed": seed},
        space={
            "learning_rate": {"type": "float", "low": 1e-4, "high": 1, "scale": "log"},
            "decay": {"type": "float", "low": 1e-2, "high": 1, "scale": "log"},
            **{
                name: {"type": "float", "low": low, "high": 0.99999, "scale": "complement_log"}
                for name, low in lows.items()
            },
            "optimizer": optimizer,
            "dropout": dropout,
            "units": units,
        },
        tracking={"enabled": False},
    )


def trained(hypermodel, numbers, **options):
    """The history and the weights of one trial."""
    keras.backend.clear_session()
    hp = keras_tuner.HyperParameters()
    declared(hp, hypermodel.recipe)
    hp.values |= {name: value for name, value in numbers.items() if name in hp.values}
    history = hypermodel.fit(hp, hypermodel.build(hp), **options)
    return history.history, history.model.get_weights()


def check_that_it_trains_as_new(recipe, data, reuse, numbers, tolerance):
    expected, weights = trained(RecipeModel(recipe, data), numbers)
    history, reused = trained(RecipeModel(recipe, data, reuse), numbers)
    for metric in expected:
        near = {"rtol": tolerance, "atol": tolerance}
        np.testing.assert_allclose(history[metric], expected[metric], **near)
    for one, other in zip(reused, weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=10 * tolerance, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("layer", ["kbn.BatchNormalization", "keras.layers.BatchNormalization"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_model_that_is_used_again_trains_as_a_newly_built_one(optimizer, layer, dropout):
    recipe = a_recipe(optimizer, layer, dropout=dropout)
    data = prepare(recipe)
    reuse = Reuse()
    for numbers in NUMBERS:
        check_that_it_trains_as_new(recipe, data, reuse, numbers, tolerance=1e-6)


SCHEDULED = (
    {"learning_rate": 0.3, "decay": 0.1, "warmup": 0.3, "weight_decay": 0.1},
    {"learning_rate": 0.01, "decay": 0.9, "warmup": 0.0, "weight_decay": 0.0},
    {"learning_rate": 0.05, "decay": 0.5, "warmup": 0.6, "weight_decay": 0.001},
    {"learning_rate": 0.1, "decay": 0.2, "warmup": 1e-6, "weight_decay": 0.0},
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [("adamw", "exponential"), ("sgd", "cosine"), ("rmsprop", "cosine"), ("adamw", "constant")],
)
def test_so_it_does_with_any_schedule_warm_up_and_weight_decay(optimizer, schedule):
    ranges = {"learning_rate": 1.0, "warmup": 0.9, "weight_decay": 1.0, "decay": 1.0}
    if schedule == "constant":
        del ranges["decay"]
    recipe = kbn.Recipe(
        name="scheduled",
        dataset={"name": "iris"},
        model={"name": "mlp", "norm": {}},
        objective={"metric": "val_loss"},
        training={"optimizer": optimizer, "schedule": schedule, "metrics": ["auc"]},
        search={"trials": 3, "epochs": 3},
        space={
            name: {
                "type": "float",
                "low": 1e-9 if name in ("learning_rate", "decay") else 0.0,
                "high": high,
            }
            for name, high in ranges.items()
        },
    )
    data, reuse = prepare(recipe), Reuse()
    for numbers in SCHEDULED:
        check_that_it_trains_as_new(recipe, data, reuse, numbers, tolerance=1e-5)


@pytest.mark.slow
def test_where_only_numbers_differ_nothing_is_traced_again(monkeypatch):
    steps, step = [], keras.optimizers.Adam.update_step
    monkeypatch.setattr(
        keras.optimizers.Adam, "update_step", lambda *a: (steps.append(a), step(*a))[1]
    )
    recipe, reuse = a_recipe(), Reuse()
    data = prepare(recipe)
    trained(RecipeModel(recipe, data, reuse), NUMBERS[0])
    first = len(steps)
    assert first > 0
    for seed, numbers in enumerate(NUMBERS):  # other searches of a comparison too
        trained(RecipeModel(a_recipe(seed=seed), data, reuse), numbers)
    assert len(steps) == first
    trained(RecipeModel(a_recipe(units=9), data, reuse), NUMBERS[0])
    assert len(steps) > first


@pytest.mark.slow
def test_where_only_numbers_differ_no_model_is_built_again(monkeypatch):
    recipe, reuse, built = a_recipe(), Reuse(), []
    data, build = prepare(recipe), RecipeModel._known
    monkeypatch.setattr(RecipeModel, "_known", lambda *a: (built.append(a), build(*a))[1])
    for numbers in NUMBERS:
        trained(RecipeModel(recipe, data, reuse), numbers)
    assert len(built) == 1
    trained(RecipeModel(a_recipe(seed=1), data, reuse), NUMBERS[0])  # with other first weights
    assert len(built) == 2


@pytest.mark.slow
def test_a_model_whose_training_failed_is_not_used_again():
    recipe, reuse = a_recipe(), Reuse()
    data, models = prepare(recipe), []
    ending = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: 1 / 0)
    seen = keras.callbacks.LambdaCallback()
    for callbacks in ([seen], [seen, ending], [seen]):
        with contextlib.suppress(ZeroDivisionError):
            trained(RecipeModel(recipe, data, reuse), NUMBERS[0], callbacks=callbacks)
        models.append(seen.model)
    assert models[0] is models[1] is not models[2]


@pytest.mark.slow
def test_no_more_parameters_are_kept_than_the_limit_allows(monkeypatch):
    data, small, large = prepare(a_recipe()), a_recipe(units=8), a_recipe(units=9)
    reuse, last = Reuse(), keras.callbacks.LambdaCallback()

    def model_of(recipe):
        trained(RecipeModel(recipe, data, reuse), NUMBERS[0], callbacks=[last])
        return last.model

    one, other = model_of(small), model_of(large)
    assert model_of(small) is one
    assert model_of(large) is other
    monkeypatch.setattr(module, "KEPT", one.count_params() + other.count_params() - 1)
    reuse = Reuse()
    one, other = model_of(small), model_of(large)
    assert model_of(large) is other
    assert model_of(small) is not one
    monkeypatch.setattr(module, "KEPT", 1)
    reuse = Reuse()
    assert model_of(small) is not model_of(small)


@pytest.mark.slow
def test_the_best_model_of_a_search_holds_plain_numbers(tmp_path):
    tuned = kbn.tune(a_recipe(), directory=tmp_path)
    model = tuned.best_model()
    norms = [each for each in model.layers if isinstance(each, kbn.BatchNormalization)]
    assert norms
    for norm in norms:
        assert norm.momentum == pytest.approx(tuned.values["norm_momentum"])
    json.dumps(model.get_config())
