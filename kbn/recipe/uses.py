"""Checks that each hyperparameter reaches the model, the optimizer or the training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from kbn.errors import Violation
from kbn.recipe import training
from kbn.recipe.names import suggest
from kbn.recipe.rules import Scalar
from kbn.recipe.space import ChoiceSpec, FixedSpec, FloatSpec, Hyperparameter, IntSpec

if TYPE_CHECKING:
    from kbn.recipe.fitting import TrainingSpec
    from kbn.recipe.models import ModelSpec

# type of a value -> its name in messages, and the types of the ranges that contain such values
VALUE_TYPES: dict[type, tuple[str, tuple[str, ...]]] = {
    int: ("a whole number", ("int",)),
    float: ("a number", ("float", "int")),
    str: ("a word", ()),
}


def invalid_uses(
    name: str, space: Mapping[str, Hyperparameter], model: ModelSpec, fixed: TrainingSpec
) -> Iterator[Violation]:
    """Yield the violations that keep a hyperparameter of a recipe from being used as it is.

    A recipe's own model decides itself which hyperparameters it takes; only the size of the
    mini-batch is checked.
    """
    key, spec = f"space.{name}", space[name]
    known = {"batch_size": int} if model.python else usable(spec, space, model, fixed)
    if name in known:
        yield from invalid_values(key, name, spec, known[name])
    elif model.python is None:
        yield Violation("nothing uses this name", suggest(name, known), key, name)


def invalid_fixed(
    space: Mapping[str, Hyperparameter], model: ModelSpec, fixed: TrainingSpec
) -> Iterator[Violation]:
    """Yield the violations that keep what the section `training` fixes from being used."""
    for name, value in fixed.values.items():
        known = usable(FixedSpec(type="fixed", value=value), space, model, fixed)
        if name not in known:
            optimizers = ", ".join(map(str, _words("optimizer", space, fixed)))
            rule = f"nothing uses it: the optimizer is {optimizers}"
            if name == "decay":
                rule = "nothing uses it: the schedule is constant"
            yield Violation(rule, "Remove it.", f"training.{name}", value)


def usable(
    spec: Hyperparameter, space: Mapping[str, Hyperparameter], model: ModelSpec, fixed: TrainingSpec
) -> dict[str, type]:
    """Return {name: type} of all hyperparameters in use where that of `spec` is active."""
    defaults = training.DEFAULTS | model.hyperparameters
    conditions = dict(spec.conditions())
    for optimizer in conditions.get("optimizer", _words("optimizer", space, fixed)):
        defaults |= dict.fromkeys(training.OPTIMIZERS.get(str(optimizer), {}), 0.0)
    if set(conditions.get("schedule", _words("schedule", space, fixed))) != {"constant"}:
        defaults["decay"] = 1.0
    defaults |= dict.fromkeys(training.OPTIONAL, 0.0)
    return {name: type(default) for name, default in defaults.items()}


def invalid_values(key: str, name: str, spec: Hyperparameter, kind: type) -> Iterator[Violation]:
    """Yield the violations that keep values from being those of a hyperparameter that kbn uses.

    Args:
        key: dotted path of the values.
        name: name of the hyperparameter, one of `training.DOMAINS`.
        spec: the values.
        kind: type that the values must have: int, float or str.
    """
    noun, types = VALUE_TYPES[kind]
    if isinstance(spec, FloatSpec | IntSpec) and spec.type not in types:
        hint = f"Use type: {types[0]}." if types else "Use a choice of words."
        yield Violation(f"must be {noun}", hint, f"{key}.type", spec.type)
        return
    rule, holds = training.DOMAINS[name]
    for where, value in spec.extremes():
        place = f"{key}.{where}".rstrip(".")
        if type(value) is not kind and not (kind is float and type(value) is int):
            yield Violation(f"must be {noun}", "Change the value.", place, value)
        elif not holds(value):
            hint = f"Change {where}." if where in ("low", "high") else "Change the value."
            if kind is str:
                hint = suggest(value, training.WORDS[name])
            yield Violation(f"{name} must be {rule}", hint, place, value)


def _words(name: str, space: Mapping[str, Hyperparameter], fixed: TrainingSpec) -> Sequence[Scalar]:
    """Return the optimizers, or the schedules, that the trials of a recipe may have."""
    match space.get(name):
        case ChoiceSpec(values=values):
            return values
        case FixedSpec(value=value):
            return [value]
    return [fixed.values.get(name, training.DEFAULTS[name])]
