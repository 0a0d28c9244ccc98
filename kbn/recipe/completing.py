"""What may complete a dotted key of a recipe, or its value: what the recipe's JSON schema lists."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from kbn.recipe.schema import Recipe

Schema = dict[str, Any]


def keys(recipe: Recipe) -> list[str]:
    """Return the dotted keys of a recipe's values, given or not, in alphabetical order."""
    own = (key for key, _ in leaves(recipe.model_dump(mode="json")))
    return sorted({*own, *_keys_below(_schema())})


def words(key: str) -> list[str]:
    """Return the words that the value at a dotted key may be; empty where they cannot be listed."""
    places = [_schema()]
    for step in key.split("."):
        places = [below for place in places for below in _below(place, step)]
    return list(dict.fromkeys(word for place in places for word in _words(place)))


def leaves(data: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for every leaf of nested mappings."""
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


@functools.cache
def _schema() -> Schema:
    return Recipe.model_json_schema()


def _alternatives(place: Schema) -> Iterator[Schema]:
    """Yield a schema and those that it names as its alternatives."""
    yield place
    named = [_schema()["$defs"][place["$ref"].rpartition("/")[2]]] if "$ref" in place else []
    for one in (*named, *place.get("anyOf", ()), *place.get("oneOf", ())):
        yield from _alternatives(one)


def _below(place: Schema, step: str) -> Iterator[Schema]:
    for one in _alternatives(place):
        if step in one.get("properties", {}):
            yield one["properties"][step]
        elif isinstance(one.get("additionalProperties"), dict):
            yield one["additionalProperties"]


def _keys_below(place: Schema, above: str = "") -> Iterator[str]:
    for one in _alternatives(place):
        for key, value in one.get("properties", {}).items():
            yield from list(_keys_below(value, f"{above}{key}.")) or [f"{above}{key}"]


def _words(place: Schema) -> Iterator[str]:
    for one in _alternatives(place):
        listed = [*one.get("enum", []), *([one["const"]] if "const" in one else [])]
        yield from map(_word, listed or one.get("examples", []))
        if one.get("type") == "boolean":
            yield from ("true", "false")
        if one.get("type") == "null":
            yield "null"
        yield from (f"[{word}]" for word in _words(one["items"])) if "items" in one else ()


def _word(value: object) -> str:
    return "null" if value is None else str(value)
