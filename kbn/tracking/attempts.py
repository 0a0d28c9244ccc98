"""One attempt at a trial, as its file in the journal records it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from kbn.tracking.events import NOTHING, NUMBER, Types, mistyped
from kbn.tracking.sealed import Event

# types of what an attempt's lines say, as the journal may be somebody else's
ATTEMPT_TYPES: Mapping[str, Types] = {
    "values": dict,
    "place": dict,
    "order": int,
    "status": str,
    "score": (*NUMBER, NOTHING),
    "best_step": (int, NOTHING),
    "message": (str, NOTHING),
    "died": bool,
    "metrics": dict,
    "violations": list,
}


@dataclasses.dataclass(frozen=True)
class Epoch:
    """Metrics after one epoch of one execution; both count from 0."""

    execution: int
    epoch: int
    time: int
    metrics: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One attempt at a trial, as far as it is recorded.

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
        metrics: {name: value} of several objectives and of constraints; else empty.
        violations: the constraints that it violates, in words; it is infeasible if there are any.
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
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    violations: list[str] = dataclasses.field(default_factory=list)
    order: int = 0

    @classmethod
    def of(cls, trial: str, number: int, events: Iterable[Event]) -> Attempt:
        """Read an attempt from the events of its file.

        Raises:
            KeyError, TypeError, ValueError: if they are not what kbn writes.
        """
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
        wrong = mistyped(fields, {name: of for name, of in ATTEMPT_TYPES.items() if name in fields})
        measured, broken = fields.get("metrics", {}), fields.get("violations", [])
        for metrics in (measured, *(epoch.metrics for epoch in epochs)) if not wrong else ():
            wrong = wrong or mistyped(metrics, dict.fromkeys(metrics, NUMBER))
        if not wrong and not all(isinstance(each, str) for each in broken):
            wrong = f"violations: {broken!r}"
        if wrong:
            raise ValueError(wrong)
        return cls(trial, number, epochs=tuple(epochs), **fields)

    @property
    def last_sign(self) -> int:
        """Time of the last event before the end."""
        return self.epochs[-1].time if self.epochs else self.began

    @property
    def reason(self) -> str | None:
        """The error of a failed attempt in one line, without the traceback above it."""
        if self.message is None:
            return None
        lines = self.message.strip().splitlines()
        frame = max((i for i, line in enumerate(lines) if line.startswith("  File ")), default=-1)
        return next((line for line in lines[frame + 1 :] if line[:1].strip()), lines[0])

    @property
    def seconds(self) -> float | None:
        """Duration of an attempt that ended."""
        return None if self.ended is None else (self.ended - self.began) / 1000
