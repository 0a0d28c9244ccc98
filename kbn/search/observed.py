"""A KerasTuner oracle that keeps its trials as arrays, from which a search method learns."""

from __future__ import annotations

import math
import statistics
import threading
from typing import Any

import numpy as np

from kbn.search._keras_tuner import OpenOracle, Trial
from kbn.search.history import History
from kbn.search.hyperparameters import space_of
from kbn.search.importance import Importance, functional_anova
from kbn.search.space import Box
from kbn.search.zoom import Round


class ObservedOracle(OpenOracle):
    """What can be asked of the trials of any search method.

    Args:
        *args, **kwargs: as in `keras_tuner.Oracle`.
        seed: any integer, also 0; None draws one.
    """

    def __init__(self, *args: Any, seed: int | None = None, **kwargs: Any):
        super().__init__(*args, seed=seed, **kwargs)
        # instead of KerasTuner's `synchronized`, whose lock stays taken when a call raises
        self._lock = threading.RLock()
        self._history: History | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.RLock())

    def get_best_trials(self, num_trials: int = 1) -> list[Trial]:
        """Return at most `num_trials` completed trials of finite score, best first, then oldest."""
        with self._lock:
            completed = [t for t in self.trials.values() if t.status == "COMPLETED"]
        # a tuner calls its trial COMPLETED a moment before it has a score
        scored = [t for t in completed if t.score is not None and math.isfinite(t.score)]
        scored.sort(key=lambda t: t.score, reverse=self.objective.direction == "max")
        return scored[:num_trials]

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
            points, levels, losses = history.known(most=history.ended)
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
        return History(space_of(self.hyperparameters))

    def _add_start(self, history: History, trial: Trial) -> None:
        history.start(trial.hyperparameters.values)

    def _add_end(self, history: History, trial: Trial) -> None:
        history.end(trial.hyperparameters.values, self._loss(trial), level=1.0)

    def _loss(self, trial: Trial) -> float:
        """Return the score as a loss, smaller is better; NaN if the trial has no finite score."""
        if trial.status != "COMPLETED" or not math.isfinite(trial.score):
            return math.nan
        return float(trial.score if self.objective.direction == "min" else -trial.score)
