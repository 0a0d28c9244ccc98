"""Hyperparameters in the space of a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from kbn.errors import Violation
from kbn.recipe.names import suggest
from kbn.recipe.rules import MAX_INTEGER, Scalar, Strict, Value, check_value, reject
from kbn.search.scales import SCALES


def _check_condition(given: object) -> object:
    if given == []:
        hint = "Add one, or remove the condition."
        raise reject(Violation("needs a value", hint, received=given))
    for value in given if isinstance(given, list) else [given]:
        check_value(value)
    return given


ConditionValues = Annotated[Scalar | list[Scalar], BeforeValidator(_check_condition)]


class _Hyperparameter(Strict):
    """A hyperparameter with the conditions `when` it is active and its believed `tier`."""

    tier: Literal[1, 2, 3] | None = None
    when: dict[str, ConditionValues] = Field(default_factory=dict)

    def conditions(self) -> Iterator[tuple[str, list[Scalar]]]:
        """Yield (name, values) of each condition: the values that activate this hyperparameter."""
        for name, values in self.when.items():
            yield name, values if isinstance(values, list) else [values]


class _Numeric(_Hyperparameter):
    low: float
    high: float

    def extremes(self) -> list[tuple[str, Scalar]]:
        """Return (key, value) of the values that decide whether all values are valid."""
        return [("low", self.low), ("high", self.high)]

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if not self.low < self.high:
            raise reject(Violation("low < high must hold", "Swap or widen them.", "low", self.low))
        scale = SCALES[self.scale]  # type: ignore[attr-defined]  # of the subclasses
        if not scale.admits(self.low, self.high):
            key = scale.rule.split()[0]
            rule = f"scale {scale.name} needs {scale.rule}"
            hint = f"Change {key}, or use another scale."
            raise reject(Violation(rule, hint, key, getattr(self, key)))
        return self


class FloatSpec(_Numeric):
    """A float in [low, high], searched on a scale."""

    type: Literal["float"]
    scale: Literal["linear", "log", "complement_log", "per_decade"] = "linear"


class IntSpec(_Numeric):
    """An integer in [low, high], searched on a scale."""

    type: Literal["int"]
    low: int = Field(ge=-MAX_INTEGER, le=MAX_INTEGER)
    high: int = Field(ge=-MAX_INTEGER, le=MAX_INTEGER)
    scale: Literal["linear", "log"] = "linear"


class ChoiceSpec(_Hyperparameter):
    """One of a few values."""

    type: Literal["choice"]
    values: list[Value]

    def extremes(self) -> list[tuple[str, Scalar]]:
        """Return (key, value) of the values that decide whether all values are valid."""
        return [("values", value) for value in self.values]

    @model_validator(mode="after")
    def _distinct_and_alike(self) -> Self:
        if len(self.values) < 2:  # noqa: PLR2004
            hint = "Add one; or, for a fixed value, write just the value, as in units: 64."
            raise reject(Violation("a choice needs two values", hint, "values", self.values))
        if len({type(value) for value in self.values}) > 1:
            hint = "Write 1.0 for 1 among floats."
            raise reject(Violation("values must be of one type", hint, "values", self.values))
        if len(set(self.values)) < len(self.values):
            hint = "Remove the repeated ones."
            raise reject(Violation("values must differ", hint, "values", self.values))
        return self


class FixedSpec(_Hyperparameter):
    """A value that is not searched; a recipe gives just the value."""

    type: Literal["fixed"]
    value: Value

    def extremes(self) -> list[tuple[str, Scalar]]:
        """Return (key, value) of the values that decide whether all values are valid."""
        return [("", self.value)]  # it stands at the hyperparameter's own key


def _expand_fixed(given: object) -> object:
    """Expand a value to the mapping of a `FixedSpec`."""
    return {"type": "fixed", "value": given} if isinstance(given, Scalar) else given


_Specs = Annotated[FloatSpec | IntSpec | ChoiceSpec | FixedSpec, Field(discriminator="type")]
Hyperparameter = Annotated[
    _Specs, BeforeValidator(_expand_fixed, json_schema_input_type=_Specs | Scalar)
]


def invalid_conditions(
    name: str, space: Mapping[str, Hyperparameter], above: Mapping[str, ChoiceSpec]
) -> Iterator[Violation]:
    """Yield the violations in a hyperparameter's conditions.

    A condition must name a choice declared above, so that no conditions can be circular.

    Args:
        name: name of the hyperparameter.
        space: all hyperparameters.
        above: the choices declared before it.
    """
    for parent, values in space[name].conditions():
        key = f"space.{name}.when.{parent}"
        if parent not in above:
            hint = _parent_hint(name, parent, space, above)
            yield Violation("must name a choice declared above", hint, key, parent)
            continue
        known = above[parent].values
        for value in values:
            if value not in known or type(value) is not type(known[0]):  # 1 == True
                yield Violation(f"must be a value of {parent}", suggest(value, known), key, value)


def _parent_hint(
    name: str, parent: str, space: Mapping[str, Hyperparameter], above: Mapping[str, ChoiceSpec]
) -> str:
    """Return what to do about a condition on something that is no choice declared above."""
    if parent == name:
        return "Remove it: nothing can depend on itself."
    if parent not in space:
        return suggest(parent, above) if above else "Declare it first."
    if not isinstance(space[parent], ChoiceSpec):
        return f"Remove it, or make {parent} a choice: its type is {space[parent].type}."
    if name in _ancestors(parent, space):
        return f"Break the circle: {parent} depends on {name}."
    return f"Move {parent} above {name}."


def _ancestors(name: str, space: Mapping[str, Hyperparameter]) -> set[str]:
    """Return the names that a hyperparameter depends on, directly or indirectly."""
    found: set[str] = set()
    ahead = [name]
    while ahead:
        new = {p for p in space[ahead.pop()].when if p in space} - found
        found |= new
        ahead += new
    return found


def invalid_first(
    first: Sequence[Mapping[str, Scalar]], space: Mapping[str, Hyperparameter]
) -> Iterator[Violation]:
    """Yield the violations in the values that the first trials are to have.

    Args:
        first: {hyperparameter: value} of each.
        space: all hyperparameters.
    """
    for number, values in enumerate(first):
        for name, value in values.items():
            key = f"search.first.{number}.{name}"
            if name not in space:
                rule, hint = "must name a hyperparameter of space", suggest(name, space)
                yield Violation(rule, hint, key, name)
            elif unfit := _unfit(space[name], value):
                yield Violation(unfit, "Change the value, or widen the space.", key, value)
            else:
                yield from _unmet(name, values, space, key)


def _unfit(spec: Hyperparameter, value: Scalar) -> str | None:
    """Return the rule that a value of a hyperparameter breaks; None if it is valid."""
    if isinstance(spec, FixedSpec | ChoiceSpec):
        known = spec.values if isinstance(spec, ChoiceSpec) else [spec.value]
        fits = any(value == each and type(value) is type(each) for each in known)
        return None if fits else f"must be one of {', '.join(map(str, known))}"
    whole = isinstance(spec, IntSpec)
    if not isinstance(value, int | float) or isinstance(value, bool):
        fits = False
    else:
        fits = spec.low <= value <= spec.high and not (whole and isinstance(value, float))
    noun = "a whole number" if whole else "a number"
    return None if fits else f"must be {noun} in [{spec.low}, {spec.high}]"


def _unmet(
    name: str, values: Mapping[str, Scalar], space: Mapping[str, Hyperparameter], key: str
) -> Iterator[Violation]:
    for parent, allowed in space[name].conditions():
        if parent in values and values[parent] not in allowed:
            rule = f"is inactive where {parent} is {values[parent]}"
            yield Violation(rule, "Remove it.", key, values[name])
        elif parent not in values:
            words = " or ".join(map(str, allowed))
            rule = f"needs {parent}, on which it depends"
            yield Violation(rule, f"Add {parent}: {words}.", key, values[name])
