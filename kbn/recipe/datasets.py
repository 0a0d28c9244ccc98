"""Data sets, split into training, validation and test parts and standardized."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbn.errors import Text, Violation, ViolationError
from kbn.recipe import splits
from kbn.recipe.arrays import Arrays
from kbn.recipe.augmentation import check_images
from kbn.recipe.augmented import AugmentedArrays
from kbn.recipe.dataset import REGRESSION, UNSCALED, Dataset, Scaling
from kbn.recipe.encoding import fit
from kbn.recipe.examples import Examples, Loaded, load_examples, maker
from kbn.recipe.inputs import each
from kbn.recipe.moments import chunks, scaling_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from kbn.recipe.data import DatasetSpec
    from kbn.recipe.inputs import Inputs

RAW = 100  # rows of a table that are kept as they are


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
    if spec.is_folder:
        _require_no_folds(folds)
        from kbn.recipe.images import load_images

        return load_images(spec, seed, home)
    made: object = None
    if spec.python is not None:
        from kbn.recipe.returned import holds_streams, load_streams

        make = maker(spec.python, home)
        made = make()
        if holds_streams(made):
            _require_no_folds(folds)
            return load_streams(spec, made, make)
    arrays = make_dataset(spec, seed, load_examples(spec, home, made), folds)
    check_images(spec.augmentation, arrays.shape)
    if spec.augmentation and arrays.weighted:
        rule = "images with weights are not augmented"
        hint = "Remove augmentation, or weights."
        raise ViolationError(Violation(rule, hint, "augmentation"))
    return AugmentedArrays.of(arrays, spec.augmentation) if spec.augmentation else arrays


def _require_no_folds(folds: int | None) -> None:
    if folds is not None:
        rule = "data that come batch by batch have no folds"
        raise ViolationError(Violation(rule, "Remove search.folds.", received=Text(folds)))


@dataclasses.dataclass(frozen=True)
class Parts:
    """Examples, split; their targets are numbers.

    Attributes:
        train, validation, test: the parts; the test part may be empty.
        classes: in the order of their numbers, shape (classes,); None for a regression.
    """

    train: Examples
    validation: Examples
    test: Examples
    classes: np.ndarray | None

    def fold(self, stays: np.ndarray, goes: np.ndarray) -> Parts:
        """Return a fold of the training part: the examples that stay in it, and that validate."""
        none = self.train.take(slice(0, 0))
        return Parts(self.train.take(stays), self.train.take(goes), none, self.classes)


def make_dataset(spec: DatasetSpec, seed: int, loaded: Loaded, folds: int | None = None) -> Arrays:
    """Split examples, then standardize or encode them.

    Args:
        spec: the sizes of the parts, and what the targets are.
        seed: seed of the split, at least 0.
        loaded: the examples.
        folds: as in `load_dataset`.

    Raises:
        ViolationError: with all that is wrong; its keys are keys of the section `dataset`.
    """
    parts = split(spec, seed, loaded)
    dataset = fit_dataset(spec, parts)
    if folds is None:
        return dataset
    sides = splits.folds(folds, seed, parts.train, spec.split, stratify=parts.classes is not None)
    made = (fit_dataset(spec, parts.fold(*each)) for each in sides)
    return dataclasses.replace(dataset, folds=tuple(made))


def split(spec: DatasetSpec, seed: int, loaded: Loaded) -> Parts:
    """Split examples into the parts that a recipe asks for; arguments as of `make_dataset`."""
    classes = _classes(spec, loaded.whole.y)
    whole = _numbered(loaded.whole, classes, spec, "")
    parts = {
        name: part if part is None else _numbered(part, classes, spec, name)
        for name, part in (("validation", loaded.validation), ("test", loaded.test))
    }
    asked = len(whole)
    for name, share in (("test", spec.test), ("validation", spec.validation)):
        if parts[name] is None and share is not None and not isinstance(share, str):
            held = splits.count(share, asked)
            if spec.split is None or whole.along is None:
                stratify = classes is not None
                sides = splits.at_random(name, held, seed, whole.y, stratify=stratify)
            else:
                sides = splits.along(name, held, seed, whole.along, spec.split)
            whole, parts[name] = map(whole.take, sides)
    none = whole.take(slice(0, 0))
    return Parts(whole, parts["validation"] or none, parts["test"] or none, classes)


def fit_dataset(spec: DatasetSpec, parts: Parts) -> Arrays:
    """Standardize or encode split examples, as their training part alone says how.

    Args:
        spec: whether they are standardized, and how texts are encoded.
        parts: the examples.

    Raises:
        ViolationError: with all that is wrong; its keys are keys of the section `dataset`.
    """
    named = {"train": parts.train, "val": parts.validation, "test": parts.test}
    classes, train = parts.classes, parts.train
    y_scaling = scaling_of(train.y) if spec.standardize and classes is None else UNSCALED
    made: dict[str, Any] = {}
    for name, part in named.items():
        made[f"y_{name}"] = _standardized(part.y, y_scaling) if classes is None else part.y
        made[f"w_{name}"] = _relative(part.weights, name)
    if train.kinds is None:
        scaled = spec.standardize is True
        x_scaling = each(lambda x: scaling_of(x) if scaled else UNSCALED, train.x)
        made |= {
            f"x_{name}": each(_standardized, part.x, x_scaling) for name, part in named.items()
        }
    else:
        x_scaling = UNSCALED
        preprocessing = fit(
            train.x,
            train.kinds,
            standardize=spec.standardize is True,
            vocabulary=spec.vocabulary,
            length=spec.length,
        )
        made |= {f"x_{name}": preprocessing.encode(part.x) for name, part in named.items()}
        made |= {
            "preprocessing": preprocessing,
            "raw": (parts.validation if len(parts.validation) else train).take(slice(RAW)).x,
        }
    return Arrays(
        **made,
        outputs=REGRESSION if classes is None else len(classes),
        x_scaling=x_scaling,
        y_scaling=(float(y_scaling[0]), float(y_scaling[1])),
        labels=() if classes is None else tuple(classes.tolist()),
    )


def _relative(weights: np.ndarray | None, part: str) -> np.ndarray | None:
    """Return weights with a mean of 1, float32, so that they leave the size of the loss alone."""
    if weights is None or not len(weights):
        return None if weights is None else weights.astype("float32")
    if not weights.any():
        rule, hint = "must not all be 0 in a part", "Fix them, or split otherwise."
        raise ViolationError(Violation(rule, hint, "weights", Text(f"{len(weights)} in {part}")))
    return (weights / weights.mean()).astype("float32")


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


def _numbered(
    examples: Examples, classes: np.ndarray | None, spec: DatasetSpec, part: str
) -> Examples:
    """Return examples in the shape that the recipe asks for, and targets as numbers."""
    import numpy as np

    y, key = examples.y, part if part in spec.part_files else ""
    x = _shaped(examples, spec.shape)
    if classes is None:
        if y.dtype.kind not in "biuf":
            rule, hint = "the target of a regression must be numbers", "Write task: classification."
            raise ViolationError(Violation(rule, hint, key or "task", str(y[0])))
        return dataclasses.replace(examples, x=x, y=y.astype("float64"))
    if (y.dtype.kind in "US") != (classes.dtype.kind in "US"):
        unknown = y[:1]  # words and numbers cannot be compared
    else:
        unknown = np.setdiff1d(y, classes)
    if len(unknown):
        rule = f"the {part} part must not have classes of its own"
        raise ViolationError(Violation(rule, "Fix the data.", key, str(unknown[0])))
    return dataclasses.replace(examples, x=x, y=np.searchsorted(classes, y))


def _shaped(examples: Examples, shape: Sequence[int] | None) -> Inputs | pd.DataFrame:
    x = examples.x
    if shape is None:
        return x
    if examples.kinds is not None:
        rule, hint = "only numbers without gaps have a shape", "Remove it."
        raise ViolationError(Violation(rule, hint, "shape", list(shape)))
    if isinstance(x, dict):
        rule, hint = "only a single array has a shape", "Reshape the inputs in the function."
        raise ViolationError(Violation(rule, hint, "shape", list(shape)))
    size = math.prod(x.shape[1:])
    if math.prod(shape) != size:
        rule = f"must hold as many numbers as an example, {size}"
        raise ViolationError(Violation(rule, "Fix the sizes.", "shape", list(shape)))
    return x.reshape(len(x), *shape)


def _standardized(x: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Return (x - mean) / deviation, computed in float64 and kept in float32."""
    import numpy as np

    (mean, deviation), made = scaling, np.empty(x.shape, "float32")
    for part in chunks(x):
        made[part] = (x[part] - mean) / deviation
    return made
