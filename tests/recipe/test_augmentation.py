from pathlib import Path

import keras
import numpy as np
import pytest

from kbn.recipe.data import DatasetSpec
from kbn.recipe.datasets import load_dataset
from recipe.loaders import faults_of, load, violations_of
from recipe.pictures import make_folder

RECIPE = """\
name: pictures
dataset:
  name: digits
  shape: [8, 8, 1]
  augmentation:
    - {change}
model: {{name: cnn}}
objective: {{metric: val_accuracy}}
search: {{trials: 1, epochs: 1}}
space:
  learning_rate: 0.1
"""
INVALID = {
    "an unknown layer": (
        "RandomFlap",
        "0: must name a known augmentation; got 'RandomFlap'. Did you mean RandomFlip?",
    ),
    "another layer's argument": (
        "{name: RandomFlip, factor: 0.1}",
        "0.factor: RandomFlip does not take it; got 0.1. It takes mode.",
    ),
    "an unknown argument": (
        "{name: RandomRotation, faktor: 0.1}",
        "0.faktor: unknown key; got 'faktor'. Did you mean factor?",
    ),
    "no argument": ("RandomZoom", "0.height_factor: RandomZoom needs this key. Add it, like 0.1."),
    "a large factor": (
        "{name: RandomRotation, factor: 45}",
        "0.factor: factor must be in [-1, 1], and a range rise; got 45.0. Write it like 0.1.",
    ),
    "a falling range": (
        "{name: RandomRotation, factor: [0.2, 0.1]}",
        "0.factor: factor must be in [-1, 1], and a range rise; got [0.2, 0.1]. Write it like 0.1.",
    ),
    "a word": (
        "{name: RandomContrast, factor: much}",
        "0.factor: must be a number, or a range of two; got 'much'. "
        "Write it like 0.1, or [-0.1, 0.2].",
    ),
    "an unknown mode": (
        "{name: RandomFlip, mode: horizontl}",
        "0.mode: must be one of the known words; got 'horizontl'. Did you mean horizontal?",
    ),
}


@pytest.mark.parametrize(("change", "message"), INVALID.values(), ids=INVALID)
def test_what_is_wrong_with_an_augmentation_is_reported(tmp_path, change, message):
    file = tmp_path / "pictures.yaml"
    file.write_text(RECIPE.format(change=change))
    assert faults_of(file) == [f"{file}:6: dataset.augmentation.{message}"]


def test_only_images_are_augmented_and_only_coloured_ones_in_their_colours():
    rule = "only images, of the shape (height, width, channels), can be augmented"
    given = {"name": "digits", "augmentation": ["RandomFlip"]}
    assert violations_of(**given) == [("augmentation", rule, "'(64,)'")]
    given["augmentation"] = ["RandomFlip", {"name": "RandomHue", "factor": 0.1}]
    rule = "RandomHue needs images of three channels"
    assert violations_of(**given, shape=[8, 8, 1]) == [("augmentation.1.name", rule, "'RandomHue'")]


def test_images_with_weights_are_not_augmented(tmp_path):
    header = ",".join([*(f"p{number}" for number in range(16)), "importance", "kind"])
    rows = [",".join([*map(str, range(16)), str(1 + row), "ab"[row % 2]]) for row in range(20)]
    (tmp_path / "pixels.csv").write_text("\n".join([header, *rows]))
    given = {"path": "pixels.csv", "shape": [4, 4, 1], "weights": "importance"}
    assert load(tmp_path, **given).weighted
    rule = "images with weights are not augmented"
    found = violations_of(tmp_path, **given, augmentation=["RandomFlip"])
    assert found == [("augmentation", rule, None)]


def test_folds_are_augmented_too():
    data = load_dataset(DatasetSpec(**DIGITS, augmentation=["RandomFlip"]), 3, Path(), folds=2)
    assert [fold.augmentation for fold in data.folds] == [data.augmentation] * 2


def batches_of(data, epochs=1, seed=5):
    """Return x of each epoch of a training, in the data's own units."""
    keras.utils.set_random_seed(seed)
    batches, (mean, deviation) = data.fitting(16)["x"], data.x_scaling
    return [
        np.concatenate([x * np.float32(deviation) + np.float32(mean) for x, _ in batches])
        for _ in range(epochs)
    ]


DIGITS = {"name": "digits", "shape": [8, 8, 1]}


def test_images_in_memory_are_flipped_as_the_seed_says_and_nothing_else_is():
    flip = {"name": "RandomFlip", "mode": "horizontal"}
    plain, data = load(**DIGITS), load(**DIGITS, augmentation=[flip])
    first, second = batches_of(data, epochs=2)
    pixels = plain.as_given(plain.x_train)
    known = {image.round(2).tobytes(): False for image in pixels}
    known |= {image.round(2).tobytes(): True for image in pixels[:, :, ::-1]}
    as_keys = [[image.round(2).tobytes() for image in epoch] for epoch in (first, second)]
    flipped = [np.mean([known[image] for image in epoch]) for epoch in as_keys]
    assert all(0.4 < share < 0.6 for share in flipped)
    assert as_keys[0] != as_keys[1]
    np.testing.assert_array_equal(batches_of(data)[0], first)
    assert (batches_of(data, seed=6)[0] != first).any()
    np.testing.assert_array_equal(data.x_val, plain.x_val)
    np.testing.assert_array_equal(data.inputs(), plain.x_train)
    assert data.joined().augmentation == data.augmentation


def test_brightness_is_of_the_range_of_the_pixels_before_they_are_standardized():
    brighter = [{"name": "RandomBrightness", "factor": [0.5, 0.5]}]
    (x,) = batches_of(load(**DIGITS, augmentation=brighter))
    assert x.min() == pytest.approx(8, abs=1e-4)  # half of 0 to 16
    assert x.max() == pytest.approx(16, abs=1e-4)


def test_images_of_a_folder_are_changed_by_every_layer_in_turn(tmp_path):
    make_folder(tmp_path, channels=1)
    changes = [
        {"name": "RandomBrightness", "factor": [1, 1]},
        {"name": "RandomTranslation", "height_factor": [0.5, 0.5], "width_factor": 0,
         "fill_mode": "constant"},
    ]  # fmt: skip
    data = load(path=str(tmp_path), image_size=[12, 10], augmentation=changes)
    (x,) = batches_of(data)
    assert x.shape == (16, 12, 10, 1)
    np.testing.assert_allclose(x[:, :6], 0, atol=1e-4)
    np.testing.assert_allclose(x[:, 6:], 255, atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "RandomRotation", "factor": 0.1},
        {"name": "RandomZoom", "height_factor": [-0.2, 0.1]},
        {"name": "RandomShear", "x_factor": 0.2},
        {"name": "RandomContrast", "factor": 0.3},
        {"name": "RandomSaturation", "factor": 0.3},
        {"name": "RandomHue", "factor": 0.2},
    ],
    ids=lambda change: change["name"],
)
def test_every_augmentation_is_a_layer_of_keras(tmp_path, change):
    make_folder(tmp_path, each=4)
    given = {"path": str(tmp_path), "image_size": [12, 10]}
    (x,), (changed,) = (batches_of(load(**given, augmentation=each)) for each in ([], [change]))
    assert changed.shape == x.shape
    assert np.isfinite(changed).all()
    assert abs(changed - x).max() > 1
