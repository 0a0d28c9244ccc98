"""All that is wrong with a recipe's data, in kbn's words instead of pydantic's."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from kbn.errors import NULL, Text, Violation
from kbn.recipe import sections, space
from kbn.recipe.reading import KeyPath
from kbn.recipe.rules import suggest
from kbn.recipe.schema import Recipe

# what pydantic calls an error: what must hold, and what to do about it
RULES = {
    "bool_type": ("must be true or false", "Write one of them."),
    "finite_number": ("must be a finite number", "Change the value."),
    "float_type": ("must be a number", "Write it like 0.1."),
    "int_from_float": ("must be a whole number", "Write it like 8."),
    "int_type": ("must be a whole number", "Write it like 8."),
    "list_type": ("must be a list", "Write it like [16, 32]."),
    "string_too_short": ("must not be empty", "Write a word, or remove the key."),
    "string_type": ("must be a word", "Write one, in quotes if it looks like a number."),
}


def judge(data: Any) -> Iterator[tuple[KeyPath, Violation]]:
    """(path, violation) of everything that is wrong with the data of a recipe."""
    try:
        Recipe.model_validate(data)
    except ValidationError as error:
        found = [
            ((*path, *_steps(violation)), violation)
            for each in error.errors()
            for path, violation in _violations(each, data)
        ]
        told = {path for path, _ in found}
        more = [(_steps(violation), violation) for violation in _between_valid_parts(data)]
        yield from found
        yield from ((path, violation) for path, violation in more if path not in told)


def _violations(error: Any, data: Any) -> Iterator[tuple[KeyPath, Violation]]:
    """Yield (path, violation) for one of pydantic's errors; kbn's validators put several in one."""
    path = _path(error, data)
    violations = error["ctx"]["violations"] if error["type"] == "kbn" else [_violation(error, path)]
    yield from ((path, violation) for violation in violations)


def _steps(violation: Violation) -> KeyPath:
    return tuple(filter(None, violation.key.split(".")))


def _between_valid_parts(data: Mapping[str, Any]) -> Iterator[Violation]:
    """The violations between parts, of which pydantic asks only where all parts are valid."""
    parts: dict[str, Any] = {"compare": None}
    for name, kind in _MODELS.items():
        with contextlib.suppress(ValidationError):
            parts[name] = kind.model_validate(data.get(name))
    given = data.get("space", {})
    found = _sound_space(given) if isinstance(given, dict) else {}
    if found or given == {}:
        parts["space"] = found
    yield from Recipe.model_construct(**parts).violations(parts)


def _sound_space(given: Mapping[str, Any]) -> dict[str, Any]:
    """The valid hyperparameters that depend on no unsound one; none if the optimizer is unsound."""
    found: dict[str, Any] = {}
    adapter: TypeAdapter[Any] = TypeAdapter(space.Hyperparameter)
    for name, value in given.items():
        with contextlib.suppress(ValidationError):
            spec = adapter.validate_python(value)
            if all(parent in found or parent not in given for parent in spec.when):
                found[name] = spec
    return {} if "optimizer" in given and "optimizer" not in found else found


_MODELS: dict[str, type[BaseModel]] = {
    "dataset": sections.DatasetSpec,
    "model": sections.ModelSpec,
    "objective": sections.ObjectiveSpec,
    "search": sections.SearchSpec,
    "compare": sections.CompareSpec,
}


def _violation(error: Any, path: KeyPath) -> Violation:
    """What pydantic itself found, as rule and hint."""
    kind, context = error["type"], error.get("ctx", {})
    received = NULL if error["input"] is None else error["input"]
    if kind == "extra_forbidden":
        return Violation("unknown key", suggest(path[-1], _keys(path[:-1])), received=path[-1])
    if kind == "missing":
        return Violation("this key is needed", "Add it.")
    if kind == "literal_error":
        expected = context["expected"].replace("'", "").replace("None", "null")
        words = re.split(", | or ", expected)
        return Violation(
            "must be one of the known words", suggest(received, words), received=received
        )
    if kind == "union_tag_not_found":
        return Violation("this key is needed", "Add type: float, int or choice.", "type")
    if kind == "union_tag_invalid":
        words = re.findall(r"'([^']*)'", context["expected_tags"])
        tag = context["tag"]
        return Violation("must name a known type", suggest(tag, words), "type", tag)
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        hint = "Write it like {key: value}; see the recipes of: kbn ls"
        return Violation("must be a mapping of keys", hint, received=received)
    if kind == "too_short":
        rule = f"needs {context['min_length']} at least"
        return Violation(rule, "Add one.", received=received)
    if kind == "too_long":
        received = Text(f"{len(error['input'])} of them")
        return Violation(
            f"may have {context['max_length']} at most", "Remove some.", received=received
        )
    rule, hint = RULES.get(
        kind, (error["msg"].replace("Input should", "must"), "Change the value.")
    )
    return Violation(rule, hint, received=received)


def _path(error: Any, data: Any) -> KeyPath:
    """Where pydantic's error is in the data, without the names of types that pydantic adds."""
    path: list[str | int] = []
    for step in error["loc"]:
        known = range(len(data)) if isinstance(data, list) else data
        if isinstance(data, dict | list) and step in known:
            data = data[step]
            path.append(step)
    return (*path, error["loc"][-1]) if error["type"] == "missing" else tuple(path)


def _keys(path: KeyPath) -> list[str]:
    """The keys that a recipe may have at a path."""
    model: Any = Recipe
    for step in path:
        field = model.model_fields.get(step)
        annotation = field.annotation if field else None
        kinds = [annotation, *getattr(annotation, "__args__", ())]
        models = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        if step == "space" or not models:
            break
        model = models[0]
    else:
        return list(model.model_fields)
    specs = (space.FloatSpec, space.IntSpec, space.ChoiceSpec)
    return sorted({key for spec in specs for key in spec.model_fields})
