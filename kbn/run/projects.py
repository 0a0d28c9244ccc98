"""The directory of a search: who may write to it, and which recipe it belongs to."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kbn.errors import Broken, KbnError, RecipeError, Text
from kbn.recipe.code import source_of
from kbn.recipe.schema import Recipe

SEARCHES = "searches"  # directory of all searches, in the working directory
LOCK, RECIPE = "lock", "recipe.json"  # files in a search's directory


def project_of(name: str, directory: str | os.PathLike[str] = SEARCHES) -> Path:
    """The directory of a recipe's search."""
    return Path(directory) / name


def searches_of(
    recipe: Recipe, directory: str | os.PathLike[str] = SEARCHES
) -> list[tuple[Recipe, Path]]:
    """The recipe's one search and its directory, or all that it compares.

    Those are in the order in which they run, seed by seed: what was stopped has compared all
    variants with some seeds.
    """
    project = project_of(recipe.name, directory)
    if recipe.compare is None:
        return [(recipe, project)]
    seeds = zip(*recipe.variants.values(), strict=True)
    return [(each, project_of(each.name, project)) for recipes in seeds for each in recipes]


@contextlib.contextmanager
def alone(project: Path) -> Iterator[None]:
    """Holds the search's lock, which ends with the process, however it ends.

    Raises:
        KbnError: if another process holds it.
    """
    project.mkdir(parents=True, exist_ok=True)
    with (project / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise KbnError(
                f"{project}: a search may run in one process; another one runs it now. Wait for "
                "it, or give this one another name: name=..."
            ) from None
        yield


def empty(project: Path) -> None:
    """Removes all but the lock."""
    for path in project.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def check_unchanged(recipe: Recipe, project: Path) -> None:
    """Compares the recipe with that of the search so far, if there is one.

    Raises:
        RecipeError: with every key that differs; more or fewer trials, another tracking, believed
            importance or what follows the search are no difference.
    """
    file = project / RECIPE
    if not file.exists():
        return
    old, new = dict(_parts(json.loads(file.read_text()))), dict(_parts(_identity(recipe)))
    cure = "Undo the change, or start the search anew: --fresh"
    faults = [
        recipe.fault(
            key, Broken(_as_begun(old.get(key)), cure, received=Text(json.dumps(new.get(key))))
        )
        for key in old | new
        if old.get(key) != new.get(key)
    ]
    if faults:
        raise RecipeError(faults)


def check_all_unchanged(recipe: Recipe, directory: str | os.PathLike[str] = SEARCHES) -> None:
    """As `check_unchanged`, of the recipe's search or of all that it compares."""
    for each, project in searches_of(recipe, directory):
        check_unchanged(each, project)


def remember(recipe: Recipe, project: Path) -> None:
    """Makes the search the recipe's."""
    draft = project / f"{RECIPE}.new"  # a kill while it is written leaves no half recipe
    draft.write_text(json.dumps(_identity(recipe), indent=2))
    draft.replace(project / RECIPE)


def _identity(recipe: Recipe) -> dict[str, Any]:
    """What must not change while a search goes on, the recipe's own files included."""
    without: Any = {
        "search": {"trials", "final"},
        "tracking": True,
        "compare": True,
        "space": {"__all__": {"tier"}},
    }
    files = [recipe.home / recipe.dataset.path] if recipe.dataset.path else []
    references = filter(None, (recipe.dataset.python, recipe.model.python))
    files += filter(None, (source_of(reference, recipe.home) for reference in references))
    digests = {  # one that is gone is told of where it is read
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        for file in files
        if file.is_file()
    }
    return {**recipe.model_dump(mode="json", exclude=without), "files": digests}


def _as_begun(value: Any) -> str:
    if value is None:
        return "must not be there, as in the search so far"
    return f"must stay as in the search so far, {json.dumps(value)}"


def _parts(recipe: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(key, value) of every part of a recipe: a setting, or a whole hyperparameter."""
    for section, value in recipe.items():
        if isinstance(value, dict):
            yield from ((f"{section}.{key}", part) for key, part in value.items())
        else:
            yield section, value
