"""Examples and targets: by name, from files and from Python."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbn.errors import Text, Violation, ViolationError
from kbn.recipe import tables
from kbn.recipe.catalog import SHIPPED
from kbn.recipe.code import described, load_function

if TYPE_CHECKING:
    import numpy as np

    from kbn.recipe.sections import DatasetSpec

LABELS = str | bytes | bool | int | float  # of an array of objects

Examples = tuple["np.ndarray", "np.ndarray"]  # x, y


def load_examples(spec: DatasetSpec, home: Path) -> tuple[Examples, Examples]:
    """Examples and targets as the data set has them, and those of its test part.

    Args:
        spec: names the data.
        home: directory that paths start from.

    Returns:
        (x, y) and (x_test, y_test): x has the shape (examples, ...) and is finite, y has
        (examples,). The test part is empty where the data have none of their own.

    Raises:
        ViolationError: with what is wrong; the keys are those of `dataset`.
    """
    if spec.path is not None:
        given = tables.read(home / spec.path, spec.target)
    elif spec.python is not None:
        given = _made(spec.python, home)
    elif spec.name in SHIPPED:
        import sklearn.datasets

        given = getattr(sklearn.datasets, SHIPPED[spec.name])(return_X_y=True)
    else:
        given = _fetched(str(spec.name))
    x, y, *test = (_array(each) for each in given)
    x_test, y_test = test or (x[:0], y[:0])
    unfit = _unfit(x_test, y_test) if test else ()
    violations = [
        *_unfit(x, y),
        *(
            dataclasses.replace(violation, rule=f"of the test part: {violation.rule}")
            for violation in unfit
        ),
    ]
    if x.shape[1:] != x_test.shape[1:]:
        rule = "examples of the test part must have the shape of the others"
        received = Text(f"{x_test.shape[1:]} and {x.shape[1:]}")
        violations.append(Violation(rule, "Mend the data.", received=received))
    if violations:
        raise ViolationError(*violations)
    return (x, _words(y)), (x_test, _words(y_test))


def _made(reference: str, home: Path) -> tuple[Any, ...]:
    """What the recipe's own function returns."""
    function = load_function(reference, home)
    try:
        made = function()
    except (Exception, SystemExit) as error:
        rule = f"{reference} must run without arguments"
        raise ViolationError(Violation(rule, "Mend it.", "python", described(error))) from error
    parts = made if _is_pair(made) and all(isinstance(part, tuple) for part in made) else (made,)
    if not all(map(_is_pair, parts)):
        rule = f"{reference} must return (x, y), or (x, y), (x_test, y_test)"
        raise ViolationError(Violation(rule, _hint(made), "python", _kind(made)))
    return tuple(array for part in parts for array in part)


def _is_listed(made: Any) -> bool:
    return isinstance(made, tuple | list)


def _is_pair(made: Any) -> bool:
    return _is_listed(made) and len(made) == 2  # noqa: PLR2004


def _fetched(name: str) -> tuple[Any, ...]:
    import keras

    try:
        with contextlib.redirect_stdout(sys.stderr):  # how far the download is
            (x, y), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises Exception itself
        rule = "Keras must have the data, or be able to fetch them"
        hint = "Run it once where there is a network, or give the path of a file."
        raise ViolationError(Violation(rule, hint, "name", described(error))) from error
    if x.ndim == 3:  # noqa: PLR2004  grey images: one channel
        x, x_test = x[..., None], x_test[..., None]
    return x, y.ravel(), x_test, y_test.ravel()


def _array(given: Any) -> np.ndarray:
    import numpy as np

    rule = "x and y must be arrays"
    try:
        array = np.asarray(given)
    except Exception as error:  # of what is given
        hint = "Return NumPy arrays, each pair of them as a tuple."
        raise ViolationError(Violation(rule, hint, received=described(error))) from error
    if not array.ndim:
        raise ViolationError(Violation(rule, _hint(given), received=_kind(given)))
    if np.ma.is_masked(given):
        rule, hint = "x and y must have no masked values", "Fill them, or remove these examples."
        raise ViolationError(Violation(rule, hint, received=Text(f"{given.mask.sum()} of them")))
    return array


def _kind(given: Any) -> Text:
    """What something is, in words."""
    size = f" of {len(given)}" if isinstance(given, tuple | list | dict) else ""
    return Text(f"{type(given).__name__}{size}")


def _hint(given: Any) -> str:
    """How to make arrays of what is none."""
    if isinstance(given, Mapping):
        return 'Return arrays, as in: return data["x"], data["y"]'
    if isinstance(given, Iterator):
        return "Return arrays, as in: return np.array(list(x)), np.array(list(y))"
    if hasattr(given, "toarray"):  # sparse matrices of SciPy
        return "Return x.toarray()."
    if hasattr(given, "drop"):  # tables of pandas
        return 'Return table.drop(columns="y"), table["y"].'
    return "End the function with: return x, y"


def _words(y: np.ndarray) -> np.ndarray:
    """Objects and bytes as words."""
    import numpy as np

    if y.dtype.kind == "S":
        return np.char.decode(y, "utf-8", "backslashreplace")
    return y.astype(object).astype(str) if y.dtype.kind in "OT" else y


def _unfit(x: np.ndarray, y: np.ndarray) -> Iterator[Violation]:
    """What keeps arrays from being examples."""
    import numpy as np

    if x.ndim < 2 or y.ndim != 1 or len(x) != len(y):  # noqa: PLR2004
        rule = "x must have the shape (examples, ...) and y (examples,)"
        yield Violation(rule, "Reshape them.", received=Text(f"{x.shape} and {y.shape}"))
        return
    if not x.size:
        rule = "there must be examples, and features in each"
        yield Violation(rule, "Mend the data.", received=Text(f"x of the shape {x.shape}"))
        return
    if x.dtype.kind not in "biuf":
        hint = 'Convert it, as with x.astype("float32").'
        yield Violation("x must be numbers", hint, received=Text(x.dtype.name))
    elif x.dtype.kind == "f":
        with np.errstate(over="ignore"):
            finite = np.isfinite(x.astype("float32")).reshape(len(x), -1).all(1)
        yield from _missing("x must be finite numbers, as float32 too", finite)
    yield from _unfit_labels(y)


def _unfit_labels(y: np.ndarray) -> Iterator[Violation]:
    """What keeps an array from being targets."""
    import numpy as np
    import pandas as pd

    rule = "y must be numbers or words"
    if y.dtype.kind == "O":
        there = ~pd.isna(y)
        yield from _missing("every example must have a label", there)
        others = [label for label in y[there] if not isinstance(label, LABELS | np.generic)]
        if others:
            yield Violation(rule, "Convert it.", received=_kind(others[0]))
    elif y.dtype.kind == "f":
        yield from _missing("every example must have a label", np.isfinite(y))
        with np.errstate(over="ignore"):
            finite = np.isfinite(y.astype("float32")) | ~np.isfinite(y)
        yield from _missing("y must be finite numbers, as float32 too", finite)
    elif y.dtype.kind not in "biuUST":
        yield Violation(rule, "Convert it.", received=Text(y.dtype.name))


def _missing(rule: str, finite: np.ndarray) -> Iterator[Violation]:
    """That some examples are not what they must be."""
    bad = int((~finite).sum())
    if bad:
        received = Text(f"{bad} of {len(finite)} otherwise, the first at index {finite.argmin()}")
        yield Violation(rule, "Mend or remove these examples.", received=received)
