"""A search as a table, read from its journal."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbn.search.ranking import best_first
from kbn.tracking.journal import Attempt, Journal

if TYPE_CHECKING:
    import pandas as pd

    from kbn.search.importance import Importance
    from kbn.search.space import Space
    from kbn.search.zoom import Round

log = logging.getLogger(__name__)

BOOKKEEPING = "tuner/"  # begins the names of values that are a tuner's notes, no hyperparameters


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
        attempts, faults = Journal(project / "journal").outcomes()
        for fault in faults:
            log.warning("%s", fault)
        last = {attempt.trial: attempt for attempt in attempts}
        return cls(tuple(last.values()), direction)

    @staticmethod
    def test_scores(project: Path, trial: str) -> Mapping[str, float]:
        """What the model of a trial, trained anew, scored on the test part; empty if it was not."""
        events = Journal(project / "journal").events()
        scores = [e for e in events if e["event"] == "metrics"][-1:]
        return next((dict(e["values"]) for e in scores if e["trial"] == trial), {})

    @functools.cached_property
    def finished(self) -> tuple[Attempt, ...]:
        """Those with a score."""
        return tuple(trial for trial in self.trials if has_score(trial))

    @functools.cached_property
    def failed(self) -> tuple[Attempt, ...]:
        """Those that ended without one that is finite."""
        return tuple(trial for trial in self.trials if has_failed(trial))

    @functools.cached_property
    def ranked(self) -> tuple[Attempt, ...]:
        """The finished ones, best first, as `kbn.search.ranking` has it."""
        finished = {trial.trial: trial for trial in self.finished}
        scored = [(name, trial.values, trial.score or 0.0) for name, trial in finished.items()]
        return tuple(finished[name] for name in best_first(scored, self.direction))

    def thinned(self, most: int) -> tuple[Attempt, ...]:
        """As many of the trials, in their order: the best one, and others at even distances.

        The finished ones are taken by rank, from the best to the worst.
        """
        if len(self.trials) <= most:
            return self.trials
        ranked = {trial.trial for trial in self.ranked}
        rest = [trial for trial in self.trials if trial.trial not in ranked]
        every = [*self.ranked, *rest]
        chosen = {every[place * len(every) // most].trial for place in range(most)}
        return tuple(trial for trial in self.trials if trial.trial in chosen)

    @property
    def best(self) -> Attempt | None:
        """The first of the `ranked`."""
        return next(iter(self.ranked), None)

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
        reasons = [why_failed(trial) for trial in self.failed]
        return max(reasons, key=reasons.count, default="no trial was run")

    def as_json(self) -> list[Mapping[str, Any]]:
        """Rows of plain values."""
        return [_row(trial) for trial in self.trials]

    def as_frame(self) -> pd.DataFrame:
        """A row a trial, in their order.

        Its columns are trial, status, score, seconds and reason, then one for every
        hyperparameter, in natural units, missing where its conditions did not hold. Scores are as
        they were reported, also infinite ones.
        """
        import pandas as pd  # takes most of a second

        names = list(dict.fromkeys(n for trial in self.trials for n in hyperparameters(trial)))
        rows = [
            [
                trial.trial,
                trial.status,
                math.nan if trial.score is None else trial.score,
                math.nan if trial.seconds is None else trial.seconds,
                trial.reason,
                *(trial.values.get(name) for name in names),
            ]
            for trial in self.trials
        ]
        return pd.DataFrame(rows, columns=["trial", "status", "score", "seconds", "reason", *names])


@dataclasses.dataclass(frozen=True)
class Search:
    """A search as its report sees it.

    Attributes:
        title: heads the report.
        results: every trial.
        metric: the objective's name.
        space: the hyperparameters' axes.
        rounds: of the oracle, in their order; empty for a search without rounds.
        tiers: {hyperparameter: believed importance}, 1 for the most important to 3; no entry where
            no belief is stated.
        importance: as measured, the most important first; empty where it was not.
    """

    title: str
    results: Results
    metric: str
    space: Space
    rounds: Sequence[Round]
    tiers: Mapping[str, int]
    importance: Sequence[Importance]


def scores_of(trials: Iterable[Attempt]) -> list[float]:
    """Those of finished trials."""
    return [trial.score or 0.0 for trial in trials]


def has_score(trial: Attempt) -> bool:
    """Whether it finished with a score that is finite."""
    return trial.status == "COMPLETED" and trial.score is not None and math.isfinite(trial.score)


def hyperparameters(trial: Attempt) -> dict[str, Any]:
    """The values of a trial, without what a tuner noted among them."""
    return {name: v for name, v in trial.values.items() if not name.startswith(BOOKKEEPING)}


def why_failed(trial: Attempt) -> str:
    """The reason of a trial that failed, in one line."""
    if trial.reason:
        return trial.reason
    if trial.status == "COMPLETED":
        return "it gave no score" if trial.score is None else f"its score is {trial.score}"
    return f"it ended as {trial.status}, without a message"


def has_failed(trial: Attempt) -> bool:
    """Whether it ended without such a score."""
    return trial.status is not None and not has_score(trial)


def _row(trial: Attempt) -> Mapping[str, Any]:
    return {
        "trial": trial.trial,
        "status": trial.status,
        "score": trial.score if has_score(trial) else None,  # JSON has no infinity
        "values": trial.values,
        "seconds": trial.seconds,
        "reason": trial.reason,
    }
