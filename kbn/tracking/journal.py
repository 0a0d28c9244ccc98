"""The journal: what happened to every trial, on the local disk, append-only.

One directory a search holds one file an attempt at a trial (a retried trial has several). A file
is JSON, one event a line: `begin`, then `epoch`s, then `end`. Every line is on the disk before
the call that wrote it returns, so that a process may die at any instant. Times are milliseconds
since the epoch, as MLflow counts them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from time import time_ns
from typing import Any


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
        file = self.directory / "search.json"
        if not file.exists() or not _acknowledged(file.read_bytes()):
            self._append(file, {"search": uuid.uuid4().hex})
        return str(json.loads(file.read_bytes())["search"])

    def begin(self, trial: str, values: Mapping[str, Any]) -> int:
        """Records the start of the next attempt at a trial; returns its number."""
        number = 1 + len(list(self.directory.glob(f"{trial}.*.jsonl")))
        self._write(trial, number, "begin", values=dict(values))
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
        """One attempt, read back."""
        return _read(self._file(trial, number))

    def attempts(self) -> list[Attempt]:
        """All attempts whose begin is recorded, in the order in which they began."""
        attempts = map(_read, self.directory.glob("*.jsonl"))
        return sorted((a for a in attempts if a.began), key=lambda a: (a.began, a.trial, a.number))

    def _file(self, trial: str, number: int) -> Path:
        return self.directory / f"{trial}.{number}.jsonl"

    def _write(self, trial: str, number: int, event: str, **fields: Any) -> None:
        line = {"event": event, "time": time_ns() // 1_000_000, **fields}
        self._append(self._file(trial, number), line)

    def _append(self, file: Path, line: dict[str, Any]) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with file.open("a+b") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - 1))
            if stream.read(1) not in (b"", b"\n"):  # rare: an earlier process was killed here
                stream.truncate(len(_acknowledged(file.read_bytes())))
            stream.write(json.dumps(line).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())


def _acknowledged(content: bytes) -> bytes:
    """The whole lines; one without its end was cut short by a kill before its write returned."""
    return content[: content.rfind(b"\n") + 1]


def _read(file: Path) -> Attempt:
    trial, number, _ = file.name.rsplit(".", 2)
    events = [json.loads(line) for line in _acknowledged(file.read_bytes()).splitlines()]
    fields: dict[str, Any] = {"values": {}, "began": 0, "epochs": []}
    for event in events:
        kind, at = event.pop("event"), event.pop("time")
        if kind == "begin":
            fields |= {"values": event["values"], "began": at}
        elif kind == "epoch":
            fields["epochs"].append(Epoch(time=at, **event))
        else:
            fields |= {"ended": at, **event}
    return Attempt(trial, int(number), **{**fields, "epochs": tuple(fields["epochs"])})
