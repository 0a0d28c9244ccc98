"""The errors kbn raises on purpose; the command line turns each into its exit code."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable


class KbnError(Exception):
    """Base of all errors that kbn raises on purpose."""

    exit_code = 1


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing wrong with a recipe, told in one line.

    Attributes:
        file: where the recipe was read, or "command line" for an override.
        line: 1-based line in that file; None where there is none.
        key: dotted path of the key at fault; "" for the file as a whole.
        law: what must hold.
        received: what was found instead; None where nothing was.
        cure: what to do about it.
    """

    file: str
    line: int | None
    key: str
    law: str
    received: str | None
    cure: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        text = ": ".join(part for part in (where, self.key, self.law) if part)
        if self.received is not None:
            text += f"; got {self.received}"
        return f"{text}. {self.cure}".replace("\n", " ")


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
