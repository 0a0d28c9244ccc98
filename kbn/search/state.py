"""KerasTuner's state files, written so that a kill at any instant leaves the old or the new one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_json(file: str | os.PathLike[str], state: Any) -> None:
    """Writes a file beside the old one and puts it in its place, on the disk."""
    new = Path(f"{os.fspath(file)}.new")
    with new.open("w", encoding="utf-8") as stream:
        json.dump(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)
