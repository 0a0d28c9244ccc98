"""From a YAML file to a recipe, with the line of every fault."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from kbn.errors import Fault, RecipeError
from kbn.recipe import schema
from kbn.recipe.schema import Broken, Recipe, suggest

Path_ = tuple[str | int, ...]  # of a value: keys of mappings and indices of lists
Source = tuple[str, int | None]  # file and line of a value
OVERRIDE = "command line"


def load_recipe(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe.

    Args:
        path: a YAML file.
        overrides: "key=value" each, the key with dots, the value as in YAML:
            "search.trials=4".

    Raises:
        RecipeError: with all faults of the file and the overrides, exit code 3.
    """
    file = os.fspath(path)
    text = _read(file)
    data, sources = _mapping(text, file)
    for override in overrides:
        _apply(override, data, sources)
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        faults = [fault for each in error.errors() for fault in _faults(each, data, sources)]
        raise RecipeError(sorted(faults, key=lambda fault: fault.line or 0)) from None
    recipe._written = text
    return recipe


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain values: 1e-3 is a number, no is a word."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  as declared above it


_TAG = "tag:yaml.org,2002:"
for _name, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("null", r"null|~|", ["n", "~", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), _first)
_Loader.add_constructor(_TAG + "int", lambda _, node: int(node.value))  # 010 is ten, not eight


def _read(file: str) -> str:
    """The file's text.

    Raises:
        RecipeError: if it cannot be read.
    """
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        law = (error.strerror or str(error)).lower()
        cure = "List the recipes here: kbn ls"
        raise RecipeError([Fault(file, None, "", "must be a readable file", law, cure)]) from None
    except UnicodeDecodeError:
        cure = "Write the recipe as plain text."
        raise RecipeError(
            [Fault(file, None, "", "must be UTF-8 text", "other bytes", cure)]
        ) from None


def _mapping(text: str, file: str) -> tuple[dict[str, Any], dict[Path_, Source]]:
    """The text's data and where each value of it stands.

    Raises:
        RecipeError: if it is no YAML, or no mapping.
    """
    sources: dict[Path_, Source] = {(): (file, 1)}
    data = _parse(text, file, sources)
    if not isinstance(data, dict):
        received = "nothing" if data is None else type(data).__name__
        cure = "Start from one of: kbn ls"
        raise RecipeError([Fault(file, 1, "", "must be a mapping of keys", received, cure)])
    return data, sources


def _parse(text: str, file: str, sources: dict[Path_, Source]) -> Any:
    """The data of a YAML text; notes the lines of its values.

    Raises:
        RecipeError: if it is no YAML, or more than plain data.
    """
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        faults = [] if root is None else list(_walk(loader, root, (), file, sources))
        if not faults:
            return None if root is None else loader.construct_document(root)
    except RecursionError:
        cure = "Remove the alias that holds itself."
        faults = [Fault(file, None, "", "must be finite", "a loop", cure)]
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        line = mark.line + 1 if mark else None
        faults = [Fault(file, line, "", "must be YAML", problem, "Mend the YAML here.")]
    raise RecipeError(faults)


def _walk(
    loader: _Loader, node: yaml.Node, path: Path_, file: str, sources: dict[Path_, Source]
) -> Iterator[Fault]:
    """Notes the line of every value under a node; yields a fault for what is not plain data."""
    line = node.start_mark.line + 1
    sources.setdefault(path, (file, line))
    plain = getattr(node, "style", None) is None
    value = node.value if isinstance(node, yaml.ScalarNode) else None
    implied = loader.resolve(type(node), value, (plain, not plain))  # type: ignore[no-untyped-call]
    if node.tag != implied:
        tag = node.tag.replace(_TAG, "!!")
        yield Fault(
            file, line, _dotted(path), "must be plain data", f"tag {tag}", "Remove the tag."
        )
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _walk(loader, item, (*path, index), file, sources)
    if isinstance(node, yaml.MappingNode):
        for key, item in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                cure = "Write a word."
                yield Fault(file, line, _dotted(path), "a key must be a word", key.id, cure)
                continue
            below = (*path, key.value)
            if below in sources:
                cure = f"Remove one; the other is in line {sources[below][1]}."
                yield Fault(file, line, _dotted(below), "a key may stand once", "it again", cure)
            sources[below] = (file, line)
            yield from _walk(loader, item, below, file, sources)


def _apply(override: str, data: Any, sources: dict[Path_, Source]) -> None:
    """Sets one value of the data.

    Raises:
        RecipeError: if the override is not key=value, or leads into something that is no mapping.
    """
    dotted, equals, text = override.partition("=")
    *above, last = path = tuple(dotted.split("."))
    if not equals or not all(path):
        cure = "Write it like search.trials=4"
        raise RecipeError([Fault(OVERRIDE, None, "", "must be key=value", repr(override), cure)])
    try:
        value = _parse(text, OVERRIDE, {})
    except RecipeError as error:
        raise RecipeError(
            dataclasses.replace(fault, line=None, key=dotted) for fault in error.faults
        ) from None
    for depth, key in enumerate(above):
        data = data.setdefault(key, {})
        sources.setdefault(path[: depth + 1], (OVERRIDE, None))
        if not isinstance(data, dict):
            law = f"{_dotted(path[: depth + 1])} must be a mapping to have keys"
            raise RecipeError([Fault(OVERRIDE, None, dotted, law, repr(data), "Shorten the key.")])
    data[last] = value
    for known in [known for known in sources if known[: len(path)] == path]:
        del sources[known]
    sources[path] = (OVERRIDE, None)


def _faults(error: Any, data: Any, sources: dict[Path_, Source]) -> Iterator[Fault]:
    """One of pydantic's errors as faults."""
    path = _path(error, data)
    for broken in error["ctx"]["laws"] if error["type"] == "kbn" else [_broken(error, path)]:
        full = (*path, *filter(None, broken.key.split(".")))
        # a key that is not there is reported at what should hold it
        nearest = next(full[:n] for n in range(len(full), -1, -1) if full[:n] in sources)
        file, line = sources[nearest]
        yield Fault(file, line, _dotted(full), broken.law, broken.shown, broken.cure)


def _broken(error: Any, path: Path_) -> Broken:
    """What pydantic itself found, as law and cure."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return Broken("unknown key", suggest(path[-1], _keys(path[:-1])), received=path[-1])
    if kind == "missing":
        return Broken("this key is needed", "Add it.")
    if kind == "literal_error":
        words = re.findall(r"'([^']*)'", context["expected"])
        cure = suggest(error["input"], words)
        return Broken("must be one of the known words", cure, received=error["input"])
    if kind == "union_tag_not_found":
        return Broken("this key is needed", "Add type: float, int or choice.", "type")
    if kind == "union_tag_invalid":
        cure = suggest(context["tag"], re.findall(r"'([^']*)'", context["expected_tags"]))
        return Broken("must name a known type", cure, "type", context["tag"])
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return Broken(
            "must be a mapping of keys", "See the recipes of: kbn ls", received=error["input"]
        )
    law = error["msg"].replace("Input should", "must").replace("String should", "must")
    return Broken(law, "Change the value.", received=error["input"])


def _path(error: Any, data: Any) -> Path_:
    """Where pydantic's error is in the data, without the names of types that pydantic adds."""
    path: list[str | int] = []
    for step in error["loc"]:
        known = range(len(data)) if isinstance(data, list) else data
        if isinstance(data, dict | list) and step in known:
            data = data[step]
            path.append(step)
    return (*path, error["loc"][-1]) if error["type"] == "missing" else tuple(path)


def _keys(path: Path_) -> list[str]:
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
    specs = (schema.FloatSpec, schema.IntSpec, schema.ChoiceSpec)
    return sorted({key for spec in specs for key in spec.model_fields})


def _dotted(path: Path_) -> str:
    return ".".join(map(str, path))
