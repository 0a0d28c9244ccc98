"""Presets of keras-hub under a recipe's head, beside what keras-hub itself makes of them."""

import importlib.util
import zipfile

import keras
import keras_hub
import numpy as np
import pytest

import kbn
from kbn.errors import RecipeError
from kbn.recipe.backbones import backbone_of, blocks, fine_tuned, unfreeze
from kbn.recipe.loading import load_recipe
from kbn.recipe.models import ModelSpec
from kbn.run.preflight import prepare

SIZE = (20, 20)
SCALE, OFFSET = 1 / 127.5, [-1.0, -0.9, -0.8]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A directory with presets: "convolutions", "nested" with norms within layers, "transformer",
    and "bare" without a converter."""
    home = tmp_path_factory.mktemp("presets")
    keras.utils.set_random_seed(0)
    converter = {"image_size": SIZE, "scale": SCALE, "offset": OFFSET}
    network = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 2],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
    )
    network.save_to_preset(str(home / "convolutions"))
    network.save_to_preset(str(home / "bare"))
    keras_hub.models.ResNetImageClassifierPreprocessor(
        keras_hub.layers.ResNetImageConverter(**converter)
    ).save_to_preset(str(home / "convolutions"))
    keras_hub.models.MobileNetBackbone(
        image_shape=(None, None, 3),
        stackwise_num_blocks=[1],
        stackwise_expansion=[[8]],
        stackwise_num_filters=[[8]],
        stackwise_kernel_size=[[3]],
        stackwise_num_strides=[[1]],
        stackwise_padding=[[1]],
        stackwise_se_ratio=[[None]],
        stackwise_activation=[["relu"]],
        input_num_filters=8,
        input_activation="relu",
        depthwise_filters=8,
        depthwise_stride=2,
        depthwise_residual=False,
        squeeze_and_excite=None,
        last_layer_filter=8,
        output_num_filters=8,
        output_activation="relu",
    ).save_to_preset(str(home / "nested"))
    keras_hub.models.MobileNetImageClassifierPreprocessor(
        keras_hub.layers.MobileNetImageConverter(**converter)
    ).save_to_preset(str(home / "nested"))
    keras_hub.models.ViTBackbone(
        image_shape=(*SIZE, 3),
        patch_size=10,
        num_layers=1,
        num_heads=1,
        hidden_dim=4,
        mlp_dim=4,
    ).save_to_preset(str(home / "transformer"))
    keras_hub.models.ViTImageClassifierPreprocessor(
        keras_hub.layers.ViTImageConverter(**converter)
    ).save_to_preset(str(home / "transformer"))
    return home


def a_model(home, given, shape=(8, 8, 1), **values):
    return fine_tuned(ModelSpec(**given), home, shape, 3, values)


@pytest.mark.parametrize("preset", ["convolutions", "nested", "transformer"])
def test_a_saved_model_takes_pixels_as_the_data_have_them(home, preset, tmp_path):
    model = a_model(home, {"preset": preset, "value_range": [0, 16]})
    images = np.random.default_rng(0).integers(0, 17, (2, 8, 8, 1)).astype("float32")

    folder = str(home / preset)
    pixels = np.repeat(images, 3, -1) * (255 / 16)
    inputs = keras_hub.layers.ImageConverter.from_preset(folder)(pixels)
    features = keras_hub.models.Backbone.from_preset(folder)(inputs)
    features = keras.ops.convert_to_numpy(features)
    kernel, bias = model.layers[-1].get_weights()
    pooled = features.mean(tuple(range(1, features.ndim - 1)))
    expected = keras.ops.softmax(pooled @ kernel + bias)

    model.save(tmp_path / "model.keras")
    for each in (model, keras.models.load_model(tmp_path / "model.keras")):
        np.testing.assert_allclose(each(images), expected, atol=1e-5)


def test_a_model_of_keras_own_layers_is_loaded_without_keras_hub(home, tmp_path):
    a_model(home, {"preset": "convolutions"}).save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as saved:
        assert b"keras_hub" not in saved.read("config.json")


def test_a_preset_has_its_weights_unless_they_are_to_be_random(home):
    saved = keras_hub.models.Backbone.from_preset(str(home / "convolutions")).get_weights()
    for weights, alike in [(None, True), ("none", False)]:
        model = a_model(home, {"preset": "convolutions", "weights": weights})
        found = backbone_of(model).get_weights()
        assert all(map(np.array_equal, found, saved)) is alike


def test_images_have_the_size_of_the_preset_unless_another_is_asked_for(home):
    for more, size in [({}, SIZE), ({"resize": 32}, (32, 32))]:
        model = a_model(home, {"preset": "convolutions", **more}, (8, 9, 3))
        assert model.get_layer("prepared").output.shape == (None, *size, 3)


def test_the_last_blocks_are_those_that_are_trained(home):
    model = a_model(home, {"preset": "convolutions"})
    assert len(blocks(backbone_of(model))) == 1 + 1 + 2
    unfreeze(model, 1, norms=False)
    names = {layer.name for layer in backbone_of(model).layers if layer.trainable_weights}
    assert names == {"stack1_block1_1_conv", "stack1_block1_2_conv"}


@pytest.mark.parametrize("norms", [False, True])
def test_norms_within_a_layer_are_trained_only_where_that_is_asked_for(home, norms):
    model = a_model(home, {"preset": "nested"})
    unfreeze(model, 99, norms=norms)
    trained = {weight.path.rpartition("/")[2] for weight in backbone_of(model).trainable_weights}
    assert trained == ({"kernel", "gamma", "beta"} if norms else {"kernel"})


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        ("kbn.BatchNormalization", kbn.BatchNormalization),
        ("keras.layers.BatchNormalization", keras.layers.BatchNormalization),
    ],
)
def test_batch_norm_is_of_the_kind_and_momentum_that_is_asked_for(home, layer, kind):
    model = a_model(home, {"preset": "convolutions", "norm": {"layer": layer}}, norm_momentum=0.7)
    norms = [e for e in backbone_of(model).layers if isinstance(e, keras.layers.BatchNormalization)]
    assert {type(norm) for norm in norms} == {kind}
    assert {norm.momentum for norm in norms} == {0.7}


RECIPE = """\
name: fine
dataset: {name: digits, shape: [8, 8, 1], validation: 300, test: 1300}
model: {preset: convolutions, value_range: [0, 16], norm: {recalibrate: true}}
objective: {metric: val_loss}
search: {trials: 1, epochs: 2, seed: 1}
space: {learning_rate: 0.01, unfrozen: 1, head_share: 0.0}
tracking: {enabled: false}
"""
INVALID = {  # override: what is said of it
    "model.application=MobileNetV2": "model: needs one of name, application, preset, python; got",
    "model.weights=imagenet": "model.weights: convolutions brings its own weights; got 'imagenet'. "
    "Remove it, or write none.",
    "model.alpha=0.5": "model.alpha: only an application has it; got 0.5. Remove it.",
    "model.value_range=[1, 0]": "model.value_range: the first number must be the smaller one; got",
    "model.norm={position: after_activation}": "model.norm.position: convolutions decides it; got",
    "dataset.standardize=true": "dataset.standardize: convolutions takes pixels as they are; got",
    "search={epochs: coarse_to_fine, max_epochs: 9, trials: 2}": "search.epochs: does not go "
    "together with model.preset; got",
    "model.preset=''": "model.preset: ",
}


@pytest.mark.parametrize(("override", "message"), INVALID.items(), ids=INVALID)
def test_what_is_wrong_with_a_preset_is_said(tmp_path, override, message):
    (tmp_path / "fine.yaml").write_text(RECIPE)
    with pytest.raises(RecipeError) as error:
        load_recipe(tmp_path / "fine.yaml", [override])
    assert message in str(error.value)


UNFIT = {  # override: what is said of it
    "model.preset=bare": "model.preset: keras-hub must be able to load the preset; got "
    "FileNotFoundError",
    "model.preset=./nothing": "model.preset: keras-hub must be able to load the preset; got ",
    "model.preset=transformer": "model.norm: transformer has no layer that kbn could normalize. "
    "Remove norm.",
    "model={preset: transformer, resize: 30, value_range: [0, 16]}": "model.resize: transformer "
    "takes images of 20 x 20 pixels alone; got 30 x 30. Remove it.",
    "dataset.shape=[64]": "dataset: a preset needs images of the shape (height, width, channels)",
}


@pytest.mark.parametrize(("override", "message"), UNFIT.items(), ids=UNFIT)
def test_a_preset_and_data_that_do_not_fit_are_found(home, override, message):
    (home / "fine.yaml").write_text(RECIPE)
    with pytest.raises(RecipeError) as error:
        prepare(load_recipe(home / "fine.yaml", [override]))
    assert message in str(error.value)


def test_a_missing_keras_hub_is_said(home, monkeypatch):
    (home / "fine.yaml").write_text(RECIPE)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RecipeError) as error:
        prepare(load_recipe(home / "fine.yaml"))
    assert str(error.value).endswith(
        "model.preset: needs keras-hub, which is not installed; got 'convolutions'. Install it: "
        "pip install keras-hub"
    )


@pytest.mark.slow
def test_a_search_fine_tunes_a_preset_and_saves_a_model_of_raw_pixels(home, tmp_path):
    (home / "fine.yaml").write_text(RECIPE)
    tuned = kbn.tune(home / "fine.yaml", directory=tmp_path)
    model = keras.models.load_model(tuned.model)
    assert model.predict(np.ones((2, 8, 8, 1)), verbose=0).shape == (2, 10)
    before = keras_hub.models.Backbone.from_preset(str(home / "convolutions"))
    after = {layer.name: layer for layer in backbone_of(backbone_of(model)).layers}
    for name, trained in [("stack1_block0_1_conv", False), ("stack1_block1_1_conv", True)]:
        old, new = before.get_layer(name).kernel, after[name].kernel
        assert np.array_equal(old, new) is not trained
