"""The journal: what happened to a search and to every trial, on the local disk, append-only.

One directory a search holds `search.jsonl` and one file an attempt at a trial (a retried trial has
several). A file is JSON, one event a line. Of the search: `search`, then for each of its sessions
`begin`, what it found (`round`, `file`, `model`) and `end`. Of an attempt: `begin`, then `epoch`s,
then `end`. Every line is on the disk before the call that wrote it returns, so that a process may
die at any instant. Times are milliseconds since the epoch, as MLflow counts them.

Every line ends with its checksum, and names its file and the search's id: what is damaged or lies
in another's place is never taken for what happened. `copy.jsonl` holds all lines but the epochs' a
second time; of one file that is lost, the other tells.

A session holds a lock that ends with its process: so another process knows which attempts nobody
will go on with.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kbn import files
from kbn.errors import JournalError, KbnError
from kbn.tracking.lines import AN_EVENT, COPY, HINT, SEARCH, File, Lines, now
from kbn.uris import is_store

LOCK, SENDER, LAST_SENDER = "lock", "sender.lock", "sender"
TRIAL = re.compile(r"\w[\w.-]*", re.ASCII)  # no name of a file elsewhere
ATTEMPT = re.compile(rf"({TRIAL.pattern})\.(\d+)\.jsonl", re.ASCII)
# what a journal may have uploaded, by the kind of event: paths in the search's directory
UPLOADS = {
    "file": re.compile(r"report\.(png|html)|figures/[\w.-]+\.png", re.ASCII),
    "model": re.compile("model"),
}
# types of what events and attempts say, for a journal may be of somebody else
NUMBER, NOTHING = (int, float), type(None)
SESSION = {"name": str, "params": dict, "origin": dict, "texts": dict, "dataset": (dict, NOTHING)}
SAYS: Mapping[str, Mapping[str, Any]] = {
    "round": {"number": int, "hull": dict},
    "metrics": {"trial": str, "values": dict},
    "file": {"path": str},
    "model": {"path": str, "trial": str, "name": (str, NOTHING)},
    "end": {"status": str},
}
ATTEMPT_SAYS = {
    "values": dict,
    "place": dict,
    "order": int,
    "status": str,
    "score": (*NUMBER, NOTHING),
    "best_step": (int, NOTHING),
    "message": (str, NOTHING),
    "died": bool,
}
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
        died: whether its process died in it, rather than being stopped.
        order: attempts of the search are numbered as they begin, from 1.
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
    died: bool = False
    order: int = 0

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
        self._lines = Lines(self.directory, ATTEMPT.fullmatch)

    @property
    def search_id(self) -> str:
        """Identifies the search for ever, wherever its directory is moved.

        Raises:
            JournalError: if there is a journal of which nothing can be read.
        """
        return self._lines.search

    def exists(self) -> bool:
        """Whether there is one."""
        return self._lines.exist()

    @contextlib.contextmanager
    def session(self, *, shared: bool = False) -> Iterator[None]:
        """Tells other processes that this one runs trials of the search.

        Args:
            shared: with other processes, which do the same.

        Raises:
            KbnError: if another process does so, and one of the two does not share.
        """
        with contextlib.ExitStack() as lock:
            try:
                lock.enter_context(self._locked(LOCK, shared=shared))
            except BlockingIOError:
                owner = files.holder(self.directory / LOCK)
                raise KbnError(
                    f"{self.directory.parent}: one process at a time may run a search, or send it. "
                    f"Got another one that does: {owner}. Wait for it, or give this search another "
                    "name."
                ) from None
            yield

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether no session is open anywhere; none opens while the context lasts."""
        with contextlib.ExitStack() as lock:
            try:
                lock.enter_context(self._locked(LOCK))
                alone = True
            except BlockingIOError:
                alone = False
            yield alone

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
        with self._locked(SENDER, waits=waits):
            file = self.directory / LAST_SENDER
            last = file.read_text() if file.is_file() and not file.is_symlink() else ""
            if last != sender:
                files.write(file, sender.encode())
            yield last == sender

    @contextlib.contextmanager
    def _locked(self, name: str, **how: bool) -> Iterator[None]:
        file = self.directory / name
        with contextlib.ExitStack() as lock:
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
                lock.enter_context(files.locked(file, **how))
            except BlockingIOError:
                raise
            except OSError as error:
                raise JournalError(
                    f"{file}: a search's directory must be writable. Got: {error.strerror}. Make "
                    "it so, or work in another directory."
                ) from error
            yield

    def note(self, event: str, **fields: Any) -> None:
        """Records an event of the search as a whole.

        Where one of the `fields` is a path, it is that of a file of the search.
        """
        _ = self.search_id  # the first line
        home = self.directory.parent.resolve()
        for name, value in fields.items():
            if isinstance(value, Path):
                fields[name] = value.resolve().relative_to(home).as_posix()
        self._lines.append(SEARCH, event, **fields)

    def events(self) -> list[Event]:
        """Those of the search as a whole; the paths in them are absolute.

        Raises:
            JournalError: if the file cannot be read, or has what kbn does not write.
        """
        events = self._whole(SEARCH)
        for number, event in enumerate(events, 1):
            where, target = f"{self.directory / SEARCH}:{number}", event.get("target")
            if wrong := _wrong(event, SESSION if target else SAYS.get(event["event"], {})):
                raise JournalError(f"{where}: {AN_EVENT} Got {wrong}. {HINT}")
            if event["event"] in UPLOADS:
                event["path"] = self._upload(event["event"], event["path"], where)
            if target and not is_store(str(target.get("tracking_uri") or "")):
                raise JournalError(
                    f"{where}: a search may be tracked in a store of MLflow's own. Got "
                    f"{target['tracking_uri']!r}. kbn did not write this: do not use the search."
                )
        return events

    def in_session(self) -> bool:
        """Whether a session was begun that has no end; what comes after an end changes nothing."""
        file = self._lines.read(SEARCH)
        kinds = [event["event"] for event in file.events if event["event"] in ("begin", "end")]
        return file.fault is None and kinds[-1:] == ["begin"]

    def begin(
        self, trial: str, values: Mapping[str, Any], place: Mapping[str, Any] | None = None
    ) -> int:
        """Records the start of the next attempt at a trial; returns its number.

        Raises:
            JournalError: if the trial's name cannot be that of a file.
        """
        if not TRIAL.fullmatch(trial):
            raise JournalError(
                f"{self.directory}: a trial's id may contain only letters, digits, `_`, `-` and "
                f"`.`. Got {trial!r}. Give the oracle's trials other ids."
            )
        fields = {"values": dict(values), "place": dict(place or {})}
        self._counts[""] += 1
        while True:
            self._counts[trial] += 1
            name = _name(trial, self._counts[trial])
            try:
                self._lines.append(name, "begin", new=True, order=self._counts[""], **fields)
            except FileExistsError:  # another worker's
                continue
            return self._counts[trial]

    def epoch(
        self, trial: str, number: int, execution: int, epoch: int, metrics: Mapping[str, float]
    ) -> None:
        """Records the end of an epoch of an attempt: its scalar metrics."""
        metrics = {
            name: float(value) for name, value in metrics.items() if getattr(value, "ndim", 0) == 0
        }
        name = _name(trial, number)
        self._lines.append(name, "epoch", execution=execution, epoch=epoch, metrics=metrics)

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
    ) -> None:
        """Records the end of an attempt.

        `values` are given again: a tuner may discover hyperparameters while a trial runs. So is
        the time where somebody else than the attempt itself records its end.
        """
        self._lines.append(
            _name(trial, number),
            "end",
            status=status,
            values=dict(values),
            score=score,
            best_step=best_step,
            message=message,
            died=died,
            time=now() if time is None else time,
        )

    def attempt(self, trial: str, number: int) -> Attempt:
        """One attempt, read back.

        Raises:
            JournalError: if its file cannot be read.
        """
        name = _name(trial, number)
        return self._attempt(name, self._whole(name))

    def attempts(self) -> list[Attempt]:
        """All attempts whose begin is recorded, in the order in which they began.

        One whose file is damaged is left out; `faults` tells of it.
        """
        return self.readable()[0]

    def faults(self) -> list[str]:
        """What is wrong with the journal's files, a line each."""
        return self.readable()[1]

    def readable(self) -> tuple[list[Attempt], list[str]]:
        """The `attempts` and the `faults`, by one read of the files."""
        return self._read(damaged=False)

    def outcomes(self) -> tuple[list[Attempt], list[str]]:
        """As `attempts`, with what the copy knows of damaged ones; and the `faults`."""
        return self._read(damaged=True)

    def repair(self) -> tuple[list[Attempt], list[str]]:
        """Restores what one file lost and another one has; nobody may write meanwhile.

        Returns:
            As `attempts`; and what is or was wrong with files, and what became of them, a line
            each.
        """
        known, told = self._lines.repair()
        attempts, faults = self._attempts_of(known, damaged=False)
        return attempts, [*told, *(fault for fault in faults if fault not in told)]

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
            if name == SEARCH or (file.fault and not (damaged and file.restorable)):
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
        """An attempt, from the lines of its file."""
        file = self.directory / name
        match = ATTEMPT.fullmatch(name)
        try:
            trial, number = match.groups() if match else name.split(".", 1)
            return _attempt_of(trial, int(number), events)
        except (KeyError, TypeError, ValueError) as error:
            raise JournalError(f"{file}: {AN_EVENT} Got {error!r}. {HINT}") from None

    def _upload(self, kind: str, path: str, where: str) -> str:
        """A path in the search's directory, absolute.

        Raises:
            JournalError: if it is none that kbn writes, or a link leads out of the directory.
        """
        home = self.directory.parent.resolve()
        if UPLOADS[kind].fullmatch(path):
            file = home / path
            if all(
                each.resolve().is_relative_to(home) and (each.is_file() or each.is_dir())
                for each in (file, *file.rglob("*"))
                if each.is_symlink() or each.exists()
            ):
                return str(file)
        raise JournalError(
            f"{where}: what is sent of a search must be a report, a figure or a model that kbn "
            f"wrote into its directory, without links to elsewhere. Got {path!r}. Remove the link; "
            "if there is none, do not use this search: kbn did not write its journal."
        )

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


def _name(trial: str, number: int) -> str:
    return f"{trial}.{number}.jsonl"


def _attempt_of(trial: str, number: int, events: list[Event]) -> Attempt:
    fields: dict[str, Any] = {"values": {}, "began": 0}
    epochs = []
    for whole in events:
        event = {name: whole[name] for name in whole if name not in ("search", "file")}
        kind, at = event.pop("event"), event.pop("time")
        if kind == "begin":
            fields |= {**event, "began": at}
        elif kind == "epoch":
            epochs.append(Epoch(time=at, **event))
        else:
            fields |= {**event, "ended": at}
    wrong = _wrong(fields, {name: of for name, of in ATTEMPT_SAYS.items() if name in fields})
    for epoch in epochs:
        wrong = wrong or _wrong(epoch.metrics, dict.fromkeys(epoch.metrics, NUMBER))
    if wrong:
        raise ValueError(wrong)
    return Attempt(trial, number, epochs=tuple(epochs), **fields)


def _wrong(said: Mapping[str, Any], types: Mapping[str, Any]) -> str | None:
    """What is not of its type, as text; None if all is."""
    wrong = (name for name, of in types.items() if not isinstance(said.get(name), of))
    return next((f"{name}: {said.get(name)!r}" for name in wrong), None)
