import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

import kbn
from norm.reference import batch_norm, needs_renorm

EPSILON = 1e-3


def data(shape, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(2.0, 3.0, shape).astype("float32")
    dy = rng.normal(size=shape).astype("float32")
    gamma, beta = rng.normal(size=(2, shape[-1])).astype("float32")
    return z, dy, gamma, beta


def built(shape, gamma, beta, **kwargs):
    layer = kbn.BatchNormalization(epsilon=EPSILON, **kwargs)
    layer.build((None, *shape[1:]))
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    return layer


def test_inference_uses_the_moving_averages_and_leaves_them():
    z, _, gamma, beta = data((16, 5))
    layer = built((16, 5), gamma, beta)
    mean, variance = np.random.default_rng(1).uniform(0.5, 2, (2, 5)).astype("float32")
    layer.moving_mean.assign(mean)
    layer.moving_variance.assign(variance)
    expected = gamma * (z - mean) / np.sqrt(variance.astype("float64") + EPSILON) + beta
    np.testing.assert_allclose(layer(z), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(layer.moving_mean, mean)
    np.testing.assert_array_equal(layer.moving_variance, variance)


def test_a_frozen_layer_is_in_inference_mode_also_in_training():
    z, _, gamma, beta = data((16, 5))
    layer = built((16, 5), gamma, beta)
    expected = layer(z, training=False)
    layer.trainable = False
    np.testing.assert_array_equal(layer(z, training=True), expected)
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(5))


def test_the_moving_averages_come_to_the_datas_own():
    rng = np.random.default_rng(0)
    layer = kbn.BatchNormalization(momentum=0.9)
    for _ in range(200):
        layer(rng.normal(4.0, 0.5, (256, 3)).astype("float32"), training=True)
    np.testing.assert_allclose(layer.moving_mean, 4.0, rtol=0.02)
    np.testing.assert_allclose(layer.moving_variance, 0.25, rtol=0.05)


def test_masked_elements_do_not_count_whatever_they_hold():
    z, dy, gamma, beta = data((8, 6, 5))
    mask = np.random.default_rng(2).random((8, 6)) < 0.6
    expected = batch_norm(z, dy, gamma, beta, (0, 1), mask[..., None])
    layer = built(z.shape, gamma, beta, momentum=0.0)
    z[~mask] = np.nan
    y = np.asarray(layer(z, training=True, mask=mask))
    np.testing.assert_allclose(y[mask], expected["y"][mask], rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(layer.moving_mean, expected["mean"], rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, expected["var"], rtol=1e-5)


@pytest.mark.parametrize(
    "arguments",
    [
        {"momentum": 0.5, "epsilon": 0.1},
        {"center": False},
        {"scale": False},
        {"gamma_initializer": "random_normal", "beta_initializer": "random_uniform"},
        {"moving_mean_initializer": "ones", "moving_variance_initializer": "random_uniform"},
        {"gamma_regularizer": "l2", "beta_regularizer": "l1", "beta_initializer": "ones"},
        {"gamma_constraint": "non_neg", "beta_constraint": "unit_norm"},
        pytest.param({"renorm": True, "renorm_momentum": 0.5}, marks=needs_renorm),
        {"synchronized": True},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_every_argument_means_what_it_means_to_the_stock_layer(arguments):
    z, dy, *_ = data((8, 6, 5))
    results = []
    for kind in (kbn.BatchNormalization, keras.layers.BatchNormalization):
        keras.utils.set_random_seed(0)
        layer, x = kind(**arguments), tf.constant(z)
        for _ in range(2):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=True)
                loss = tf.reduce_sum(y * dy) + sum(layer.losses)
            weights = [w.value for w in layer.trainable_weights]
            gradients = tape.gradient(loss, [x, *weights])
            keras.optimizers.SGD(0.01).apply(gradients[1:], layer.trainable_weights)
        results.append([y, layer(z), *gradients, *(w.numpy() for w in layer.weights)])
    ours, stock = results
    assert len(ours) == len(stock)
    for a, b in zip(ours, stock, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-4)


def test_the_averages_of_a_half_precision_layer_do_not_overflow():
    z = np.random.default_rng(0).normal(0, 400, (512, 3)).astype("float16")
    layer = kbn.BatchNormalization(dtype="float16")
    layer(z, training=True)
    variance = z.astype("float64").var(0)
    np.testing.assert_allclose(layer.moving_variance, 0.99 + 0.01 * variance, rtol=1e-2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_statistics_of_half_precision_inputs_are_computed_in_float32(dtype):
    z = (np.random.default_rng(0).normal(300.0, 40.0, (4096, 3))).astype("float32")
    layer = kbn.BatchNormalization(momentum=0.0, dtype=f"mixed_{dtype}")
    y = layer(tf.cast(z, dtype), training=True)
    assert y.dtype == dtype
    rounded = tf.cast(tf.cast(z, dtype), "float64").numpy()
    np.testing.assert_allclose(layer.moving_mean, rounded.mean(0), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, rounded.var(0), rtol=1e-4)


def test_the_weights_are_the_stock_layers_in_name_and_order():
    ours, stock = kbn.BatchNormalization(), keras.layers.BatchNormalization()
    for layer in (ours, stock):
        layer.build((None, 4))
    assert [w.name for w in ours.weights] == [w.name for w in stock.weights]
    assert [w.path.split("/")[-1] for w in ours.trainable_weights] == ["gamma", "beta"]
    assert ours.get_config().keys() >= stock.get_config().keys()
    bare = kbn.BatchNormalization(scale=False, center=False)
    bare.build((None, 4))
    assert [w.name for w in bare.weights] == ["moving_mean", "moving_variance"]


@pytest.mark.parametrize("dtype", ["int32", "uint8", "float16", "bfloat16"])
def test_inputs_that_are_not_cast_are_normalized_in_float32(dtype):
    z = np.random.default_rng(0).integers(0, 10, (8, 3))
    layer = kbn.BatchNormalization(autocast=False)
    y = layer(tf.cast(z, dtype), training=True)
    assert y.dtype == "float32"
    np.testing.assert_allclose(y, batch_norm(z, z, 1.0, 0.0, (0,))["y"], rtol=1e-5, atol=1e-6)


def test_the_layer_takes_arrays_without_state_as_well():
    z, *_ = data((8, 3))
    layer = kbn.BatchNormalization(momentum=0.0)
    layer.build(z.shape)
    state = layer.trainable_variables, layer.non_trainable_variables
    y, (mean, _) = layer.stateless_call(*state, z, training=True)
    np.testing.assert_allclose(y, layer.call(z, training=True), rtol=1e-6)
    np.testing.assert_allclose(mean, z.mean(0), rtol=1e-5)


def test_a_last_axis_of_unknown_length_is_that_of_the_weights():
    z, *_ = data((8, 3))
    layer = kbn.BatchNormalization()
    layer.build(z.shape)
    loose = tf.function(
        lambda z: layer(z, training=True), input_signature=[tf.TensorSpec((None, None))]
    )
    np.testing.assert_allclose(loose(z), layer(z, training=True), rtol=1e-5)


def network(layer):
    return keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(4), layer, keras.layers.Dense(2)]
    )


@pytest.mark.parametrize("ours_first", [True, False])
def test_weights_files_go_both_ways(tmp_path, ours_first):
    layers = [kbn.BatchNormalization(), keras.layers.BatchNormalization()]
    source, target = map(network, layers if ours_first else layers[::-1])
    rng = np.random.default_rng(0)
    source.set_weights([rng.uniform(0.5, 2, w.shape) for w in source.get_weights()])
    source.save_weights(tmp_path / "model.weights.h5")
    target.load_weights(tmp_path / "model.weights.h5")
    z = rng.normal(size=(16, 5)).astype("float32")
    np.testing.assert_allclose(target(z), source(z), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "imports",
    [
        "import keras, kbn",
        # TensorFlow asks for Keras' spec long before it imports it
        "import kbn; import tensorflow as tf; keras = tf.keras",
    ],
)
def test_a_saved_model_loads_wherever_kbn_is_imported(tmp_path, imports):
    model = network(kbn.BatchNormalization(momentum=0.7))
    model.save(tmp_path / "model.keras")
    program = textwrap.dedent(f"""
        {imports}
        layer = keras.models.load_model({str(tmp_path / "model.keras")!r}).layers[1]
        assert type(layer) is kbn.BatchNormalization and layer.momentum == 0.7, layer
    """)
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_alias_is_the_same_class_under_the_name_that_weights_files_need():
    assert kbn.BatchNorm is kbn.BatchNormalization
    assert kbn.BatchNorm.__name__ == "BatchNormalization"
    assert issubclass(kbn.BatchNorm, keras.layers.BatchNormalization)


def test_a_network_with_the_layer_learns_and_predicts_alike():
    rng = np.random.default_rng(0)
    x = rng.normal(5.0, 20.0, (512, 5)).astype("float32")
    y = (x @ [1, -1, 0.5, 0, 0] > 2.5).astype("int64")
    model = network(kbn.BatchNormalization(momentum=0.9))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.02), loss, metrics=["accuracy"])
    model.fit(x, y, epochs=15, batch_size=64, verbose=0)
    assert model.evaluate(x, y, verbose=0)[1] > 0.95
