"""Examples and targets, loaded by name, from files or from Python code."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kbn.errors import Text, Violation, ViolationError
from kbn.recipe import features, tables
from kbn.recipe.catalog import SHIPPED, second_part
from kbn.recipe.code import described, following, load_function
from kbn.recipe.inputs import each, invalid_inputs, invalid_names, shapes, unless_all

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from kbn.recipe.columns import Kind
    from kbn.recipe.data import DatasetSpec
    from kbn.recipe.inputs import Inputs

LABELS = str | bytes | bool | int | float  # types of targets in an array of objects


@dataclasses.dataclass(frozen=True)
class Examples:
    """Examples and their targets.

    Attributes:
        x: shape (examples, ...) and finite, or a dict of such inputs; or a table, as its file has
            it.
        y: targets, shape (examples,).
        weights: of the examples, float64, shape (examples,), at least 0; None where there are none.
        along: what they are split by, shape (examples,): times, or numbers of groups; None where
            they are split at random.
        kinds: {column: kind} of a table; None of an array.
    """

    x: Inputs | pd.DataFrame
    y: np.ndarray
    weights: np.ndarray | None = None
    along: np.ndarray | None = None
    kinds: Mapping[str, Kind] | None = None

    def __len__(self) -> int:
        return len(self.y)

    def take(self, indices: np.ndarray | slice) -> Examples:
        """Return some of the examples, in the order of `indices`."""
        x = each(lambda rows: rows[indices], getattr(self.x, "iloc", self.x))
        weights, along = (a if a is None else a[indices] for a in (self.weights, self.along))
        return Examples(x, self.y[indices], weights, along, self.kinds)


class Loaded(NamedTuple):
    """Examples as the data hold them: parts that are apart already, and the others.

    `validation` and `test` are None where the data have no such part.
    """

    whole: Examples
    validation: Examples | None
    test: Examples | None


def load_examples(spec: DatasetSpec, home: Path, made: object = None) -> Loaded:
    """Load the examples and targets of a data set, and those of parts that are apart.

    Args:
        spec: names the data.
        home: directory that relative paths start from.
        made: what the data's own function returned, if they have one.

    Raises:
        ViolationError: with all that is wrong; its keys are keys of the section `dataset`.
    """
    if spec.path is None or spec.path.endswith(".npz"):
        loaded = _loaded_arrays(spec, home, made)
    else:
        loaded = _loaded_tables(spec, home)
    whole, violations = loaded.whole, list(_invalid_examples(loaded.whole))
    for part, examples in zip(("validation", "test"), loaded[1:], strict=True):
        if examples is None:
            continue
        key = part if part in spec.part_files else ""
        violations += [
            dataclasses.replace(v, rule=f"of the {part} part: {v.rule}", key=key)
            for v in _invalid_examples(examples)
        ]
        if shapes(examples.x) != shapes(whole.x):
            rule = f"examples of the {part} part must have the shape of the others"
            received = Text(f"{shapes(examples.x)} and {shapes(whole.x)}")
            violations.append(Violation(rule, "Fix the data.", key, received))
    if violations:
        raise ViolationError(*violations)
    validation, test = (each and _with_words(each) for each in loaded[1:])
    return Loaded(_with_words(whole), validation, test)


def _loaded_tables(spec: DatasetSpec, home: Path) -> Loaded:
    """Return examples of tables; as arrays, if all features are numbers without gaps."""
    read = features.read(spec, home)
    plain = all(table.is_plain for table in read.values())
    made = {
        key: Examples(
            table.features.to_numpy("float64") if plain else table.features,
            table.y,
            table.weights,
            table.along,
            None if plain else table.kinds,
        )
        for key, table in read.items()
    }
    return Loaded(made["path"], made.get("validation"), made.get("test"))


def _loaded_arrays(spec: DatasetSpec, home: Path, returned: object) -> Loaded:
    given: dict[str, tuple[object, ...]] = {}
    if spec.path is not None:
        for part, file in spec.files.items():
            given[part] = tables.read_arrays(home / file, part)
    elif spec.python is not None:
        given["path"] = _arrays_of(spec.python, returned)
    elif spec.name in SHIPPED:
        import sklearn.datasets

        given["path"] = getattr(sklearn.datasets, SHIPPED[spec.name])(return_X_y=True)
    else:
        given["path"] = _fetched(str(spec.name))
    x, y, *own = given.pop("path")
    if own and spec.test is not None:
        raise ViolationError(second_part("test", spec.test))
    parts = {**given, "test": tuple(own)} if own else given
    made = {part: Examples(_inputs(x), _array(y)) for part, (x, y) in parts.items()}
    return Loaded(Examples(_inputs(x), _array(y)), made.get("validation"), made.get("test"))


def maker(reference: str, home: Path) -> Callable[[], object]:
    """Return the recipe's own function that makes the data.

    It raises a `ViolationError` in place of any error of its own.

    Args:
        reference: module:function.
        home: the recipe's directory.

    Raises:
        ViolationError: if it cannot be loaded.
    """
    function = load_function(reference, home)

    def make() -> object:
        with following(f"{reference} must run without arguments", "Fix it.", "python"):
            return function()

    return make


def _arrays_of(reference: str, made: Any) -> tuple[object, ...]:
    """Return the arrays that a recipe's own function returned."""
    parts = made if _is_pair(made) and all(isinstance(part, tuple) for part in made) else (made,)
    if not all(map(_is_pair, parts)):
        rule = f"{reference} must return (x, y), or (x, y), (x_test, y_test)"
        raise ViolationError(Violation(rule, _conversion_hint(made), "python", _type_of(made)))
    return tuple(array for part in parts for array in part)


def _is_pair(made: object) -> bool:
    return isinstance(made, tuple | list) and len(made) == 2  # noqa: PLR2004


def _fetched(name: str) -> tuple[np.ndarray, ...]:
    """Return the arrays x, y, x_test and y_test of a data set that Keras downloads."""
    import keras

    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras prints the progress of a download
            (x, y), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # which Keras raises
        rule = "Keras must have the data, or be able to fetch them"
        hint = "Run it once where there is a network, or give the path of a file."
        raise ViolationError(Violation(rule, hint, "name", described(error))) from error
    if x.ndim == 3:  # noqa: PLR2004  greyscale images: one channel
        x, x_test = x[..., None], x_test[..., None]
    return x, y.ravel(), x_test, y_test.ravel()


def _inputs(given: object) -> Inputs:
    """Return given examples as an array, or as a dict of them."""
    violations = list(invalid_names(given))
    if violations:
        raise ViolationError(*violations)
    return each(_array, given)


def _array(given: object) -> np.ndarray:
    """Return given examples or targets as an array, shape (examples, ...)."""
    import numpy as np

    rule = "x and y must be arrays"
    try:
        array = np.asarray(given)
    except Exception as error:  # of the given object's own code
        hint = "Return NumPy arrays, each pair of them as a tuple."
        raise ViolationError(Violation(rule, hint, received=described(error))) from error
    if not array.ndim:
        raise ViolationError(Violation(rule, _conversion_hint(given), received=_type_of(given)))
    if isinstance(given, np.ma.MaskedArray) and given.mask.any():
        rule, hint = "x and y must have no masked values", "Fill them, or remove these examples."
        raise ViolationError(Violation(rule, hint, received=Text(f"{given.mask.sum()} of them")))
    return array


def _type_of(given: object) -> Text:
    """Describe an object by its type and size."""
    size = f" of {len(given)}" if isinstance(given, tuple | list | dict) else ""
    return Text(f"{type(given).__name__}{size}")


def _conversion_hint(given: object) -> str:
    """Return how to make arrays from an object that is not an array."""
    if isinstance(given, Mapping):
        return 'Return arrays, as in: return data["x"], data["y"]'
    if isinstance(given, Iterator):
        return "Return arrays, as in: return np.array(list(x)), np.array(list(y))"
    if hasattr(given, "toarray"):  # a sparse matrix of SciPy
        return "Return x.toarray()."
    if hasattr(given, "drop"):  # a table of pandas
        return 'Return table.drop(columns="y"), table["y"].'
    return "End the function with: return x, y"


def _with_words(examples: Examples) -> Examples:
    return dataclasses.replace(examples, y=_words(examples.y))


def _words(y: np.ndarray) -> np.ndarray:
    """Return targets with objects and bytes converted to words, shape (examples,)."""
    import numpy as np

    if y.dtype.kind == "S":
        return np.char.decode(y, "utf-8", "backslashreplace")
    return y.astype(object).astype(str) if y.dtype.kind in "OT" else y


def _invalid_examples(examples: Examples) -> Iterator[Violation]:
    """Yield the violations that keep arrays from being examples and targets."""
    if examples.kinds is None:  # else its columns were looked at one by one
        yield from invalid_inputs(examples.x, examples.y)
    if examples.y.ndim == 1 and len(examples):
        yield from _invalid_targets(examples.y)


def _invalid_targets(y: np.ndarray) -> Iterator[Violation]:
    """Yield the violations that keep an array from being targets."""
    import numpy as np
    import pandas as pd

    rule = "y must be numbers or words"
    if y.dtype.kind == "O":
        there = ~pd.isna(y)
        yield from unless_all(there, "every example must have a label")
        others = [label for label in y[there] if not isinstance(label, LABELS | np.generic)]
        if others:
            yield Violation(rule, "Convert it.", received=_type_of(others[0]))
    elif y.dtype.kind == "f":
        yield from unless_all(np.isfinite(y), "every example must have a label")
        with np.errstate(over="ignore"):
            finite = np.isfinite(y.astype("float32")) | ~np.isfinite(y)
        yield from unless_all(finite, "y must be finite numbers, as float32 too")
    elif y.dtype.kind not in "biuUST":
        yield Violation(rule, "Convert it.", received=Text(y.dtype.name))
