import collections

import keras
import numpy as np
import pytest
import sklearn.datasets
import tensorflow as tf
from keras import layers, ops

import kbn
from kbn.norm.surgery import _moving_weight, convert_batch_norm, fold_batch_norm, recalibrate
from norm.reference import needs_renorm

APPLICATIONS = ("ResNet50", "MobileNetV2", "EfficientNetB0")


def norms(model):
    return [x for x in model._flatten_layers() if isinstance(x, layers.BatchNormalization)]


def trained(model, seed=0):
    """`model` with its norms at random: at their start every norm could go unnoticed."""
    rng = np.random.default_rng(seed)
    for layer in norms(model):
        shape = layer.moving_mean.shape
        if layer.gamma is not None:
            layer.gamma.assign(rng.uniform(0.5, 1.5, shape))
        if layer.beta is not None:
            layer.beta.assign(rng.normal(0, 0.3, shape))
        layer.moving_mean.assign(rng.normal(0, 0.3, shape))
        layer.moving_variance.assign(rng.uniform(0.5, 2, shape))
    return model


def inputs(model, rows=8, seed=0):
    shape = [s or 9 for s in model.input_shape[1:]]
    return np.random.default_rng(seed).normal(size=(rows, *shape)).astype("float32")


def difference(model, other, x=None):
    """Of their predictions, relative to the largest."""
    x = inputs(model) if x is None else x
    a, b = (np.asarray(m(x, training=False), "float64") for m in (model, other))
    return np.abs(a - b).max() / np.abs(a).max()


def chain(shape, *steps, **kwargs):
    return trained(keras.Sequential([keras.Input(shape), *steps], **kwargs))


def application(name, size=32):
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None
    )
    return trained(model)


def digits_mlp(units=(64, 64)):
    hidden = [
        part
        for n in units
        for part in (layers.Dense(n, use_bias=False), layers.BatchNormalization(), layers.ReLU())
    ]
    return keras.Sequential([keras.Input((64,)), *hidden, layers.Dense(10)])


@keras.saving.register_keras_serializable(package="test_surgery")
class Block(layers.Layer):
    """Holds norms in every way an attribute can."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.first = layers.BatchNormalization()
        self.some = [layers.Dense(units), layers.BatchNormalization()]
        self.named = {"norm": layers.BatchNormalization()}
        self.pair = (layers.BatchNormalization(), layers.ReLU())
        self.deep = [[layers.BatchNormalization()]]

    def call(self, x):
        for layer in (self.first, *self.some, self.named["norm"], *self.pair, self.deep[0][0]):
            x = layer(x)
        return x

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.block = Block(4)
        self.stack = keras.Sequential([layers.Dense(3), layers.BatchNormalization()])

    def call(self, x):
        return self.stack(self.block(x))


def nested():
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(4), layers.BatchNormalization()])
    x, z = keras.Input((6,)), keras.Input((6,))
    middle = keras.Model(x, layers.BatchNormalization()(inner(x)), name="middle")
    return trained(keras.Model(z, middle(z)))


def wrapped():
    x = keras.Input((7, 5))
    y = layers.TimeDistributed(layers.BatchNormalization())(x)
    return trained(
        keras.Model(x, layers.TimeDistributed(chain((5,), layers.BatchNormalization()))(y))
    )


def with_operations():
    x = keras.Input((5,))
    y = layers.BatchNormalization()(x)[:, 1:] + 1.0
    y = layers.Lambda(lambda z: z * np.pi)(y)
    return trained(keras.Model(x, ops.concatenate([ops.relu(y), y], -1)))


# ---- convert -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: chain((5,), layers.Dense(4), layers.BatchNormalization()),
        nested,
        wrapped,
        with_operations,
    ],
    ids=["sequential", "nested", "wrapped", "operations"],
)
def test_conversion_there_and_back_keeps_names_weights_and_predictions(make):
    model = make()
    there = convert_batch_norm(model)
    back = convert_batch_norm(there, to="keras")
    assert all(type(layer) is kbn.BatchNormalization for layer in norms(there))
    assert {type(layer) for layer in norms(model) + norms(back)} == {layers.BatchNormalization}
    assert difference(model, there) < 1e-6
    assert difference(model, back) == 0
    for other in (there, back):
        assert len(norms(model)) == len(norms(other)) > 0
        assert [x.name for x in other._flatten_layers()] == [
            x.name for x in model._flatten_layers()
        ]
        for mine, its in zip(model.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, its)


def test_a_subclassed_model_is_converted_wherever_it_holds_its_layers():
    model, x = Subclassed(), np.random.default_rng(0).normal(size=(8, 5)).astype("float32")
    model(x)
    trained(model)
    there = convert_batch_norm(model)
    assert type(there) is Subclassed
    assert len(norms(there)) == 6
    assert all(type(layer) is kbn.BatchNormalization for layer in norms(there))
    assert difference(model, there, x) < 1e-6
    assert difference(model, convert_batch_norm(there, to="keras"), x) == 0
    for mine, its in zip(model.get_weights(), there.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)
    there.compile("sgd", "mse")
    there.fit(x, np.zeros((8, 3)), verbose=0)


def test_a_subclassed_layer_in_a_functional_model_is_converted():
    x = keras.Input((5,))
    model = trained(keras.Model(x, Block(4)(x)))
    there = convert_batch_norm(model)
    assert {type(layer) for layer in norms(there)} == {kbn.BatchNormalization}
    assert difference(model, there) < 1e-6


def test_the_given_model_is_left_as_it_was():
    model = nested()
    model.compile("sgd", loss=lambda y, y_pred: ops.mean(y_pred))
    weights, before = model.get_weights(), list(model._flatten_layers())
    recalibrate(convert_batch_norm(model), inputs(model))
    with pytest.warns(UserWarning, match="not folded"):  # what follows the inner model
        fold_batch_norm(model)
    assert before == list(model._flatten_layers())
    assert model.compiled
    for mine, its in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_a_layer_used_twice_stays_one_layer():
    x, z = keras.Input((4,)), keras.Input((4,))
    norm = layers.BatchNormalization()
    part = keras.Sequential([keras.Input((4,)), layers.Dense(4), norm])
    model = trained(keras.Model([x, z], [part(norm(x)), part(norm(z))]))
    there = convert_batch_norm(model)
    assert len(norms(there)) == 1
    pair = [np.ones((3, 4)), np.full((3, 4), 2.0)]
    for mine, its in zip(model(pair), there(pair), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-5)


def test_all_settings_of_a_norm_are_kept():
    settings = {
        "axis": 1,
        "momentum": 0.7,
        "epsilon": 0.01,
        "scale": False,
        "beta_regularizer": "l2",
        "beta_constraint": "non_neg",
        "moving_mean_initializer": "ones",
        "name": "mine",
        "dtype": "mixed_float16",
    }
    model = chain((5, 3), layers.BatchNormalization(**settings))
    config = norms(convert_batch_norm(model))[0].get_config()
    for other in (
        config,
        norms(convert_batch_norm(convert_batch_norm(model), to="keras"))[0].get_config(),
    ):
        mine = norms(model)[0].get_config()
        assert {key: other[key] for key in mine} == mine


def test_frozen_layers_stay_frozen_and_the_others_not():
    model = nested()
    model.trainable = False
    norms(model)[0].trainable = True
    there = convert_batch_norm(model)
    flags = [layer.trainable for layer in model._flatten_layers()]
    assert flags == [layer.trainable for layer in there._flatten_layers()]
    assert True in flags
    assert False in flags


@needs_renorm
def test_renorm_keeps_its_further_averages_and_starts_them_where_they_are_new():
    model = chain((4,), layers.BatchNormalization(renorm=True))
    norms(model)[0].renorm_mean.assign(np.arange(4.0))
    there = norms(convert_batch_norm(model))[0]
    np.testing.assert_array_equal(there.renorm_mean, np.arange(4.0))
    plain = chain((4,), layers.BatchNormalization())
    (new,) = norms(convert_batch_norm(plain, renorm=True))
    np.testing.assert_array_equal(new.renorm_mean, norms(plain)[0].moving_mean)
    deviation = np.sqrt(norms(plain)[0].moving_variance + 1e-3)
    np.testing.assert_allclose(new.renorm_stddev, deviation, rtol=1e-6)


def test_a_trained_model_starts_with_its_averages_at_full_weight():
    model = chain((4,), layers.BatchNormalization(momentum=0.9))
    (debiased,) = norms(convert_batch_norm(model, debias=True))
    np.testing.assert_array_equal(debiased.moving_weight, np.ones(4))
    (average,) = norms(convert_batch_norm(model, momentum=None))
    np.testing.assert_allclose(average.moving_weight, np.full(4, 19.0), rtol=1e-6)
    untrained = keras.Sequential([keras.Input((4,)), layers.BatchNormalization()])
    (fresh_one,) = norms(convert_batch_norm(untrained, debias=True))
    np.testing.assert_array_equal(fresh_one.moving_weight, np.zeros(4))


def test_what_stock_does_not_know_is_dropped_on_the_way_back_to_it():
    model = chain((4,), kbn.BatchNormalization(momentum=None, unbiased=True, debias=True))
    back = convert_batch_norm(model, to="keras")
    assert norms(back)[0].momentum == 0.99
    assert type(norms(back)[0]) is layers.BatchNormalization
    assert difference(model, back) < 1e-6


@pytest.mark.parametrize(
    ("weight", "old", "new", "expected"),
    [
        (1, 0.9, 0.9, 1),  # a trained average, debiased from now on
        (1, 0.9, None, 19),  # as noisy as the plain average of 19 batches
        (1 - 0.9**4, 0.9, None, 19 * (1 - 0.9**4) / (1 + 0.9**4)),
        (0, 0.9, None, 0),  # nothing seen yet
        (7, None, None, 7),
        (7, None, 0.9, 1),
        (0, None, 0.9, 0),
    ],
)
def test_the_weight_behind_the_averages_is_carried_over(weight, old, new, expected):
    assert _moving_weight(weight, old, new) == pytest.approx(expected)


def test_overrides_reach_every_layer():
    there = convert_batch_norm(nested(), momentum=0.5, epsilon=1e-4)
    assert {(layer.momentum, layer.epsilon) for layer in norms(there)} == {(0.5, 1e-4)}
    again = convert_batch_norm(there, momentum=0.6)
    assert {layer.momentum for layer in norms(again)} == {0.6}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"momentun": 0.9}, "overrides must be among .*momentum.* Got momentun"),
        ({"axis": 1}, "Got axis"),
        ({"to": "torch"}, "`to` must be 'kbn' or 'keras'. Got 'torch'"),
        ({"scale": False}, "scale must stay True where a layer has a gamma.*scale=False for mine"),
    ],
)
def test_a_wrong_conversion_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        convert_batch_norm(chain((4,), layers.BatchNormalization(name="mine")), **arguments)


def test_a_model_that_keras_cannot_clone_is_refused_with_what_to_do():
    class Unknown(keras.Model):
        def __init__(self, activation="relu"):
            super().__init__()
            self.norm, self.activation = layers.BatchNormalization(), activation

        def call(self, x):
            return keras.activations.get(self.activation)(self.norm(x))

    # Keras would build it anew with the default activation
    with pytest.raises(ValueError, match=r"unknown \(Unknown\) must be .* from get_config\(\)"):
        convert_batch_norm(Unknown("tanh"))


def test_a_users_own_norm_stays_what_it_is():
    class Shifted(layers.BatchNormalization):
        def call(self, x, **kwargs):
            return super().call(x, **kwargs) + 1

    model = chain((4,), layers.Dense(4), Shifted())
    assert type(norms(convert_batch_norm(model))[0]) is Shifted
    with pytest.warns(UserWarning, match="class Shifted may compute something else"):
        folded = fold_batch_norm(model)
    assert difference(model, folded) < 1e-6


# ---- recalibrate ---------------------------------------------------------------------------------


def batches(x, sizes):
    return np.split(x, np.cumsum(sizes)[:-1])


class Batches(keras.utils.PyDataset):
    def __init__(self, parts):
        super().__init__()
        self.parts = parts

    def __len__(self):
        return len(self.parts)

    def __getitem__(self, index):
        return self.parts[index], np.zeros(len(self.parts[index]))


UNEQUAL = (50, 1, 7, 30)
DATA = {
    "array": lambda x: x,
    "array and labels": lambda x: (x, np.zeros(len(x))),
    "generator": lambda x: (part for part in batches(x, UNEQUAL)),
    "list of pairs": lambda x: [(part, np.zeros(len(part))) for part in batches(x, UNEQUAL)],
    "tf.data": lambda x: tf.data.Dataset.from_tensor_slices((x, x)).batch(13),
    "PyDataset": lambda x: Batches(batches(x, UNEQUAL)),
}


@pytest.mark.parametrize("kind", [layers.BatchNormalization, kbn.BatchNormalization])
@pytest.mark.parametrize("data", DATA.values(), ids=DATA)
def test_recalibration_gives_the_populations_mean_and_variance(data, kind):
    x = np.random.default_rng(0).normal(1e3, 1, (88, 3, 5)).astype("float32")
    x[:50] += 3.0
    model = chain((3, 5), kind(), layers.Dense(2))
    gamma = np.array(norms(model)[0].gamma)
    recalibrate(model, data(x))
    (norm,) = norms(model)
    np.testing.assert_allclose(norm.moving_mean, x.mean((0, 1), "float64"), rtol=1e-6)
    np.testing.assert_allclose(norm.moving_variance, x.var((0, 1), "float64"), rtol=1e-5)
    np.testing.assert_array_equal(norm.gamma, gamma)
    assert "call" not in vars(norm)


def test_every_layer_sees_what_the_layers_below_make_of_the_batch():
    x = np.random.default_rng(0).normal(2, 3, (64, 5)).astype("float32")
    model = chain(
        (5,), layers.BatchNormalization(), layers.Dropout(0.5), layers.ReLU(), kbn.BatchNorm()
    )
    recalibrate(model, [(x, None)])
    first, second = norms(model)
    z = (x - x.mean(0)) / np.sqrt(x.var(0) + first.epsilon) * first.gamma + first.beta
    z = np.maximum(z, 0)
    np.testing.assert_allclose(second.moving_mean, z.mean(0), rtol=1e-4)
    np.testing.assert_allclose(second.moving_variance, z.var(0), rtol=1e-4)


def test_masked_elements_do_not_count():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 6, 4)).astype("float32")
    kept = rng.random((20, 6)) < 0.5
    x[~kept] = -9.0
    model = chain((6, 4), layers.Masking(-9.0), layers.BatchNormalization())
    recalibrate(model, x)
    (norm,) = norms(model)
    np.testing.assert_allclose(norm.moving_mean, x[kept].mean(0), atol=1e-6)
    np.testing.assert_allclose(norm.moving_variance, x[kept].var(0), rtol=1e-5)


def test_rows_count_as_often_as_their_sample_weight_says():
    x = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
    times = np.arange(40) % 3
    z, w = keras.Input((4,)), keras.Input(())
    model = keras.Model([z, w], kbn.BatchNormalization(unbiased=True)(z, sample_weight=w))
    recalibrate(model, [x, times.astype("float32")])
    (norm,) = norms(model)
    repeated = np.repeat(x, times, axis=0)
    np.testing.assert_allclose(norm.moving_mean, repeated.mean(0), atol=1e-6)
    np.testing.assert_allclose(norm.moving_variance, repeated.var(0, ddof=1), rtol=1e-5)


def test_a_layer_in_a_wrapper_or_used_twice_sees_all_it_is_given():
    model = wrapped()
    x = inputs(model, rows=40)
    recalibrate(model, x)
    np.testing.assert_allclose(norms(model)[0].moving_mean, x.mean((0, 1)), atol=1e-6)
    np.testing.assert_allclose(norms(model)[0].moving_variance, x.var((0, 1)), rtol=1e-5)

    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    norm = layers.BatchNormalization()
    model = keras.Model({"a": a, "b": b}, [norm(a), norm(b)])
    x = np.random.default_rng(0).normal(size=(2, 30, 4)).astype("float32")
    recalibrate(model, {"a": x[0], "b": x[1]})
    np.testing.assert_allclose(norm.moving_mean, x.mean((0, 1)), atol=1e-6)


def test_steps_bounds_the_batches_taken():
    model = chain((2,), layers.BatchNormalization())
    endless = tf.data.Dataset.from_tensors(np.ones((3, 2), "float32")).repeat()
    recalibrate(model, endless, steps=2)
    np.testing.assert_array_equal(norms(model)[0].moving_mean, 1.0)
    taken = []
    recalibrate(model, (taken.append(i) or np.full((1, 2), i) for i in range(9)), steps=3)
    np.testing.assert_array_equal(norms(model)[0].moving_mean, 1.0)
    assert taken == [0, 1, 2]


def spoiled():
    yield np.ones((4, 3))
    yield np.ones((4, 99))


@pytest.mark.parametrize(
    ("data", "steps", "message"),
    [
        (np.zeros((0, 3)), None, "`data` must hold .* Got ndarray without any"),
        ([], None, "`data` must hold .* Got list"),
        (iter(()), None, "`data` must hold"),
        (None, None, "`data` must hold .* Got NoneType"),
        (np.ones((4, 3)), 0, "`steps` must be at least 1. Got 0"),
        (np.full((4, 3), np.nan), None, "`data` must give .* NaN or infinity in mine"),
        (tf.data.Dataset.from_tensors(np.ones((3, 3))).repeat(), None, "`steps` must be given"),
        ({"a": np.ones((4, 3)), "b": np.ones((5, 3))}, None, r"equally long. Got \[4, 5\] rows"),
        (spoiled(), None, "."),
    ],
)
def test_recalibration_with_bad_data_is_refused_and_changes_nothing(data, steps, message):
    model = chain((3,), layers.BatchNormalization(name="mine"))
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        recalibrate(model, data, steps)
    for mine, its in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)
    assert "call" not in vars(norms(model)[0])


def test_recalibration_of_a_model_without_norms_or_not_built_is_refused():
    with pytest.raises(
        ValueError, match=r"`model` must have a BatchNormalization layer. Got plain"
    ):
        recalibrate(chain((3,), layers.Dense(2), name="plain"), np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"`model` must be built. Got raw"):
        recalibrate(keras.Sequential([layers.BatchNormalization()], name="raw"), np.ones((4, 3)))


@pytest.mark.slow
def test_after_50_steps_the_digits_are_told_as_well_as_with_the_batchs_own_statistics():
    x, y = sklearn.datasets.load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    seen, new = slice(0, 1437), slice(1437, None)
    accuracies = []
    for seed in range(3):
        keras.utils.set_random_seed(seed)
        model = digits_mlp()
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        order = np.random.default_rng(seed).permutation(1437)
        for i in range(50):
            rows = order[32 * i % 1408 :][:32]
            model.train_on_batch(x[rows], y[rows])
        moving = np.mean(np.argmax(model(x[new]), 1) == y[new])
        recalibrate(model, (x[seen], y[seen]))
        recalibrated = np.mean(np.argmax(model(x[new]), 1) == y[new])
        own = np.mean(np.argmax(model(x[new], training=True), 1) == y[new])
        accuracies.append((moving, recalibrated, own))
    moving, recalibrated, own = np.mean(accuracies, 0)
    assert abs(recalibrated - own) <= 0.01
    assert moving < recalibrated - 0.05


def test_training_goes_on_from_what_recalibration_set():
    x = np.random.default_rng(0).normal(3, 1, (64, 5)).astype("float32")
    for arguments, share in (({"debias": True, "momentum": 0.9}, 0.1), ({"momentum": None}, 0.5)):
        model = keras.Sequential([keras.Input((5,)), kbn.BatchNormalization(**arguments)])
        recalibrate(model, x)
        model(x + 10, training=True)
        moved = x.mean(0) + 10 * share
        np.testing.assert_allclose(model.layers[0].moving_mean, moved, rtol=1e-4)


def test_a_list_of_batches_is_not_taken_for_several_inputs():
    x = np.random.default_rng(0).normal(3, 1, (64, 5)).astype("float32")
    model = keras.Sequential([keras.Input((5,)), kbn.BatchNormalization()])
    recalibrate(model, [x[:30], x[30:]])
    np.testing.assert_allclose(model.layers[0].moving_mean, x.mean(0), rtol=1e-5)


def test_a_users_own_norm_runs_as_it_is_while_others_are_recalibrated():
    class Shifted(layers.BatchNormalization):
        def call(self, inputs, **arguments):
            return 5 * super().call(inputs, **arguments) + 1

    x = np.random.default_rng(0).normal(0, 1, (640, 5)).astype("float32")
    model = keras.Sequential([keras.Input((5,)), Shifted(), kbn.BatchNormalization()])
    recalibrate(model, x)
    below = np.asarray(model.layers[0](x))
    np.testing.assert_allclose(model.layers[1].moving_mean, below.mean(0), rtol=1e-4)
    np.testing.assert_array_equal(model.layers[0].moving_mean, np.zeros(5))


# ---- fold ----------------------------------------------------------------------------------------

FOLDABLE = {
    "dense": ((6,), layers.Dense(4)),
    "dense on a sequence": ((7, 6), layers.Dense(4, use_bias=False)),
    "conv1d": ((9, 6), layers.Conv1D(4, 3, padding="causal", use_bias=False)),
    "conv2d": ((9, 8, 6), layers.Conv2D(4, 3, strides=2, padding="same")),
    "conv2d in groups": ((9, 8, 6), layers.Conv2D(4, 3, groups=2)),
    "conv3d": ((5, 6, 7, 3), layers.Conv3D(4, 3)),
    "conv1d transposed": ((9, 6), layers.Conv1DTranspose(4, 3, strides=2)),
    "conv2d transposed": ((5, 6, 6), layers.Conv2DTranspose(4, 3, padding="same")),
    "conv3d transposed": ((3, 4, 5, 6), layers.Conv3DTranspose(4, 3)),
    "depthwise1d": ((9, 6), layers.DepthwiseConv1D(3, depth_multiplier=2)),
    "depthwise2d": ((9, 8, 6), layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)),
    "separable1d": ((9, 6), layers.SeparableConv1D(4, 3, depth_multiplier=2)),
    "separable2d": ((9, 8, 6), layers.SeparableConv2D(4, 3, use_bias=False)),
}


def fresh(layer):
    """Another such layer, with a bias at random where it has one."""
    return type(layer).from_config(
        {**layer.get_config(), "bias_initializer": keras.initializers.RandomNormal(seed=1)}
    )


@pytest.mark.parametrize("kind", [layers.BatchNormalization, kbn.BatchNormalization])
@pytest.mark.parametrize(("shape", "layer"), FOLDABLE.values(), ids=FOLDABLE)
def test_a_norm_after_a_layer_goes_into_it(shape, layer, kind):
    model = chain(shape, fresh(layer), layers.Dropout(0.5), kind(), layers.ReLU())
    folded = fold_batch_norm(model)
    assert not norms(folded)
    assert [x.name for x in folded.layers] == [
        x.name for x in model.layers if x.name != norms(model)[0].name
    ]
    assert difference(model, folded) < 1e-5


@pytest.mark.parametrize(
    ("shape", "layer"),
    [
        value
        for key, value in FOLDABLE.items()
        if getattr(value[1], "padding", "valid") == "valid" and "transposed" not in key
    ],
    ids=[
        key
        for key, value in FOLDABLE.items()
        if getattr(value[1], "padding", "valid") == "valid" and "transposed" not in key
    ],
)
def test_a_norm_before_an_unpadded_layer_goes_into_it(shape, layer):
    model = chain(shape, layers.ReLU(), layers.BatchNormalization(), fresh(layer), layers.ReLU())
    folded = fold_batch_norm(model)
    assert not norms(folded)
    assert difference(model, folded) < 1e-5


@pytest.mark.parametrize("layer", [FOLDABLE["conv2d"][1], FOLDABLE["conv2d transposed"][1]])
def test_a_norm_before_a_padded_layer_stays_unless_it_does_not_shift(layer):
    model = chain((5, 6, 6), layers.ReLU(), layers.BatchNormalization(name="mine"), fresh(layer))
    with pytest.warns(UserWarning, match=r"mine \(.*pads with zeros, which the norm shifts\)"):
        folded = fold_batch_norm(model)
    assert len(norms(folded)) == 1
    assert difference(model, folded) < 1e-6
    norms(model)[0].beta.assign(norms(model)[0].moving_mean * 0)
    norms(model)[0].moving_mean.assign(norms(model)[0].moving_mean * 0)
    folded = fold_batch_norm(model)
    assert not norms(folded)
    assert difference(model, folded) < 1e-5


def test_norms_on_either_side_and_one_upon_another_all_go_in():
    model = chain(
        (6,),
        *(layers.BatchNormalization(), layers.BatchNormalization(center=False), layers.Dense(5)),
        *(layers.BatchNormalization(scale=False), layers.BatchNormalization(), layers.ReLU()),
    )
    folded = fold_batch_norm(model)
    assert not norms(folded)
    assert difference(model, folded) < 1e-5


def test_nested_and_wrapped_models_are_folded_too():
    x = keras.Input((6,))
    inner = keras.Model(x, layers.BatchNormalization()(layers.Dense(4)(x)), name="inner")
    step = chain((6,), layers.Dense(4), layers.BatchNormalization())
    z = keras.Input((3, 6), name="z")
    y = layers.TimeDistributed(step)(z) + ops.expand_dims(inner(z[:, 0]) * inner(z[:, 1]), 1)
    model = trained(keras.Model({"z": z}, {"y": y}))
    folded = fold_batch_norm(model)
    assert not norms(folded)
    data = {"z": np.random.default_rng(0).normal(size=(8, 3, 6)).astype("float32")}
    np.testing.assert_allclose(folded(data)["y"], model(data)["y"], rtol=1e-5, atol=1e-5)
    assert folded.get_layer("inner").layers[-1].use_bias


def shared_norm(x):
    norm = layers.BatchNormalization(name="mine")
    return norm(layers.Dense(4)(x)) + norm(layers.Dense(4)(x))


def shared_dense(x):
    dense = layers.Dense(4, name="dense")
    return layers.BatchNormalization(name="mine")(dense(x)) + dense(x)


def used_twice(x):
    y = layers.Dense(4)(x)
    return ops.relu(y) + layers.BatchNormalization(name="mine")(y)


def after_activation(x):
    return ops.relu(layers.BatchNormalization(name="mine")(layers.Dense(4, "relu", name="d")(x)))


def after_sum(x):
    y = layers.Add(name="sum")([layers.Dense(4)(x), layers.Dense(4)(x)])
    return layers.ReLU(name="relu")(layers.BatchNormalization(name="mine")(y))


def in_training(x):
    return layers.BatchNormalization(name="mine")(layers.Dense(4)(x), training=True)


def nested_in_training(x):
    steps = [keras.Input((6,)), layers.Dense(4), layers.BatchNormalization(name="mine")]
    return keras.Sequential(steps)(x, training=True)


def noise_between(x):
    y = layers.Dropout(0.5, seed=1)(layers.Dense(4)(x), training=True)
    return ops.relu(layers.BatchNormalization(name="mine")(y))


def on_another_axis(x):
    y = layers.Conv1D(6, 1)(ops.reshape(x, (-1, 3, 2)))
    return ops.relu(layers.BatchNormalization(axis=1, name="mine")(y))


def of_another_type(x):
    y = layers.Dense(4, dtype="mixed_bfloat16")(x)
    return ops.relu(layers.BatchNormalization(name="mine")(y))


def in_a_wrapper(x):
    return layers.TimeDistributed(layers.BatchNormalization(name="mine"))(
        layers.Dense(4)(x[:, None])
    )


@pytest.mark.parametrize(
    ("layout", "reason"),
    [
        (shared_norm, "it is used more than once"),
        (shared_dense, "comes from dense, a Dense that is used more than once"),
        (used_twice, "its input is used elsewhere too, goes into [a-z_0-9]*, "),
        (after_activation, "comes from d, a Dense whose activation is not linear"),
        (after_sum, "comes from sum, a Add that has no kernel .*, goes into relu, a ReLU"),
        (in_training, "it is called with training=True"),
        (nested_in_training, "it is called with training=True"),
        (noise_between, "a Dropout that has no kernel"),
        (on_another_axis, "whose channels are on another axis"),
        (of_another_type, "that computes in bfloat16, not float32"),
        (in_a_wrapper, "it is in a layer that is not taken apart"),
    ],
)
def test_what_cannot_be_folded_exactly_stays_and_is_reported(layout, reason):
    x = keras.Input((6,))
    model = trained(keras.Model(x, layout(x)))
    with pytest.warns(UserWarning, match=rf"not folded in functional.*: mine \(.*{reason}"):
        folded = fold_batch_norm(model)
    assert len(norms(folded)) == 1
    if layout is not noise_between:
        assert difference(model, folded) < 1e-6


def test_a_quantized_layer_stays_as_it_is():
    model = chain((6,), layers.Dense(4), layers.BatchNormalization(name="mine"))
    model.layers[0].quantize("int8")
    with pytest.warns(UserWarning, match="mine .* quantized"):
        folded = fold_batch_norm(model)
    assert difference(model, folded) < 1e-6


@pytest.mark.parametrize(("policy", "tolerance"), [("float64", 1e-12), ("mixed_float16", 3e-3)])
def test_other_types_fold_as_well_as_they_compute(policy, tolerance):
    model = chain((6,), layers.Dense(4, dtype=policy), layers.BatchNormalization(dtype=policy))
    folded = fold_batch_norm(model)
    assert not norms(folded)
    assert difference(model, folded) < tolerance


def test_folding_a_model_that_is_not_built_or_subclassed_is_refused():
    raw = keras.Sequential([layers.Dense(3), layers.BatchNormalization()], name="raw")
    with pytest.raises(ValueError, match=r"`model` must be built. Got raw"):
        fold_batch_norm(raw)
    model = Subclassed()
    with pytest.raises(ValueError, match=r"`model` must be built"):
        fold_batch_norm(model)
    model(np.ones((2, 5)))
    with pytest.raises(ValueError, match=r"must be Sequential or functional. Got .* Subclassed"):
        fold_batch_norm(model)


# ---- the application models ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", APPLICATIONS)
def test_an_application_model_is_converted_and_recalibrated(name):
    model = application(name)
    x = inputs(model)
    there = convert_batch_norm(model)
    assert difference(model, there, x) < 1e-6
    assert difference(model, convert_batch_norm(there, to="keras"), x) == 0

    recalibrate(there, x)
    seen = keras.Model(there.input, [layer.input for layer in norms(there)])(x, training=False)
    for layer, given in zip(norms(there), seen, strict=True):
        z = np.asarray(given, "float64")
        mean, deviation = z.mean((0, 1, 2)), z.std((0, 1, 2))
        # up to rounding, which 50 layers over 8 elements a channel multiply
        assert np.all(abs(layer.moving_mean - mean) < 0.01 * (deviation + 1e-3))
        np.testing.assert_allclose(layer.moving_variance, deviation**2, rtol=0.01, atol=1e-5)


# What is left once all norms are folded, by TF-Lite operation: residual sums (ADD), and in
# EfficientNet 49 swish activations and 16 squeeze-and-excitations (MUL).
LITE = {
    "ResNet50": {"ADD": 16},
    "MobileNetV2": {"ADD": 10},
    "EfficientNetB0": {"ADD": 9, "MUL": 65},
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
@pytest.mark.parametrize("name", APPLICATIONS)
def test_a_folded_application_model_exports_without_a_norm(name, tmp_path):
    model = application(name)
    folded = fold_batch_norm(model)
    assert not norms(folded)
    x = inputs(model, rows=2)
    assert difference(model, folded, x) < 1e-5

    folded.export(tmp_path / "saved", verbose=False)
    saved = tf.saved_model.load(tmp_path / "saved")
    np.testing.assert_allclose(saved.serve(x), folded(x), rtol=1e-4, atol=1e-5)
    graph = saved.signatures["serving_default"].graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    used = collections.Counter(node.op for node in nodes)
    assert not {op for op in used if "BatchNorm" in op or op == "Rsqrt"}
    # EfficientNet standardizes its input in a Normalization layer, which is no BatchNormalization
    assert used["Sqrt"] == (name == "EfficientNetB0")

    lite = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved")).convert()
    interpreter = tf.lite.Interpreter(model_content=lite)
    found = collections.Counter(op["op_name"] for op in interpreter._get_ops_details())
    assert {op: found[op] for op in ("ADD", "MUL", "SUB", "RSQRT") if found[op]} == LITE[name]
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x[:1])
    interpreter.invoke()
    logits = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    expected = np.asarray(model(x[:1], training=False))
    assert np.abs(logits - expected).max() / np.abs(expected).max() < 1e-5


def test_a_norm_with_a_large_mean_stays_before_a_layer():
    model = chain((16,), layers.BatchNormalization(), layers.Dense(4))
    model.layers[0].moving_mean.assign(np.full(16, 1e4))
    with pytest.warns(UserWarning, match="would cancel a mean so large"):
        folded = fold_batch_norm(model)
    x = inputs(model) + 1e4
    assert difference(model, folded, x) == 0


def test_a_norm_before_a_pointwise_convolution_folds_whatever_its_padding():
    model = chain((6, 6, 3), layers.BatchNormalization(), layers.Conv2D(4, 1, padding="same"))
    folded = fold_batch_norm(model)
    assert not norms(folded)
    assert difference(model, folded) < 1e-5


def test_a_vocabulary_is_copied_too():
    lookup = layers.StringLookup(vocabulary=["a", "b", "c"], output_mode="one_hot")
    model = keras.Sequential(
        [keras.Input((), dtype="string"), lookup, layers.Dense(3), layers.BatchNormalization()]
    )
    x = tf.constant(["a", "c", "?"])
    np.testing.assert_array_equal(convert_batch_norm(model)(x), model(x))


@pytest.mark.parametrize("arguments", [{"momentum": 2.0}, {"to": "keras", "momentum": None}])
def test_a_bad_override_is_named(arguments):
    model = chain((5,), layers.BatchNormalization())
    with pytest.raises(ValueError, match=r"overrides must be what .* takes\. Got {'momentum'"):
        convert_batch_norm(model, **arguments)
