"""From a YAML file to a recipe, with the line of every fault."""

from __future__ import annotations

import copy
import dataclasses
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kbn.errors import Fault, RecipeError, Violation
from kbn.recipe.judging import judge
from kbn.recipe.reading import MAX_DEPTH, KeyPath, Source, Sources, dotted, parse
from kbn.recipe.schema import Recipe, changed, nearest
from kbn.recipe.sections import variable
from kbn.uris import masked

OVERRIDE = "command line"
LARGEST_FILE = 1_000_000  # bytes of a recipe


def load_recipe(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe.

    >>> import kbn
    >>> kbn.load_recipe("recipes/digits_softmax.yaml", ["search.trials=4"]).search.trials
    4

    Args:
        path: a YAML file.
        overrides: "key=value" each, the key with dots, the value as in YAML:
            "search.trials=4".

    Raises:
        RecipeError: with all faults of the file and the overrides, exit code 3.
    """
    file = os.fspath(path)
    text = _read(file)
    data, sources, faults = _mapping(text, file)
    for override in overrides:
        faults += _apply(override, data, sources)
    _note_variants(data, sources)
    left_out = tuple(f"{fault.key}." for fault in faults if fault.key)
    faults += [
        fault for fault in _faults(data, sources) if not f"{fault.key}.".startswith(left_out)
    ]
    recipe = _sound(data, sources, faults)
    recipe._written, recipe._home = text, Path(file).parent
    return recipe


def make_recipe(data: Mapping[str, Any]) -> Recipe:
    """A recipe of what its file would say.

    Raises:
        RecipeError: with all that is wrong with it, exit code 3.
    """
    plain, sources = copy.deepcopy(dict(data)), dict[KeyPath, Source]({(): ("recipe", None)})
    return _sound(plain, sources, list(_faults(plain, sources)))


def _sound(data: dict[str, Any], sources: Sources, faults: Iterable[Fault]) -> Recipe:
    """The recipe of some data in which nothing else is wrong.

    Raises:
        RecipeError: with the faults, if there is one.
    """
    in_order = sorted(dict.fromkeys(faults), key=lambda fault: fault.line or 0)
    if in_order:
        raise RecipeError(map(_masked, in_order))
    recipe = Recipe.model_validate(data)
    recipe._sources = sources
    return recipe


def _read(file: str) -> str:
    """The file's text.

    Raises:
        RecipeError: if it cannot be read, is no regular file, or is too large for a recipe.
    """
    rule, hint = "must be a readable file", "List the recipes here: kbn ls"
    try:
        with open(file, "rb", opener=_open) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                rule, received = "must be a regular file", "a pipe, a socket or a device"
            elif len(content := stream.read(LARGEST_FILE + 1)) > LARGEST_FILE:
                rule, received = f"must be at most {LARGEST_FILE} bytes long", "more"
            else:
                return re.sub("\r\n?", "\n", content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        rule, received, hint = "must be UTF-8 text", "other bytes", "Write it as plain text."
    except OSError as error:
        received = (error.strerror or str(error)).lower()
    except ValueError as error:  # of a path that holds a null byte
        received = str(error)
    raise RecipeError([Fault(file, None, "", rule, received, hint)])


def _open(file: str, flags: int) -> int:
    """Opens a file without waiting: a pipe would wait for whoever writes to it."""
    return os.open(file, flags | os.O_NONBLOCK)


def _mapping(text: str, file: str) -> tuple[dict[str, Any], Sources, list[Fault]]:
    """The text's data, where each value of it stands, and what was left out of it.

    Raises:
        RecipeError: if it is no YAML, or no mapping.
    """
    sources: Sources = {(): (file, 1)}
    data, faults = parse(text, file, sources)
    if not isinstance(data, dict):
        received = "nothing" if data is None else type(data).__name__
        hint = "Start from one of: kbn ls"
        raise RecipeError([Fault(file, 1, "", "must be a mapping of keys", received, hint)])
    return data, sources, faults


def _apply(override: str, data: Any, sources: Sources) -> list[Fault]:
    """Sets one value of the data, or says what is wrong with the override."""
    key, equals, text = override.partition("=")
    *above, last = path = tuple(key.split("."))
    if not equals or not all(path) or len(path) > MAX_DEPTH:
        hint = "Write it like search.trials=4"
        return [Fault(OVERRIDE, None, "", "must be key=value", repr(override), hint)]
    try:
        value, faults = parse(text, OVERRIDE, {})
    except RecipeError as error:
        value, faults = None, list(error.faults)
    if faults:
        return [dataclasses.replace(fault, line=None, key=key) for fault in faults]
    for depth, step in enumerate(above):
        if data.get(step) is None:
            data[step] = {}
        data = data[step]
        sources.setdefault(path[: depth + 1], (OVERRIDE, None))
        if not isinstance(data, dict):
            rule = f"{dotted(path[: depth + 1])} must be a mapping to have keys"
            return [Fault(OVERRIDE, None, key, rule, repr(data), "Shorten the key.")]
    data[last] = value
    for known in [known for known in sources if known[: len(path)] == path]:
        del sources[known]
    sources[path] = (OVERRIDE, None)
    return []


def _faults(data: dict[str, Any], sources: Sources) -> Iterator[Fault]:
    """What is wrong with a recipe, and with its variants alone, if they can be run at all."""
    own = list(judge(data))
    for path, violation in own:
        yield _fault(path, violation, sources)
    if {("compare", "seeds"), ("compare", "variants")} & {path for path, _ in own}:
        return
    alone = {key: value for key, value in data.items() if key != "compare"}
    for name, changes in _variants(data):
        allowed = {key: value for key, value in changes.items() if variable(key)}
        for path, violation in judge(changed(alone, allowed)):
            if (path, violation) not in own:
                yield _fault(("compare", "variants", name, *path), violation, sources)


def _fault(path: KeyPath, violation: Violation, sources: Sources) -> Fault:
    file, line = nearest(sources, path) or (OVERRIDE, None)
    return Fault(file, line, dotted(path), violation.rule, violation.shown, violation.hint)


def _masked(fault: Fault) -> Fault:
    """A fault whose words hold no password."""
    return Fault(**masked(dataclasses.asdict(fault)))


def _variants(data: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, changes) of the variants of a recipe's data, sound or not."""
    compare = data.get("compare")
    variants = compare.get("variants") if isinstance(compare, dict) else None
    for name, changes in variants.items() if isinstance(variants, dict) else ():
        if isinstance(changes, dict):
            yield name, changes


def _note_variants(data: Mapping[str, Any], sources: Sources) -> None:
    """Notes the lines of a variant's dotted keys as if each were keys in keys."""
    for name, changes in _variants(data):
        place: KeyPath = ("compare", "variants", name)
        for key in changes:
            source = nearest(sources, (*place, key))
            if source:
                sources[*place, *key.split(".")] = source
