"""The journal: what happened to a search and to every trial, on the local disk, append-only.

The directory of a search holds `search.jsonl` and one file per attempt at a trial (a retried trial
has several). A file is JSON, one event a line. The search's has `search`, then for each session of
the search `begin`, what it found (`round`, `metrics`, `front`, `description`, `file`,
`model`) and `end`. An
attempt's has `begin`, then `epoch`s, then `end`. Every line is on the disk before the call that
wrote it returns, so that a process may die at any instant. Times are milliseconds since the epoch,
as in MLflow.

Every line ends with its checksum, and names its file and the search's id: what is damaged or lies
in another file's place is never taken for what happened. `copy.jsonl` holds all lines but the
epochs' a second time; what is lost of a file, the other one still has.
"""

from __future__ import annotations

import collections
import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kbn.errors import JournalError
from kbn.tracking.attempts import Attempt
from kbn.tracking.events import checked
from kbn.tracking.lines import COPY, SEARCH_FILE, LineFiles, now
from kbn.tracking.locks import Locks
from kbn.tracking.sealed import AN_EVENT, RESTORE, Event, File

TRIAL = re.compile(r"\w[\w.-]*", re.ASCII)  # no name of a file elsewhere
ATTEMPT = re.compile(rf"({TRIAL.pattern})\.(\d+)\.jsonl", re.ASCII)


class Journal:
    """The journal of one search.

    Args:
        directory: of the journal, which is created on the first write.

    Attributes:
        directory: as given.
        locks: who runs the search, and who sends it.
    """

    def __init__(self, directory: str | os.PathLike[str]):
        self.directory = Path(directory)
        self.locks = Locks(self.directory)
        self._lines = LineFiles(self.directory, ATTEMPT.fullmatch)

    @property
    def search_id(self) -> str:
        """The id of the search for ever, wherever its directory is moved.

        Raises:
            JournalError: if there is a journal of which nothing can be read.
        """
        return self._lines.search

    def exists(self) -> bool:
        """Return whether anything is recorded."""
        return self._lines.exist()

    def note(self, event: str, **fields: object) -> None:
        """Record an event of the search as a whole.

        Args:
            event: its kind.
            **fields: JSON values, or the path of a file of the search.
        """
        _ = self.search_id  # the first line
        home = self.directory.parent.resolve()
        for name, value in fields.items():
            if isinstance(value, Path):
                fields[name] = value.resolve().relative_to(home).as_posix()
        self._lines.append(SEARCH_FILE, event, fields)

    def events(self) -> list[Event]:
        """Return the events of the search as a whole; the paths in them are absolute.

        Raises:
            JournalError: if the file cannot be read, or has what kbn does not write.
        """
        home = self.directory.parent.resolve()
        return [
            checked(event, f"{self.directory / SEARCH_FILE}:{number}", home)
            for number, event in enumerate(self._whole(SEARCH_FILE), 1)
        ]

    def in_session(self) -> bool:
        """Return whether the last session has no end; what comes after an end changes nothing."""
        file = self._lines.read(SEARCH_FILE)
        kinds = [event["event"] for event in file.events if event["event"] in ("begin", "end")]
        return file.fault is None and kinds[-1:] == ["begin"]

    def begin(
        self, trial: str, values: Mapping[str, Any], place: Mapping[str, Any] | None = None
    ) -> int:
        """Record the start of the next attempt at a trial, and return its number.

        Args:
            trial: its id.
            values: its hyperparameters.
            place: where it stands in the search.

        Raises:
            JournalError: if the trial's id cannot be the name of a file.
        """
        if not TRIAL.fullmatch(trial):
            raise JournalError(
                f"{self.directory}: a trial's id may contain only letters, digits, `_`, `-` and "
                f"`.`. Got {trial!r}. Give the oracle's trials other ids."
            )
        self._counts[""] += 1
        begin = {"order": self._counts[""], "values": dict(values), "place": dict(place or {})}
        while True:
            self._counts[trial] += 1
            name = _file_name(trial, self._counts[trial])
            try:
                self._lines.append(name, "begin", begin, new=True)
            except FileExistsError:  # another worker's
                continue
            return self._counts[trial]

    def epoch(
        self, trial: str, number: int, execution: int, epoch: int, metrics: Mapping[str, float]
    ) -> None:
        """Record the end of an epoch of an attempt, with its scalar metrics."""
        metrics = {
            name: float(value) for name, value in metrics.items() if getattr(value, "ndim", 0) == 0
        }
        members = {"execution": execution, "epoch": epoch, "metrics": metrics}
        self._lines.append(_file_name(trial, number), "epoch", members)

    def end(
        self,
        trial: str,
        number: int,
        status: str,
        values: Mapping[str, Any],
        score: float | None = None,
        best_step: int | None = None,
        message: str | None = None,
        time: int | None = None,
        died: bool = False,
        **outcome: object,
    ) -> None:
        """Record the end of an attempt; the arguments are the attributes of `Attempt`.

        `values` are given again because a tuner may discover hyperparameters while a trial runs,
        and `time` where this is not the attempt's own process. The `outcome` is written only where
        a search has several objectives, or constraints.
        """
        members = {
            "status": status,
            "values": dict(values),
            "score": score,
            "best_step": best_step,
            "message": message,
            "died": died,
            "time": now() if time is None else time,
        }
        self._lines.append(_file_name(trial, number), "end", members | outcome)

    def attempt(self, trial: str, number: int) -> Attempt:
        """Read one attempt.

        Raises:
            JournalError: if its file cannot be read.
        """
        name = _file_name(trial, number)
        return self._attempt(name, self._whole(name))

    def attempts(self) -> list[Attempt]:
        """Read all attempts whose begin is recorded, in the order in which they began.

        An attempt whose file is damaged is left out; it is among the `faults`.
        """
        return self.readable()[0]

    def faults(self) -> list[str]:
        """Return what is wrong with the journal's files, a line each."""
        return self.readable()[1]

    def readable(self) -> tuple[list[Attempt], list[str]]:
        """Return the `attempts` and the `faults` of one reading of the files."""
        return self._read(damaged=False)

    def outcomes(self) -> tuple[list[Attempt], list[str]]:
        """Return `readable` with what the copy holds of damaged attempts."""
        return self._read(damaged=True)

    def repair(self) -> tuple[list[Attempt], list[str]]:
        """Restore what one file lost and another one has; nobody may write meanwhile.

        Returns:
            The `attempts`; and what is or was wrong with files, and what became of them, a line
            each.
        """
        known, reports = self._lines.repair()
        attempts, faults = self._attempts_of(known, damaged=False)
        return attempts, [*reports, *(fault for fault in faults if fault not in reports)]

    def _read(self, *, damaged: bool) -> tuple[list[Attempt], list[str]]:
        copy, known = self._lines.known()
        attempts, faults = self._attempts_of(known, damaged=damaged)
        return attempts, sorted([*faults, copy.fault] if copy.fault else faults)

    def _attempts_of(
        self, known: Mapping[str, File], *, damaged: bool
    ) -> tuple[list[Attempt], list[str]]:
        attempts, faults = [], []
        for name, file in known.items():
            if file.fault:
                faults.append(file.fault)
            if name == SEARCH_FILE or (file.fault and not (damaged and file.restorable)):
                continue
            try:
                attempts.append(self._attempt(name, file.events))
            except JournalError as error:
                faults.append(str(error))
        begun = (attempt for attempt in attempts if attempt.began)
        return sorted(begun, key=lambda a: (a.order, a.trial, a.number)), faults

    def _whole(self, name: str) -> list[Event]:
        file = self._lines.read(name)
        if file.fault:
            raise JournalError(file.fault)
        return file.events

    def _attempt(self, name: str, events: list[Event]) -> Attempt:
        match = ATTEMPT.fullmatch(name)
        try:
            trial, number = match.groups() if match else name.split(".", 1)
            return Attempt.of(trial, int(number), events)
        except (KeyError, TypeError, ValueError) as error:
            file = self.directory / name
            raise JournalError(f"{file}: {AN_EVENT} Got {error!r}. {RESTORE}") from None

    @functools.cached_property
    def _counts(self) -> collections.Counter[str]:
        """The last number of every trial's attempts; under "", that of all attempts' order."""
        counts = collections.Counter[str]()
        events = self._lines.read(COPY).events
        missing = set(self._lines.attempts()) - {event["file"] for event in events}
        events += [event for name in missing for event in self._lines.read(name).events]
        names = missing | {event["file"] for event in events}
        for trial, number in (
            match.groups() for name in names if (match := ATTEMPT.fullmatch(name))
        ):
            counts[trial] = max(counts[trial], int(number))
        orders = (
            event["order"] for event in events if event["event"] == "begin" and "order" in event
        )
        counts[""] = max(orders, default=0)
        return counts


def _file_name(trial: str, number: int) -> str:
    return f"{trial}.{number}.jsonl"
