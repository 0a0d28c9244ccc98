"""What a file of data holds, as far as a recipe for it must know."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kbn.errors import Fault, RecipeError, Violation, ViolationError
from kbn.recipe import tables
from kbn.recipe.arrays import Arrays
from kbn.recipe.columns import GivenKind, kind_of
from kbn.recipe.data import DatasetSpec
from kbn.recipe.datasets import make_dataset
from kbn.recipe.examples import Loaded, load_examples
from kbn.recipe.reading import dotted
from kbn.recipe.validation import validate

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SEED = 7  # of the split
WORDS = 4  # of a free text, on average; fewer are an identifier or a name
MANY = 10_000  # examples, from which on a tenth is enough to measure with


@dataclasses.dataclass(frozen=True)
class Found:
    """What is found in a file of data.

    Attributes:
        file: the data.
        spec: the section `dataset` of a recipe, with the path of `file`.
        target: column of the table to predict; None for an NPZ file.
        y: the targets as the file has them, without a test part of its own; shape (examples,).
        dataset: the data, split as `spec` says.
    """

    file: Path
    spec: DatasetSpec
    target: str | None
    y: np.ndarray
    dataset: Arrays


def examine(file: Path, target: str | None) -> Found:
    """Load data and find out what they are.

    Args:
        file: a CSV or Parquet table, or an NPZ file.
        target: column of the table to predict; None for the last.

    Raises:
        RecipeError: with all that is wrong with the data.
    """
    try:
        return _examine(file, target)
    except ViolationError as error:
        raise failed(file, error) from error


def failed(file: Path, error: ViolationError) -> RecipeError:
    """Return the error of all that is wrong with data that a recipe is to be drafted from."""
    return RecipeError(_fault(file, violation) for violation in error.violations)


def _fault(file: Path, violation: Violation) -> Fault:
    """Return what is wrong with the data; what is wrong with their path is said of the file."""
    key = violation.key.removeprefix("path")
    return Fault(str(file), None, key, violation.rule, violation.shown, violation.hint)


def _examine(file: Path, target: str | None) -> Found:
    """Load the data; the keys of a ViolationError are those of the section `dataset`."""
    given = {"path": str(file)} | ({} if target is None else {"target": target})
    violations = [
        dataclasses.replace(violation, key=dotted(path[1:]))
        for path, violation in validate({"dataset": given})
        if path[0] == "dataset"
    ]
    if violations:
        raise ViolationError(*violations)
    if file.suffix != ".npz" and target is None:
        target = given["target"] = str(tables.read_table(file).columns[-1])
    spec = DatasetSpec.model_validate(given)
    if target is not None:
        said = dict(_columns(tables.read_table(file).drop(columns=target, errors="ignore")))
        spec = spec.model_copy(update={"columns": said or None})
    loaded = load_examples(spec, Path())
    spec, dataset = _split(spec, loaded)
    return Found(file, spec, target, loaded.whole.y, dataset)


def _columns(features: pd.DataFrame) -> Iterator[tuple[str, GivenKind]]:
    """Yield (column, kind) where a recipe must say it: free texts, and what tells nothing."""
    for name, column in features.items():
        there = column.dropna()
        if there.empty or (there.dtype.kind == "i" and (there.diff().iloc[1:] == 1).all()):
            yield str(name), "ignore"  # as a number of the row
        elif kind_of(column, str, varied="text") != kind_of(column, str):
            words = there.astype(str).str.split().str.len().mean()
            yield str(name), "text" if words >= WORDS else "ignore"


def _split(spec: DatasetSpec, loaded: Loaded) -> tuple[DatasetSpec, Arrays]:
    """Find the task and the shares of the parts; a test part only where there is enough for one."""
    import numpy as np

    y = loaded.whole.y
    values, counts = np.unique(y, return_counts=True)
    alone = y.dtype.kind in "iu" and counts.min() == 1 < len(values)
    task = "regression" if y.dtype.kind == "f" or alone else "classification"
    share = 0.2 if len(y) < MANY else 0.1
    if task == "classification":  # each part needs as many examples as there are classes
        share = min(max(share, math.ceil(100 * len(values) / len(y)) / 100), 0.5)
    for part in (share, None) if loaded.test is None else (None,):
        tried = spec.model_copy(update={"task": task, "validation": share, "test": part})
        try:
            return tried, make_dataset(tried, SEED, loaded)
        except ViolationError as error:
            failure = error
    raise failure
