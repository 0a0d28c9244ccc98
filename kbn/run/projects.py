"""The directory of a search: who may write to it, what in it is kbn's, and whose recipe it is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kbn.errors import DamagedError, KbnError, RecipeError, Text, Violation
from kbn.files import holder, locked, read_json, sync, write_json
from kbn.recipe.code import source_of
from kbn.recipe.schema import Recipe
from kbn.run.machine import writing

SEARCHES = "searches"  # directory of all searches, in the working directory
LOCK, RECIPE, ORACLE, JOURNAL = "lock", "recipe.json", "oracle.json", "journal"
REMOVED = ".removed"  # in a search's directory: what was the search before; empty or not there
# all that kbn, KerasTuner and the report write into the directory of a search, beside the lock
WRITTEN = re.compile(
    r"(journal|model|figures|trial_\d+|(best|recipe|oracle|tuner\d+)\.json|best\.keras"
    r"|report\.(html|png)|distribution-[0-9a-f]{12}\.npz)(\.new)?"
    r"|new\.best\.keras|\.report\.html\.\d+"
)
SHOWN = 100  # characters at most of a value of the search so far
NAMED = 5  # files at most that are named


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
    """Holds the lock of a search, or of a comparison, which ends with the process.

    A directory that is made for it is there afterwards only if something was written into it. What
    a kill left of an earlier search that was being removed is removed first.

    Raises:
        KbnError: if another process holds it, or if the directory is no search of kbn's.
        MachineError: if the directory cannot be written to.
    """
    made = [path for path in (project, *project.parents) if not path.exists()]
    with contextlib.ExitStack() as lock:
        lock.callback(_remove_empty, made)
        with writing(project, "Nothing was begun or changed."):
            _reject_link(project)
            project.mkdir(parents=True, exist_ok=True)
            _reject_foreign(project)
            if (project / LOCK).is_symlink():  # a lock's file is written
                (project / LOCK).unlink()
            try:
                lock.enter_context(locked(project / LOCK))
            except BlockingIOError:
                raise KbnError(
                    f"{project}: a search may run in one process; another one runs it now: "
                    f"{holder(project / LOCK)}. Wait for it, or give this one another name: "
                    "name=..."
                ) from None
        try:
            if _is_removed(project):
                remove(project)
            with contextlib.suppress(OSError):  # it is not there
                (project / REMOVED).rmdir()
            yield
        finally:
            if made:
                with contextlib.suppress(OSError):  # then it stays
                    _unmake(project)


def remove(project: Path) -> None:
    """Removes what kbn wrote of a search, or of a comparison with its searches; not the lock.

    Whatever else lies there stays, and no symbolic link is followed. With its first step the search
    is no more: a kill after that leaves some of its files, which the next start removes.

    Raises:
        MachineError: if something cannot be removed.
    """
    trash = project / REMOVED
    with writing(project, "What kbn did not write is untouched."):
        if trash.is_symlink():
            trash.unlink()
        trash.mkdir(exist_ok=True)
        for path in sorted(_written(project), key=lambda path: path.name != JOURNAL):
            path.rename(trash / uuid.uuid4().hex)
        sync(trash)
        sync(project)
        for below in _searches_in(project):
            _unmake(below)
        shutil.rmtree(trash)


def _written(project: Path) -> list[Path]:
    """What kbn wrote of a search, or of a comparison and its searches."""
    own = [path for path in project.iterdir() if WRITTEN.fullmatch(path.name)]
    return own + [path for below in _searches_in(project) for path in _written(below)]


def _searches_in(project: Path) -> list[Path]:
    """The searches of a comparison, those of variants that it no longer has included."""
    return [
        path
        for path in project.glob(f"{project.name}-*")
        if path.is_dir() and not path.is_symlink() and _is_ours(path)
    ]


def _unmake(project: Path) -> None:
    """Removes a directory that holds nothing but the lock."""
    if [path.name for path in project.iterdir()] == [LOCK]:
        (project / LOCK).unlink()
        project.rmdir()


def _remove_empty(directories: Sequence[Path]) -> None:
    for path in directories:
        with contextlib.suppress(OSError):  # it was not made, or holds something
            path.rmdir()


def _is_removed(project: Path) -> bool:
    """Whether the search was removed, though not yet all of its files."""
    trash = project / REMOVED
    return trash.is_dir() and not trash.is_symlink() and any(trash.iterdir())


def _is_ours(project: Path) -> bool:
    """Whether kbn has begun a search there, or one of a comparison.

    The lock tells it, but when the machine stops it may lose what was just written there.
    """
    below = project.glob(f"{project.name}-*/{RECIPE}")
    for file in (project / LOCK, project / RECIPE, *below):
        if file.is_file():
            with contextlib.suppress(OSError, DamagedError):
                read_json(file)
                return True
    return False


def _reject_link(project: Path) -> None:
    if project.is_symlink():
        raise KbnError(
            f"{project}: a search must lie in a directory of its own; this is a symbolic link to "
            f"{project.readlink()}. Remove the link, or put all searches elsewhere: link "
            f"{project.parent} as a whole."
        )


def _reject_foreign(project: Path) -> None:
    found = sorted(path.name for path in project.iterdir() if path.name != LOCK)
    if found and not _is_ours(project):
        names = ", ".join(map(repr, found[:NAMED])) + (", ..." if found[NAMED:] else "")
        raise KbnError(
            f"{project}: a search needs a directory of its own; kbn has not made this one, which "
            f"holds {names}. Nothing was changed. Move these away, or give the search another "
            "name: name=..."
        )


def reject_links(project: Path) -> None:
    """Refuses a search of which a file is a symbolic link: what is written goes elsewhere.

    Raises:
        KbnError: with the links' names.
    """
    links = sorted(path.name for path in _written(project) if path.is_symlink())
    if links:
        raise KbnError(
            f"{project}: a search must hold its files itself; {', '.join(links)} is a symbolic "
            "link. Put what it points to in its place, or start the search anew: --fresh"
        )


def check_unchanged(recipe: Recipe, project: Path) -> None:
    """Compares the recipe with that of the search so far, if there is one.

    Raises:
        RecipeError: with every key that differs; more or fewer trials, another tracking, believed
            importance or what follows the search are no difference.
        DamagedError: if the file that says it is missing or not as kbn wrote it.
    """
    file = project / RECIPE
    if not file.exists():
        if (project / ORACLE).exists():
            raise DamagedError(
                f"{file}: must say which recipe the search beside it is of; it is missing. Restore "
                "it from a copy, or start the search anew: --fresh"
            )
        return
    old, new = dict(_parts(_begun(file))), dict(_parts(_identity(recipe)))
    hint = "Undo the change, or start the search anew: --fresh"
    faults = [
        recipe.fault(
            key, Violation(_as_begun(old.get(key)), hint, received=Text(json.dumps(new.get(key))))
        )
        for key in old | new
        if old.get(key) != new.get(key)
    ]
    if faults:
        raise RecipeError(faults)


def check_all_unchanged(recipe: Recipe, directory: str | os.PathLike[str] = SEARCHES) -> None:
    """As `check_unchanged`, of the recipe's search or of all that it compares."""
    if _is_removed(project_of(recipe.name, directory)):
        return
    for each, project in searches_of(recipe, directory):
        check_unchanged(each, project)


def is_begun(recipe: Recipe, directory: str | os.PathLike[str] = SEARCHES) -> bool:
    """Whether there is a search of the recipe's name, or one of those that it compares."""
    if _is_removed(project_of(recipe.name, directory)):
        return False
    return any((project / RECIPE).exists() for _, project in searches_of(recipe, directory))


def remember(recipe: Recipe, project: Path) -> None:
    """Makes the search the recipe's."""
    write_json(project / RECIPE, _identity(recipe))


def _begun(file: Path) -> dict[str, Any]:
    """What the recipe of the search so far was."""
    try:
        return read_json(file)
    except DamagedError as error:
        raise DamagedError(f"{error} Or start the search anew: --fresh") from error


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
    text = json.dumps(value)
    shown = text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
    return f"must stay as in the search so far, {shown}"


def _parts(recipe: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(key, value) of every part of a recipe: a setting, or a whole hyperparameter."""
    for section, value in recipe.items():
        if isinstance(value, dict):
            yield from ((f"{section}.{key}", part) for key, part in value.items())
        else:
            yield section, value
