"""Data sets, split into training, validation and test parts and standardized."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbn.errors import Text, Violation, ViolationError
from kbn.recipe.arrays import Arrays
from kbn.recipe.catalog import second_test_part
from kbn.recipe.dataset import REGRESSION, UNSCALED, Dataset, Scaling
from kbn.recipe.examples import Examples, load_examples

if TYPE_CHECKING:
    import numpy as np

    from kbn.recipe.sections import DatasetSpec

CHUNK = 2**20  # numbers that are standardized at a time


def load_dataset(spec: DatasetSpec, seed: int, home: Path, folds: int | None = None) -> Dataset:
    """Load, split and standardize a data set; the same arguments give the same split.

    Args:
        spec: which data, and the sizes of the parts.
        seed: seed of the split, at least 0.
        home: directory that relative paths start from.
        folds: number of folds of a cross-validation, at least 2; None for none.

    Raises:
        ViolationError: with all that is wrong; its keys are keys of the section `dataset`.
    """
    return make_dataset(spec, seed, *load_examples(spec, home), folds)


def make_dataset(
    spec: DatasetSpec, seed: int, whole: Examples, test: Examples, folds: int | None = None
) -> Arrays:
    """Split and standardize examples.

    Args:
        spec: the sizes of the parts, and what the targets are.
        seed: seed of the split, at least 0.
        whole: the examples, without those of a test part that the data bring.
        test: these; empty if there are none.
        folds: as in `load_dataset`.

    Raises:
        ViolationError: with all that is wrong; its keys are keys of the section `dataset`.
    """
    classes = _classes(spec, whole[1])
    train, test = _numbered(whole, classes, spec), _numbered(test, classes, spec)
    asked = len(train[0])
    if spec.test is not None:
        if len(test[0]):
            raise ViolationError(second_test_part(spec.test))
        train, test = _split(train, "test", _count(spec.test, asked), seed, classes)
    val = _none_of(train)
    if spec.validation is not None:
        train, val = _split(train, "validation", _count(spec.validation, asked), seed, classes)
    dataset = _standardized_parts(spec, classes, train, val, test)
    made = (
        _standardized_parts(spec, classes, *parts, _none_of(test))
        for parts in _folds(train, folds, seed, classes)
    )
    return dataclasses.replace(dataset, folds=tuple(made))


def _none_of(examples: Examples) -> Examples:
    return examples[0][:0], examples[1][:0]


def _folds(
    examples: Examples, count: int | None, seed: int, classes: np.ndarray | None
) -> Iterator[tuple[Examples, Examples]]:
    """Yield the training and the validation part of each fold; each class keeps its share.

    Raises:
        ViolationError: if there are too few examples for so many folds.
    """
    import numpy as np
    from sklearn.model_selection import KFold, StratifiedKFold

    if count is None:
        return
    x, y = examples
    fewest = len(y) if classes is None else int(np.bincount(y, minlength=len(classes)).min())
    if fewest < count:
        rule = "every fold needs an example" + ("" if classes is None else " of every class")
        hint = f"Set search.folds to at most {fewest}." if fewest > 1 else "Remove search.folds."
        raise ViolationError(Violation(rule, hint, "", Text(f"{fewest} for {count} folds")))
    split = KFold if classes is None else StratifiedKFold
    for train, val in split(count, shuffle=True, random_state=seed).split(x, y):
        yield (x[train], y[train]), (x[val], y[val])


def _standardized_parts(
    spec: DatasetSpec, classes: np.ndarray | None, train: Examples, val: Examples, test: Examples
) -> Arrays:
    """Return the parts as a data set, standardized on the training part."""
    x_scaling = _scaling(train[0]) if spec.standardize is True else UNSCALED
    y_scaling = _scaling(train[1]) if spec.standardize and classes is None else UNSCALED
    parts: dict[str, Any] = {}
    for name, (x, y) in {"train": train, "val": val, "test": test}.items():
        parts[f"x_{name}"] = _standardized(x, x_scaling)
        parts[f"y_{name}"] = _standardized(y, y_scaling) if classes is None else y
    return Arrays(
        **parts,
        outputs=REGRESSION if classes is None else len(classes),
        x_scaling=x_scaling,
        y_scaling=(float(y_scaling[0]), float(y_scaling[1])),
        labels=() if classes is None else tuple(classes.tolist()),
    )


def _classes(spec: DatasetSpec, y: np.ndarray) -> np.ndarray | None:
    """Return the classes in order, shape (classes,); None for a regression.

    Targets of floats are quantities; whole numbers, words and booleans are classes, unless the
    recipe says otherwise.
    """
    import numpy as np

    task = spec.task or ("regression" if y.dtype.kind == "f" else "classification")
    values, counts = np.unique(y, return_counts=True)
    if len(values) == 1:
        rule = "the target must have at least two values"
        hint = "Name another target or other data."
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
    """Return examples in the shape that the recipe asks for, and targets as numbers."""
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
        rule, hint = "the test part must not have classes of its own", "Fix the data."
        raise ViolationError(Violation(rule, hint, "", str(unknown[0])))
    return x, np.searchsorted(classes, y)


def _shaped(x: np.ndarray, shape: Sequence[int] | None) -> np.ndarray:
    if shape is None:
        return x
    size = math.prod(x.shape[1:])
    if math.prod(shape) != size:
        rule = f"must hold as many numbers as an example, {size}"
        raise ViolationError(Violation(rule, "Fix the sizes.", "shape", list(shape)))
    return x.reshape(len(x), *shape)


def _count(part: float, examples: int) -> int:
    """Return how many examples a part has, given as a share or a number."""
    return part if isinstance(part, int) else math.ceil(part * examples)


def _split(
    examples: Examples, key: str, count: int, seed: int, classes: np.ndarray | None
) -> tuple[Examples, Examples]:
    """Split off `count` examples; each class keeps its share on both sides.

    Returns:
        The examples that stay, and those that are held out.

    Raises:
        ViolationError: with the given key, if a side would have too few examples.
    """
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
    except ValueError:  # of scikit-learn, whose message says less
        rule = "must leave examples on both sides, as many as there are classes"
        received = Text(f"{count} of {len(x)} examples")
        hint = "Choose about 0.2, or remove classes with few examples."
        raise ViolationError(Violation(rule, hint, key, received)) from None
    return (x[stays], y[stays]), (x[goes], y[goes])


def _standardized(x: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Return (x - mean) / deviation, computed in float64 and kept in float32."""
    import numpy as np

    (mean, deviation), made = scaling, np.empty(x.shape, "float32")
    for part in _chunks(x):
        made[part] = (x[part] - mean) / deviation
    return made


def _scaling(x: np.ndarray) -> Scaling:
    """Return mean and standard deviation of each feature or channel, 1 for a constant one."""
    import numpy as np

    axes = tuple(range(max(1, x.ndim - 1)))
    mean = x.mean(axes, dtype="float64")
    squares = sum(np.square(x[part] - mean).sum(axes) for part in _chunks(x))
    count = x.size / max(1, np.size(mean))
    constant = x.max(axes) == x.min(axes)
    return mean, np.where(constant, 1.0, np.sqrt(squares / count))


def _chunks(x: np.ndarray) -> Iterator[slice]:
    """Yield slices of the examples that fit into little memory as float64."""
    step = max(1, CHUNK * len(x) // max(1, x.size))
    for first in range(0, len(x), step):
        yield slice(first, first + step)
