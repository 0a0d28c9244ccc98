import keras
import numpy as np
import pytest
import tensorflow as tf

import kbn
from kbn.norm import tensorflow_compiling as compiling
from kbn.norm.tensorflow_kernels import HUGE
from kbn.norm.tensorflow_tracing import traced
from norm.reference import batch_norm

EPSILON = 1e-3
ROWS, CHANNELS = 2048, 64  # as many elements as are worth compiling


@pytest.fixture
def rent(monkeypatch):
    """Sets how many elements a shape must have had to be compiled."""

    def set_rent(elements):
        monkeypatch.setattr(compiling, "RENT", elements)
        traced.cache_clear()

    yield set_rent
    traced.cache_clear()


def training_step(layer):
    @tf.function(input_signature=[tf.TensorSpec((None, 32, CHANNELS))] * 2)
    def step(z, dy):
        with tf.GradientTape() as tape:
            tape.watch(z)
            y = layer(z, training=True)
        return y, *tape.gradient(y, [z, layer.gamma.value, layer.beta.value], dy)

    return step


def layer_and_data(mean=1e3):
    rng = np.random.default_rng(0)
    layer = kbn.BatchNormalization(momentum=0.0, epsilon=EPSILON)
    layer.build((None, 32, CHANNELS))
    z, dy = (rng.normal(m, 1, (ROWS // 32, 32, CHANNELS)).astype("float32") for m in (mean, 0))
    return layer, z, dy


@pytest.mark.parametrize("elements", [0, 2**60], ids=["compiled", "not compiled"])
def test_a_large_batch_is_exact_whether_compiled_or_not(rent, elements):
    rent(elements)
    layer, z, dy = layer_and_data()
    expected = batch_norm(z, dy, 1.0, 0.0, (0, 1), epsilon=EPSILON)
    y, dz, dgamma, dbeta = training_step(layer)(z, dy)
    np.testing.assert_allclose(y, expected["y"], atol=1e-5, rtol=0)
    for got, name in ((dz, "dz"), (dgamma, "dgamma"), (dbeta, "dbeta")):
        error = np.linalg.norm(got - expected[name]) / np.linalg.norm(expected[name])
        assert error <= 1e-5, name
    np.testing.assert_allclose(layer.moving_mean, expected["mean"], rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, expected["var"], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("elements", [0, 2**60], ids=["compiled", "not compiled"])
def test_second_order_gradients_of_a_large_batch_are_right(rent, elements):
    rent(elements)
    layer, z, weight = layer_and_data(0.0)
    direction = np.random.default_rng(1).normal(size=z.shape).astype("float32")

    @tf.function(input_signature=[tf.TensorSpec((None, 32, CHANNELS))])
    def product(z):
        with tf.GradientTape() as outer:
            outer.watch(z)
            with tf.GradientTape() as tape:
                tape.watch(z)
                loss = tf.reduce_sum(weight * tf.sin(layer(z, training=True)))
            slope = tf.reduce_sum(tape.gradient(loss, z) * direction)
        return outer.gradient(slope, z)

    def by_formula(z):
        mean = tf.reduce_mean(z, (0, 1), keepdims=True)
        variance = tf.reduce_mean((z - mean) ** 2, (0, 1), keepdims=True)
        return (z - mean) / tf.sqrt(variance + EPSILON)

    exact = tf.constant(z, "float64")
    with tf.GradientTape() as outer:
        outer.watch(exact)
        with tf.GradientTape() as tape:
            tape.watch(exact)
            loss = tf.reduce_sum(weight.astype("float64") * tf.sin(by_formula(exact)))
        slope = tf.reduce_sum(tape.gradient(loss, exact) * direction.astype("float64"))
    expected = outer.gradient(slope, exact).numpy()
    got = product(tf.constant(z)).numpy()
    assert np.linalg.norm(got - expected) <= 1e-4 * np.linalg.norm(expected)


def test_second_order_gradients_of_a_frozen_layer_are_right_in_all_its_weights():
    rng = np.random.default_rng(0)
    layer = kbn.BatchNormalization(epsilon=EPSILON)
    layer.build((None, CHANNELS))
    layer.moving_mean.assign(rng.normal(size=CHANNELS))
    layer.moving_variance.assign(rng.uniform(0.5, 2, CHANNELS))
    rows = HUGE // CHANNELS + 1
    z, weight, direction = (rng.normal(size=(rows, CHANNELS)).astype("float32") for _ in range(3))
    watched = [v.value for v in layer.weights]

    def product(normalized, z, weight, direction, watched):
        with tf.GradientTape() as outer:
            outer.watch([z, *watched])
            with tf.GradientTape() as tape:
                tape.watch([z, *watched])
                loss = tf.reduce_sum(weight * tf.sin(normalized(z)))
            dz, dgamma, _, dmean, _ = tape.gradient(loss, [z, *watched])
            slope = tf.reduce_sum(dz * direction) + tf.reduce_sum(dgamma * dmean)
        return outer.gradient(slope, [z, *watched])

    got = tf.function(lambda: product(layer, *map(tf.constant, (z, weight, direction)), watched))()
    wide = [tf.constant(values, "float64") for values in (z, weight, direction)]
    exact = [tf.constant(values, "float64") for values in watched]

    def by_formula(z):
        gamma, beta, mean, variance = exact
        return gamma * (z - mean) / tf.sqrt(variance + EPSILON) + beta

    for one, expected in zip(got, product(by_formula, *wide, exact), strict=True):
        error = np.linalg.norm(one.numpy() - expected.numpy())
        assert error <= 1e-5 * np.linalg.norm(expected)


def test_a_shape_is_compiled_once_it_has_been_computed_often(rent):
    rent(2 * ROWS * CHANNELS)
    hot = tf.function(compiling.is_hot, input_signature=[tf.TensorSpec((None, None), tf.float64)])
    rows = tf.zeros((ROWS, CHANNELS), tf.float64)  # a type whose shapes no other test counts
    assert [int(hot(rows)) for _ in range(4)] == [0, 0, 1, 1]
    assert int(hot(rows[:-1])) == 0  # another shape
    assert [int(hot(rows[:5])) for _ in range(99)] == [0] * 99  # too small to pay


def test_layers_share_what_is_traced():
    def train(width, momentum):
        layer = kbn.BatchNormalization(momentum=momentum)
        layer.build((None, width))
        call = tf.function(lambda z: layer(z, training=True))
        call(tf.zeros((4, width)))

    train(3, 0.9)
    before = traced.cache_info().misses
    train(5, 0.99)
    assert traced.cache_info().misses == before


def test_counting_adds_no_weights(tmp_path, rent):
    rent(0)
    model = keras.Sequential([keras.Input((32, 32, CHANNELS)), kbn.BatchNormalization()])
    model.compile("sgd", "mse")
    z = np.zeros((2, 32, 32, CHANNELS), "float32")
    model.fit(z, z, verbose=0)
    assert [w.name for w in model.weights] == ["gamma", "beta", "moving_mean", "moving_variance"]
    model.export(tmp_path / "saved", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "saved")
    np.testing.assert_allclose(loaded.serve(z), model.predict(z, verbose=0), atol=1e-6)


def test_an_empty_batch_of_large_examples_leaves_the_averages():
    layer, z, dy = layer_and_data()
    step = training_step(layer)
    step(z, dy)
    before = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    y, dz, dgamma, dbeta = step(z[:0], dy[:0])
    assert y.shape == dz.shape == (0, 32, CHANNELS)
    np.testing.assert_array_equal([dgamma, dbeta], np.zeros((2, CHANNELS)))
    np.testing.assert_array_equal([layer.moving_mean, layer.moving_variance], before)
