"""Networks of keras.applications: which there are, their blocks, and what a recipe may say."""

import keras
import numpy as np
import pytest

import kbn
from kbn.errors import RecipeError
from kbn.recipe.applications import APPLICATIONS
from kbn.recipe.backbones import backbone_of, blocks, fine_tuned, unfreeze
from kbn.recipe.loading import load_recipe
from kbn.recipe.models import ModelSpec
from kbn.run.preflight import prepare

BLOCKS = {  # those of the papers, and the first layers
    "MobileNetV2": 1 + 17,
    "MobileNetV3Small": 1 + 11,
    "ResNet50": 1 + 3 + 4 + 6 + 3,
    "ResNet50V2": 1 + 3 + 4 + 6 + 3,
    "EfficientNetB0": 1 + 1 + 2 + 2 + 3 + 3 + 4 + 1,
    "EfficientNetV2B0": 1 + 1 + 2 + 2 + 3 + 5 + 8,
    "ConvNeXtTiny": 1 + 3 + 3 + 9 + 3,
    "DenseNet121": 1 + 6 + 12 + 24 + 16,
    "Xception": 14,
    "VGG16": 5,
    "InceptionV3": 11,  # up to each "mixed" layer
}


def a_model(given, shape=(8, 8, 1), **values):
    return fine_tuned(ModelSpec(**{"weights": "none", **given}), ".", shape, 3, values)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_keras_has_every_application_and_its_preparation(name):
    assert callable(getattr(keras.applications, name))
    assert callable(getattr(keras.applications, APPLICATIONS[name].module).preprocess_input)


@pytest.mark.parametrize("name", BLOCKS)
def test_an_application_has_the_blocks_of_its_paper_and_what_the_table_says(name):
    network, known = getattr(keras.applications, name), APPLICATIONS[name]
    side = known.smallest
    with pytest.raises(ValueError, match=f"at least {side}x{side}"):
        network(include_top=False, weights=None, input_shape=(side - 1, side - 1, 3))
    backbone = network(include_top=False, weights=None, input_shape=(side, side, 3))
    assert len(blocks(backbone)) == BLOCKS[name]
    listed = [layer for layers in blocks(backbone) for layer in layers if layer.weights]
    assert listed == [layer for layer in backbone.layers if layer.weights]
    has_norm = any(isinstance(e, keras.layers.BatchNormalization) for e in backbone.layers)
    assert known.norm is has_norm


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MobileNetV2", "VGG16", "DenseNet121"])  # the three manners
def test_a_saved_model_takes_pixels_as_the_data_have_them(name, tmp_path):
    alpha = {"alpha": 0.35} if APPLICATIONS[name].alpha else {}
    model = a_model({"application": name, "value_range": [0, 16], "resize": 40, **alpha})
    images = np.random.default_rng(0).integers(0, 17, (2, 8, 8, 1)).astype("float32")

    pixels = keras.layers.Resizing(40, 40)(np.repeat(images, 3, -1)) * (255 / 16)
    pixels = keras.ops.convert_to_numpy(pixels)
    inputs = getattr(keras.applications, APPLICATIONS[name].module).preprocess_input(pixels)
    features = keras.ops.convert_to_numpy(backbone_of(model)(inputs)).mean((1, 2))
    kernel, bias = model.layers[-1].get_weights()
    expected = keras.ops.softmax(features @ kernel + bias)

    model.save(tmp_path / "model.keras")
    for each in (model, keras.models.load_model(tmp_path / "model.keras")):
        np.testing.assert_allclose(each(images), expected, atol=1e-5)


def test_images_that_are_large_enough_keep_their_size_unless_resized():
    given = {"application": "MobileNetV2", "alpha": 0.35}
    sides = {
        backbone_of(a_model(given | more, shape)).input_shape[1:3]
        for shape, more in [((48, 20, 3), {}), ((48, 20, 3), {"resize": 64})]
    }
    assert sides == {(48, 32), (64, 64)}


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        ("kbn.BatchNormalization", kbn.BatchNormalization),
        ("keras.layers.BatchNormalization", keras.layers.BatchNormalization),
    ],
)
def test_batch_norm_is_of_the_kind_and_momentum_that_is_asked_for(layer, kind):
    given = {"application": "MobileNetV2", "alpha": 0.35}
    model = a_model({**given, "norm": {"layer": layer}}, norm_momentum=0.7)
    norms = [e for e in backbone_of(model).layers if isinstance(e, keras.layers.BatchNormalization)]
    assert len(norms) == 52
    assert {type(norm) for norm in norms} == {kind}
    assert {norm.momentum for norm in norms} == {0.7}


def test_the_head_has_the_dropout_that_is_asked_for():
    for values, expected in [({}, [0.2]), ({"dropout": 0.4}, [0.4]), ({"dropout": 0.0}, [])]:
        layers = a_model({"application": "VGG16"}, **values).layers
        assert [layer.rate for layer in layers if layer.name == "dropout"] == expected


@pytest.mark.parametrize("norms", [False, True])
def test_the_last_blocks_are_trained_and_their_norms_where_that_is_asked_for(norms):
    model = a_model({"application": "MobileNetV2", "alpha": 0.35})
    for unfrozen, first in {0: "", 1: "block_16", 2: "block_15", 99: "Conv1"}.items():
        unfreeze(model, unfrozen, norms=norms)
        layers = [layer for layer in backbone_of(model).layers if layer.trainable_weights]
        names = [layer.name for layer in layers]
        assert bool(names) == bool(first)
        assert not names or names[0].startswith(first)
        assert not names or names[-1].startswith("Conv_1")
        assert any("BN" in name or "bn" in name for name in names) == (norms and bool(names))
        assert len(model.layers[-1].trainable_weights) == 2


RECIPE = """\
# Fine-tuning.
name: fine
dataset: {name: digits, shape: [8, 8, 1]}
model: {application: MobileNetV2, weights: none, alpha: 0.35}
objective: {metric: val_accuracy}
search: {trials: 2, epochs: 2}
space:
  learning_rate: {type: float, low: 1e-3, high: 1e-1, scale: log}
"""
INVALID = {  # override: what is said of it
    "model.application=MobilNetV2": "model.application: must name a known application; got "
    "'MobilNetV2'. Did you mean MobileNetV2?",
    "model.application=Nothing": "model.application: must name a known application; got "
    "'Nothing'. Use one of: ConvNeXtBase, ",
    "model.weights=image_net": "model.weights: must be imagenet, none or a file that ends with "
    ".weights.h5, .h5, .keras; got 'image_net'. Write imagenet.",
    "model.name=mlp": "model: needs one of name, application, preset, python; got",
    "model.resize=16": "model.resize: MobileNetV2 takes images of at least 32 pixels a side; got "
    "16. Raise it.",
    "model.value_range=[1, 0]": "model.value_range: the first number must be the smaller one; got "
    "[1.0, 0.0]. Write it like [0, 255].",
    "model={application: VGG16, norm: {}}": "model.norm: VGG16 has no layer that kbn could "
    "normalize. Remove norm.",
    "model={application: ResNet50, alpha: 0.5}": "model.alpha: ResNet50 does not take it; got "
    "0.5. Remove it, or name a MobileNet.",
    "model.norm={position: after_activation}": "model.norm.position: MobileNetV2 decides it; got "
    "'after_activation'. Remove it.",
    "model={name: cnn, weights: none}": "model.weights: only an application or a preset has it; "
    "got 'none'. Remove it.",
    "dataset.standardize=true": "dataset.standardize: MobileNetV2 takes pixels as they are; got "
    "true. Remove it.",
    "dataset.standardize=maybe": "dataset.standardize: must be true, false or targets; got "
    "'maybe'. Write one of them.",
    "space.norm_momentum=0.9": "space.norm_momentum: nothing uses this name; got 'norm_momentum'.",
    "space.units=8": "space.units: nothing uses this name; got 'units'.",
    "space.head_share=1.0": "space.head_share: head_share must be in [0, 1); got 1.0.",
    "space.unfrozen=-1": "space.unfrozen: unfrozen must be >= 0; got -1. Change the value.",
    "space.unfrozen=0.5": "space.unfrozen: must be a whole number; got 0.5. Change the value.",
    "space.fine_learning_rate=0.0": "space.fine_learning_rate: fine_learning_rate must be > 0; "
    "got 0.0. Change the value.",
}


@pytest.mark.parametrize(("override", "message"), INVALID.items(), ids=INVALID)
def test_what_is_wrong_with_an_application_is_said(tmp_path, override, message):
    (tmp_path / "fine.yaml").write_text(RECIPE)
    with pytest.raises(RecipeError) as error:
        load_recipe(tmp_path / "fine.yaml", [override])
    assert message in str(error.value)


def test_fine_tuning_has_its_hyperparameters(tmp_path):
    text = f"{RECIPE}  unfrozen: 3\n  head_share: 0.3\n  fine_learning_rate: 1e-5\n  dropout: 0.1\n"
    (tmp_path / "fine.yaml").write_text(text)
    recipe = load_recipe(tmp_path / "fine.yaml", ["model.norm={}", "space.norm_momentum=0.9"])
    assert recipe.model.weights == "none"
    assert load_recipe(tmp_path / "fine.yaml", ["model={application: VGG16}"]).model.weights == (
        "imagenet"
    )


def test_an_application_leaves_features_as_they_are_and_targets_of_a_regression_not(tmp_path):
    (tmp_path / "fine.yaml").write_text(RECIPE)
    overrides = ["dataset.task=regression", "objective.metric=val_loss", "model.value_range=[0,16]"]
    data = prepare(load_recipe(tmp_path / "fine.yaml", overrides))
    assert set(np.unique(data.x_train)) == set(range(17))
    assert data.y_train.mean() == pytest.approx(0, abs=1e-6)
    assert data.y_train.std() == pytest.approx(1, abs=1e-6)


UNFIT = {  # overrides: what is said of them
    "dataset.shape=[64]": "dataset: an application needs images of the shape (height, width, "
    "channels), of 1 or 3 channels; got (64,). Add dataset.shape, as in shape: [28, 28, 1].",
    "dataset.shape=[4, 4, 4]": "of 1 or 3 channels; got (4, 4, 4).",
    "model.value_range=[0, 15]": "model.value_range: the pixels must be in the value range, "
    "[0, 15], and use it; got pixels from 0 to 16. Write their range, as in value_range: [0, 1].",
    "model.value_range=[0, 2000]": "and use it; got pixels from 0 to 16.",
    "model={application: MobileNetV2, alpha: 0.01, value_range: [0, 16]}": "model.weights: Keras "
    "must be able to load the weights of MobileNetV2; got ValueError: ",
    "model.weights=no.h5": "model.weights: must be a file; got ",
}


@pytest.mark.parametrize(("override", "message"), UNFIT.items(), ids=UNFIT)
def test_data_and_weights_that_do_not_fit_an_application_are_found(tmp_path, override, message):
    (tmp_path / "fine.yaml").write_text(RECIPE)
    with pytest.raises(RecipeError) as error:
        prepare(load_recipe(tmp_path / "fine.yaml", [override]))
    assert message in str(error.value)
