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


def second_part(part: str, given: float | str | None) -> Violation:
    """Return the violation of asking for a test or validation part where the data bring one."""
    rule = f"these data have a {part} part of their own"
    return Violation(rule, f"Remove {part}.", part, given)
