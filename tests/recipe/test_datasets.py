import tracemalloc

import numpy as np
import pytest

from kbn.recipe import datasets, moments
from kbn.recipe.catalog import FETCHED, SHIPPED
from recipe.loaders import load, violations_of

CLASSIFICATION = sorted(SHIPPED.keys() - {"diabetes"})
MNIST = (60, 4, 4), (30, 4, 4)  # shapes of a small one


@pytest.fixture
def fetched(monkeypatch):
    """Stands in for what Keras fetches."""
    import keras

    def module(*arrays):
        def load_data():
            print("Downloading data")  # noqa: T201  as Keras does
            return arrays

        monkeypatch.setattr(keras.datasets.mnist, "load_data", load_data)

    return module


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_the_split_keeps_every_class_share(name):
    data = load(name=name, validation=0.2)
    share = np.bincount(data.y_val) / np.bincount(np.r_[data.y_train, data.y_val])
    assert len(share) == data.outputs == len(data.labels)
    np.testing.assert_allclose(share, 0.2, atol=0.05)


def test_features_are_standardized_on_the_training_part_alone():
    data = load(name="wine", validation=0.2, test=0.2)
    np.testing.assert_allclose(data.x_train.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(data.x_train.std(0), 1, atol=1e-5)
    for part in (data.x_val, data.x_test):  # their own means were not used
        assert np.abs(part.mean(0)).max() > 0.01
    plain = load(name="wine", validation=0.2, test=0.2, standardize=False)
    np.testing.assert_allclose(data.as_given(data.x_val), plain.x_val, rtol=1e-4)
    np.testing.assert_array_equal(plain.as_given(plain.x_val), plain.x_val)


def test_images_are_standardized_without_a_copy_of_all_in_float64(monkeypatch):
    monkeypatch.setattr(moments, "CHUNK", 2**12)
    x = np.random.default_rng(0).integers(0, 256, (500, 16, 16, 3)).astype("uint8")
    tracemalloc.start()
    scaling = moments.scaling_of(x)
    made = datasets._standardized(x, scaling)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * made.nbytes  # in float64 all would be twice as large
    whole = x.astype("float64")
    expected = (whole - whole.mean((0, 1, 2))) / whole.std((0, 1, 2))
    np.testing.assert_allclose(made, expected, rtol=1e-6, atol=1e-7)


def test_the_target_of_a_regression_is_standardized_on_the_training_part_alone():
    data = load(name="diabetes", validation=0.2)
    plain = load(name="diabetes", validation=0.2, standardize=False)
    assert (data.outputs, data.classification, data.labels) == (1, False, ())
    assert data.y_scaling == pytest.approx((plain.y_train.mean(), plain.y_train.std()), rel=1e-5)
    mean, deviation = data.y_scaling
    np.testing.assert_allclose(data.y_val * deviation + mean, plain.y_val, rtol=1e-5)


def test_images_are_standardized_channel_by_channel():
    data = load(name="digits", shape=[8, 8, 1])
    assert data.shape == (8, 8, 1)
    assert data.x_scaling[0].shape == (1,)
    assert data.x_train.mean() == pytest.approx(0, abs=1e-4)
    assert data.x_train.std() == pytest.approx(1, abs=1e-4)


def test_the_seed_alone_decides_the_split():
    first, again, other = (load(name="digits", seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.x_val, again.x_val)
    assert not np.array_equal(first.x_val, other.x_val)


@pytest.mark.parametrize(
    ("parts", "sizes"),
    [
        ({"validation": 0.2}, (120, 30, 0)),
        ({"validation": 31}, (119, 31, 0)),
        ({"validation": 0.2, "test": 0.2}, (90, 30, 30)),  # shares of the whole, both
        ({"validation": 30, "test": 0.1}, (105, 30, 15)),
    ],
)
def test_parts_are_shares_or_numbers_of_examples_and_have_none_in_common(parts, sizes):
    data = load(name="iris", standardize=False, **parts)
    x = [data.x_train, data.x_val, data.x_test]
    assert tuple(map(len, x)) == sizes
    from sklearn.datasets import load_iris

    given = load_iris(return_X_y=True)[0].astype("float32")
    np.testing.assert_array_equal(sorted(np.concatenate(x).tolist()), sorted(given.tolist()))


def test_a_constant_feature_is_left_at_zero(tmp_path, table):
    table.insert(0, "year", 0.1)
    table.to_csv(tmp_path / "trees.csv", index=False)
    data = load(tmp_path, path="trees.csv")
    np.testing.assert_allclose(np.r_[data.x_train, data.x_val][:, 0], 0, atol=1e-6)


def test_images_that_keras_fetches_have_a_channel_and_a_test_part(fetched, capsys):
    assert "mnist" in FETCHED
    rng = np.random.default_rng(0)
    (x, y), (x_test, y_test) = (
        (rng.integers(0, 256, shape, "uint8"), np.arange(shape[0]) % 3) for shape in MNIST
    )
    fetched((x, y[:, None]), (x_test, y_test[:, None]))
    data = load(name="mnist", validation=20)
    assert capsys.readouterr() == ("", "Downloading data\n")  # results alone go to stdout
    assert (data.shape, data.outputs) == ((4, 4, 1), 3)
    np.testing.assert_array_equal(data.y_test, y_test)
    np.testing.assert_allclose(data.as_given(data.x_test)[..., 0], x_test, atol=1e-3)


def test_a_download_that_fails_is_reported(monkeypatch):
    import keras

    def fail():
        raise Exception("URL fetch failure on https://x: None -- no such host\nmore")  # noqa: TRY002

    monkeypatch.setattr(keras.datasets.mnist, "load_data", fail)
    ((key, rule, received),) = violations_of(name="mnist")
    assert (key, rule) == ("name", "Keras must have the data, or be able to fetch them")
    assert received.startswith("Exception: URL fetch failure on https://x: None -- no such host (")


SPLIT = "must leave examples on both sides, as many as there are classes"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"validation": 149}, ("validation", SPLIT, "149 of 150 examples")),
        ({"validation": 2}, ("validation", SPLIT, "2 of 150 examples")),
        ({"validation": 1000}, ("validation", SPLIT, "1000 of 150 examples")),
        ({"validation": 0.2, "test": 150}, ("test", SPLIT, "150 of 150 examples")),
        ({"shape": [3, 2]}, ("shape", "must hold as many numbers as an example, 4", "[3, 2]")),
    ],
)  # fmt: skip
def test_parts_and_shapes_that_the_data_do_not_allow_are_rejected(spec, expected):
    assert violations_of(name="iris", **spec) == [expected]


def test_words_are_no_target_of_a_regression(tmp_path, table):
    assert violations_of(tmp_path, path="trees.csv", task="regression") == [
        ("task", "the target of a regression must be numbers", "'ash'")
    ]
