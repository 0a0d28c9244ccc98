"""Surrogate: predicts a trial's loss from a growing number of trials.

Glossary:
    y       losses of the learned trials, smaller is better, shape (n,); z: the same, warped
    level   how far a trial was trained, in (0, 1]; 1 for a whole training

The symbols of the model, X and theta, are those of `gaussian_process`, P that of `transfer`.

Each level differs from the highest one by an offset, which the model learns as the slope of a
feature, above all from trials that were continued. Without it, a short length scale along the
levels would have to explain the offset, and hide that what is good after a few epochs is mostly
good in the end.

Sources: Salinas, Shen and Perrone, A Quantile-Based Approach for Hyperparameter Transfer Learning
(ICML 2020), section 4 (a Gaussian process of what earlier searches leave unexplained). That P has
weights with a prior round its mean, learned with the rest, is our own choice, and so are offsets.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol

import numpy as np
from scipy import special

from kbn.search.fidelity import FIDELITY
from kbn.search.gaussian_process import SURROGATE, GaussianProcess, fit, prior


def warp(y: np.ndarray) -> np.ndarray:
    """Squeeze the worse half of the losses and scale all to mean 0 and deviation 1.

    The better half keeps its distances. The worse half keeps only its order: it becomes the upper
    half of a normal distribution as wide as the better half, so that diverged trials do not hide
    the differences among good ones. A prototype of this search had more than twice the regret on
    the development tasks of benchmarks/tabulated with plain standardizing or with plain ranks.

    Args:
        y: shape (n,), finite.
    """
    y = y / 2  # so that no difference overflows
    middle = (len(y) - 1) // 2  # of an even number the lower one: the upper half may be huge
    median = np.partition(y, middle)[middle]
    good = y <= median
    z = np.where(good, y, median) - median
    z = z / (-z.min() or 1.0)  # its squares neither overflow nor vanish
    deviation = math.sqrt(np.mean(z[good] ** 2)) or 1.0
    rising = np.sort(y)
    # average ranks: equal losses stay equal
    ranks = (np.searchsorted(rising, y, "left") + np.searchsorted(rising, y, "right") + 1) / 2
    normal = deviation * special.ndtri(np.clip((ranks - 0.5) / len(y), 0.5, 1 - 1e-6))
    z = np.where(good, z, normal)
    return np.asarray((z - z.mean()) / (z.std() or 1.0))


@dataclasses.dataclass(frozen=True)
class StackingSettings:
    """The tuned numbers of building on what earlier searches predict.

    Sources: chosen on the development tasks of benchmarks/tabulated. Another value is measured by,
    for example, `python -m benchmarks.tabulated --data DIR --tuners ours --past 3
    --set stacking.doubt=1`.

    Attributes:
        doubt: standard deviation of the weight of each column of P before any trial.
    """

    doubt: float = 0.5


STACKING = StackingSettings()


class Earlier(Protocol):
    """What s earlier searches say."""

    @property
    def weights(self) -> np.ndarray:
        """Expected weights of the columns of P before any trial, shape (s,)."""

    def predict(self, points: np.ndarray) -> np.ndarray:
        """Return P at points of shape (m, axes), in shape (m, s)."""


class _Nothing:
    """No earlier search."""

    weights = np.empty(0)

    def predict(self, points: np.ndarray) -> np.ndarray:
        return np.empty((len(points), 0))


NOTHING = _Nothing()


class Surrogate:
    """Gaussian process that learns from a growing number of trials.

    Args:
        unordered: shape (axes,), whether an axis is unordered.
        levelled: whether trials train for different numbers of epochs, which is one axis more.
        earlier: what earlier searches say.

    Attributes:
        theta: the last fit's, or the prior's mean before any.
        fitted: number of trials at the last fit; 0 before any.
        means: predicted means of the learned trials, trained in full, shape (n,).
        best: the lowest predicted mean of any learned or running trial.
    """

    def __init__(self, unordered: np.ndarray, levelled: bool, earlier: Earlier = NOTHING):
        self._earlier = earlier
        self._levelled = levelled
        self._unordered = np.append(unordered, False) if levelled else unordered
        self.theta, _ = prior(len(self._unordered))
        self.fitted = 0

    def learn(self, points: np.ndarray, levels: np.ndarray, losses: np.ndarray, ended: int) -> bool:
        """Condition the model on the trials, and fit theta anew if there are enough new ones.

        Args:
            points: shape (n, axes).
            levels: how far each was trained, 1 for a whole training, shape (n,).
            losses: smaller is better, shape (n,).
            ended: number of trials that ended, of which these are n.

        Returns:
            Whether theta was fitted anew.
        """
        predicted = self._earlier.predict(points)
        self._lower = np.unique(levels)[:-1]
        features = self._features(levels, predicted)
        self._centre = features.mean(0)  # z has the mean 0 at these points too
        self._x = self._joined(points, levels, predicted)
        self._z = warp(losses) - self._expected(self._x)
        due = ended >= SURROGATE.refit_growth * self.fitted
        if due:
            self.theta = fit(self._x, self._z, self._unordered, self.theta)
            self.fitted = ended
        self._process = self._given(self._x, self._z)
        whole = self._joined(points, np.ones(len(points)), predicted)
        self.means = self._process.mean(whole) + self._expected(whole)
        self.best = float(self.means.min())
        return due

    def recall(self, theta: np.ndarray, fitted: int) -> None:
        """Take over an earlier fit, if it has as many axes."""
        if len(theta) == len(self.theta):
            self.theta, self.fitted = theta, fitted

    def expect(self, points: np.ndarray) -> None:
        """Treat the predicted losses of running trials as observed, so that others go elsewhere.

        Source: Ginsbourger, Le Riche and Carraro, Kriging Is Well-Suited to Parallelize
        Optimization (2010), "the kriging believer".
        """
        added = self._input(points)
        means = self._process.mean(added)  # of what the earlier searches leave unexplained
        x = np.concatenate([self._x, added])
        self._process = self._given(x, np.concatenate([self._z, means]))
        self.best = min(self.best, float((means + self._expected(added)).min()))

    def predict(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predict mean and deviation of the warped loss at points trained in full.

        Args:
            points: shape (m, axes).

        Returns:
            Both of shape (m,).
        """
        x = self._input(points)
        mean, deviation = self._process.predict(x)
        return mean + self._expected(x), deviation

    @property
    def noise(self) -> float:
        """Standard deviation of a trial's warped loss round its mean."""
        return math.exp(self.theta[-2] / 2)

    @property
    def widths(self) -> np.ndarray:
        """Length scales of the axes, scaled to a geometric mean of 1, shape (axes,)."""
        lengths = self.theta[: len(self._unordered) - self._levelled]
        return np.exp(lengths - lengths.mean()) if len(lengths) else lengths

    def _given(self, x: np.ndarray, z: np.ndarray) -> GaussianProcess:
        return GaussianProcess(x, z, self._unordered, self.theta)

    def _expected(self, x: np.ndarray) -> np.ndarray:
        """Return the warped losses that the earlier searches alone predict, shape (m,)."""
        weights = self._earlier.weights / STACKING.doubt
        return np.asarray(x[:, len(self._unordered) :][:, : len(weights)] @ weights)

    def _input(self, points: np.ndarray) -> np.ndarray:
        """Return the process's input of points trained in full, shape (m, d + f)."""
        return self._joined(points, np.ones(len(points)), self._earlier.predict(points))

    def _joined(self, points: np.ndarray, levels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return points, levels, and features whose slopes have variance 1."""
        features = self._features(levels, predicted) - self._centre
        return np.column_stack([points, *([levels] if self._levelled else []), features])

    def _features(self, levels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return P and, for each lower level, whether a point has it; the slope is the offset."""
        return np.column_stack(
            [STACKING.doubt * predicted, FIDELITY.offset * (levels[:, None] == self._lower)]
        )
