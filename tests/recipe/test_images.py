import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbn.recipe import images
from recipe.loaders import load, violations_of
from recipe.pictures import make_folder

SIZE = [12, 10]


def everything(data, part, batch_size=4, **options):
    """Return x and y of a whole part, as the data have them."""
    batches = list(data.raw(part, batch_size, **options).as_numpy_iterator())
    return tuple(np.concatenate(arrays) for arrays in zip(*batches, strict=True))


def test_a_folder_is_read_and_resized_as_keras_does(tmp_path):
    make_folder(tmp_path / "photos", ("ash", "elm", "oak"), suffix=".jpg")
    data = load(tmp_path, path="photos", image_size=[7, 9])
    expected = keras.utils.image_dataset_from_directory(
        tmp_path / "photos", image_size=(7, 9), shuffle=False, batch_size=None, verbose=0
    )
    x, y = (np.stack(arrays) for arrays in zip(*expected.as_numpy_iterator(), strict=True))
    for part in ("train", "validation"):
        found, labels = everything(data, part)
        np.testing.assert_allclose(found, x[data.rows[part]], atol=0.5001)  # of rounding
        assert labels.tolist() == y[data.rows[part]].tolist()
    assert data.labels == ("ash", "elm", "oak")
    assert (data.shape, data.outputs) == ((7, 9, 3), 3)


def test_every_class_has_its_share_of_every_part_and_the_seed_decides(tmp_path):
    make_folder(tmp_path, each=20)
    spec = {"path": str(tmp_path), "image_size": SIZE, "validation": 0.25, "test": 10}
    data = load(**spec)
    assert data.sizes == (20, 10, 10)
    counts = {part: np.bincount(data.numbers[rows]).tolist() for part, rows in data.rows.items()}
    assert counts == {"train": [10, 10], "validation": [5, 5], "test": [5, 5]}
    together = np.concatenate(list(data.rows.values()))
    assert sorted(together) == list(range(40))
    assert load(**spec).rows["test"].tolist() == data.rows["test"].tolist()
    assert load(**spec, seed=4).rows["test"].tolist() != data.rows["test"].tolist()


def test_sub_folders_may_be_the_parts(tmp_path):
    for part, each in (("train", 6), ("val", 3), ("test", 2)):
        make_folder(tmp_path / part, each=each)
    data = load(path=str(tmp_path), image_size=SIZE)
    assert data.sizes == (12, 6, 4)
    names = {part: {file.split("/")[-3] for file in _files(data, part)} for part in data.rows}
    assert names == {"train": {"train"}, "validation": {"val"}, "test": {"test"}}
    shutil.rmtree(tmp_path / "val")
    assert load(path=str(tmp_path), image_size=SIZE, validation=4).sizes == (8, 4, 4)


def _files(data, part):
    return [data.files[row].numpy().decode() for row in data.rows[part]]


@pytest.mark.parametrize(
    ("channels", "color_mode", "found"), [(1, None, 1), (3, None, 3), (1, "rgb", 3)]
)
def test_colours_are_found_unless_they_are_given(tmp_path, channels, color_mode, found):
    images = make_folder(tmp_path, channels=channels)
    data = load(path=str(tmp_path), image_size=SIZE, color_mode=color_mode)
    assert data.shape == (12, 10, found)
    x, _ = everything(data, "validation")
    expected = [images[file] for file in _files(data, "validation")]
    assert (x == np.broadcast_to(expected, x.shape)).all()


def test_colours_become_grey_as_tensorflow_does_it(tmp_path):
    images = make_folder(tmp_path)
    data = load(path=str(tmp_path), image_size=SIZE, color_mode="grayscale")
    x, _ = everything(data, "validation")
    expected = [images[file] for file in _files(data, "validation")]
    grey = tf.image.rgb_to_grayscale(np.float32(expected))
    np.testing.assert_allclose(x, grey, atol=0.5001)  # of rounding


def test_channels_are_standardized_by_the_training_images_alone(tmp_path):
    make_folder(tmp_path, each=50)
    data = load(path=str(tmp_path), image_size=SIZE)
    x = everything(data, "train")[0].astype("float64")
    np.testing.assert_allclose(data.x_scaling[0], x.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(data.x_scaling[1], x.std((0, 1, 2)), rtol=1e-12)
    fitted = np.concatenate([x for x, _ in data.fitting(16)["x"].as_numpy_iterator()])
    np.testing.assert_allclose(fitted.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(fitted.std((0, 1, 2)), 1, atol=1e-5)
    assert load(path=str(tmp_path), image_size=SIZE, standardize=False).x_scaling == (0.0, 1.0)


def test_large_folders_are_read_anew_and_are_the_same(tmp_path, monkeypatch):
    make_folder(tmp_path, channels=1)
    held = load(path=str(tmp_path), image_size=SIZE)
    monkeypatch.setattr(images, "IN_MEMORY", 1000)
    read = load(path=str(tmp_path), image_size=SIZE)
    assert held.memory is not None
    assert read.memory is None
    assert (read.shape, read.class_counts().tolist()) == ((12, 10, 1), [8, 8])
    for part in ("train", "validation"):
        for one, other in zip(everything(held, part), everything(read, part), strict=True):
            np.testing.assert_array_equal(one, other)
    for one, other in zip(held.first(3), read.first(3), strict=True):
        np.testing.assert_array_equal(one, other)


def test_training_images_come_in_another_order_every_epoch_as_the_seed_says(tmp_path):
    make_folder(tmp_path, each=20)
    data = load(path=str(tmp_path), image_size=SIZE)

    def orders(seed, drawn=0):
        keras.utils.set_random_seed(seed)
        for _ in range(drawn):  # by TensorFlow, as while a model is built
            tf.random.uniform(())
        batches = data.fitting(8)["x"]
        return [np.concatenate([x for x, _ in batches]).sum((1, 2, 3)).tolist() for _ in range(2)]

    first, second = orders(5)
    assert sorted(first) == sorted(second)
    assert first != second
    assert orders(5, drawn=3) == [first, second]
    assert orders(6)[0] != first


def test_joined_images_are_those_of_training_and_validation(tmp_path):
    make_folder(tmp_path)
    data = load(path=str(tmp_path), image_size=SIZE, test=4)
    whole = data.joined()
    assert whole.sizes == (16, 0, 4)
    assert whole.class_counts().tolist() == [8, 8]
    assert sum(len(x) for x, _ in whole.inputs()) == 16
    assert whole.fitting(4)["validation_data"] is None


def test_junk_of_file_managers_is_passed_over(tmp_path):
    make_folder(tmp_path)
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "README.txt").touch()
    (tmp_path / ".thumbnails").mkdir()
    (tmp_path / "cats" / "Thumbs.db").touch()
    (tmp_path / "cats" / ".DS_Store").touch()
    assert sum(load(path=str(tmp_path), image_size=SIZE).sizes) == 20


READABLE = "every image must be readable"


def _break(file):
    file.write_bytes(file.read_bytes()[:60])


def _remake(folder, classes):
    shutil.rmtree(folder)
    make_folder(folder, classes)


INVALID = {
    "no folder": (
        shutil.rmtree,
        "must be a folder of images, or a file that ends with .csv, .parquet or .npz",
        "'{folder}'",
    ),
    "no classes": (
        lambda folder: [shutil.rmtree(each) for each in folder.iterdir()],
        "must hold a sub-folder of images for each of at least two classes",
        "none in {folder}",
    ),
    "one class": (
        lambda folder: shutil.rmtree(folder / "dogs"),
        "must hold a sub-folder of images for each of at least two classes",
        "cats in {folder}",
    ),
    "an empty class": (
        lambda folder: (folder / "owls").mkdir(),
        "every class must have images",
        "none in {folder}/owls",
    ),
    "images beside the classes": (
        lambda folder: shutil.copy(folder / "cats" / "00.png", folder / "lost.png"),
        "every image must lie in the sub-folder of its class",
        "'{folder}/lost.png'",
    ),
    "other files": (
        lambda folder: (folder / "cats" / "notes.txt").touch(),
        "may hold only images, which end with .bmp, .gif, .jpeg, .jpg, .png",
        "{folder}/cats/notes.txt",
    ),
    "a text that is named as an image": (
        lambda folder: (folder / "dogs" / "03.png").write_text("I am no image at all."),
        READABLE,
        "{folder}/dogs/03.png: Unknown image file format. One of JPEG",
    ),
    "half an image": (
        lambda folder: _break(folder / "cats" / "02.png"),
        READABLE,
        "{folder}/cats/02.png: Invalid PNG data, size 60",
    ),
    "an empty file": (
        lambda folder: (folder / "cats" / "02.png").write_bytes(b""),
        READABLE,
        "{folder}/cats/02.png: Input is empty.",
    ),
    "a single image of a class": (
        lambda folder: [(folder / "cats" / f"{n:02}.png").unlink() for n in range(1, 10)],
        "must leave examples on both sides, as many as there are classes",
        "3 of 11 examples",
    ),
}


@pytest.mark.parametrize(("change", "rule", "received"), INVALID.values(), ids=INVALID)
def test_what_is_wrong_with_a_folder_is_reported(tmp_path, change, rule, received):
    folder = tmp_path / "photos"
    make_folder(folder)
    change(folder)
    found = violations_of(tmp_path, path="photos", image_size=SIZE)
    key = "validation" if "sides" in rule else "path"
    assert [each[:2] for each in found] == [(key, rule)]
    assert found[0][2].startswith(received.format(folder=folder))


def test_parts_of_a_folder_have_its_classes_and_no_shares(tmp_path):
    for part in ("train", "test"):
        make_folder(tmp_path / part)
    given = {"path": str(tmp_path), "image_size": SIZE}
    assert violations_of(**given, test=0.2) == [
        ("test", "these data have a test part of their own", "0.2")
    ]
    make_folder(tmp_path / "test", ("owls",))
    rule = "must not have classes of its own"
    assert violations_of(**given) == [("path", rule, f"'{tmp_path}/test/owls'")]
    shutil.rmtree(tmp_path / "test" / "owls")
    shutil.rmtree(tmp_path / "test" / "cats")
    rule = "every class must have images"
    assert violations_of(**given) == [("path", rule, f"none in {tmp_path}/test/cats")]


def test_many_broken_images_are_counted(tmp_path):
    make_folder(tmp_path)
    for file in (tmp_path / "cats").iterdir():
        _break(file)
    found = violations_of(path=str(tmp_path), image_size=SIZE)
    rule = "every image must be readable; 10 of 20 are not, the first ones of them"
    assert [each[1] for each in found] == [rule] * 5
