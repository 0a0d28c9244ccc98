"""Random points of the unit cube: the coarse round, and the candidates of the fine rounds.

Symbols are those of `space`: several points have shape (points, axes), coordinates in [0, 1].
"""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np

from kbn.search.space import INACTIVE, Box, Space


@dataclasses.dataclass(frozen=True)
class SamplingSettings:
    """The tuned numbers of drawing candidates.

    Sources: that candidates share a random part of their coordinates with the best point follows
    Regis and Shoemaker, Combining Radial Basis Function Surrogates and Dynamic Coordinate Search
    in High-Dimensional Expensive Black-Box Optimization, Engineering Optimization 45 (2013), there
    called DYCORS. The numbers were chosen on the development tasks of benchmarks/tabulated; another
    value is measured by, for example,
    `python -m benchmarks.tabulated --data DIR --tuners ours plain --set sampling.at_end=0`.

    Attributes:
        kept_shares: shares in [0, 1] of the numeric coordinates that a candidate keeps from the
            best point of its box; each candidate takes one of them at random.
        inset: share of a range at each end that is never drawn, since the very edge may belong to
            the discrete value beside it.
        changed: probability in [0, 1] that a choice differs from the best point's.
        at_end: mean probability in [0, 1/2] that a coordinate lies at an end of its range, where
            many optima do.
    """

    kept_shares: tuple[float, ...] = (0.0, 0.3, 0.6, 0.85)
    inset: float = 1e-9
    changed: float = 0.3
    at_end: float = 0.15


SAMPLING = SamplingSettings()


def latin_hypercube(space: Space, size: int, index: int, seed: int) -> np.ndarray:
    """Draw point `index` of a Latin hypercube of `size` points.

    No two of the points lie in the same of `size` strata of any axis. The strata of an axis are
    permuted by its name, so that an axis found during the search leaves the others as they are.

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
    """A box in coordinates of the unit cube.

    Args:
        space: the box's axes.
        box: {name: range}.
    """

    def __init__(self, space: Space, box: Box):
        self._space = space
        # an axis found after the box was made is whole in it
        edges = [axis.edges(box.get(axis.name, axis.whole)) for axis in space.axes]
        self._low, self._high = np.array(edges).reshape(-1, 2).T

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Whether each point lies in the box, shape (points,); INACTIVE coordinates always do."""
        inside = (self._low <= points) & (points <= self._high)
        return np.asarray((inside | (points == INACTIVE)).all(1))

    def around(self, best_first: np.ndarray, good: np.ndarray) -> np.ndarray | None:
        """Return the best points inside the box, best first, at most len(good) of them.

        Args:
            best_first: all points, shape (points, axes).
            good: the good ones of the whole space, shape (n, axes).

        Returns:
            Shape (at most n, axes); None if no point lies in the box.
        """
        inside = best_first[self.contains(best_first)]
        return inside[: len(good)] if len(inside) else None

    def draw(
        self, count: int, rng: np.random.Generator, around: np.ndarray | None = None
    ) -> np.ndarray:
        """Draw random points of the box.

        Args:
            count: number of points.
            rng: this trial's source of randomness.
            around: good points, best first, shape (n, axes), n >= 1. Points then share coordinates
                with the best one: where only some hyperparameters matter, such a point improves on
                it more often than one that differs in all. Choices are drawn as often as the good
                points have them.

        Returns:
            Shape (count, axes).
        """
        points = rng.random((count, len(self._low)))
        to_end = rng.random(points.shape) < 2 * SAMPLING.at_end * rng.random((count, 1))
        points = np.where(to_end, np.round(points), points)
        points = np.clip(points, SAMPLING.inset, 1 - SAMPLING.inset)
        points = self._low + points * (self._high - self._low)
        for j in np.flatnonzero(self._space.unordered).tolist():
            values = self._space.middles[j]
            counts = np.ones(len(values))
            if around is not None:
                counts += (around[:, j, None] == values).sum(0)
            points[:, j] = rng.choice(values, count, p=counts / counts.sum())
        if around is None:
            return points
        stays = rng.random(points.shape) < rng.choice(SAMPLING.kept_shares, (count, 1))
        changes = rng.random(points.shape) < SAMPLING.changed
        stays = np.where(self._space.unordered, ~changes, stays) & (around[0] != INACTIVE)
        return np.where(stays, around[0], points)


def near(
    space: Space, points: np.ndarray, radius: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw a random neighbour of each point by moving about half of its coordinates.

    Args:
        space: the points' axes.
        points: shape (points, axes).
        radius: standard deviation of a move along each axis, shape (axes,).
        rng: this trial's source of randomness.

    Returns:
        Shape (points, axes).
    """
    moves = rng.normal(size=points.shape) * radius * rng.integers(2, size=points.shape)
    moves[:, space.unordered] = 0.0
    moved = points + moves
    if space.middles:  # now and then a discrete coordinate is drawn anew
        rows = np.flatnonzero(rng.random(len(points)) < SAMPLING.changed)
        moved[rows, rng.choice(list(space.middles), len(rows))] = rng.random(len(rows))
    return np.clip(moved, 0.0, 1.0)
