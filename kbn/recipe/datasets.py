"""Data sets: split and standardized."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbn.errors import Text, Violation, ViolationError
from kbn.recipe.catalog import second_test_part
from kbn.recipe.examples import Examples, load_examples

if TYPE_CHECKING:
    import numpy as np

    from kbn.recipe.sections import DatasetSpec

REGRESSION = 1  # number of outputs; classification has at least two

Scaling = tuple[Any, Any]  # mean and deviation
UNSCALED: Scaling = (0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Examples, split into training, validation and test parts.

    Attributes:
        x_train, x_val, x_test: float32, shape (examples, *shape), standardized by the training
            part: zero mean and unit variance, of every feature of a table, of every channel of
            anything larger. The test part may be empty.
        y_train, y_val, y_test: shape (examples,): int64 in [0, outputs) for classification;
            float32, standardized by the training part, for regression.
        outputs: of a model: the number of classes, or 1 for regression.
        x_scaling, y_scaling: (mean, deviation) that were subtracted and divided by; shape
            (features,) or (channels,), and () for y; 0 and 1 where nothing is standardized, as the
            y of a classification.
        labels: the classes as the data names them, in the order of their numbers; empty for
            regression.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    outputs: int
    x_scaling: tuple[np.ndarray, np.ndarray]
    y_scaling: tuple[float, float]
    labels: tuple[Any, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example."""
        return self.x_train.shape[1:]

    @property
    def classification(self) -> bool:
        """Whether the target is a class."""
        return self.outputs > REGRESSION

    def as_given(self, x: np.ndarray) -> np.ndarray:
        """Standardized examples as the data set has them, float32."""
        mean, deviation = self.x_scaling
        return (x * deviation + mean).astype("float32")


def load_dataset(spec: DatasetSpec, seed: int, home: Path) -> Dataset:
    """Loads, splits and standardizes a data set; the same arguments give the same split.

    Args:
        spec: which data, and the shares of its parts.
        seed: of the split, at least 0.
        home: directory that paths start from.

    Raises:
        ViolationError: with what is wrong; the keys are those of `dataset`.
    """
    whole, test = load_examples(spec, home)
    classes = _classes(spec, whole[1])
    train, test = _numbered(whole, classes, spec), _numbered(test, classes, spec)
    asked = len(train[0])
    if spec.test is not None:
        if len(test[0]):
            raise ViolationError(second_test_part(spec.test))
        train, test = _split(train, "test", _count(spec.test, asked), seed, classes)
    train, val = _split(train, "validation", _count(spec.validation, asked), seed, classes)

    x_scaling = _scaling(train[0]) if spec.standardize else UNSCALED
    y_scaling = _scaling(train[1]) if spec.standardize and classes is None else UNSCALED
    parts = {}
    for name, (x, y) in {"train": train, "val": val, "test": test}.items():
        parts[f"x_{name}"] = _scaled(x, x_scaling)
        parts[f"y_{name}"] = _scaled(y, y_scaling) if classes is None else y
    return Dataset(
        **parts,
        outputs=REGRESSION if classes is None else len(classes),
        x_scaling=x_scaling,
        y_scaling=(float(y_scaling[0]), float(y_scaling[1])),
        labels=() if classes is None else tuple(classes.tolist()),
    )


def _classes(spec: DatasetSpec, y: np.ndarray) -> np.ndarray | None:
    """The classes in order; None for regression.

    A target of floats is a quantity, of whole numbers, words or truths a class, unless the recipe
    says so.
    """
    import numpy as np

    task = spec.task or ("regression" if y.dtype.kind == "f" else "classification")
    values, counts = np.unique(y, return_counts=True)
    if len(values) == 1:
        rule, hint = (
            "the target must have two values at least",
            "Name another target or other data.",
        )
        raise ViolationError(Violation(rule, hint, "", Text(f"{values[0]} everywhere")))
    if task == "regression":
        return None
    if counts.min() == 1:
        rule = "classification needs two examples of every class"
        received = Text(f"one of {values[counts.argmin()]}, among {len(values)} classes")
        hint = "Remove it; or, if the target is a quantity, write task: regression."
        raise ViolationError(Violation(rule, hint, "task", received))
    return values


def _numbered(examples: Examples, classes: np.ndarray | None, spec: DatasetSpec) -> Examples:
    """Examples in the shape that is asked for, and targets as numbers: the places of classes."""
    import numpy as np

    x, y = examples
    x = _shaped(x, spec.shape)
    if classes is None:
        if y.dtype.kind not in "biuf":
            rule, hint = "the target of a regression must be numbers", "Write task: classification."
            raise ViolationError(Violation(rule, hint, "task", str(y[0])))
        return x, y.astype("float64")
    unknown = np.setdiff1d(y, classes)
    if len(unknown):
        rule, hint = "the test part must have no class of its own", "Mend the data."
        raise ViolationError(Violation(rule, hint, "", str(unknown[0])))
    return x, np.searchsorted(classes, y)


def _shaped(x: np.ndarray, shape: Sequence[int] | None) -> np.ndarray:
    if shape is None:
        return x
    size = math.prod(x.shape[1:])
    if math.prod(shape) != size:
        rule = f"must hold as many numbers as an example, {size}"
        raise ViolationError(Violation(rule, "Mend the sizes.", "shape", list(shape)))
    return x.reshape(len(x), *shape)


def _count(part: float, examples: int) -> int:
    """How many examples a share, or a number, of them is."""
    return part if isinstance(part, int) else math.ceil(part * examples)


def _split(
    examples: Examples, key: str, count: int, seed: int, classes: np.ndarray | None
) -> tuple[Examples, Examples]:
    """What stays, and the `count` examples that are held out; every class keeps its share."""
    import numpy as np
    from sklearn.model_selection import train_test_split

    x, y = examples
    try:
        stays, goes = train_test_split(
            np.arange(len(x)),
            test_size=count,
            stratify=y if classes is not None else None,
            random_state=seed,
        )
    except ValueError:  # scikit-learn's, which tells less
        rule = "must leave examples on both sides, as many as there are classes"
        received = Text(f"{count} of {len(x)} examples")
        hint = "Move it towards 0.2; or remove classes of few examples."
        raise ViolationError(Violation(rule, hint, key, received)) from None
    return (x[stays], y[stays]), (x[goes], y[goes])


def _scaled(x: np.ndarray, scaling: Scaling) -> np.ndarray:
    mean, deviation = scaling
    return ((x - mean) / deviation).astype("float32")


def _scaling(x: np.ndarray) -> Scaling:
    """Mean and deviation of each feature, or channel; a constant one has deviation 1."""
    import numpy as np

    axes = tuple(range(max(1, x.ndim - 1)))
    constant = x.max(axes) == x.min(axes)
    return x.mean(axes, dtype="float64"), np.where(constant, 1.0, x.std(axes, dtype="float64"))
