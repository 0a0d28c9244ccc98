"""Random points of the unit cube: the coarse round, and candidates of the fine ones.

Symbols as in `space`: several points have shape (points, axes), coordinates in [0, 1].
"""

from __future__ import annotations

import zlib

import numpy as np

from kbn.search.space import INACTIVE, Box, Space

STAY = (0.0, 0.3, 0.6, 0.85)  # share of the coordinates that a candidate takes over from the centre
INSIDE = 1e-9  # of a range: its very edges may belong to the discrete values beside it
CHANGE = 0.3  # chance of a choice to differ from the centre's
EDGE = 0.15  # chance of a coordinate to lie at an end of its range, as many optima do


def latin_hypercube(space: Space, size: int, index: int, seed: int) -> np.ndarray:
    """Point `index` of `size` random points, no two in the same of `size` strata of any axis.

    Every axis has a permutation of the strata of its own, so that one which is found while the
    search runs leaves the others' as they are.

    Returns:
        Shape (axes,).

    Source: McKay, Beckman and Conover, Technometrics 21 (1979), section 2.
    """
    u = np.empty(len(space.axes))
    for j, axis in enumerate(space.axes):
        rng = np.random.default_rng([seed, zlib.crc32(axis.name.encode())])
        u[j] = (rng.permutation(size)[index] + rng.random(size)[index]) / size
    return u


class Region:
    """A box as coordinates.

    Args:
        space: of the box.
        box: {name: range}.
    """

    def __init__(self, space: Space, box: Box):
        self._space = space
        # an axis that was found after the box was made is whole
        edges = [axis.edges(box.get(axis.name, axis.whole)) for axis in space.axes]
        self._low, self._high = np.array(edges).reshape(-1, 2).T

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Shape (points,): which lie in the box; a coordinate that is INACTIVE does anyway."""
        inside = (self._low <= points) & (points <= self._high)
        return np.asarray((inside | (points == INACTIVE)).all(1))

    def around(self, best_first: np.ndarray, good: np.ndarray) -> np.ndarray | None:
        """The best points of the box, best first: at most as many as there are good ones of all.

        Returns:
            Shape (n, axes), n >= 1; None if no point lies in the box.
        """
        inside = best_first[self.contains(best_first)]
        return inside[: len(good)] if len(inside) else None

    def draw(
        self, count: int, rng: np.random.Generator, around: np.ndarray | None = None
    ) -> np.ndarray:
        """Random points of the box.

        Args:
            count: number of points.
            rng: of this trial.
            around: good points, best first, shape (n, axes), n >= 1. Where only some
                hyperparameters matter, a point that shares coordinates with the best improves on
                it more often than one that differs in all; and choices are drawn as often as the
                good points have them.

        Returns:
            Shape (count, axes).
        """
        points = rng.random((count, len(self._low)))
        to_end = rng.random(points.shape) < 2 * EDGE * rng.random((count, 1))
        points = np.where(to_end, np.round(points), points)
        points = self._low + np.clip(points, INSIDE, 1 - INSIDE) * (self._high - self._low)
        for j in np.flatnonzero(self._space.unordered).tolist():
            values = self._space.middles[j]
            counts = np.ones(len(values))
            if around is not None:
                counts += (around[:, j, None] == values).sum(0)
            points[:, j] = rng.choice(values, count, p=counts / counts.sum())
        if around is None:
            return points
        stays = rng.random(points.shape) < rng.choice(STAY, (count, 1))
        changes = rng.random(points.shape) < CHANGE
        stays = np.where(self._space.unordered, ~changes, stays) & (around[0] != INACTIVE)
        return np.where(stays, around[0], points)


def near(
    space: Space, points: np.ndarray, radius: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """A random neighbour of each point: half of the coordinates moved, normal of `radius`.

    Args:
        space: of the points.
        points: shape (points, axes).
        radius: shape (axes,), standard deviation of a move.
        rng: of this trial.
    """
    moves = rng.normal(size=points.shape) * radius * rng.integers(2, size=points.shape)
    moves[:, space.unordered] = 0.0
    moved = points + moves
    if space.middles:  # a discrete one is drawn anew now and then
        rows = np.flatnonzero(rng.random(len(points)) < CHANGE)
        moved[rows, rng.choice(list(space.middles), len(rows))] = rng.random(len(rows))
    return np.clip(moved, 0.0, 1.0)
