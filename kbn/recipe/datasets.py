"""Data sets by name, split and standardized."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# name -> the function of sklearn.datasets that loads it; all ship with scikit-learn
DATASETS = {
    "breast_cancer": "load_breast_cancer",
    "digits": "load_digits",
    "iris": "load_iris",
    "wine": "load_wine",
}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set for classification, split into training and validation.

    Attributes:
        x_train, x_val: float32, shape (examples, features), standardized: zero mean and unit
            variance of every feature over the training part.
        y_train, y_val: int64, shape (examples,), in [0, classes).
        classes: number of classes, at least 2.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    classes: int


def load_dataset(name: str, validation: float, seed: int) -> Dataset:
    """Loads and splits a data set; the same arguments give the same split.

    Args:
        name: a key of DATASETS.
        validation: share of the examples for validation, in (0, 1); every class keeps its share.
        seed: of the split, at least 0.
    """
    import sklearn.datasets
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    x, y = getattr(sklearn.datasets, DATASETS[name])(return_X_y=True)
    x_train, x_val, y_train, y_val = train_test_split(
        x, y, test_size=validation, stratify=y, random_state=seed
    )
    scaler = StandardScaler().fit(x_train)  # on the training part alone: validation stays unseen
    return Dataset(
        scaler.transform(x_train).astype("float32"),
        y_train,
        scaler.transform(x_val).astype("float32"),
        y_val,
        int(y.max()) + 1,
    )
