"""A KerasTuner oracle that keeps its trials as arrays, from which a search method learns."""

from __future__ import annotations

import math
import statistics
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kbn.search._keras_tuner import OpenOracle, Trial, direction_of
from kbn.search.goals import Goals
from kbn.search.history import History
from kbn.search.hyperparameters import space_of
from kbn.search.importance import Importance, functional_anova
from kbn.search.pareto import front_first, non_dominated
from kbn.search.space import Box
from kbn.search.zoom import Round


class ObservedOracle(OpenOracle):
    """What can be asked of the trials of any search method.

    Args:
        *args, **kwargs: as in `keras_tuner.Oracle`.
        seed: any integer, also 0; None draws one.
        pareto: has a list of objectives mean a search for the trials that no other one dominates.
            The first objective then is the score and decides a trial's best epoch. By default the
            score is the sum of the list, as in KerasTuner.
        constraints: {metric: {"min": low, "max": high}}, at least one of the two each. A trial that
            violates one is infeasible: it is never the best, and the search avoids its like.

    Attributes:
        goals: the objectives and constraints.

    Raises:
        ValueError: if the front is asked for with fewer than two objectives, or a constraint has no
            limit, another key, or min > max.
    """

    def __init__(
        self,
        *args: Any,
        seed: int | None = None,
        pareto: bool = False,
        constraints: Mapping[str, Mapping[str, float]] | None = None,
        **kwargs: Any,
    ):
        super().__init__(*args, seed=seed, **kwargs)
        given = self.objective
        objectives = [given]
        if pareto:
            objectives = getattr(given, "objectives", [])
            if len(objectives) < 2:  # noqa: PLR2004
                raise ValueError(
                    f"The objective parameter of {type(self).__name__} must be a list of at least "
                    f"two objectives with pareto=True. Got {given} instead."
                )
            self.objective = objectives[0]
        self.goals = Goals.of([(one.name, one.direction) for one in objectives], constraints)
        # instead of KerasTuner's `synchronized`, whose lock stays taken when a call raises
        self._lock = threading.RLock()
        self._history: History | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.RLock())

    def get_best_trials(self, num_trials: int = 1) -> list[Trial]:
        """Return at most `num_trials` completed, feasible trials of finite score, best first.

        Of several objectives, those on the front come first, and the first objective counts then.
        Of equal trials the oldest is the first.
        """
        with self._lock:
            completed = [t for t in self.trials.values() if t.status == "COMPLETED"]
            # a tuner calls its trial COMPLETED a moment before it has a score
            scored = [t for t in completed if t.score is not None and self._is_ranked(t)]
        return [scored[i] for i in front_first(self._losses_of(scored))[:num_trials]]

    def front(self) -> list[Trial]:
        """Return the completed, feasible trials that no other one dominates.

        Their order is that of `get_best_trials`; with one objective they are the best one and its
        equals.
        """
        best = self.get_best_trials(len(self.trials))
        return best[: int(non_dominated(self._losses_of(best)).sum())]

    def _losses_of(self, trials: Sequence[Trial]) -> np.ndarray:
        rows = [self._losses(trial) for trial in trials]
        return np.array(rows, float).reshape(len(rows), len(self.goals.objectives))

    @property
    def rounds(self) -> tuple[Round, ...]:
        """The rounds that have begun; none in a method without rounds."""
        return ()

    def planned_rounds(self) -> list[Round]:
        """Return the rounds of the whole search as far as they are known before any score."""
        return []

    def place(self, trial_id: str) -> tuple[Round, Box | None] | None:
        """Return the round of a trial that began, and the box that holds its values.

        The box is None where no box holds them, and the whole is None in a method without rounds.
        """
        del trial_id
        return None

    def importance(self) -> tuple[Importance, ...]:
        """Return how much each hyperparameter mattered so far, the most important first.

        Each has its share of the main effects of all, on their own scales, with a 90 % interval, as
        `kbn.search.importance.functional_anova` finds them in the scores. Where trials train for
        different numbers of epochs, only those with the most common number are compared.
        """
        with self._lock:
            history = self._updated_history()
            points, levels, losses = history.known(most=history.ended, first=history.past)
            values = [self.trials[trial_id].hyperparameters.values for trial_id in self.end_order]
        axes, space = history.space.axes, history.space
        counts = [len(space.middles.get(j, ())) for j in range(len(axes))]
        active = np.array([[a.name in v for a in axes] for v in values[: len(points)]], bool)
        alike = levels == statistics.mode(levels) if len(levels) else levels == 1
        return functional_anova(
            [axis.name for axis in axes],
            points[alike],
            losses[alike],
            categories=np.where(space.unordered, counts, 0),
            active=active.reshape(points.shape)[alike],
            rng=np.random.default_rng(0),
        )

    def _forget(self) -> None:
        """Drop what can be made anew from the trials."""
        self._history = None

    def _updated_history(self) -> History:
        """Return the trials as arrays, with those that started or ended since the last call."""
        size = len(self.hyperparameters.space)
        if self._history is None or len(self._history.space.axes) != size:
            self._forget()
            self._history = self._new_history()
        history = self._history
        for trial_id in self.start_order[history.started :]:
            self._add_start(history, self.trials[trial_id])
        for trial_id in self.end_order[history.ended :]:
            self._add_end(history, self.trials[trial_id])
        return history

    def _new_history(self) -> History:
        """Return a history without trials; a method also makes what learns from it."""
        return History(space_of(self.hyperparameters), len(self.goals.objectives))

    def _add_start(self, history: History, trial: Trial) -> None:
        history.start(trial.hyperparameters.values)

    def _add_end(self, history: History, trial: Trial) -> None:
        losses, excess = self._losses(trial), self._excess(trial)
        history.end(trial.hyperparameters.values, losses, 1.0, excess)

    def _loss(self, trial: Trial) -> float:
        """Return the score as a loss, smaller is better; NaN without one, or if infeasible."""
        return math.nan if self._excess(trial) else self._losses(trial)[0]

    def _is_ranked(self, trial: Trial) -> bool:
        return not self._excess(trial) and all(map(math.isfinite, self._losses(trial)))

    def _losses(self, trial: Trial) -> list[float]:
        """Return each objective as a loss, smaller is better; NaN if it is no finite number."""
        if trial.status != "COMPLETED":
            return [math.nan] * len(self.goals.objectives)
        metrics = self._decisive(trial) if self.goals.several else {}
        return self.goals.losses({**metrics, self.objective.name: trial.score})

    def _excess(self, trial: Trial) -> float:
        """Return by how much a trial violates the constraints."""
        return self.goals.excess(self._decisive(trial)) if self.goals.constraints else 0.0

    def _decisive(self, trial: Trial) -> dict[str, float]:
        """Return what is known of the metrics of the objectives and constraints."""
        known = filter(trial.metrics.exists, self.goals.names)
        return {name: float(trial.metrics.get_last_value(name)) for name in known}

    def _require_goals(self, metrics: Mapping[str, float]) -> None:
        others = [name for name in self.goals.names if name != self.objective.name]
        missing = [name for name in others if name not in metrics]
        if missing:
            raise ValueError(
                f"A trial must report the metrics of all objectives and constraints. Got "
                f"{', '.join(metrics)}, without {', '.join(missing)}."
            )

    def measure(self, trial_id: str, metrics: Mapping[str, float]) -> None:
        """Take over metrics of a trial that is not trained, since they violate a constraint."""
        with self._lock:
            found = self.trials[trial_id].metrics
            for name, value in metrics.items():
                found.register(name, direction_of(name))
                found.update(name, value)

    def outcome(self, trial: Trial) -> dict[str, Any]:
        """Return what decided about a trial beside its score; empty if nothing did.

        The keys are "metrics", {name: value} of the objectives and constraints, and "violations",
        the violated constraints in words.
        """
        if not (self.goals.several or self.goals.constraints):
            return {}
        metrics = self._decisive(trial)
        return {"metrics": metrics, "violations": self.goals.violations(metrics)}
