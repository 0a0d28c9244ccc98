import numpy as np
import pytest

from kbn.recipe.datasets import DATASETS, load_dataset


@pytest.mark.parametrize("name", DATASETS)
def test_the_split_keeps_every_class_share(name):
    data = load_dataset(name, 0.2, seed=3)
    share = np.bincount(data.y_val) / np.bincount(np.r_[data.y_train, data.y_val])
    assert len(share) == data.classes
    np.testing.assert_allclose(share, 0.2, atol=0.05)


def test_features_are_standardized_on_the_training_part_alone():
    data = load_dataset("wine", 0.2, seed=3)
    np.testing.assert_allclose(data.x_train.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(data.x_train.std(0), 1, atol=1e-5)
    assert np.abs(data.x_val.mean(0)).max() > 0.01  # its own mean was not used


def test_the_seed_alone_decides_the_split():
    first, again, other = (load_dataset("digits", 0.2, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.x_val, again.x_val)
    assert not np.array_equal(first.x_val, other.x_val)
