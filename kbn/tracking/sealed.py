"""Files of sealed lines: JSON objects with a checksum, one event a line."""

from __future__ import annotations

import dataclasses
import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from kbn import files
from kbn.errors import JournalError

MEMBERS = {"event": str, "time": int, "search": str, "file": str}  # of every line
AN_EVENT = "a line of a journal must be an event, as kbn wrote it."
RESTORE = "Restore the file from a copy; without that, kbn leaves it out."
Event: TypeAlias = dict[str, Any]


class Line(NamedTuple):
    """A line as it stands in the file, without its end, and its event."""

    text: bytes
    event: Event


@dataclasses.dataclass(frozen=True)
class File:
    """What is known of a file.

    Attributes:
        lines: those that are whole, in their order.
        fault: what is wrong with the file; None if nothing is.
        damaged: number of lines that are not whole.
        restorable: whether other files hold what it lost, except epochs.
    """

    lines: list[Line]
    fault: str | None = None
    damaged: int = 0
    restorable: bool = False

    @property
    def events(self) -> list[Event]:
        """The events of the lines."""
        return [line.event for line in self.lines]


def content_of(file: Path) -> bytes:
    """Return the whole lines of a file; nothing if it is empty.

    The last line without its end is left out: a kill cut it short before its write returned.

    Raises:
        JournalError: if the file cannot be read.
    """
    try:
        regular = stat.S_ISREG(file.lstat().st_mode)
        content = file.read_bytes() if regular else b""  # reading a pipe would wait for a writer
    except OSError as error:
        raise _unreadable(file, error.strerror) from error
    if not regular:
        raise _unreadable(file, os.strerror(errno.EBADF))
    return whole_lines(content)


def whole_lines(content: bytes) -> bytes:
    """Return the content of a file without a last line that has no end."""
    return content[: content.rfind(b"\n") + 1]


def holds_lines(file: Path) -> bool:
    """Return whether a file has a line, whole or damaged; also if it cannot be read."""
    try:
        return bool(content_of(file))
    except JournalError:
        return True


def event_of(line: bytes) -> Event | None:
    """Return the event of a line; None if the line is damaged."""
    try:
        event = files.unseal(line)
    except ValueError:
        return None
    return event if all(isinstance(event.get(name), of) for name, of in MEMBERS.items()) else None


def encodable(members: Mapping[str, object]) -> Event:
    """Return JSON members with texts that UTF-8 can encode, unlike some names of files."""
    return {_text(name): _encodable(value) for name, value in members.items()}


def _encodable(value: object) -> object:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return encodable(value)
    return [_encodable(each) for each in value] if isinstance(value, list | tuple) else value


def _text(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _unreadable(file: Path, reason: str | None) -> JournalError:
    return JournalError(f"{file}: a file of a journal must be readable. Got: {reason}. {RESTORE}")
