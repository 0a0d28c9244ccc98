"""The trials of a search as arrays, which grow trial by trial.

Glossary, beside that of `space`:
    row     point, level, losses and excess of a trial that ended, shape (axes + m + 2,)
    level   how far a trial was trained, in (0, 1]; 1 for a whole training
    loss    of one of m objectives, smaller is better; NaN if the trial failed
    excess  by how much it violates the constraints; 0 if it is feasible
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kbn.search.axes import Value
from kbn.search.fidelity import PARENT
from kbn.search.pareto import non_dominated, penalized, scalarized
from kbn.search.space import Space


class History:
    """The trials of a search.

    Args:
        space: the axes of the points.
        objectives: number m of the objectives.

    Attributes:
        started: number of trials that started.
        fresh: number of those that did not continue another trial.
        ended: number of trials that ended.
        past: number of trials of earlier searches, which come before those of this one.
    """

    def __init__(self, space: Space, objectives: int = 1):
        self.space, self.objectives = space, objectives
        self.started = self.fresh = self.ended = self.past = 0
        # one row per trial that ended, and room for more
        self._rows = np.empty((64, len(space.axes) + objectives + 2))
        self._tried: set[tuple[Value | None, ...]] = set()

    def start(self, values: Mapping[str, Value]) -> None:
        """Add a trial that starts."""
        self.started += 1
        self.fresh += PARENT not in values
        self._tried.add(self._key(values))

    def end(
        self,
        values: Mapping[str, Value],
        losses: Sequence[float],
        level: float,
        excess: float = 0.0,
    ) -> None:
        """Add a trial that ended.

        Args:
            values: the trial's values; it may have found hyperparameters while it ran.
            losses: of each objective, smaller is better; NaN if it failed.
            level: how far it was trained, in (0, 1]; 1 for a whole training.
            excess: by how much it violates the constraints, >= 0.
        """
        self._tried.add(self._key(values))
        self._add(values, level, losses, excess)
        self.ended += 1

    def recall(self, values: Mapping[str, Value], loss: float) -> None:
        """Add a whole training of an earlier search, before any trial of this one ended."""
        self._add(values, 1.0, [loss], 0.0)
        self.past += 1

    def _add(
        self, values: Mapping[str, Value], level: float, losses: Sequence[float], excess: float
    ) -> None:
        place = self.past + self.ended
        if place == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[place] = *self.space.encode(values), level, *losses, excess

    def tried(self, values: Mapping[str, Value]) -> bool:
        """Whether a trial that started has exactly these values."""
        return self._key(values) in self._tried

    def known(
        self, most: int, weights: np.ndarray | None = None, first: int = 0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the trials to learn from: all, or equal parts of the best and of the newest.

        A failed trial counts as one that is as bad as the worst, an infeasible one as worse than
        all feasible ones.

        Args:
            most: largest number of trials.
            weights: of the objectives, shape (m,); None for the first objective alone.
            first: leaves out so many of the earliest, such as the `past` ones.

        Returns:
            Points, levels and losses, shapes (n, axes), (n,) and (n,), in the order of their end;
            empty while all trials have failed.
        """
        rows, axes = self._rows[first : self.past + self.ended], len(self.space.axes)
        every, excess = rows[:, axes + 1 : -1], rows[:, -1]
        losses = every[:, 0] if weights is None else scalarized(every, weights)
        losses = penalized(losses, excess)
        rows = rows[: len(losses)]
        kept = best_and_newest(losses, most)
        rows, losses = rows[kept], losses[kept]
        return rows[:, :axes], rows[:, axes], losses

    def front(self) -> np.ndarray:
        """Return the points of the feasible trials that no other one dominates, shape (n, axes)."""
        rows, axes = self._rows[: self.ended], len(self.space.axes)
        feasible = rows[rows[:, -1] == 0]
        return feasible[non_dominated(feasible[:, axes + 1 : -1]), :axes]

    def _key(self, values: Mapping[str, Value]) -> tuple[Value | None, ...]:
        return tuple(values.get(axis.name) for axis in self.space.axes)


def best_and_newest(losses: np.ndarray, most: int) -> np.ndarray:
    """Return rising indices of all trials, or of equal parts of the best and the newest.

    Args:
        losses: smaller is better, in the order of the trials' end, shape (n,).
        most: largest number of trials.
    """
    if len(losses) <= most:
        return np.arange(len(losses))
    best = np.argsort(losses, kind="stable")[: most // 2]
    return np.union1d(best, np.arange(len(losses) - most // 2, len(losses)))
