"""Errors of the machine, reported with the file, with what is safe, and with what to do."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from kbn.errors import MachineError

NO_ROOM = "Make room on the disk, then start again."
NOT_WRITABLE = "Work in a directory that can be written to, or change its permissions."
TOO_MANY = "Allow more open files (ulimit -n), then start again."
IN_THE_WAY = "Move the file that has this name away."
REMEDIES = {
    errno.ENOSPC: NO_ROOM,
    errno.EDQUOT: NO_ROOM,
    errno.EROFS: NOT_WRITABLE,
    errno.EACCES: NOT_WRITABLE,
    errno.EPERM: NOT_WRITABLE,
    errno.EMFILE: TOO_MANY,
    errno.ENFILE: TOO_MANY,
    errno.ENOTDIR: IN_THE_WAY,
    errno.EEXIST: IN_THE_WAY,
}


@contextlib.contextmanager
def writing(place: Path, safe: str) -> Iterator[None]:
    """Turn an OSError into an error that names the file and the remedy.

    Args:
        place: what is written, where the machine does not say it.
        safe: a sentence about what is not lost.

    Raises:
        MachineError: if something in the block raises an OSError.
    """
    try:
        yield
    except OSError as error:
        file = Path(os.fsdecode(error.filename)) if error.filename else place
        if remedy(error) == IN_THE_WAY:
            file = next((path for path in (file, *file.parents) if path.is_file()), file)
        raise MachineError(
            f"{file}: kbn must be able to write it. Got: {error.strerror or error}. {safe} "
            f"{remedy(error)}"
        ) from error


def remedy(error: OSError) -> str:
    """Return what to do about an OSError."""
    return REMEDIES.get(error.errno or 0, "Mend that, then start again.")
