"""The journal: what happened to a search and to every trial, on the local disk, append-only.

One directory a search holds `search.jsonl` and one file an attempt at a trial (a retried trial has
several). A file is JSON, one event a line. Of the search: `search` with its id, then for each of
its sessions `begin`, what it found (`round`, `file`, `model`) and `end`. Of an attempt: `begin`,
then `epoch`s, then `end`. Every line is on the disk before the call that wrote it returns, so that
a process may die at any instant. Times are milliseconds since the epoch, as MLflow counts them.

A session holds a lock that ends with its process: so another process knows which attempts nobody
will go on with.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import time_ns
from typing import Any, TextIO

from kbn.errors import JournalError

SEARCH, LOCK, SENDER = "search.jsonl", "lock", "sender"
Event = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Epoch:
    """Metrics after one epoch of one execution; both count from 0."""

    execution: int
    epoch: int
    time: int
    metrics: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One attempt at a trial, as far as the journal tells.

    Attributes:
        trial: KerasTuner's trial id.
        number: 1 for the first attempt at this trial.
        values: {hyperparameter: value} in natural units.
        began, ended: milliseconds since the epoch; `ended` is None while it runs, or where the
            process died.
        place: where it stood in the search when it began, JSON values by name.
        epochs: in the order in which they ended.
        status: KerasTuner's status at the end, or "KILLED"; None while it runs.
        score: the objective's value; None without one.
        best_step: the epoch that gave the score.
        message: the traceback of a failed attempt.
    """

    trial: str
    number: int
    values: dict[str, Any]
    began: int
    place: dict[str, Any] = dataclasses.field(default_factory=dict)
    epochs: tuple[Epoch, ...] = ()
    ended: int | None = None
    status: str | None = None
    score: float | None = None
    best_step: int | None = None
    message: str | None = None

    @property
    def last_sign(self) -> int:
        """Time of the last event before the end."""
        return self.epochs[-1].time if self.epochs else self.began

    @property
    def reason(self) -> str | None:
        """Why it failed, in one line: the error, without the traceback above it."""
        if self.message is None:
            return None
        lines = self.message.strip().splitlines()
        frame = max((i for i, line in enumerate(lines) if line.startswith("  File ")), default=-1)
        return next((line for line in lines[frame + 1 :] if line[:1].strip()), lines[0])

    @property
    def seconds(self) -> float | None:
        """Duration of an attempt that ended."""
        return None if self.ended is None else (self.ended - self.began) / 1000


class Journal:
    """The journal of one search, in one directory, which is made on the first write."""

    def __init__(self, directory: str | os.PathLike[str]):
        self.directory = Path(directory)

    @functools.cached_property
    def search_id(self) -> str:
        """Identifies the search for ever, wherever its directory is moved."""
        if not self.exists():
            first = {"event": "search", "time": now(), "search": uuid.uuid4().hex}
            self._append(self.directory / SEARCH, first)
        return str(self.events()[0]["search"])

    def exists(self) -> bool:
        """Whether there is one."""
        file = self.directory / SEARCH
        return file.exists() and bool(_acknowledged(file.read_bytes()))

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Tells other processes that this one runs trials of the search."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether no session is open anywhere; none opens while the context lasts."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / LOCK).open("a") as lock:
            yield _locked(lock)

    @contextlib.contextmanager
    def sending(self, sender: str, *, waits: bool) -> Iterator[bool]:
        """Lets one sender at a time make runs of the search's attempts.

        Args:
            sender: who sends.
            waits: for another one to be done.

        Returns:
            Whether no other one has sent since this one did.

        Raises:
            BlockingIOError: if another one is at it, and `waits` is false.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / SENDER).open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.seek(0)
            last = lock.read()
            if last != sender:
                lock.truncate(0)
                lock.write(sender)
                lock.flush()
            yield last == sender

    def note(self, event: str, **fields: Any) -> None:
        """Records an event of the search as a whole."""
        _ = self.search_id  # the first line
        self._append(self.directory / SEARCH, {"event": event, "time": now(), **fields})

    def events(self) -> list[Event]:
        """Those of the search as a whole.

        Raises:
            JournalError: if the file cannot be read.
        """
        return _lines(self.directory / SEARCH)

    def begin(
        self, trial: str, values: Mapping[str, Any], place: Mapping[str, Any] | None = None
    ) -> int:
        """Records the start of the next attempt at a trial; returns its number."""
        number = 1 + len(list(self.directory.glob(f"{trial}.*.jsonl")))
        self._write(trial, number, "begin", values=dict(values), place=dict(place or {}))
        return number

    def epoch(
        self, trial: str, number: int, execution: int, epoch: int, metrics: Mapping[str, float]
    ) -> None:
        """Records the end of an epoch of an attempt: its scalar metrics."""
        metrics = {
            name: float(value) for name, value in metrics.items() if getattr(value, "ndim", 0) == 0
        }
        self._write(trial, number, "epoch", execution=execution, epoch=epoch, metrics=metrics)

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
    ) -> None:
        """Records the end of an attempt.

        `values` are given again: a tuner may discover hyperparameters while a trial runs. So is
        the time where somebody else than the attempt itself records its end.
        """
        self._write(
            trial,
            number,
            "end",
            status=status,
            values=dict(values),
            score=score,
            best_step=best_step,
            message=message,
            **({} if time is None else {"time": time}),
        )

    def attempt(self, trial: str, number: int) -> Attempt:
        """One attempt, read back.

        Raises:
            JournalError: if its file cannot be read.
        """
        return _read(self._file(trial, number))

    def attempts(self) -> list[Attempt]:
        """All attempts whose begin is recorded, in the order in which they began.

        One whose file cannot be read is left out; `faults` tells of it.
        """
        return self._attempts_and_faults()[0]

    def faults(self) -> list[str]:
        """What is wrong with files of attempts, a line each."""
        return self._attempts_and_faults()[1]

    def _attempts_and_faults(self) -> tuple[list[Attempt], list[str]]:
        attempts, faults = [], []
        for file in self.directory.glob("*.*.jsonl"):
            try:
                attempts.append(_read(file))
            except JournalError as error:
                faults.append(str(error))
        begun = (attempt for attempt in attempts if attempt.began)
        return sorted(begun, key=lambda a: (a.began, a.trial, a.number)), sorted(faults)

    def _file(self, trial: str, number: int) -> Path:
        return self.directory / f"{trial}.{number}.jsonl"

    def _write(self, trial: str, number: int, event: str, **fields: Any) -> None:
        self._append(self._file(trial, number), {"event": event, "time": now(), **fields})

    def _append(self, file: Path, line: Event) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with file.open("a+b") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - 1))
                if stream.read(1) not in (b"", b"\n"):  # rare: a write before this one was cut
                    stream.truncate(len(_acknowledged(file.read_bytes())))
                stream.write(json.dumps(line).encode() + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise JournalError(
                f"{file}: what happens to a trial must be on the disk before the search goes on. "
                f"Got: {error.strerror}. What was recorded is whole: mend it, and start again."
            ) from error


def now() -> int:
    """Milliseconds since the epoch."""
    return time_ns() // 1_000_000


def _locked(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _acknowledged(content: bytes) -> bytes:
    """The whole lines; one without its end was cut short by a kill before its write returned."""
    return content[: content.rfind(b"\n") + 1]


def _lines(file: Path) -> list[Event]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise JournalError(
            f"{file}: a journal must be readable. Got: {error.strerror}. Mend that."
        ) from error
    events = []
    for number, line in enumerate(_acknowledged(content).splitlines(), 1):
        try:
            event = json.loads(line)
            event["event"]
        except (ValueError, TypeError, KeyError):
            raise JournalError(
                f"{file}:{number}: a line of a journal must be an event, as kbn wrote it. Got "
                f"{line[:60]!r}. Bring back a copy of the file, or remove it: its attempt is "
                "then known to the tracking store alone."
            ) from None
        events.append(event)
    return events


def _read(file: Path) -> Attempt:
    trial, number, _ = file.name.rsplit(".", 2)
    fields: dict[str, Any] = {"values": {}, "began": 0, "epochs": []}
    try:
        for event in _lines(file):
            kind, at = event.pop("event"), event.pop("time")
            if kind == "begin":
                fields |= {"values": event["values"], "place": event["place"], "began": at}
            elif kind == "epoch":
                fields["epochs"].append(Epoch(time=at, **event))
            else:
                fields |= {"ended": at, **event}
        return Attempt(trial, int(number), **{**fields, "epochs": tuple(fields["epochs"])})
    except (KeyError, TypeError, ValueError) as error:
        raise JournalError(
            f"{file}: a journal must be as kbn wrote it. Got a line with {error!r}. Bring back a "
            "copy of the file, or remove it."
        ) from None
