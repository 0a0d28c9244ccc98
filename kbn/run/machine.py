"""What the operating system denies, as an error with the file, what is safe, and what to do."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from kbn.errors import MachineError, remedy


@contextlib.contextmanager
def writing(place: Path, safe: str) -> Iterator[None]:
    """Turn an OSError in the block into an error that names the file and the remedy.

    Args:
        place: what is written; named unless the OSError names a file itself.
        safe: a sentence that says what is not lost.

    Raises:
        MachineError: if something in the block raises an OSError.
    """
    try:
        yield
    except OSError as error:
        file = Path(os.fsdecode(error.filename)) if error.filename else place
        if error.errno in (errno.ENOTDIR, errno.EEXIST):  # another file is in the way
            file = next((path for path in (file, *file.parents) if path.is_file()), file)
        raise MachineError(
            f"{file}: kbn must be able to write it. Got: {error.strerror or error}. {safe} "
            f"{remedy(error.errno)}"
        ) from error
