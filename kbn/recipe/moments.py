"""Mean, deviation and range of examples: of arrays, or of batches that come one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from kbn.recipe.dataset import Scaling


CHUNK = 2**20  # numbers that are computed with in float64 at a time


def chunks(x: np.ndarray) -> Iterator[slice]:
    """Yield slices of the examples that fit into little memory as float64."""
    step = max(1, CHUNK * len(x) // max(1, x.size))
    for first in range(0, len(x), step):
        yield slice(first, first + step)


def scaling_of(x: np.ndarray) -> Scaling:
    """Return mean and standard deviation of each feature or channel, 1 for a constant one.

    Args:
        x: shape (examples, ..., channels) or (examples,), at least one example.
    """
    moments = Moments()
    for part in chunks(x):
        moments.add(x[part])
    return moments.scaling


class Moments:
    """Statistics of all numbers seen so far, per feature or channel, in float64.

    Attributes:
        low, high: the smallest and the largest, shape (channels,); () for targets.
    """

    _count: int
    _mean: np.ndarray | float
    _squares: np.ndarray | float  # sum of squared distances from the mean
    low: np.ndarray | float
    high: np.ndarray | float

    def __init__(self) -> None:
        self._count, self._mean, self._squares = 0, 0.0, 0.0
        self.low, self.high = math.inf, -math.inf

    def add(self, batch: np.ndarray) -> None:
        """Add a batch, shape (examples, ..., channels) or (examples,).

        Source: Chan, Golub and LeVeque, The American Statistician 37 (1983), equation 2.1.
        """
        import numpy as np

        axes = tuple(range(max(1, batch.ndim - 1)))
        mean = batch.mean(axes, dtype="float64")
        count = batch.size // max(1, np.size(mean))
        total, delta = self._count + count, mean - self._mean
        self._squares = (
            self._squares
            + np.square(batch - mean).sum(axes)
            + np.square(delta) * (self._count * count / total)
        )
        self._mean = self._mean + delta * (count / total)
        self._count = total
        self.low = np.minimum(self.low, batch.min(axes))
        self.high = np.maximum(self.high, batch.max(axes))

    @property
    def scaling(self) -> Scaling:
        """Mean and standard deviation, which is 1 where all numbers are equal."""
        import numpy as np

        deviation = np.sqrt(self._squares / self._count)
        return self._mean, np.where(self.low == self.high, 1.0, deviation)
