"""Loading of recipes from YAML files, with the line of every fault."""

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
from kbn.recipe.finding import LIST, READABLE, find, missing
from kbn.recipe.keys import changed, nearest
from kbn.recipe.reading import MAX_DEPTH, KeyPath, Source, Sources, dotted, parse
from kbn.recipe.schema import Recipe
from kbn.recipe.sections import may_vary
from kbn.recipe.validation import validate
from kbn.uris import masked

OVERRIDE = "command line"
MAX_FILE = 1_000_000  # bytes


def load_recipe(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a file.

    >>> import kbn
    >>> kbn.load_recipe("digits_softmax", ["search.trials=4"]).search.trials
    4

    Args:
        path: a YAML file; or the name of one that lies below `recipes/` in the working directory
            or that kbn ships.
        overrides: "key=value" each, with a dotted key and a YAML value, such as
            "search.trials=4".

    Raises:
        RecipeError: with all faults of the file and the overrides, exit code 3.
    """
    file = find(os.fspath(path))
    text = _read(file)
    data, sources, faults = _mapping(text, file)
    for override in overrides:
        faults += _apply(override, data, sources)
    _note_variants(data, sources)
    # what parsing left out may not be reported as missing
    left_out = tuple(f"{fault.key}." for fault in faults if fault.key)
    faults += [
        fault for fault in _faults(data, sources) if not f"{fault.key}.".startswith(left_out)
    ]
    recipe = _valid_recipe(data, sources, faults)
    recipe._written, recipe._home = text, Path(file).parent
    recipe._arguments = (os.fspath(path), *overrides)
    return recipe


def make_recipe(data: Mapping[str, Any]) -> Recipe:
    """Make a recipe from the data that its file would have.

    Raises:
        RecipeError: with all faults of the data, exit code 3.
    """
    plain, sources = copy.deepcopy(dict(data)), dict[KeyPath, Source]({(): ("recipe", None)})
    return _valid_recipe(plain, sources, list(_faults(plain, sources)))


def _valid_recipe(data: dict[str, Any], sources: Sources, faults: Iterable[Fault]) -> Recipe:
    """Return the recipe if there are no faults.

    Raises:
        RecipeError: with the faults in the order of their lines, without passwords.
    """
    in_order = sorted(dict.fromkeys(faults), key=lambda fault: fault.line or 0)
    if in_order:
        raise RecipeError(map(_masked, in_order))
    recipe = Recipe.model_validate(data)
    recipe._sources = sources
    return recipe


def _read(file: str) -> str:
    """Return the text of a file, with the line breaks of Unix.

    Raises:
        RecipeError: if it cannot be read, is no regular file, or is too large for a recipe.
    """
    rule, hint = READABLE, LIST
    try:
        with open(file, "rb", opener=_open) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                rule, received = "must be a regular file", "a pipe, a socket or a device"
            elif len(content := stream.read(MAX_FILE + 1)) > MAX_FILE:
                rule, received = f"must be at most {MAX_FILE} bytes long", "more"
            else:
                return re.sub("\r\n?", "\n", content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        rule, received, hint = "must be UTF-8 text", "other bytes", "Write it as plain text."
    except FileNotFoundError:
        raise RecipeError([missing(file)]) from None
    except OSError as error:
        received = (error.strerror or str(error)).lower()
    except ValueError as error:  # for a path with a null byte
        received = str(error)
    raise RecipeError([Fault(file, None, "", rule, received, hint)])


def _open(file: str, flags: int) -> int:
    """Open a file without blocking: a pipe would block until something writes to it."""
    return os.open(file, flags | getattr(os, "O_NONBLOCK", 0))  # Windows has no such pipes


def _mapping(text: str, file: str) -> tuple[dict[str, Any], Sources, list[Fault]]:
    """Parse a text into data, the source of each value, and faults in what was left out.

    Raises:
        RecipeError: if the text is not YAML, or no mapping.
    """
    sources: Sources = {(): (file, 1)}
    data, faults = parse(text, file, sources)
    if not isinstance(data, dict):
        received = "nothing" if data is None else type(data).__name__
        hint = "Start from one of: kbn ls"
        raise RecipeError([Fault(file, 1, "", "must be a mapping of keys", received, hint)])
    return data, sources, faults


def _apply(override: str, data: dict[str, Any], sources: Sources) -> list[Fault]:
    """Set one value in the data; return the faults of the override if that is not possible."""
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
    section: Any = data
    for depth, step in enumerate(above, 1):
        if section.get(step) is None:
            section[step] = {}
        section = section[step]
        sources.setdefault(path[:depth], (OVERRIDE, None))
        if not isinstance(section, dict):
            rule = f"{dotted(path[:depth])} must be a mapping to have keys"
            return [Fault(OVERRIDE, None, key, rule, repr(section), "Shorten the key.")]
    section[last] = value
    for known in [known for known in sources if known[: len(path)] == path]:
        del sources[known]
    sources[path] = (OVERRIDE, None)
    return []


def _faults(data: dict[str, Any], sources: Sources) -> Iterator[Fault]:
    """Yield the faults of a recipe, then those of its variants that it does not have itself."""
    own = list(validate(data))
    for path, violation in own:
        yield _fault(path, violation, sources)
    if {("compare", "seeds"), ("compare", "variants")} & {path for path, _ in own}:
        return
    alone = {key: value for key, value in data.items() if key != "compare"}
    for name, changes in _variant_changes(data):
        allowed = {key: value for key, value in changes.items() if may_vary(key)}
        for path, violation in validate(changed(alone, allowed)):
            if (path, violation) not in own:
                yield _fault(("compare", "variants", name, *path), violation, sources)


def _fault(path: KeyPath, violation: Violation, sources: Sources) -> Fault:
    file, line = nearest(sources, path) or (OVERRIDE, None)
    return Fault(file, line, dotted(path), violation.rule, violation.shown, violation.hint)


def _masked(fault: Fault) -> Fault:
    """Return a fault without passwords in its text."""
    return Fault(**masked(dataclasses.asdict(fault)))


def _variant_changes(data: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (name, changes) of the variants in a recipe's data, whether valid or not."""
    compare = data.get("compare")
    variants = compare.get("variants") if isinstance(compare, dict) else None
    for name, changes in variants.items() if isinstance(variants, dict) else ():
        if isinstance(changes, dict):
            yield name, changes


def _note_variants(data: Mapping[str, Any], sources: Sources) -> None:
    """Note the lines of the variants' dotted keys as if they were nested keys."""
    for name, changes in _variant_changes(data):
        place: KeyPath = ("compare", "variants", name)
        for key in changes:
            source = nearest(sources, (*place, key))
            if source:
                sources[*place, *key.split(".")] = source
