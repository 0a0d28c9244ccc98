import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

import kbn
from kbn.recipe.architectures import Norm, cnn, mlp, softmax
from kbn.recipe.training import make_optimizer


def test_softmax_is_e_to_the_z_over_its_sum():
    model = softmax(shape=(4,), outputs=3)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    weights, bias = (w.astype("float64") for w in model.layers[-1].get_weights())
    t = np.exp(x @ weights + bias)
    np.testing.assert_allclose(model(x), t / t.sum(1, keepdims=True), rtol=1e-5)


def test_softmax_regression_of_two_classes_is_logistic_regression():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 3))
    y = (rng.random(400) < 1 / (1 + np.exp(-(x @ [1.0, -2.0, 0.5] + 0.3)))).astype(int)
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(x, y)

    model = softmax(shape=(3,), outputs=2)
    model.compile(keras.optimizers.SGD(1.0, momentum=0.9), "sparse_categorical_crossentropy")
    whole = tf.data.Dataset.from_tensors((x.astype("float32"), y)).repeat()
    model.fit(whole, steps_per_epoch=500, shuffle=False, verbose=0)

    expected = reference.predict_proba(x)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-4)
    weights, bias = model.layers[-1].get_weights()
    np.testing.assert_allclose(weights[:, 1] - weights[:, 0], reference.coef_[0], atol=1e-4)
    np.testing.assert_allclose(bias[1] - bias[0], reference.intercept_[0], atol=1e-4)


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ("before_activation", ["Dense", "BatchNormalization", "ReLU"]),
        ("after_activation", ["Dense", "ReLU", "BatchNormalization"]),
    ],
)
def test_batch_norm_stands_where_the_recipe_says(position, expected):
    norm = Norm("kbn.BatchNormalization", position)
    model = mlp((8,), 3, norm, layers=2, units=16, norm_momentum=0.7)
    assert [type(layer).__name__ for layer in model.layers] == [*expected, *expected, "Dense"]
    layer = next(layer for layer in model.layers if "batch" in layer.name)
    assert type(layer) is kbn.BatchNormalization
    assert layer.momentum == 0.7
    # beta makes a bias before it useless
    assert model.layers[0].use_bias == (position == "after_activation")


def test_the_stock_layer_can_be_asked_for_and_none_is_the_default():
    stock = mlp((8,), 3, Norm("keras.layers.BatchNormalization", "before_activation"), layers=1)
    assert type(stock.layers[1]) is keras.layers.BatchNormalization
    plain = mlp((8,), 3, layers=1, units=16, dropout=0.5)
    assert [type(layer).__name__ for layer in plain.layers] == ["Dense", "ReLU", "Dropout", "Dense"]


def test_a_cnn_halves_the_image_and_doubles_the_filters_at_every_layer():
    norm = Norm("kbn.BatchNormalization", "before_activation")
    model = cnn((8, 6, 1), 10, norm, layers=3, filters=4, kernel_size=5, dropout=0.5)
    images = [layer.output.shape[1:] for layer in model.layers if "pooling" in layer.name]
    assert images == [(4, 3, 4), (2, 2, 8), (1, 1, 16)]
    kinds = ["Conv2D", "BatchNormalization", "ReLU", "Dropout", "MaxPooling2D"]
    assert [type(layer).__name__ for layer in model.layers] == [*kinds * 3, "Flatten", "Dense"]
    assert model.layers[0].kernel_size == (5, 5)
    assert model.output_shape == (None, 10)


def test_a_regression_has_one_linear_output_and_images_are_flattened():
    model = mlp((2, 3), 1, layers=1, units=4)
    assert [type(layer).__name__ for layer in model.layers] == ["Flatten", "Dense", "ReLU", "Dense"]
    assert model.output_shape == (None, 1)
    assert model.layers[-1].activation is keras.activations.linear


def test_a_virtual_batch_size_reaches_the_layer():
    norm = Norm("kbn.BatchNormalization", "before_activation")
    sizes = [mlp((8,), 3, norm, layers=1, virtual_batch_size=n).layers[1] for n in (0, 16)]
    assert [layer.virtual_batch_size for layer in sizes] == [None, 16]


def test_the_learning_rate_decays_to_the_given_share():
    def rate(optimizer, step):
        optimizer.iterations.assign(step)
        return float(optimizer.learning_rate)

    optimizer = make_optimizer({"learning_rate": 0.5, "decay": 0.01}, steps=200)
    rates = [rate(optimizer, step) for step in (0, 100, 200)]
    assert rates == pytest.approx([0.5, 0.05, 0.005])
    whole = make_optimizer({"learning_rate": 2, "decay": 0.01}, steps=200)
    assert rate(whole, 100) == pytest.approx(0.2)


def test_hyperparameters_reach_their_optimizer():
    sgd = make_optimizer({"optimizer": "sgd", "momentum": 0.8, "beta_1": 0.7}, steps=1)
    assert (type(sgd), sgd.momentum) == (keras.optimizers.SGD, 0.8)
    adam = make_optimizer({"beta_1": 0.7, "beta_2": 0.8, "adam_epsilon": 1e-5}, steps=1)
    assert type(adam) is keras.optimizers.Adam
    assert (adam.beta_1, adam.beta_2, adam.epsilon) == (0.7, 0.8, 1e-5)
