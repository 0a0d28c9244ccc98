"""Tests of the layer on JAX or torch, as KERAS_BACKEND says. test_backends.py runs them."""

import os
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import kbn
from norm.reference import batch_norm, needs_renorm

BACKEND = keras.backend.backend()
EPSILON = 1e-3
CASES = [((257, 5), -1), ((8, 16, 16, 7), -1), ((8, 7, 16, 16), 1)]

if BACKEND == "jax":
    import jax
else:
    import torch


def array(x):
    return ops.convert_to_numpy(x)


def tensor(z):
    """Return a tensor where Keras computes, be it a GPU, which shares no memory with z."""
    return ops.convert_to_tensor(np.array(z), z.dtype.name)


def step(layer, z, dy=None, **arguments):
    """Output and gradients for z and the weights of a training step, run as users run it."""
    if not layer.built:
        layer.build(z.shape)
    dy = np.ones_like(z) if dy is None else dy
    if BACKEND == "torch":
        x, dy = map(tensor, (z, dy))
        y = layer(x.requires_grad_(), training=True, **arguments)
        weights = [w.value for w in layer.trainable_weights]
        gradients = torch.autograd.grad(y, [x, *weights], dy)
        return [array(a) for a in (y, *gradients)]

    @jax.jit
    def run(trainable, rest, x, dy):
        def call(trainable, x):
            return layer.stateless_call(trainable, rest, x, training=True, **arguments)

        y, pull, rest = jax.vjp(call, trainable, x, has_aux=True)
        weights, dx = pull(dy)
        return (y, dx, *weights), rest

    trainable, rest = values(layer)
    results, rest = run(trainable, rest, z, dy)
    for weight, value in zip(layer.non_trainable_weights, rest, strict=True):
        weight.assign(value)
    return [array(a) for a in results]


def values(layer):
    weights = layer.trainable_weights, layer.non_trainable_weights
    return [[w.value for w in ws] for ws in weights]


def data(shape, mean=0.0, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(mean, 1.0, shape).astype("float32")
    return z, rng.normal(size=shape).astype("float32")


def averages(layer):
    return np.array([array(layer.moving_mean), array(layer.moving_variance)])


def relative(got, expected):
    return np.linalg.norm(got.astype("float64") - expected) / np.linalg.norm(expected)


def drawn(layer, shape, axis):
    """Draws gamma and beta; returns them, shaped to broadcast."""
    rng = np.random.default_rng(1)
    layer.build(shape)
    gamma = rng.uniform(0.5, 1.5, layer.gamma.shape).astype("float32")
    beta = rng.normal(size=gamma.shape).astype("float32")
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    vector = [1] * len(shape)
    vector[axis] = -1
    return gamma.reshape(vector), beta.reshape(vector)


def others(shape, axis):
    return tuple(a for a in range(len(shape)) if a != axis % len(shape))


@pytest.mark.parametrize("mean", [0.0, 1e3, 1e4])
@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_training_is_exact_however_large_the_mean(shape, axis, mean):
    z, dy = data(shape, mean)
    layer = kbn.BatchNormalization(axis, momentum=0.0, epsilon=EPSILON)
    expected = batch_norm(z, dy, *drawn(layer, shape, axis), others(shape, axis))
    y, dz, dgamma, dbeta = step(layer, z, dy)
    mean, variance = averages(layer)
    assert np.abs(y - expected["y"]).max() <= 1e-5
    errors = {
        "dz": relative(dz, expected["dz"]),
        "dgamma": relative(dgamma, expected["dgamma"]),
        "dbeta": relative(dbeta, expected["dbeta"]),
        "mean": relative(mean, expected["mean"]),
        "var": relative(variance, expected["var"]),
    }
    assert max(errors.values()) <= 1e-5, errors


@pytest.mark.parametrize(("shape", "axis"), [((4, 512, 512, 2), -1), ((4, 2, 512, 512), 1)])
def test_training_is_exact_over_a_million_rows(shape, axis):
    z, dy = data(shape, 1e3)
    layer = kbn.BatchNormalization(axis, momentum=0.0, epsilon=EPSILON)
    expected = batch_norm(z, dy, *drawn(layer, shape, axis), others(shape, axis))
    y, dz, *_ = step(layer, z, dy)
    assert np.abs(y - expected["y"]).max() <= 1e-5
    assert relative(dz, expected["dz"]) <= 1e-5


@pytest.mark.parametrize("rows", [1, 7, 5000])
@pytest.mark.parametrize("value", [1e3, 123456.7, -3e12, 1e30])
def test_a_constant_channel_becomes_beta(value, rows):
    layer = kbn.BatchNormalization(beta_initializer="random_normal")
    y, *_ = step(layer, np.full((rows, 3), value, "float32"))
    np.testing.assert_allclose(y, np.broadcast_to(array(layer.beta), y.shape), atol=1e-6, rtol=0)


@pytest.mark.parametrize("mean", [0.0, 1e3, 1e4])
@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_inference_is_exact_however_large_the_mean(shape, axis, mean):
    z, _ = data(shape, mean)
    layer = kbn.BatchNormalization(axis, epsilon=EPSILON)
    gamma, beta = drawn(layer, shape, axis)
    average, variance = np.random.default_rng(2).uniform(0.5, 2, (2, gamma.size)).astype("float32")
    average += np.float32(mean)
    layer.moving_mean.assign(average)
    layer.moving_variance.assign(variance)
    average, variance = (v.astype("float64").reshape(gamma.shape) for v in (average, variance))
    expected = gamma * (z - average) / np.sqrt(variance + EPSILON) + beta
    np.testing.assert_allclose(array(layer(z)), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("axis", [-1, 1])
def test_a_frozen_layer_has_the_inferences_gradient(axis):
    z, dy = data((6, 3, 4, 3))
    layer = kbn.BatchNormalization(axis, epsilon=EPSILON)
    gamma, _ = drawn(layer, z.shape, axis)
    layer.moving_variance.assign([0.5, 1.0, 2.0])
    layer.trainable = False
    _, dz, *_ = step(layer, z, dy)
    inverse = 1 / np.sqrt(np.reshape([0.5, 1.0, 2.0], gamma.shape) + EPSILON)
    np.testing.assert_allclose(dz, dy * gamma * inverse, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(averages(layer), [[0] * 3, [0.5, 1, 2]])


@pytest.mark.parametrize("kind", ["mask", "sample_weight"])
@pytest.mark.parametrize(("shape", "axis"), [((8, 3), -1), ((8, 5, 3), -1), ((8, 3, 4, 4), 1)])
def test_a_weight_repeats_a_row_and_a_mask_removes_it(shape, axis, kind):
    z, dy = data(shape, 1e3)
    times = np.array([2, 0, 1, 3, 1, 1, 0, 2], "float32")
    weight = times if kind == "sample_weight" else times > 0
    times = np.asarray(weight, int)
    layer = kbn.BatchNormalization(axis, momentum=0.0, epsilon=EPSILON)
    gamma, beta = drawn(layer, shape, axis)
    repeated = np.repeat(z, times, axis=0)
    expected = batch_norm(repeated, repeated, gamma, beta, others(shape, axis))
    weights = times.reshape((-1, *[1] * (len(shape) - 1)))
    slopes = batch_norm(z, dy, gamma, beta, others(shape, axis), weights)
    z[times == 0] = np.nan
    dy[times == 0] = 0
    slopes |= batch_norm(np.nan_to_num(z), dy, gamma, beta, others(shape, axis), weights)
    y, dz, dgamma, dbeta = step(layer, z, dy, **{kind: weight})
    rows = np.repeat(np.arange(8), times)
    np.testing.assert_allclose(y[rows], expected["y"], atol=1e-5)
    np.testing.assert_allclose(dz, slopes["dz"], atol=1e-5)
    np.testing.assert_allclose(dgamma, slopes["dgamma"], atol=1e-4)
    np.testing.assert_allclose(dbeta, slopes["dbeta"], atol=1e-5)
    np.testing.assert_allclose(averages(layer)[0], expected["mean"], rtol=1e-6)
    np.testing.assert_allclose(averages(layer)[1], expected["var"], rtol=1e-5)


@pytest.mark.parametrize("axis", [-1, 1])
def test_every_law_of_the_averages_holds(axis):
    batches = [data((6, 3, 4, 3), mean, seed)[0] for seed, mean in enumerate((1.0, 2.0, 5.0))]
    mean, var, n = 0.0, 0.0, 6 * 4 * 3
    total, share = 0.0, 0.0
    layers = {
        "plain": kbn.BatchNormalization(axis, momentum=0.9),
        "debias": kbn.BatchNormalization(axis, momentum=0.9, debias=True),
        "unbiased": kbn.BatchNormalization(axis, momentum=0.9, unbiased=True),
        "all": kbn.BatchNormalization(axis, momentum=None),
    }
    start = 1.0
    for batch in batches:
        for layer in layers.values():
            step(layer, batch)
        z = batch.astype("float64")
        m, v = z.mean(others(z.shape, axis)), z.var(others(z.shape, axis))
        mean, var, start = 0.9 * mean + 0.1 * m, 0.9 * var + 0.1 * v, 0.9 * start
        share = 0.9 * share + 0.1
        total = total + np.array([m, v]) / len(batches)
    expected = {
        "plain": [mean, var + start],
        "debias": [mean / share, var / share],
        "unbiased": [mean, var * n / (n - 1) + start],
        "all": total,
    }
    for name, layer in layers.items():
        np.testing.assert_allclose(averages(layer), expected[name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("rows", [12, 14, 3])
def test_ghost_batches_are_normalized_by_themselves(rows):
    z, dy = data((rows, 5, 3), 1e3)
    layer = kbn.BatchNormalization(momentum=0.0, epsilon=EPSILON, virtual_batch_size=4)
    y, dz, *_ = step(layer, z, dy)
    parts = [(z[i : i + 4], dy[i : i + 4]) for i in range(0, rows, 4)]
    expected = [batch_norm(*part, 1.0, 0.0, (0, 1)) for part in parts]
    np.testing.assert_allclose(y, np.concatenate([e["y"] for e in expected]), atol=1e-5)
    np.testing.assert_allclose(dz, np.concatenate([e["dz"] for e in expected]), atol=1e-5)
    sizes = [len(part) for part, _ in parts]
    pooled = [np.average([e[k] for e in expected], 0, sizes) for k in ("mean", "var")]
    np.testing.assert_allclose(averages(layer), pooled, rtol=1e-5)


@needs_renorm
def test_renormalization_gives_what_the_inference_gives():
    # Ioffe, arXiv:1702.03275, section 3: with r and d not clipped
    z, _ = data((16, 3), 5.0)
    layer = kbn.BatchNormalization(renorm=True, epsilon=EPSILON)
    layer.build(z.shape)
    layer.renorm_mean.assign([4.0, 5.0, 6.0])
    layer.renorm_stddev.assign([0.5, 1.0, 2.0])
    y, *_ = step(layer, z)
    np.testing.assert_allclose(y, (z - [4, 5, 6]) / np.array([0.5, 1, 2]), atol=2e-5)
    np.testing.assert_allclose(averages(layer)[0], 0.01 * z.mean(0), rtol=1e-4)


@pytest.mark.parametrize(
    "rows", [np.full((1, 3), np.nan), np.full((1, 3), np.inf), np.zeros((0, 3))]
)
@pytest.mark.parametrize("arguments", [{}, {"debias": True}, {"momentum": None}], ids=str)
def test_a_batch_without_statistics_leaves_the_averages(arguments, rows):
    layer = kbn.BatchNormalization(**arguments)
    step(layer, data((8, 3))[0])
    before = averages(layer)
    batch = np.concatenate([data((4 if len(rows) else 0, 3))[0], rows.astype("float32")])
    _, dz, dgamma, dbeta = step(layer, batch)
    np.testing.assert_array_equal(averages(layer), before)
    assert dz.shape == batch.shape
    if not len(rows):
        np.testing.assert_array_equal([dgamma, dbeta], np.zeros((2, 3)))


def test_a_fully_masked_batch_leaves_the_averages():
    layer = kbn.BatchNormalization()
    layer.build((4, 3))
    before = averages(layer)
    step(layer, data((4, 3))[0], mask=np.zeros(4, bool))
    np.testing.assert_array_equal(averages(layer), before)


def test_a_channel_that_is_not_finite_leaves_its_own_averages_only():
    z, _ = data((8, 3))
    z[2, 1] = np.nan
    layer = kbn.BatchNormalization(momentum=0.0)
    step(layer, z)
    np.testing.assert_allclose(averages(layer)[0], [z[:, 0].mean(), 0, z[:, 2].mean()], rtol=1e-4)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "mixed_bfloat16", "mixed_float16"])
def test_half_precision_keeps_float32_averages(dtype, axis):
    half = dtype.removeprefix("mixed_")
    z = ops.cast(np.random.default_rng(0).normal(300.0, 40.0, (64, 3, 5, 3)), half)
    layer = kbn.BatchNormalization(axis, momentum=0.0, dtype=dtype)
    y = layer(z, training=True)
    assert keras.backend.standardize_dtype(y.dtype) == half
    assert {w.dtype for w in layer.non_trainable_weights} == {"float32"}
    exact = array(ops.cast(z, "float32")).astype("float64")
    np.testing.assert_allclose(averages(layer)[0], exact.mean(others(z.shape, axis)), rtol=1e-5)
    np.testing.assert_allclose(averages(layer)[1], exact.var(others(z.shape, axis)), rtol=1e-5)
    assert keras.backend.standardize_dtype(layer(z).dtype) == half


@pytest.mark.skipif(BACKEND != "jax", reason="of JAX")
def test_layers_of_one_shape_are_traced_once(monkeypatch):
    from kbn.norm import portable_kernels

    traced, moments = [], portable_kernels.moments
    monkeypatch.setattr(
        portable_kernels, "moments", lambda *given: traced.append(given) or moments(*given)
    )
    for layer in (kbn.BatchNormalization(), kbn.BatchNormalization()):
        jax.jit(lambda z, layer=layer: layer(z, training=True))(np.ones((19, 23), np.float32))
    assert len(traced) == 1


@pytest.mark.skipif(BACKEND != "jax", reason="of JAX")
def test_xla_cannot_move_the_mean_into_the_product_before_the_layer():
    layer = kbn.BatchNormalization()
    layer.build((None, 3))
    traced = jax.make_jaxpr(lambda z: layer(z, training=False))(np.ones((2, 3), np.float32))
    names = [equation.primitive.name for equation in traced.eqns]
    assert "sub" in names[names.index("optimization_barrier") :]
    assert "sub" not in names[: names.index("optimization_barrier")]


@pytest.mark.skipif(BACKEND != "torch", reason="of torch")
@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_half_precision_has_the_right_gradient(half):
    z, dy = (tensor(a).to(getattr(torch, half)) for a in data((64, 3), 3.0))
    layer = kbn.BatchNormalization(epsilon=EPSILON, dtype=f"mixed_{half}")
    expected = batch_norm(array(z.float()), array(dy.float()), 1.0, 0.0, 0)
    z.requires_grad_()
    y = layer(z, training=True)
    dz, dgamma = torch.autograd.grad(y, [z, layer.gamma.value], dy)
    assert dz.dtype == z.dtype
    assert relative(array(dz.float()), expected["dz"]) <= 1e-2
    assert relative(array(dgamma), expected["dgamma"]) <= 1e-5


def network():
    layers = [keras.Input((5,)), keras.layers.Dense(4), kbn.BatchNormalization(debias=True)]
    return keras.Sequential([*layers, keras.layers.Dense(2)])


def test_a_network_with_the_layer_learns_and_is_the_same_when_loaded_again(tmp_path):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(5.0, 20.0, (512, 5)).astype("float32")
    y = (x @ [1, -1, 0.5, 0, 0] > 2.5).astype("int64")
    model = network()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.02), loss, metrics=["accuracy"])
    model.fit(x, y, epochs=8, batch_size=64, verbose=0)
    assert model.evaluate(x, y, verbose=0)[1] > 0.9
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[1]) is kbn.BatchNormalization
    np.testing.assert_allclose(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5, atol=1e-5
    )


def test_a_weights_file_written_on_tensorflow_is_read():
    folder = Path(os.environ["WRITTEN"])
    layers = [keras.Input((5,)), keras.layers.Dense(4), kbn.BatchNormalization(debias=True)]
    model = keras.Sequential(layers)
    model.load_weights(folder / "model.weights.h5")
    written = np.load(folder / "written.npz")
    np.testing.assert_allclose(
        model.predict(written["x"], verbose=0), written["y"], rtol=1e-5, atol=1e-5
    )


@pytest.fixture
def float64():
    """On JAX a float64 must be allowed."""
    if BACKEND == "jax":
        jax.config.update("jax_enable_x64", True)
        yield
        jax.config.update("jax_enable_x64", False)
    else:
        yield


KINDS = [
    ({}, (6, 4)),
    ({}, (6, 3, 4)),
    ({"axis": 1}, (6, 4, 3)),
    ({"virtual_batch_size": 3}, (6, 4)),
    ({"virtual_batch_size": 4}, (6, 4)),
]


def penalized(arguments, shape):
    """A function of z to differentiate twice, a z and a direction."""
    rng = np.random.default_rng(0)
    layer = kbn.BatchNormalization(**arguments, dtype="float64")
    layer.build(shape)
    layer.gamma.assign(rng.uniform(0.5, 1.5, 4))
    z, direction, dy = (ops.convert_to_tensor(rng.normal(size=shape), "float64") for _ in range(3))

    def loss(z):
        y, _ = layer.stateless_call(*values(layer), z, training=True)
        return (dy * y**3).sum()  # `ops.sin` knows no float64 here

    return loss, z, direction


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("weight", [None, np.array([1, 0, 2, 3])])
def test_a_float64_layer_computes_in_float64(weight):
    z = 1 + 1e-6 * np.random.default_rng(0).normal(size=(4, 3))
    layer = kbn.BatchNormalization(momentum=0.0, epsilon=0.0, dtype="float64")
    y = layer(ops.convert_to_tensor(z, "float64"), training=True, sample_weight=weight)
    expected = batch_norm(z, z, 1.0, 0.0, 0, 1.0 if weight is None else weight[:, None], 0.0)
    assert {w.dtype for w in layer.weights} == {"float64"}
    counted = slice(None) if weight is None else weight > 0
    np.testing.assert_allclose(array(y)[counted], expected["y"][counted], rtol=1e-6)
    np.testing.assert_allclose(averages(layer)[1], expected["var"], rtol=1e-6)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("arguments", "shape"), KINDS)
def test_second_order_gradients_match_finite_differences(arguments, shape):
    loss, z, direction = penalized(arguments, shape)
    if BACKEND == "jax":
        gradient = jax.jit(jax.grad(loss))
        products = [
            jax.grad(lambda z: ops.sum(gradient(z) * direction))(z),
            jax.jvp(gradient, (z,), (direction,))[1],
            ops.tensordot(jax.hessian(loss)(z), direction, z.ndim),
        ]
    else:

        def gradient(z):
            z = z.detach().requires_grad_()
            return torch.autograd.grad(loss(z), z)[0]

        x = z.clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(x), x, create_graph=True)
        product = torch.autograd.grad((slope * direction).sum(), x)[0]
        functional = torch.func.jvp(torch.func.grad(loss), (z,), (direction,))[1]
        products = [product, functional.detach()]
    h = 1e-5
    difference = (gradient(z + h * direction) - gradient(z - h * direction)) / (2 * h)
    for product in products:
        assert relative(array(product), array(difference)) <= 1e-6


@pytest.mark.skipif(BACKEND != "torch", reason="of torch")
@pytest.mark.parametrize("axis", [-1, 1])
def test_gradients_for_gamma_and_beta_match_finite_differences_to_second_order(axis):
    rng = np.random.default_rng(0)
    layer = kbn.BatchNormalization(axis, dtype="float64")
    layer.build((4, 2, 3, 2))
    x, *vectors = (tensor(rng.normal(size=s)) for s in ((4, 2, 3, 2), 2, 2))

    def call(x, *vectors):
        rest = [w.value for w in layer.non_trainable_weights]
        return layer.stateless_call(vectors, rest, x, training=True)[0]

    inputs = [a.requires_grad_() for a in (x, *vectors)]
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


@pytest.mark.skipif(BACKEND != "torch", reason="of torch")
@pytest.mark.parametrize("mean", [0.0, 1e3, 1e4])
@pytest.mark.parametrize("shape", [(257, 5, 1), (8, 5, 33)])
def test_what_a_gpu_computes_is_exact_however_large_the_mean(shape, mean):
    from kbn.norm.torch_kernels import _normalize_on_gpu

    z, dy = data(shape, mean)
    x, gamma, beta = tensor(z).requires_grad_(), tensor(np.ones(5, "f4")), tensor(np.zeros(5, "f4"))
    y, average, variance = _normalize_on_gpu(x, gamma, beta, EPSILON)
    (dz,) = torch.autograd.grad(y.reshape(shape), x, tensor(dy))
    expected = batch_norm(z, dy, 1.0, 0.0, others(shape, 1), epsilon=EPSILON)
    for name, value in (("y", y), ("dz", dz), ("mean", average), ("var", variance)):
        assert relative(array(value).reshape(-1), expected[name].reshape(-1)) <= 1e-6, name


@pytest.mark.skipif(BACKEND != "torch", reason="of torch")
@pytest.mark.parametrize("axis", [-1, 1])
def test_forward_mode_agrees_with_backward_mode(axis):
    loss, z, direction = penalized({"axis": axis}, (6, 4, 4))
    x = z.clone().requires_grad_()
    expected = (torch.autograd.grad(loss(x), x)[0] * direction).sum()
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(z, direction)
        tangent = torch.autograd.forward_ad.unpack_dual(loss(dual)).tangent
    np.testing.assert_allclose(array(tangent), array(expected), rtol=1e-9)


@pytest.mark.skipif(BACKEND != "torch", reason="of torch")
def test_memory_that_is_not_in_order_changes_nothing():
    # as convolutions return it
    z, dy = map(tensor, data((6, 3, 4, 5), 1e3))
    results = []
    turned = z.transpose(0, 3).contiguous().transpose(0, 3)
    for other in (z, z.to(memory_format=torch.channels_last), turned):
        x = other.detach().requires_grad_()
        layer = kbn.BatchNormalization(axis=1)
        y = layer(x, training=True)
        results.append((y, *torch.autograd.grad(y, x, dy), layer(x)))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(array(a), array(b), atol=1e-5)
