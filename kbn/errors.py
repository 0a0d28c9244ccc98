"""The errors kbn raises on purpose; the command line turns each into its exit code."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any


class KbnError(Exception):
    """Base of all errors that kbn raises on purpose."""

    exit_code = 1


class Text(str):
    """What was received, told in words; a plain str is a value and is shown in quotes."""

    __slots__ = ()
    __repr__ = str.__str__


NULL = Text("null")  # as YAML writes nothing
SHOWN = 200  # characters at most of what was received


@dataclasses.dataclass(frozen=True)
class Violation:
    """A rule that a value violates.

    Attributes:
        rule: what must hold.
        hint: what to do about it.
        key: dotted path of what breaks it, below the place that finds it.
        received: the value that was found instead, or a Text about it; None where nothing was.
    """

    rule: str
    hint: str
    key: str = ""
    received: Any = None

    @property
    def shown(self) -> str | None:
        """What was received, as text: a truth as YAML writes it."""
        if self.received is None:
            return None
        truth = isinstance(self.received, bool)
        text = str(self.received).lower() if truth else repr(self.received)
        return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


class ViolationError(Exception):
    """What is wrong with one part of a recipe, of which the part does not know the place."""

    def __init__(self, *violations: Violation):
        self.violations = violations
        super().__init__(
            "; ".join(
                f"{violation.key}: {violation.rule}. {violation.hint}" for violation in violations
            )
        )


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing wrong with a recipe, told in one line.

    Attributes:
        file: where the recipe was read, or "command line" for an override.
        line: 1-based line in that file; None where there is none.
        key: dotted path of the key at fault; "" for the file as a whole.
        rule: what must hold.
        received: what was found instead; None where nothing was.
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
    """A recipe that cannot be run. `faults` holds all that is wrong with it."""

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
    """The machine refuses what is needed: a full disk, a read-only place, too many open files."""
