"""The files of a search: read with their checksums, and replaced whole.

A search's directory holds `oracle.json`, about the search as a whole, and for every trial a
`trial_*/trial.json` with everything about that trial. Both are replaced by a rename, so a kill
leaves the old file or the new one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kbn.errors import MachineError
from kbn.files import sync, unseal, write_json


def reject_links(directory: Path) -> None:
    """Reject symbolic links in a trial's directory, and the directory itself if it is one.

    A search may come from somebody else: what is written to it must not end up elsewhere.

    Raises:
        ValueError: if there is a link.
    """
    links = [entry.name for entry in os.scandir(directory) if entry.is_symlink()]
    if links or directory.is_symlink():
        raise ValueError(f"a symbolic link, {(links or [directory.name])[0]}")


def read_state(file: Path) -> dict[str, Any]:
    """Return what `write_state` wrote.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is not as it was written.
    """
    if file.exists() and not file.is_file():  # reading from a pipe might never end
        raise ValueError("no regular file")
    return unseal(file.read_bytes())


def write_state(file: Path, state: Mapping[str, Any]) -> None:
    """Replace a file of a search, and make its directory if there is none.

    Raises:
        MachineError: if it cannot be written; the old file is then whole.
    """
    try:
        is_new = not file.parent.exists()
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, state)
        if is_new:
            sync(file.parent.parent)
    except OSError as error:
        raise MachineError(
            f"{file}: the search's state must be written there. Got {error.strerror or error} "
            "instead. All that ended before is safe: make the file writable, then start the search "
            "again, and it goes on."
        ) from error
