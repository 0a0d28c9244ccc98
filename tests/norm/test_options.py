import keras
import numpy as np
import pytest
import tensorflow as tf

import kbn
from kbn.norm import renormalization
from norm.reference import batch_norm, needs_renorm

EPSILON = 1e-3


def batches(count, shape, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(rng.normal(), 2.0, shape).astype("float32") for _ in range(count)]


def averages(layer):
    return np.array([layer.moving_mean, layer.moving_variance])


def test_debiased_averages_are_right_from_the_first_step():
    layer = kbn.BatchNormalization(momentum=0.99, debias=True)
    weight, mean = 0.0, 0.0
    for batch in batches(5, (16, 3)):
        layer(batch, training=True)
        # Kingma and Ba, arXiv:1412.6980, section 3
        mean = 0.99 * mean + 0.01 * batch.mean(0)
        weight = 0.99 * weight + 0.01
        np.testing.assert_allclose(layer.moving_mean, mean / weight, rtol=1e-4)
    assert len(layer.non_trainable_weights) == 3


def test_without_momentum_the_averages_are_those_of_all_batches():
    layer = kbn.BatchNormalization(momentum=None)
    seen = batches(6, (16, 4, 3))
    for batch in seen:
        layer(batch, training=True)
    np.testing.assert_allclose(
        layer.moving_mean, np.mean([b.mean((0, 1)) for b in seen], 0), rtol=1e-5
    )
    np.testing.assert_allclose(
        layer.moving_variance, np.mean([b.var((0, 1)) for b in seen], 0), rtol=1e-5
    )


@pytest.mark.parametrize("shape", [(8, 3), (8, 5, 4, 3)])
def test_the_unbiased_average_is_of_the_populations_variance(shape):
    layer = kbn.BatchNormalization(momentum=0.0, unbiased=True)
    (batch,) = batches(1, shape)
    layer(batch, training=True)
    expected = batch.astype("float64").reshape(-1, 3).var(0, ddof=1)
    np.testing.assert_allclose(layer.moving_variance, expected, rtol=1e-5)


def test_one_row_has_no_unbiased_variance_and_leaves_the_averages():
    layer = kbn.BatchNormalization(unbiased=True)
    layer(np.ones((1, 3), "float32"), training=True)
    np.testing.assert_array_equal(averages(layer), [[0] * 3, [1] * 3])


@pytest.mark.parametrize("how", ["eager", "dynamic graph"])
@pytest.mark.parametrize("rows", [12, 14, 3])
def test_ghost_batches_are_normalized_by_themselves(rows, how):
    layer = kbn.BatchNormalization(momentum=0.0, epsilon=EPSILON, virtual_batch_size=4)
    (z,) = batches(1, (rows, 5, 3))
    layer.build(z.shape)
    call = lambda z: layer(z, training=True)  # noqa: E731
    if how == "dynamic graph":
        call = tf.function(call, input_signature=[tf.TensorSpec((None, 5, 3))])
    y = np.asarray(call(tf.constant(z)))
    parts = [z[i : i + 4] for i in range(0, rows, 4)]
    expected = [batch_norm(part, part, 1.0, 0.0, (0, 1)) for part in parts]
    np.testing.assert_allclose(y, np.concatenate([e["y"] for e in expected]), atol=1e-5)
    sizes = [len(part) for part in parts]
    for name, average in (("mean", layer.moving_mean), ("var", layer.moving_variance)):
        pooled = np.average([e[name] for e in expected], axis=0, weights=sizes)
        np.testing.assert_allclose(average, pooled, rtol=1e-4, atol=1e-6)


def test_the_unbiased_variance_of_ghost_batches_is_pooled():
    layer = kbn.BatchNormalization(momentum=0.0, unbiased=True, virtual_batch_size=4)
    (z,) = batches(1, (10, 3))
    layer(z, training=True)
    parts = [z[:4], z[4:8], z[8:]]
    squares = sum(((p - p.mean(0, dtype="float64")) ** 2).sum(0) for p in parts)
    np.testing.assert_allclose(layer.moving_variance, squares / (10 - 3), rtol=1e-5)


@pytest.mark.parametrize("ghosts", [None, 4])
@pytest.mark.parametrize("how", ["eager", "graph", "compiled"])
def test_an_integer_weight_repeats_a_row(how, ghosts):
    weights = np.array([2, 0, 1, 3, 1, 1, 0, 2], "float32")
    z, dy = batches(2, (8, 5, 3))
    layer = kbn.BatchNormalization(momentum=0.0, epsilon=EPSILON, virtual_batch_size=ghosts)
    layer.build(z.shape)

    def step(z, weights):
        with tf.GradientTape() as tape:
            tape.watch(z)
            y = layer(z, training=True, sample_weight=weights)
        return y, tape.gradient(y, z, dy)

    if how != "eager":
        step = tf.function(step, jit_compile=how == "compiled")
    y, dz = step(tf.constant(z), tf.constant(weights))
    for part in (slice(None),) if ghosts is None else (slice(0, 4), slice(4, 8)):
        times = weights[part].astype(int)
        repeated = np.repeat(z[part], times, axis=0)
        # the incoming gradient of a row goes through one of its copies
        first = np.cumsum(times) - times
        grown = np.zeros(repeated.shape)
        grown[first[times > 0]] = dy[part][times > 0]
        expected = batch_norm(repeated, grown, 1.0, 0.0, (0, 1))
        rows = np.repeat(np.arange(len(times)), times)
        np.testing.assert_allclose(np.asarray(y)[part][rows], expected["y"], atol=1e-5)
    if ghosts is None:
        np.testing.assert_allclose(layer.moving_mean, expected["mean"], rtol=1e-5)
        np.testing.assert_allclose(layer.moving_variance, expected["var"], rtol=1e-5)
        expected = batch_norm(z, dy, 1.0, 0.0, (0, 1), weights[:, None, None])
        np.testing.assert_allclose(dz, expected["dz"], atol=1e-5)


def test_fractional_weights_and_a_mask_multiply():
    rng = np.random.default_rng(1)
    z, dy = batches(2, (8, 5, 2, 3))
    weights = rng.random((8, 5)).astype("float32")
    mask = rng.random((8, 5)) < 0.7
    expected = batch_norm(z, dy, 1.0, 0.0, (0, 1, 2), (weights * mask)[..., None, None])
    layer = kbn.BatchNormalization(momentum=0.0, epsilon=EPSILON)
    y = layer(z, training=True, mask=mask, sample_weight=weights)
    np.testing.assert_allclose(y, expected["y"], atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, expected["mean"], rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance, expected["var"], rtol=1e-4)


@pytest.mark.parametrize("shape", [(6, 5, 3), (6, 5, 2, 3), (6, 5, 2, 2, 3)])
def test_a_mask_of_batch_and_time_serves_every_higher_rank(shape):
    (z,) = batches(1, shape)
    mask = np.random.default_rng(1).random(shape[:2]) < 0.6
    layer = kbn.BatchNormalization(momentum=0.0)
    layer(z, training=True, mask=mask)
    valid = z[mask].reshape(-1, 3).astype("float64")
    np.testing.assert_allclose(layer.moving_mean, valid.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, valid.var(0), rtol=1e-4)


@pytest.mark.parametrize("how", ["eager", "graph", "compiled"])
def test_nan_under_the_mask_reaches_neither_averages_nor_gradients(how):
    z, dy = batches(2, (8, 5, 3))
    mask = np.random.default_rng(1).random((8, 5)) < 0.6
    spoilt = np.where(mask[..., None], z, np.nan).astype("float32")
    results = []
    for inputs in (z, spoilt):
        layer = kbn.BatchNormalization(momentum=0.5)
        layer.build(z.shape)

        def step(z, dy, layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(z)
                y = layer(z, training=True, mask=mask)
            return tape.gradient(y, [z, layer.gamma.value, layer.beta.value], dy)

        run = step if how == "eager" else tf.function(step, jit_compile=how == "compiled")
        gradients = run(tf.constant(inputs), tf.constant(dy * mask[..., None]))
        results.append([*gradients, *layer.non_trainable_weights])
    for clean, got in zip(*results, strict=True):
        np.testing.assert_allclose(got, clean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("huge", [1e20, 3e38])
def test_what_a_masked_element_holds_does_not_overflow(huge):
    (z,) = batches(1, (8, 3))
    mask = np.arange(8) != 2
    expected = kbn.BatchNormalization()(z, training=True, mask=mask)
    z[2] = huge
    y = np.asarray(kbn.BatchNormalization()(z, training=True, mask=mask))
    np.testing.assert_allclose(y[mask], np.asarray(expected)[mask], rtol=1e-5)


def test_the_mask_of_a_layer_below_and_a_weight_multiply():
    (z,) = batches(1, (4, 5, 3))
    z[:, 3:] = -9
    layer = kbn.BatchNormalization(momentum=0.0)
    masked = keras.layers.Masking(-9.0)(z)
    layer(masked, training=True, sample_weight=np.ones(4, "float32"))
    np.testing.assert_allclose(layer.moving_mean, z[:, :3].mean((0, 1)), rtol=1e-5)


OPTIONS = [
    {},
    {"debias": True},
    {"momentum": None},
    {"unbiased": True},
    pytest.param({"renorm": True}, marks=needs_renorm),
    {"synchronized": True},
    {"virtual_batch_size": 2},
    {"axis": 1},
]
BAD = {
    "a NaN row": (np.array([[1.0, 2], [np.nan, np.nan], [3, 4]]), None),
    "an infinite row": (np.array([[1.0, 2], [np.inf, np.inf], [3, 4]]), None),
    "an empty batch": (np.zeros((0, 2)), None),
    "a mask without a valid element": (np.ones((3, 2)), np.zeros(3, bool)),
}


@pytest.mark.parametrize("how", ["eager", "graph", "compiled"])
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_batch_without_statistics_leaves_the_averages(options, bad, how):
    z, mask = BAD[bad]
    if options.get("axis") == 1:
        z = z[:, :, None]
        mask = mask if mask is None else mask[:, None]
    layer = kbn.BatchNormalization(**options)
    good = np.random.default_rng(0).normal(3, 2, (6, *z.shape[1:])).astype("float32")
    layer(good, training=True)
    before = [w.numpy() for w in layer.non_trainable_weights]
    call = lambda z: layer(z, training=True, mask=mask)  # noqa: E731
    if how != "eager":
        call = tf.function(call, jit_compile=how == "compiled")
    y = call(tf.constant(z, "float32"))
    assert y.shape == z.shape
    for weight, value in zip(layer.non_trainable_weights, before, strict=True):
        np.testing.assert_array_equal(weight, value, err_msg=weight.name)


def test_a_nan_leaves_the_averages_of_its_own_channel_alone():
    z = np.random.default_rng(0).normal(3, 2, (6, 2)).astype("float32")
    z[1, 0] = np.nan
    layer = kbn.BatchNormalization(momentum=0.0)
    layer(z, training=True)
    np.testing.assert_allclose(layer.moving_mean, [0, z[:, 1].mean()], rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, [1, z[:, 1].var()], rtol=1e-5)


def test_a_batch_of_one_becomes_beta():
    layer = kbn.BatchNormalization(beta_initializer="ones")
    np.testing.assert_allclose(layer(np.full((1, 3), 7.0, "float32"), training=True), 1.0)
    assert np.isfinite(averages(layer)).all()


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["float16", "bfloat16"])
def test_averages_of_a_pure_half_precision_layer_come_to_the_data(policy):
    layer = kbn.BatchNormalization(dtype=policy, momentum=0.99)
    batch = tf.cast(np.random.default_rng(0).normal(1.0, 1.0, (256, 3)), policy)
    for _ in range(1500):
        y = layer(batch, training=True)
    assert y.dtype == policy
    assert layer.moving_mean.dtype == layer.moving_variance.dtype == "float32"
    assert layer.gamma.dtype == policy
    exact = tf.cast(batch, "float64").numpy()
    np.testing.assert_allclose(layer.moving_mean, exact.mean(0), rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance, exact.var(0), rtol=1e-4)


@pytest.fixture(scope="module")
def replicas():
    if len(tf.config.list_logical_devices("CPU")) < 2:
        pytest.skip("TensorFlow had started with one device")
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.mark.parametrize("masked", [False, True])
def test_replicas_share_their_statistics_without_cancellation(replicas, masked):
    rng = np.random.default_rng(0)
    z = rng.normal(1e4, 1.0, (2, 6, 5, 3)).astype("float32")
    z[1] += 2
    dy = rng.normal(size=z.shape).astype("float32")
    mask = rng.random((2, 6, 5)) < 0.6
    with replicas.scope():
        layer = kbn.BatchNormalization(momentum=0.0, epsilon=EPSILON, synchronized=True)
        layer.build((None, 5, 3))

    def step(z, dy, mask):
        with tf.GradientTape() as tape:
            tape.watch(z)
            y = layer(z, training=True, mask=mask if masked else None)
        return y, tape.gradient(y, z, dy)

    def share(values):
        return replicas.experimental_distribute_values_from_function(
            lambda context: tf.constant(values[context.replica_id_in_sync_group])
        )

    y, dz = tf.function(lambda *args: replicas.run(step, args))(share(z), share(dy), share(mask))
    y, dz = (np.concatenate(replicas.experimental_local_results(t)) for t in (y, dz))
    weights = mask.reshape(12, 5, 1) if masked else 1.0
    flat, dy = z.reshape(12, 5, 3), dy.reshape(12, 5, 3)
    expected = batch_norm(flat, dy, 1.0, 0.0, (0, 1), weights)
    np.testing.assert_allclose(y, expected["y"], atol=1e-5)
    np.testing.assert_allclose(dz, expected["dz"], atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean.value, expected["mean"], rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance.value, expected["var"], rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"momentum": 1.5}, r"momentum must be in \[0, 1\] or None. Got 1.5"),
        ({"momentum": -0.1}, r"momentum must be in \[0, 1\] or None. Got -0.1"),
        ({"momentum": float("nan")}, "momentum must be .* Got nan"),
        ({"epsilon": -1e-3}, "epsilon must be finite and >= 0. Got -0.001"),
        ({"epsilon": float("inf")}, "epsilon must be finite and >= 0. Got inf"),
        ({"renorm_momentum": 2.0}, r"renorm_momentum must be in \[0, 1\]. Got 2.0"),
        ({"virtual_batch_size": 2.5}, "virtual_batch_size must be an integer >= 1 .* Got 2.5"),
        ({"axis": [1, 2]}, r"axis must be one axis.* Got \[1, 2\]"),
        ({"virtual_batch_size": 0}, "virtual_batch_size must be an integer >= 1 .* Got 0"),
        pytest.param(
            {"virtual_batch_size": 4, "renorm": True},
            "virtual_batch_size must be None where renorm",
            marks=needs_renorm,
        ),
    ],
)
def test_a_bad_argument_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        kbn.BatchNormalization(**arguments)


@pytest.mark.parametrize(
    ("axis", "shape", "message"),
    [
        (3, (8, 4, 4), r"axis must be an axis of \(8, 4, 4\). Got 3"),
        (-4, (8, 4, 4), r"axis must be an axis of \(8, 4, 4\). Got -4"),
        (-1, (8, 4, None), r"axis must be of known size in \(8, 4, None\). Got -1"),
    ],
)
def test_an_axis_without_channels_is_refused(axis, shape, message):
    with pytest.raises(ValueError, match=message):
        kbn.BatchNormalization(axis).build(shape)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["mask", "sample_weight"])
@pytest.mark.parametrize("shape", [(), (7,), (8, 5), (8, 6, 3)])
def test_a_mask_or_weight_of_a_wrong_shape_is_refused(shape, name, training):
    layer = kbn.BatchNormalization()
    with pytest.raises(ValueError, match=f"{name} must be of the shape of the leading axes"):
        layer(np.zeros((8, 6, 3), "float32"), training=training, **{name: np.ones(shape)})


def test_a_keras_without_renorm_serves_all_but_renorm(monkeypatch):
    monkeypatch.setattr(renormalization, "OFFERED", False)
    with pytest.raises(ValueError, match=r"renorm must be False with Keras .* needs Keras 3.14"):
        kbn.BatchNormalization(renorm=True)
    layer = kbn.BatchNormalization(renorm_clipping={"rmax": 3.0}, renorm_momentum=0.5)
    config = layer.get_config()
    assert not config["renorm"]
    assert config["renorm_clipping"] == {"rmax": 3.0}
    assert config["renorm_momentum"] == 0.5
    assert kbn.BatchNormalization.from_config(config).get_config() == config


def test_an_axis_may_come_as_a_list_of_one():
    layer = kbn.BatchNormalization(axis=[1])
    assert layer.axis == layer.get_config()["axis"] == 1


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_saved_model_keeps_every_option(options, tmp_path):
    model = keras.Sequential([keras.Input((3, 2)), kbn.BatchNormalization(**options)])
    model(batches(1, (4, 3, 2))[0], training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].get_config() == model.layers[0].get_config()
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
