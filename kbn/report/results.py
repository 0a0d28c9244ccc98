"""Results of a search: its trials with their scores, read from its journal."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from kbn.search.fidelity import trained
from kbn.search.goals import Goals
from kbn.search.ranking import best_first
from kbn.tracking.attempts import Attempt
from kbn.tracking.journal import Journal

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from kbn.search.importance import Importance
    from kbn.search.past import Past
    from kbn.search.space import Space
    from kbn.search.zoom import Round

log = logging.getLogger(__name__)

BOOKKEEPING = "tuner/"  # prefix of values that are notes of KerasTuner's tuners


class TrialRow(TypedDict):
    """A trial as JSON: its last attempt.

    Attributes:
        trial: its number.
        status: how it ended; None while it runs.
        score: None unless it finished with a finite score.
        values: {hyperparameter: value}, with the tuner's notes among them.
        seconds: how long it took; None while it runs.
        reason: why it failed; None if it did not.
        metrics: {name: value} of several objectives and of constraints; empty without these.
        violations: the constraints that it violates, in words.
    """

    trial: str
    status: str | None
    score: float | None
    values: dict[str, Any]
    seconds: float | None
    reason: str | None
    metrics: dict[str, float | None]
    violations: list[str]


@dataclasses.dataclass(frozen=True)
class Results:
    """The last attempt at every trial, in the order in which the trials started.

    Attributes:
        trials: one attempt per trial.
        direction: "min" or "max", whether lower or higher scores are better.
        objectives: (metric, direction) of each, where there are several; the first is the score.
    """

    trials: tuple[Attempt, ...]
    direction: str
    objectives: tuple[tuple[str, str], ...] = ()

    @classmethod
    def read(
        cls, project: Path, direction: str, objectives: tuple[tuple[str, str], ...] = ()
    ) -> Results:
        """Read the results of the search in a project directory; empty if there is none."""
        attempts, faults = Journal(project / "journal").outcomes()
        for fault in faults:
            log.warning("%s", fault)
        last = {attempt.trial: attempt for attempt in attempts}
        return cls(tuple(last.values()), direction, objectives)

    def of(self, trials: Iterable[Attempt]) -> Results:
        """Return the results of other trials of the same search."""
        return dataclasses.replace(self, trials=tuple(trials))

    @staticmethod
    def test_scores(project: Path, trial: str) -> Mapping[str, float]:
        """Return the test metrics of a trial's retrained model; empty if it was not retrained."""
        events = Journal(project / "journal").events()
        scores = [e for e in events if e["event"] == "metrics"][-1:]
        return next((dict(e["values"]) for e in scores if e["trial"] == trial), {})

    @functools.cached_property
    def finished(self) -> tuple[Attempt, ...]:
        """The feasible trials that finished with a finite score."""
        return tuple(trial for trial in self.trials if has_score(trial) and not trial.violations)

    @functools.cached_property
    def infeasible(self) -> tuple[Attempt, ...]:
        """The trials that ended and violate a constraint, whether they were trained or not."""
        ended = (trial for trial in self.trials if trial.status is not None)
        return tuple(trial for trial in ended if trial.violations)

    @functools.cached_property
    def failed(self) -> tuple[Attempt, ...]:
        """The trials that ended without a finite score, and not for a constraint."""
        return tuple(t for t in self.trials if has_failed(t) and not t.violations)

    @functools.cached_property
    def ranked(self) -> tuple[Attempt, ...]:
        """The finished trials, best first.

        With one objective they are ordered by `kbn.search.ranking`; with several, those on the
        front come first, and the first objective counts then.
        """
        if self.objectives:
            from kbn.search.pareto import front_first  # imports NumPy

            order = front_first(self.losses(self.finished))
            return tuple(self.finished[place] for place in order)
        finished = {trial.trial: trial for trial in self.finished}
        scored = [(name, trial.values, trial.score or 0.0) for name, trial in finished.items()]
        return tuple(finished[name] for name in best_first(scored, self.direction))

    @functools.cached_property
    def front(self) -> tuple[Attempt, ...]:
        """The finished trials that no other one dominates, in the order of `ranked`.

        With one objective that is the best trial alone.
        """
        if not self.objectives:
            return self.ranked[:1]
        from kbn.search.pareto import non_dominated

        return self.ranked[: int(non_dominated(self.losses(self.ranked)).sum())]

    def losses(self, trials: Sequence[Attempt]) -> np.ndarray:
        """Return several objectives as losses, smaller is better, shape (trials, objectives)."""
        import numpy as np

        goals = Goals(self.objectives)
        rows = [goals.losses(trial.metrics) for trial in trials]
        return np.array(rows, float).reshape(len(rows), len(self.objectives))

    def thinned(self, most: int) -> tuple[Attempt, ...]:
        """Return at most `most` of the trials, in their order.

        They are chosen at even distances from the finished trials by rank, the best one included,
        followed by the others.
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
        """The best trial; None if no trial finished."""
        return next(iter(self.ranked), None)

    def best_so_far(self) -> list[float]:
        """Return the best score so far after each of the `finished` trials."""
        choose = min if self.direction == "min" else max
        best: list[float] = []
        for trial in self.finished:
            score = trial.score or 0.0
            best.append(choose(score, best[-1]) if best else score)
        return best

    def commonest_failure(self) -> str:
        """Return the most frequent reason of the failed trials."""
        reasons = [why_failed(trial) for trial in self.failed]
        return max(reasons, key=reasons.count, default="no trial was run")

    def as_json(self) -> list[TrialRow]:
        """Return one JSON object per trial."""
        return [_json_row(trial) for trial in self.trials]

    def as_frame(self) -> pd.DataFrame:
        """Return a table with one row per trial, in their order.

        Its columns are trial, status, score, seconds and reason, then one for each metric of
        several objectives and of constraints, and one for each hyperparameter in natural units,
        with missing values where its conditions did not hold. Scores are as reported, infinite ones
        included.
        """
        import pandas as pd  # takes most of a second

        found = (name for trial in self.trials for name in hyperparameter_values(trial))
        names = list(dict.fromkeys(found))
        metrics = list(dict.fromkeys(name for trial in self.trials for name in trial.metrics))
        rows = [
            [
                trial.trial,
                trial.status,
                math.nan if trial.score is None else trial.score,
                math.nan if trial.seconds is None else trial.seconds,
                trial.reason,
                *(trial.metrics.get(name) for name in metrics),
                *(trial.values.get(name) for name in names),
            ]
            for trial in self.trials
        ]
        columns = ["trial", "status", "score", "seconds", "reason", *metrics, *names]
        return pd.DataFrame(rows, columns=columns)


@dataclasses.dataclass(frozen=True)
class SearchSummary:
    """All that the report of a search is made from.

    Attributes:
        title: title of the report.
        results: results of all trials.
        metric: name of the objective.
        space: axes of the hyperparameters.
        rounds: rounds of the oracle, in their order; empty for a search without rounds.
        tiers: {hyperparameter: believed tier}, from 1 for the most important to 3; hyperparameters
            without a stated belief are left out.
        importance: measured importance, the most important first; empty if it was not measured.
        given: number of the first trials whose values were given.
        training: {key: value in words} of what held for the training of every trial.
        epochs: of a whole training, where some trials train for fewer; else None.
        past: what earlier searches had shown to this one; None for nothing.
        folds: number of folds that a score is the mean over; None without cross-validation.
        test: {metric: value} of the best trial's model on the test part, where it was trained anew.
        deviation: of a target that was standardized, in its own unit; else None.
    """

    title: str
    results: Results
    metric: str
    space: Space
    rounds: Sequence[Round]
    tiers: Mapping[str, int]
    importance: Sequence[Importance]
    given: int = 0
    training: Mapping[str, str] = dataclasses.field(default_factory=dict)
    epochs: int | None = None
    past: Past | None = None
    folds: int | None = None
    test: Mapping[str, float] = dataclasses.field(default_factory=dict)
    deviation: float | None = None


def whole_trainings(trials: Iterable[Attempt], epochs: int) -> float:
    """Return how many whole trainings of so many epochs the epochs of trials amount to."""
    return sum(trained(trial.values, epochs) for trial in trials) / epochs


def scores_of(trials: Iterable[Attempt]) -> list[float]:
    """Return the scores of finished trials."""
    return [trial.score or 0.0 for trial in trials]


def has_score(trial: Attempt) -> bool:
    """Whether a trial finished with a finite score."""
    return trial.status == "COMPLETED" and trial.score is not None and math.isfinite(trial.score)


def hyperparameter_values(trial: Attempt) -> dict[str, Any]:
    """Return the hyperparameter values of a trial, without the tuner's notes among them."""
    return {name: v for name, v in trial.values.items() if not name.startswith(BOOKKEEPING)}


def why_failed(trial: Attempt) -> str:
    """Return why a trial failed, in one line."""
    if trial.reason:
        return trial.reason
    if trial.status == "COMPLETED":
        return "it gave no score" if trial.score is None else f"its score is {trial.score}"
    return f"it ended as {trial.status}, without a message"


def has_failed(trial: Attempt) -> bool:
    """Whether a trial ended without a finite score."""
    return trial.status is not None and not has_score(trial)


def _json_row(trial: Attempt) -> TrialRow:
    return {
        "trial": trial.trial,
        "status": trial.status,
        "score": trial.score if has_score(trial) else None,  # JSON has no infinity
        "values": trial.values,
        "seconds": trial.seconds,
        "reason": trial.reason,
        "metrics": {n: v if math.isfinite(v) else None for n, v in trial.metrics.items()},
        "violations": trial.violations,
    }
