"""What must not change in a recipe while its search goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kbn.errors import Fault, Text, Violation
from kbn.recipe.code import source_of
from kbn.recipe.schema import Recipe

LONGEST_VALUE = 100  # characters at most of a value of the search so far
UNDO = "Undo the change, or start the search anew: --fresh"


def identity_of(recipe: Recipe) -> dict[str, Any]:
    """Return all of a recipe that decides what a trial scores, and digests of its own files.

    How long the search goes on and where its trials run, the tracking, believed importance and what
    follows the search may change.
    """
    without: Any = {
        "search": {
            *("trials", "keep", "hours", "until", "final"),
            *("max_retries", "workers", "gpus_per_worker"),
        },
        "tracking": True,
        "compare": True,
        "space": {"__all__": {"tier"}},
    }
    named = [*recipe.dataset.files.values(), recipe.model.weights_file, recipe.model.preset]
    files = [recipe.home / path for path in named if path]
    references = recipe.functions.values()
    files += filter(None, (source_of(reference, recipe.home) for reference in references))
    digests: dict[str, str] = {}
    for file in files:
        if file.exists():  # where it is read, a missing one is reported
            name = file.name if file.name not in digests else os.path.relpath(file, recipe.home)
            digests[Path(name).as_posix()] = _digest(file)
    return {**recipe.model_dump(mode="json", exclude=without), "files": digests}


def _digest(file: Path) -> str:
    """Return a digest of a file's content, or of the names and sizes of a folder's files."""
    if file.is_dir():
        digest = hashlib.sha256()
        for each in sorted(file.rglob("*")):
            if each.is_file():
                named = each.relative_to(file).as_posix()
                digest.update(f"{named} {each.stat().st_size}\n".encode())
    else:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256")
    return digest.hexdigest()[:12]


def changes(recipe: Recipe, begun: Mapping[str, Any]) -> list[Fault]:
    """Return a fault for every key in which a recipe differs from its search so far.

    Args:
        recipe: as it is now.
        begun: its identity when the search began.
    """
    old, new = dict(parts_of(begun)), dict(parts_of(identity_of(recipe)))
    return [
        recipe.fault(
            key, Violation(_rule(old.get(key)), UNDO, received=Text(json.dumps(new.get(key))))
        )
        for key in old | new
        if old.get(key) != new.get(key)
    ]


def _rule(value: Any) -> str:
    if value is None:
        return "must not be there, as in the search so far"
    text = json.dumps(value)
    shown = text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."
    return f"must stay as in the search so far, {shown}"


def parts_of(recipe: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (key, value) of every part of a recipe: a setting, or a whole hyperparameter."""
    for section, value in recipe.items():
        if isinstance(value, dict):
            yield from ((f"{section}.{key}", part) for key, part in value.items())
        else:
            yield section, value
