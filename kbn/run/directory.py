"""The directory of a search: who may write to it, and what in it is kbn's."""

from __future__ import annotations

import contextlib
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from kbn.errors import DamagedError, KbnError
from kbn.files import guard_of, holder, locked, read_json, remove_lock, sync
from kbn.run.machine import writing

DIRECTORY_LOCK, RECIPE, JOURNAL = "lock", "recipe.json", "journal"
REMOVED = ".removed"  # in a search's directory: what was the search before; empty or not there
# all that kbn, KerasTuner and the report write into the directory of a search, beside the lock
WRITTEN = re.compile(
    r"(journal|model|figures|trial_\d+|(best|known|recipe|oracle|tuner\d+)\.json|best\.keras"
    r"|report\.(html|png)|distribution-[0-9a-f]{12}\.npz)(\.new)?"
    r"|new\.best\.keras|\.report\.html\.\d+"
)
NAMED = 5  # files at most that are named


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Hold the lock of a search, or of a comparison; it ends with the process.

    A directory that is made for it is there afterwards only if something was written into it. What
    a kill left of an earlier search that was being removed is removed first.

    Raises:
        KbnError: if another process holds it, or if the directory is no search of kbn's.
        MachineError: if the directory cannot be written to.
    """
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    with contextlib.ExitStack() as lock:
        lock.callback(_remove_empty, made)
        with writing(directory, "Nothing was begun or changed."):
            _reject_link(directory)
            directory.mkdir(parents=True, exist_ok=True)
            _reject_foreign(directory)
            if (directory / DIRECTORY_LOCK).is_symlink():  # a lock's file is written
                (directory / DIRECTORY_LOCK).unlink()
            try:
                lock.enter_context(locked(directory / DIRECTORY_LOCK))
            except BlockingIOError:
                raise KbnError(
                    f"{directory}: a search may run in one process; another one runs it now: "
                    f"{holder(directory / DIRECTORY_LOCK)}. Wait for it, or give this one another "
                    "name: name=..."
                ) from None
        try:
            if is_removed(directory):
                remove(directory)
            with contextlib.suppress(OSError):  # it is not there
                (directory / REMOVED).rmdir()
            yield
        finally:
            if made:
                with contextlib.suppress(OSError):  # then it stays
                    _unmake(directory)


def remove(directory: Path) -> None:
    """Remove what kbn wrote of a search, or of a comparison with its searches; not the lock.

    Whatever else lies there stays, and no symbolic link is followed. With its first step the search
    is no more: a kill after that leaves some of its files, which the next start removes.

    Raises:
        MachineError: if something cannot be removed.
    """
    trash = directory / REMOVED
    with writing(directory, "What kbn did not write is untouched."):
        if trash.is_symlink():
            trash.unlink()
        trash.mkdir(exist_ok=True)
        for path in sorted(_written(directory), key=lambda path: path.name != JOURNAL):
            path.rename(trash / uuid.uuid4().hex)
        sync(trash)
        sync(directory)
        for below in _searches_in(directory):
            _unmake(below)
        shutil.rmtree(trash)


def _written(directory: Path) -> list[Path]:
    """Return what kbn wrote of a search, or of a comparison and its searches."""
    own = [path for path in directory.iterdir() if WRITTEN.fullmatch(path.name)]
    return own + [path for below in _searches_in(directory) for path in _written(below)]


def _searches_in(directory: Path) -> list[Path]:
    """Return the searches of a comparison, including those of variants it no longer has."""
    return [
        path
        for path in directory.glob(f"{directory.name}-*")
        if path.is_dir() and not path.is_symlink() and _is_ours(path)
    ]


def _unmake(directory: Path) -> None:
    """Remove a directory that holds nothing but the lock."""
    if not _beside_lock(directory):
        remove_lock(directory / DIRECTORY_LOCK)
        directory.rmdir()


def _beside_lock(directory: Path) -> list[str]:
    """Return the names of what a directory holds beside the lock, in order."""
    lock = directory / DIRECTORY_LOCK
    return sorted(path.name for path in directory.iterdir() if path not in (lock, guard_of(lock)))


def _remove_empty(directories: Sequence[Path]) -> None:
    for path in directories:
        with contextlib.suppress(OSError):  # it was not made, or holds something
            path.rmdir()


def is_removed(directory: Path) -> bool:
    """Return whether the search was removed, though not yet all of its files."""
    trash = directory / REMOVED
    return trash.is_dir() and not trash.is_symlink() and any(trash.iterdir())


def _is_ours(directory: Path) -> bool:
    """Return whether kbn has begun a search there, or one of a comparison.

    The lock says so, but a machine that stops may lose what was just written to it.
    """
    below = directory.glob(f"{directory.name}-*/{RECIPE}")
    for file in (directory / DIRECTORY_LOCK, directory / RECIPE, *below):
        if file.is_file():
            with contextlib.suppress(OSError, DamagedError):
                read_json(file)
                return True
    return False


def _reject_link(directory: Path) -> None:
    if directory.is_symlink():
        raise KbnError(
            f"{directory}: a search must lie in a directory of its own; this is a symbolic link to "
            f"{directory.readlink()}. Remove the link, or put all searches elsewhere: link "
            f"{directory.parent} as a whole."
        )


def _reject_foreign(directory: Path) -> None:
    found = _beside_lock(directory)
    if found and not _is_ours(directory):
        names = ", ".join(map(repr, found[:NAMED])) + (", ..." if found[NAMED:] else "")
        raise KbnError(
            f"{directory}: a search needs a directory of its own; kbn has not made this one, which "
            f"holds {names}. Nothing was changed. Move these away, or give the search another "
            "name: name=..."
        )


def require_no_links(directory: Path) -> None:
    """Reject a search of which a file is a symbolic link, through which kbn would write elsewhere.

    Raises:
        KbnError: with the links' names.
    """
    links = sorted(path.name for path in _written(directory) if path.is_symlink())
    if links:
        raise KbnError(
            f"{directory}: a search must hold its files itself; {', '.join(links)} is a symbolic "
            "link. Put what it points to in its place, or start the search anew: --fresh"
        )
