"""The trials of a search as arrays, which grow trial by trial.

Glossary, beside that of `space`:
    row     point, level and loss of a trial that ended, shape (axes + 2,)
    level   how far a trial was trained, in (0, 1]; 1 for a whole training
    loss    smaller is better; NaN if the trial failed
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kbn.search.axes import Value
from kbn.search.fidelity import PARENT
from kbn.search.space import Space


class History:
    """The trials of a search.

    Args:
        space: the axes of the points.

    Attributes:
        started: number of trials that started.
        fresh: number of those that did not continue another trial.
        ended: number of trials that ended.
    """

    def __init__(self, space: Space):
        self.space = space
        self.started = self.fresh = self.ended = 0
        # one row per trial that ended, and room for more
        self._rows = np.empty((64, len(space.axes) + 2))
        self._tried: set[tuple[Value | None, ...]] = set()

    def start(self, values: Mapping[str, Value]) -> None:
        """Add a trial that starts."""
        self.started += 1
        self.fresh += PARENT not in values
        self._tried.add(self._key(values))

    def end(self, values: Mapping[str, Value], loss: float, level: float) -> None:
        """Add a trial that ended.

        Args:
            values: the trial's values; it may have found hyperparameters while it ran.
            loss: smaller is better; NaN if it failed.
            level: how far it was trained, in (0, 1]; 1 for a whole training.
        """
        self._tried.add(self._key(values))
        if self.ended == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[self.ended] = *self.space.encode(values), level, loss
        self.ended += 1

    def tried(self, values: Mapping[str, Value]) -> bool:
        """Whether a trial that started has exactly these values."""
        return self._key(values) in self._tried

    def known(self, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the trials to learn from: all, or equal parts of the best and of the newest.

        A failed trial counts as one that is as bad as the worst.

        Args:
            most: largest number of trials.

        Returns:
            Points, levels and losses, shapes (n, axes), (n,) and (n,), in the order of their end;
            empty while all trials have failed.
        """
        rows = self._rows[: self.ended]
        losses = rows[:, -1]
        failed = np.isnan(losses)
        if failed.all():
            rows, losses = rows[:0], losses[:0]
        elif failed.any():
            losses = np.where(failed, losses[~failed].max(), losses)
        if len(losses) > most:
            best = np.argsort(losses, kind="stable")[: most // 2]
            kept = np.union1d(best, np.arange(len(losses) - most // 2, len(losses)))
            rows, losses = rows[kept], losses[kept]
        return rows[:, :-2], rows[:, -2], losses

    def _key(self, values: Mapping[str, Value]) -> tuple[Value | None, ...]:
        return tuple(values.get(axis.name) for axis in self.space.axes)
