import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import kbn
from norm.reference import batch_norm

EPSILON = 1e-3
HOW = ["eager", "graph", "dynamic graph", "compiled"]


def train_step(layer, how, rank):
    """(z, dy) -> y, dz, dgamma, dbeta, run as users run it."""

    def step(z, dy):
        with tf.GradientTape() as tape:
            tape.watch(z)
            y = layer(z, training=True)
        return y, *tape.gradient(y, [z, layer.gamma.value, layer.beta.value], dy)

    if how == "eager":
        return step
    if how == "dynamic graph":
        shape = [None] * rank
        shape[layer.axis] = layer.gamma.shape[0]
        return tf.function(step, input_signature=[tf.TensorSpec(shape)] * 2)
    return tf.function(step, jit_compile=how == "compiled")


def relative(got, expected):
    return np.linalg.norm(np.asarray(got, "float64") - expected) / np.linalg.norm(expected)


def errors(z, dy, how, axis=-1):
    """Largest error of y; relative errors of dz, dgamma, dbeta, moving mean and variance."""
    rng = np.random.default_rng(1)
    layer = kbn.BatchNormalization(axis, momentum=0.0, epsilon=EPSILON)
    layer.build(z.shape)
    gamma = rng.uniform(0.5, 1.5, layer.gamma.shape).astype("float32")
    beta = rng.normal(size=layer.gamma.shape).astype("float32")
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    shape = [1] * z.ndim
    shape[axis] = -1
    others = tuple(a for a in range(z.ndim) if a != axis % z.ndim)
    expected = batch_norm(z, dy, gamma.reshape(shape), beta.reshape(shape), others)

    y, *gradients = train_step(layer, how, z.ndim)(tf.constant(z), tf.constant(dy))

    return {
        "y": np.abs(np.asarray(y) - expected["y"]).max(),
        **{
            name: relative(got, expected[name])
            for name, got in zip(("dz", "dgamma", "dbeta"), gradients, strict=True)
        },
        "mean": relative(layer.moving_mean, expected["mean"]),
        "var": relative(layer.moving_variance, expected["var"]),
    }


def data(shape, mean):
    rng = np.random.default_rng(0)
    z = rng.normal(mean, 1.0, shape).astype("float32")
    return z, rng.normal(size=shape).astype("float32")


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("mean", "limit"), [(0.0, 1e-5), (1e4, 1e-5), (1e6, 1e-4)])
@pytest.mark.parametrize(
    "shape", [(257, 5), (4096, 64), (32, 80, 6), (8, 16, 16, 7), (4, 2, 3, 2, 5)], ids=str
)
def test_training_is_exact_however_large_the_mean(shape, mean, limit, how):
    worst = errors(*data(shape, mean), how)
    assert max(worst.values()) <= limit, worst


@pytest.mark.parametrize("how", HOW)
def test_training_is_exact_over_a_million_rows(how):
    worst = errors(*data((4, 512, 512, 2), 1e3), how)
    assert max(worst.values()) <= 1e-5, worst


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("axis", [0, 1, -2])
def test_training_is_exact_whatever_the_axis(axis, how):
    worst = errors(*data((6, 5, 16, 7), 1e4), how, axis)
    assert max(worst.values()) <= 1e-5, worst


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("rows", [7, 4096])
def test_a_tiny_variance_beside_a_large_mean_is_seen(rows, how):
    rng = np.random.default_rng(0)
    z = (1 + 1e-6 * rng.normal(size=(rows, 64))).astype("float32")
    worst = errors(z, rng.normal(size=z.shape).astype("float32"), how)
    assert worst["dgamma"] <= 1e-2
    assert worst["var"] <= 1e-2


@pytest.mark.parametrize("how", ["eager", "graph", "compiled"])
@pytest.mark.parametrize("rows", [1, 7, 50_000])
@pytest.mark.parametrize("value", [0.0, 1.0, 1e3, 123456.7, -3e12, 1e30])
def test_a_constant_channel_becomes_beta(value, rows, how):
    layer = kbn.BatchNormalization(beta_initializer="random_normal")
    layer.build((None, 3))
    call = functools.partial(layer, training=True)
    if how != "eager":
        call = tf.function(call, jit_compile=how == "compiled")
    y = call(tf.fill((rows, 3), tf.constant(value)))
    np.testing.assert_allclose(y, np.broadcast_to(layer.beta, y.shape), atol=1e-6, rtol=0)


@pytest.mark.parametrize("how", ["eager", "graph", "compiled"])
@pytest.mark.parametrize(("mean", "limit"), [(0, 1e-5), (10, 1e-5), (1e4, 1e-5), (1e6, 1e-4)])
@pytest.mark.parametrize("axis", [-1, 1])
def test_inference_is_exact_however_large_the_mean(axis, mean, limit, how):
    z, _ = data((16, 6, 6), mean)
    layer = kbn.BatchNormalization(axis)
    layer.build(z.shape)
    rng = np.random.default_rng(1)
    weights = [rng.uniform(0.5, 2, 6).astype("float32") for _ in range(4)]
    weights[2] += np.float32(mean)
    layer.set_weights(weights)
    gamma, beta, average, variance = (
        w.astype("float64").reshape((6,) if axis == -1 else (6, 1)) for w in weights
    )
    call = layer if how == "eager" else tf.function(layer, jit_compile=how == "compiled")
    expected = gamma * (z - average) / np.sqrt(variance + layer.epsilon) + beta
    np.testing.assert_allclose(call(tf.constant(z)), expected, atol=limit, rtol=0)


@pytest.mark.parametrize("how", ["eager", "graph", "compiled"])
@pytest.mark.parametrize("rows", [6, 9000])
@pytest.mark.parametrize("arguments", [{}, {"virtual_batch_size": 3}, {"axis": 1}], ids=str)
def test_second_order_gradients_match_finite_differences(arguments, rows, how):
    rng = np.random.default_rng(0)
    layer = kbn.BatchNormalization(**arguments, dtype="float64")
    z, direction, dy = (tf.constant(rng.normal(size=(rows, 4))) for _ in range(3))
    if arguments.get("axis") == 1:
        z, direction, dy = (tf.reshape(t, (rows // 3, 4, 3)) for t in (z, direction, dy))
    layer.build(z.shape)
    layer.gamma.assign(rng.uniform(0.5, 1.5, 4))

    def gradient(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            loss = tf.reduce_sum(dy * tf.sin(layer(z, training=True)))
        return tape.gradient(loss, z)

    def product(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            slope = tf.reduce_sum(gradient(z) * direction)
        return tape.gradient(slope, z)

    if how != "eager":
        product = tf.function(product, jit_compile=how == "compiled")
    step = 1e-5
    difference = (gradient(z + step * direction) - gradient(z - step * direction)) / (2 * step)
    assert relative(product(z), difference.numpy()) <= 1e-6


def test_a_gradient_penalty_has_the_right_gradient():
    # Gulrajani et al., Improved Training of Wasserstein GANs (arXiv:1704.00028), section 4
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    critic = keras.Sequential(
        [
            keras.layers.Dense(5, dtype="float64"),
            kbn.BatchNormalization(dtype="float64"),
            keras.layers.Activation("tanh", dtype="float64"),
            keras.layers.Dense(1, dtype="float64"),
        ]
    )
    x = tf.constant(rng.normal(size=(12, 3)))
    critic(x)
    weights = [w.value for w in critic.trainable_weights]

    def penalty():
        with tf.GradientTape() as tape:
            tape.watch(x)
            score = critic(x, training=True)
        norm = tf.norm(tape.gradient(score, x), axis=1)
        return tf.reduce_mean((norm - 1) ** 2)

    with tf.GradientTape() as tape:
        loss = penalty()
    for index, got in enumerate(tape.gradient(loss, weights, unconnected_gradients="zero")):
        direction = tf.constant(rng.normal(size=weights[index].shape))
        step, ends = 1e-6, []
        for sign in (1, -1):
            weights[index].assign_add(sign * step * direction)
            ends.append(penalty())
            weights[index].assign_sub(sign * step * direction)
        difference = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(tf.reduce_sum(got * direction), difference, rtol=1e-6, atol=1e-9)
