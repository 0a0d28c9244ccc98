"""Keys of a recipe's data: values at dotted keys, and where they were read."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from kbn.recipe.reading import KeyPath, Source


def changed(data: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a recipe's data with other values at some dotted keys."""
    data = copy.deepcopy(data)
    for dotted, value in changes.items():
        _set_value(data, dotted.split("."), copy.deepcopy(value))
    return data


def below(sources: Mapping[KeyPath, Source], path: tuple[str, ...]) -> dict[KeyPath, Source]:
    """Return the sources below a path, relative to it."""
    depth = len(path)
    return {known[depth:]: source for known, source in sources.items() if known[:depth] == path}


def nearest(sources: Mapping[KeyPath, Source], path: KeyPath) -> Source | None:
    """Return the source of a value; of a missing one, the source of what should contain it."""
    # a violation's key writes the place in a list like a word
    placed = tuple(int(step) if str(step).isdecimal() else step for step in path)
    parts = ((path[:n], placed[:n]) for n in range(len(path), -1, -1))
    return next((sources[part] for both in parts for part in both if part in sources), None)


def _set_value(data: dict[str, Any], path: Iterable[str], value: object) -> None:
    """Set a value in nested mappings; anything on its path that is no mapping becomes one."""
    *above, last = path
    for key in above:
        if not isinstance(data.get(key), dict):
            data[key] = {}
        data = data[key]
    data[last] = value
