"""What a model takes: one array, or a dict of arrays where it has several named inputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from kbn.errors import Text, Violation

if TYPE_CHECKING:
    import numpy as np

Inputs: TypeAlias = "np.ndarray | dict[str, np.ndarray]"
Shape: TypeAlias = tuple[int, ...]
Shapes: TypeAlias = Shape | dict[str, Shape]  # of one example, of each input

NAME = re.compile("[A-Za-z][A-Za-z0-9_]*")

Value = TypeVar("Value")
X = TypeVar("X", bound="Inputs")


def each(function: Callable[..., Any], first: Any, *others: Any) -> Any:
    """Return what a function makes of its arguments: of dicts, {name: what it makes of an input}.

    Args:
        function: takes as many arguments as are given after it.
        first: what belongs to the one array, or {name: what belongs to an input}.
        *others: in the same form.
    """
    if not isinstance(first, dict):
        return function(first, *others)
    return {name: function(one, *(other[name] for other in others)) for name, one in first.items()}


def named(first: Value | dict[str, Value]) -> dict[str, Value]:
    """Return {name as messages show it: what belongs to an input}."""
    if not isinstance(first, dict):
        return {"x": first}
    return {f'x["{name}"]': one for name, one in first.items()}


def shapes(x: Any) -> Any:
    """Return the shape of one example, (...), or of each of its inputs, {name: (...)}."""
    return each(lambda array: tuple(array.shape[1:]), x)


def invalid_names(x: object, key: str = "") -> Iterator[Violation]:
    """Yield what cannot be the name of an input: TensorFlow's formats take few characters."""
    if not isinstance(x, dict):
        return
    if not x:
        rule = "a dict of inputs must hold an array"
        yield Violation(rule, "Fix the data.", key, Text("{}"))
    for name in x:
        if not (isinstance(name, str) and NAME.fullmatch(name)):
            rule = "the name of an input must be a letter, then letters, digits and _"
            yield Violation(rule, "Rename it.", key, Text(repr(name)))


def invalid_inputs(x: Inputs, y: np.ndarray) -> Iterator[Violation]:
    """Yield the violations that keep arrays from being inputs for targets y, of any shape."""
    arrays = named(x)
    violations = [v for name, array in arrays.items() for v in _invalid_form(name, array, y)]
    yield from violations
    if not violations:
        for name, array in arrays.items():
            yield from _invalid_numbers(name, array)


def _invalid_form(name: str, x: np.ndarray, y: np.ndarray) -> Iterator[Violation]:
    """Yield how the shape of an input, known by a name in messages, and of targets are wrong."""
    if x.ndim < 2 or y.ndim != 1 or len(x) != len(y):  # noqa: PLR2004
        rule = f"{name} must have the shape (examples, ...) and y (examples,)"
        yield Violation(rule, "Reshape them.", received=Text(f"{x.shape} and {y.shape}"))
    elif not x.size:
        rule = "there must be examples, and features in each"
        yield Violation(rule, "Fix the data.", received=Text(f"{name} of the shape {x.shape}"))


def _invalid_numbers(name: str, x: np.ndarray) -> Iterator[Violation]:
    """Yield how the numbers of an input, known by a name in messages, are wrong."""
    import numpy as np

    if x.dtype.kind not in "biuf":
        hint = f'Convert it, as with {name}.astype("float32").'
        yield Violation(f"{name} must be numbers", hint, received=Text(x.dtype.name))
    elif x.dtype.kind == "f":
        with np.errstate(over="ignore"):
            finite = np.isfinite(x.astype("float32")).reshape(len(x), -1).all(1)
        yield from unless_all(finite, f"{name} must be finite numbers, as float32 too")


def unless_all(valid: np.ndarray, rule: str) -> Iterator[Violation]:
    """Yield a violation if some examples are not valid, shape (examples,)."""
    bad = int((~valid).sum())
    if bad:
        received = Text(f"{bad} of {len(valid)} otherwise, the first at index {valid.argmin()}")
        yield Violation(rule, "Fix or remove these examples.", received=received)
