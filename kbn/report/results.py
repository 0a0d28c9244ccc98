"""A search as a table, read from its journal."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kbn.search.ranking import best_first
from kbn.tracking.journal import Attempt, Journal


@dataclasses.dataclass(frozen=True)
class Results:
    """The last attempt of every trial, in the order in which they began.

    Attributes:
        trials: one attempt a trial.
        direction: "min" or "max", which scores are better.
    """

    trials: tuple[Attempt, ...]
    direction: str

    @classmethod
    def read(cls, project: Path, direction: str) -> Results:
        """The results of the search in a project directory; empty where there is none."""
        last = {attempt.trial: attempt for attempt in Journal(project / "journal").attempts()}
        return cls(tuple(last.values()), direction)

    @property
    def finished(self) -> tuple[Attempt, ...]:
        """Those with a score."""
        return tuple(trial for trial in self.trials if _has_score(trial))

    @property
    def best(self) -> Attempt | None:
        """The best, as `kbn.search.ranking` has it."""
        finished = {trial.trial: trial for trial in self.finished}
        scored = [(name, trial.values, trial.score or 0.0) for name, trial in finished.items()]
        ids = best_first(scored, self.direction)
        return finished[ids[0]] if ids else None

    def best_so_far(self) -> list[float]:
        """The best score after each of the `finished`."""
        choose = min if self.direction == "min" else max
        best: list[float] = []
        for trial in self.finished:
            score = trial.score or 0.0
            best.append(choose(score, best[-1]) if best else score)
        return best

    def commonest_failure(self) -> str:
        """The reason that most failed trials share."""
        reasons = [trial.reason for trial in self.trials if trial.reason]
        return max(reasons, key=reasons.count, default="no trial was run")

    def as_json(self) -> list[Mapping[str, Any]]:
        """Rows of plain values."""
        return [_row(trial) for trial in self.trials]


def _has_score(trial: Attempt) -> bool:
    return trial.status == "COMPLETED" and trial.score is not None and math.isfinite(trial.score)


def _row(trial: Attempt) -> Mapping[str, Any]:
    return {
        "trial": trial.trial,
        "status": trial.status,
        "score": trial.score if _has_score(trial) else None,  # JSON has no infinity
        "values": trial.values,
        "seconds": trial.seconds,
        "reason": trial.reason,
    }
