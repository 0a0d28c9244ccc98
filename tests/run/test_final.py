import keras
import keras_tuner
import numpy as np
import pytest
import sklearn.datasets
from sklearn.linear_model import LinearRegression

import kbn
from kbn.recipe.data import DatasetSpec
from kbn.run.final import complete, refit
from kbn.run.plan import declared
from kbn.run.preflight import prepare


def recipe_of(data, **changes):
    plain = {
        "name": "final",
        "dataset": {"name": data, "test": 0.25},
        "model": {"name": "mlp", "norm": {}},
        "objective": {"metric": "val_loss", "direction": "min"},
        "search": {"trials": 1, "epochs": 1, "final": {"refit": True}},
        "space": {"units": 8, "layers": 1, "learning_rate": 0.05},
    }
    return kbn.Recipe(**{**plain, **changes})


def test_the_completed_model_takes_the_data_as_they_are():
    dataset = prepare(recipe_of("wine"))
    model = keras.Sequential([keras.Input((13,)), keras.layers.Dense(3, activation="softmax")])
    whole = complete(model, dataset)
    raw = dataset.as_given(dataset.x_val)
    x, _ = sklearn.datasets.load_wine(return_X_y=True)
    assert all(np.isclose(x, row).all(1).any() for row in raw)  # they are examples of the set
    np.testing.assert_allclose(whole(raw), model(dataset.x_val), atol=1e-5)


def test_the_completed_model_of_a_regression_answers_in_the_units_of_its_target():
    dataset = prepare(recipe_of("diabetes", model={"name": "softmax"}, space={"decay": 0.5}))
    linear = LinearRegression().fit(dataset.x_train, dataset.y_train)
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(1)])
    model.layers[0].set_weights([linear.coef_[:, None], linear.intercept_[None]])
    x, y = sklearn.datasets.load_diabetes(return_X_y=True)
    whole = complete(model, dataset)
    raw = dataset.as_given(dataset.x_train)
    targets = [y[np.isclose(x, row, atol=1e-6).all(1)][0] for row in raw]
    expected = LinearRegression().fit(raw, targets).predict(raw)
    np.testing.assert_allclose(whole(raw)[:, 0], expected, rtol=1e-3)


def test_the_refitted_model_has_the_statistics_of_all_but_the_test_examples():
    recipe = recipe_of("wine", search={"trials": 1, "epochs": 2, "final": {"refit": True}})
    dataset, hp = prepare(recipe), keras_tuner.HyperParameters()
    declared(hp, recipe)
    model, test = refit(recipe, dataset, hp)
    x = np.concatenate([dataset.x_train, dataset.x_val])
    (norm,) = (layer for layer in model.layers if isinstance(layer, kbn.BatchNormalization))
    z = np.asarray(keras.Model(model.inputs[0], norm.input)(x))
    np.testing.assert_allclose(norm.moving_mean, z.mean(0), atol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, z.var(0), rtol=0.02)
    answers = np.asarray(model(dataset.x_test)).argmax(1)
    assert test["test_accuracy"] == pytest.approx(np.mean(answers == dataset.y_test), abs=1e-6)


def test_the_search_never_sees_the_test_examples():
    spec = DatasetSpec(name="iris", test=0.2)
    dataset = prepare(
        recipe_of("iris", dataset=spec, model={"name": "softmax"}, space={"decay": 1})
    )
    parts = [dataset.x_train, dataset.x_val, dataset.x_test]
    assert [len(part) for part in parts] == [90, 30, 30]
    x, _ = sklearn.datasets.load_iris(return_X_y=True)
    together = dataset.as_given(np.concatenate(parts))
    np.testing.assert_allclose(np.sort(together, axis=0), np.sort(x, axis=0), atol=1e-5)
    np.testing.assert_allclose(dataset.x_train.mean(0), 0, atol=1e-5)
