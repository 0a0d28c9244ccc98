"""Validation of a recipe's data: pydantic's errors as violations in kbn's words."""

from __future__ import annotations

import contextlib
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from kbn.errors import NULL, Text, Violation
from kbn.recipe import fitting, models, objectives, searching, sections, space
from kbn.recipe.data import DatasetSpec
from kbn.recipe.names import suggest
from kbn.recipe.reading import KeyPath
from kbn.recipe.schema import Recipe
from kbn.recipe.searching import without_validation

# type of an error in pydantic -> rule and hint
RULES = {
    "bool_type": ("must be true or false", "Write one of them."),
    "finite_number": ("must be a finite number", "Change the value."),
    "float_type": ("must be a number", "Write it like 0.1."),
    "int_from_float": ("must be a whole number", "Write it like 8."),
    "int_type": ("must be a whole number", "Write it like 8."),
    "list_type": ("must be a list", "Put it in brackets, as in [a, b]."),
    "string_too_short": ("must not be empty", "Write a word, or remove the key."),
    "string_type": ("must be a word", "Write one, in quotes if it looks like a number."),
}
SECTIONS: dict[str, type[BaseModel]] = {
    "dataset": DatasetSpec,
    "model": models.ModelSpec,
    "objective": objectives.ObjectiveSpec,
    "search": searching.SearchSpec,
    "training": fitting.TrainingSpec,
    "compare": sections.CompareSpec,
}
PARTS: dict[str, tuple[TypeAdapter[Any], Any]] = {  # that are no sections, and their defaults
    "objectives": (TypeAdapter(list[objectives.ObjectiveSpec] | None), None),
    "constraints": (TypeAdapter(objectives.Constraints), {}),
}
DEFAULTS: dict[str, dict[str, Any]] = {"training": {}}  # of sections that a recipe may lack


def validate(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, Violation]]:
    """Yield (path, violation) for everything that is wrong with the data of a recipe."""
    data = without_validation(data)
    try:
        Recipe.model_validate(data)
    except ValidationError as error:
        found = [
            ((*path, *_steps(violation)), violation)
            for details in error.errors()
            for path, violation in _violations(details, data)
        ]
        reported = {path for path, _ in found}
        yield from found
        for violation in _between_valid_parts(data):
            if _steps(violation) not in reported:
                yield _steps(violation), violation


def _violations(error: ErrorDetails, data: object) -> Iterator[tuple[KeyPath, Violation]]:
    """Yield (path, violation) for one of pydantic's errors; kbn's validators put several in one."""
    path = _path(error, data)
    violations = (
        error["ctx"]["violations"] if error["type"] == "kbn" else [_to_violation(error, path)]
    )
    yield from ((path, violation) for violation in violations)


def _steps(violation: Violation) -> KeyPath:
    return tuple(filter(None, violation.key.split(".")))


def _between_valid_parts(data: Mapping[str, Any]) -> Iterator[Violation]:
    """Yield the violations between valid parts, which pydantic checks only if all are valid."""
    data = objectives.with_objective(data)
    parts: dict[str, Any] = {"compare": None}
    for name, (adapter, default) in PARTS.items():
        with contextlib.suppress(ValidationError):
            parts[name] = adapter.validate_python(data.get(name, default))
    for name, section in SECTIONS.items():
        with contextlib.suppress(ValidationError):
            parts[name] = section.model_validate(data.get(name, DEFAULTS.get(name)))
    given = data.get("space", {})
    found = _valid_space(given) if isinstance(given, dict) else {}
    if found or given == {}:
        parts["space"] = found
    yield from Recipe.model_construct(**parts).violations(parts)


def _valid_space(given: Mapping[str, Any]) -> dict[str, space.Hyperparameter]:
    """Return the valid hyperparameters that depend on no invalid one.

    There are none if the optimizer is invalid, since it decides which names are in use.
    """
    found: dict[str, space.Hyperparameter] = {}
    adapter: TypeAdapter[space.Hyperparameter] = TypeAdapter(space.Hyperparameter)
    for name, value in given.items():
        with contextlib.suppress(ValidationError):
            spec = adapter.validate_python(value)
            if all(parent in found or parent not in given for parent in spec.when):
                found[name] = spec
    return {} if "optimizer" in given and "optimizer" not in found else found


def _to_violation(error: ErrorDetails, path: KeyPath) -> Violation:
    """Return the violation that an error of pydantic's own stands for."""
    kind, context = error["type"], error.get("ctx", {})
    received = NULL if error["input"] is None else error["input"]
    if kind == "extra_forbidden":
        return Violation("unknown key", suggest(path[-1], _keys(path[:-1])), received=path[-1])
    if kind == "missing":
        return Violation("this key is needed", "Add it.")
    if kind == "literal_error":
        expected = context["expected"].replace("'", "").replace("None", "null")
        hint = suggest(received, re.split(", | or ", expected))
        return Violation("must be one of the known words", hint, received=received)
    if kind == "union_tag_not_found":
        key = context["discriminator"].strip("'")
        hint = "Add type: float, int or choice." if key == "type" else f"Add {key}."
        return Violation("this key is needed", hint, key)
    if kind == "union_tag_invalid":
        words = re.findall(r"'([^']*)'", context["expected_tags"])
        tag = context["tag"]
        key = context["discriminator"].strip("'")
        noun = "callback" if key == "name" else key
        return Violation(f"must name a known {noun}", suggest(tag, words), key, tag)
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        hint = "Write it like {key: value}; for examples see: kbn ls"
        return Violation("must be a mapping of keys", hint, received=received)
    if kind == "too_short":
        rule = f"needs at least {context['min_length']}"
        return Violation(rule, "Add one.", received=received)
    if kind == "too_long":
        rule, received = (
            f"may have at most {context['max_length']}",
            Text(f"{len(received)} of them"),
        )
        return Violation(rule, "Remove some.", received=received)
    rule, hint = RULES.get(
        kind, (error["msg"].replace("Input should", "must"), "Change the value.")
    )
    return Violation(rule, hint, received=received)


def _path(error: ErrorDetails, data: object) -> KeyPath:
    """Return the path of an error in the data, without the names of types that pydantic adds."""
    path: list[str | int] = []
    value: Any = data
    for step in error["loc"]:
        keys = range(len(value)) if isinstance(value, list) else value
        if step in (keys if isinstance(value, dict | list) else ()):
            value = value[step]
            path.append(step)
    return (*path, error["loc"][-1]) if error["type"] == "missing" else tuple(path)


def _keys(path: KeyPath) -> list[str]:
    """Return the keys that a recipe may have at a path."""
    models: set[type[BaseModel]] = {Recipe}
    for step in path:
        fields = [model.model_fields[step] for model in models if step in model.model_fields]
        models = {found for field in fields for found in _models(field.annotation)} or models
    found = (model.model_fields for model in models - {space.FixedSpec})
    return sorted({field.alias or name for of in found for name, field in of.items()})


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    """Yield the parts of a recipe that are named in a type, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models(argument)
