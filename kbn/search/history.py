"""What is known of the trials, as arrays: grows by a trial, never walks through all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kbn.search.fidelity import PARENT
from kbn.search.space import Space


class History:
    """The trials of a search.

    Args:
        space: the axes of the points.

    Attributes:
        started: number of trials that did.
        fresh: of them, those that did not go on from another one.
        ended: number of trials that did.
    """

    def __init__(self, space: Space):
        self.space = space
        self.started = self.fresh = self.ended = 0
        # a row for each trial that ended: its point, its level, its loss
        self._rows = np.empty((64, len(space.axes) + 2))
        self._tried: set[tuple[Any, ...]] = set()

    def start(self, values: Mapping[str, Any]) -> None:
        """Adds a trial that starts."""
        self.started += 1
        self.fresh += PARENT not in values
        self._tried.add(self._key(values))

    def end(self, values: Mapping[str, Any], loss: float, level: float) -> None:
        """Adds a trial that ended.

        Args:
            values: its; it may have found hyperparameters while it ran.
            loss: smaller is better; NaN if it failed.
            level: how far it was trained, 1 for a whole training.
        """
        self._tried.add(self._key(values))
        if self.ended == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[self.ended] = *self.space.encode(values), level, loss
        self.ended += 1

    def tried(self, values: Mapping[str, Any]) -> bool:
        """Whether a trial has, or had, just these values."""
        return self._key(values) in self._tried

    def known(self, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The trials that tell most: all, or the best and the newest ones in equal parts.

        A failed trial counts as one as bad as the worst.

        Args:
            most: how many they may be.

        Returns:
            Their points, levels and losses, shapes (n, axes), (n,) and (n,), in the order of their
            end. They are empty while all have failed.
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

    def _key(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(values.get(axis.name) for axis in self.space.axes)
