"""The data sets that a recipe can name: which exist, and which have a test part of their own."""

from __future__ import annotations

from kbn.errors import Violation

# name -> the function of sklearn.datasets that loads it; all ship with scikit-learn
SHIPPED = {
    "breast_cancer": "load_breast_cancer",
    "diabetes": "load_diabetes",
    "digits": "load_digits",
    "iris": "load_iris",
    "wine": "load_wine",
}
# modules of keras.datasets, which downloads them once; each has a test part of its own
FETCHED = (
    "boston_housing",
    "california_housing",
    "cifar10",
    "cifar100",
    "fashion_mnist",
    "mnist",
)
DATASETS = (*SHIPPED, *FETCHED)


def second_test_part(given: float | str) -> Violation:
    """Return the violation of asking for a test part where the data bring their own."""
    return Violation("these data have a test part of their own", "Remove test.", "test", given)
