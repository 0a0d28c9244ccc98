"""A recipe's table: which of its columns are features, of which kinds, and what the others are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbn.errors import Text, Violation, ViolationError
from kbn.recipe.columns import GivenKind, Kind, Place, invalid_values, kind_of, times
from kbn.recipe.names import suggest
from kbn.recipe.tables import PLACES, read_table

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from kbn.recipe.data import DatasetSpec, SplitSpec


@dataclasses.dataclass(frozen=True)
class Table:
    """Examples that a table holds.

    Attributes:
        features: the columns that are features, as the file has them; shape (examples, features).
        kinds: {feature: its kind}.
        y: targets, shape (examples,).
        weights: of the examples, float64, shape (examples,); None where there are none.
        along: what the examples are split by, shape (examples,): times as float64, groups as their
            numbers; None where they are split at random.
    """

    features: pd.DataFrame
    kinds: Mapping[str, Kind]
    y: np.ndarray
    weights: np.ndarray | None
    along: np.ndarray | None

    @property
    def is_plain(self) -> bool:
        """Whether all features are numbers without gaps, so that an array can hold them."""
        numbers = all(kind == "number" for kind in self.kinds.values())
        return numbers and not self.features.isna().any(axis=None)


def read(spec: DatasetSpec, home: Path) -> dict[str, Table]:
    """Read the tables that a recipe names.

    Args:
        spec: the section `dataset`, whose `path` is a CSV or Parquet file.
        home: directory that relative paths start from.

    Returns:
        {"path": Table}, and those of "validation" and "test" where these are files.

    Raises:
        ViolationError: with all that is wrong with the files; its keys are keys of the section.
    """
    files = {key: home / file for key, file in spec.files.items()}
    frames = {key: read_table(file, key) for key, file in files.items()}
    whole = frames["path"]
    target = whole.columns[-1] if spec.target is None else spec.target
    spec = spec.model_copy(update={"target": target})
    if violations := list(_invalid_names(spec, whole.columns)):
        raise ViolationError(*violations)
    known = spec.columns or {}
    others = {target, spec.weights, spec.split and spec.split.column} - known.keys()
    features = [n for n in whole.columns if n not in others and known.get(n) != "ignore"]
    kinds, violations = _kinds(whole[features], known, PLACES[files["path"].suffix])
    for key, frame in frames.items():
        violations += _invalid(frame, kinds, spec, key, PLACES[files[key].suffix])
    if not features:
        rule, hint = "must leave a column that is a feature", "Remove some."
        violations.append(Violation(rule, hint, "columns"))
    if tokens := [name for name, kind in kinds.items() if kind == "tokens" and len(kinds) > 1]:
        rest = ", ".join(f"{name}: ignore" for name in kinds if name != tokens[0])
        rule, hint = "a column of tokens must be the only feature", f"Add {rest}; or write text."
        violations.append(Violation(rule, hint, f"columns.{tokens[0]}"))
    along = None
    if spec.split is not None and not violations:
        along = _along(whole[spec.split.column], spec.split, PLACES[files["path"].suffix])
    if violations:
        raise ViolationError(*violations)
    return {
        key: Table(
            frame[features].reset_index(drop=True),
            kinds,
            frame[target].to_numpy(),
            None if spec.weights is None else frame[spec.weights].to_numpy("float64"),
            along if key == "path" else None,
        )
        for key, frame in frames.items()
    }


def _of(key: str, violations: Iterable[Violation]) -> list[Violation]:
    """Return violations with a key that they lack."""
    return [dataclasses.replace(violation, key=key) for violation in violations]


def _invalid_use(column: pd.Series[Any], kind: Kind, place: Place) -> Iterator[Violation]:
    """Yield what keeps a column from the use that a recipe makes of it, other than as a feature."""
    yield from _missing(column, place)
    hint = "Fix it, or name another column."
    for violation in invalid_values(column, kind, place):
        yield dataclasses.replace(violation, hint=hint)


def _invalid_names(spec: DatasetSpec, columns: Any) -> Iterator[Violation]:
    """Yield what names no column, or one that has another use."""
    target = spec.target
    split = spec.split and spec.split.column
    key = "split.by" if spec.split and spec.split.by else "split.time"
    named = {"target": target, "weights": spec.weights, key: split}
    for where, name in named.items():
        if name is not None and name not in columns:
            yield Violation("must name a column", suggest(name, columns), where, name)
        elif name is not None and where != "target" and name == target:
            hint = "Name another, or name the target."
            yield Violation("must not be the target, by default the last one", hint, where, name)
    for name in spec.columns or ():
        if name not in columns:
            yield Violation("must name a column", suggest(name, columns), f"columns.{name}", name)
        elif name == target:
            rule, hint = "is the target, by default the last one", "Remove it, or name the target."
            yield Violation(rule, hint, f"columns.{name}")


def _kinds(
    features: pd.DataFrame, known: Mapping[str, GivenKind], place: Place
) -> tuple[dict[str, Kind], list[Violation]]:
    """Return {feature: its kind}, as the recipe says or as found, and what has none."""
    kinds: dict[str, Kind] = {}
    violations = []
    for name in features:
        given = known.get(name)
        if given is not None and given != "ignore":
            kinds[name] = given
            continue
        found = kind_of(features[name], place)
        if isinstance(found, Violation):
            violations += _of("path", [found])
        else:
            kinds[name] = found
    return kinds, violations


def _invalid(
    frame: pd.DataFrame, kinds: Mapping[str, Kind], spec: DatasetSpec, key: str, place: Place
) -> Iterator[Violation]:
    """Yield what is wrong with the columns of a table; `key` names its file."""
    target, own = str(spec.target), key == "path"
    needed = [*kinds, target] if spec.weights is None else [*kinds, target, spec.weights]
    if absent := [name for name in needed if name not in frame.columns]:
        for name in absent:
            hint = suggest(name, frame.columns)
            yield Violation("must have the columns of path", hint, key, Text(f"no {name}"))
        return
    for name, kind in kinds.items():
        said = own and name in (spec.columns or {})
        yield from _of(f"columns.{name}" if said else key, invalid_values(frame[name], kind, place))
    yield from _of(key, _missing(frame[target], place))
    if spec.weights is not None:
        yield from _of("weights" if own else key, _invalid_weights(frame[spec.weights], place))


def _invalid_weights(column: pd.Series[Any], place: Place) -> Iterator[Violation]:
    found = list(_invalid_use(column, "number", place))
    if not found and (numbers := column.to_numpy("float64")).min() < 0:
        row = int((numbers < 0).argmax())
        rule, received = "weights must be >= 0", Text(f"{numbers[row]:g} in {place(row)}")
        found.append(Violation(rule, "Fix it.", received=received))
    yield from found


def _along(column: pd.Series[Any], split: SplitSpec, place: Place) -> np.ndarray:
    """Return what rows are split by, shape (rows,).

    Raises:
        ViolationError: if there are gaps, or times that are neither dates nor numbers.
    """
    import pandas as pd

    number = pd.api.types.is_numeric_dtype(column)
    kind: Kind
    key, kind = "split.by", "category"
    if split.by is None:
        key, kind = "split.time", "number" if number else "date"
    if found := list(_invalid_use(column, kind, place)):
        raise ViolationError(*_of(key, found))
    if split.by is not None:
        return pd.factorize(column)[0]
    return column.to_numpy("float64") if number else times(column)


def _missing(column: pd.Series[Any], place: Place) -> Iterator[Violation]:
    missing = column.isna().to_numpy()
    if missing.any():
        rule = f"column {column.name} must have a value in every row"
        received = f"{missing.sum()} without one, the first in {place(int(missing.argmax()))}"
        yield Violation(rule, "Fill them in, or remove these rows.", "path", Text(received))
