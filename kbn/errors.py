"""The errors that kbn raises on purpose, and the exit codes the command line gives them.

Exception
├── KbnError                    1
│   ├── RecipeError             3  a recipe that cannot be run, with all its faults
│   ├── NoResultError           4  no trial of a search finished, or there is no such search
│   ├── TrackingError           5  the tracking store cannot be reached
│   ├── JournalError            1  the journal of a search cannot be written or read
│   ├── DamagedError            1  a file of a search is not as kbn wrote it
│   └── MachineError            1  full disk, no permission, too many open files, ...
│       └── FatalMachineError   1  the same during a trial; ends KerasTuner's search
└── ViolationError                 inside kbn only: becomes a RecipeError

FatalMachineError is in `kbn.search.faults`, because it is one of KerasTuner's errors too.
"""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Iterable


class KbnError(Exception):
    """Base class of all errors that kbn raises on purpose."""

    exit_code = 1


class Text(str):
    """A description of what was received; a plain str is a value and is shown in quotes."""

    __slots__ = ()
    __repr__ = str.__str__


NULL = Text("null")  # YAML's word for None
MAX_RECEIVED = 200  # characters of what was received that a message shows


@dataclasses.dataclass(frozen=True)
class Violation:
    """A rule that a value violates.

    Attributes:
        rule: what must hold.
        hint: what to do about it.
        key: dotted path of the value, relative to the part of a recipe that was checked.
        received: the value that was found instead, or a Text that describes it; None if nothing
            was found.
    """

    rule: str
    hint: str
    key: str = ""
    received: object = None

    @property
    def shown(self) -> str | None:
        """What was received, as text; true and false as YAML writes them."""
        if self.received is None:
            return None
        truth = isinstance(self.received, bool)
        text = str(self.received).lower() if truth else repr(self.received)
        return text if len(text) <= MAX_RECEIVED else f"{text[: MAX_RECEIVED - 3]}..."


class ViolationError(Exception):
    """Violations in one part of a recipe, raised where the part's place is not known."""

    def __init__(self, *violations: Violation):
        self.violations = violations
        super().__init__(
            "; ".join(
                f"{violation.key}: {violation.rule}. {violation.hint}" for violation in violations
            )
        )


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a recipe, with its place; str() gives a message of one line.

    Attributes:
        file: file that the recipe was read from, or "command line" for an override.
        line: line in that file, counted from 1; None if there is none.
        key: dotted path of the key at fault; "" for the file as a whole.
        rule: what must hold.
        received: what was found instead; None if nothing was.
        hint: what to do about it.
    """

    file: str
    line: int | None
    key: str
    rule: str
    received: str | None
    hint: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        text = ": ".join(part for part in (where, self.key, self.rule) if part)
        if self.received is not None:
            text += f"; got {self.received}"
        end = " " if text.endswith(".") else ". "
        return " ".join(f"{text}{end}{self.hint}".splitlines())


class RecipeError(KbnError):
    """A recipe cannot be run; `faults` holds everything that is wrong with it."""

    exit_code = 3

    def __init__(self, faults: Iterable[Fault]):
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


class NoResultError(KbnError):
    """No trial of a search finished, or there is no such search."""

    exit_code = 4


class TrackingError(KbnError):
    """The tracking store cannot be reached."""

    exit_code = 5


class JournalError(KbnError):
    """The journal of a search cannot be written or read."""


class DamagedError(KbnError):
    """A file of a search is not as kbn wrote it."""


class MachineError(KbnError):
    """The operating system denies what is needed, as on a full disk: see `remedy`."""


_MAKE_ROOM = "Make room on the disk, then start again."
_WRITABLE = "Work in a directory that can be written to, or change its permissions."
_MORE_FILES = "Allow more open files (ulimit -n), then start again."
_LOCAL = "Work on a disk of this machine: network file systems may have no locks."
_IN_THE_WAY = "Move the file that has this name away."
_REMEDIES = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.EFBIG: "Allow larger files (ulimit -f), then start again.",
    errno.EIO: "Check the disk, then start again.",
    errno.EROFS: _WRITABLE,
    errno.EACCES: _WRITABLE,
    errno.EPERM: _WRITABLE,
    errno.EMFILE: _MORE_FILES,
    errno.ENFILE: _MORE_FILES,
    errno.ENOLCK: _LOCAL,
    errno.EOPNOTSUPP: _LOCAL,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
}


def remedy(number: int | None) -> str:
    """Return what a user can do about an error of the operating system.

    Args:
        number: the `errno` of an OSError.
    """
    return _REMEDIES.get(number or 0, "Fix that, then start again.")
