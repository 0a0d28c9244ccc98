"""A small Gaussian process that foretells losses.

Glossary:
    X       points of the unit cube, shape (n, d)
    y       losses there, smaller is better, shape (n,); z: the same, warped
    theta   logarithms of the model's parameters, shape (d + 3,): d length scales, the variances of
            signal, noise and trend
    k       covariance: signal * matern(r) + trend * (x - .5)(x' - .5); r is the distance of two
            points in length scales; on an unordered axis two values are 0 or 1 apart, and it has no
            trend

The trend, a plane through all trials, is what a few of them tell best: which end of an axis is the
good one, also where no trial was.

Sources: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), algorithm 2.1 and
section 5.4.1 (evidence and its gradient), sections 4.2.1 and 4.2.2 (Matern 5/2, dot product).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import linalg, optimize, special

JITTER = 1e-6
SQRT5 = math.sqrt(5.0)
# Bounds of theta, and what is believed of it before any trial: mean and standard deviation.
LENGTHS, SIGNAL, NOISE, TREND = (-4.0, 4.0), (-4.0, 3.0), (-12.0, 1.0), (-9.0, 3.0)
LENGTH_PRIOR = (math.log(0.5), 1.0)  # and half the logarithm of d more: distances grow with it
SIGNAL_PRIOR, NOISE_PRIOR, TREND_PRIOR = (0.0, 1.0), (-5.0, 1.5), (1.0, 1.5)
STEPS = 10  # of the minimizer, at most
LOUD, QUIET = math.log(0.1**2), -10.0  # a noise to doubt, and one to begin with then
REFIT = 1.1  # theta is fitted anew when there are so many times the trials


def warp(y: np.ndarray) -> np.ndarray:
    """Losses as the model sees them: the worse half squeezed, mean 0 and deviation 1.

    The better half keeps its distances. Of the worse half only the order is kept: it becomes the
    upper half of a normal distribution as wide as the better half, so that trials that diverged do
    not hide the differences among good ones.

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


def prior(dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of theta before any trial, each of shape (d + 3,)."""
    mean, deviation = LENGTH_PRIOR
    lengths = [(mean + math.log(max(1, dimensions)) / 2, deviation)] * dimensions
    means, deviations = np.array([*lengths, SIGNAL_PRIOR, NOISE_PRIOR, TREND_PRIOR]).T
    return means, deviations


def fit(x: np.ndarray, z: np.ndarray, unordered: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The most probable theta.

    Args:
        x: X.
        z: mean 0 and deviation 1.
        unordered: shape (d,), which axes are.
        start: theta to begin with.
    """
    n, d = x.shape
    rows, columns = np.tril_indices(n, -1)  # each pair once
    diagonal = np.diag_indices(n)
    squares = (x[rows] - x[columns]) ** 2
    squares[:, unordered] = squares[:, unordered] > 0
    squares = np.ascontiguousarray(squares.T)
    centred = _centred(x, unordered)
    dots, norms = (centred[rows] * centred[columns]).sum(1), (centred**2).sum(1)
    believed, deviation = prior(d)

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        weights = np.exp(-2 * theta[:d])
        signal, noise, trend = np.exp(theta[d:])
        r2 = weights @ squares
        r = SQRT5 * np.sqrt(r2)
        decay = np.exp(-r)
        matern = (1 + r + r2 * (5 / 3)) * decay
        k = np.zeros((n, n))
        k[rows, columns] = signal * matern + trend * dots
        k[diagonal] = signal + trend * norms + noise + JITTER
        factor, failed = linalg.lapack.dpotrf(k, lower=True, overwrite_a=True)
        if failed:
            return 1e10, np.zeros_like(theta)
        alpha = linalg.cho_solve((factor, True), z, check_finite=False)
        inverse, _ = linalg.lapack.dpotri(factor, lower=True)
        # twice the derivative of the loss by k: of a pair, which k holds twice, and of the diagonal
        by_pair = 2 * (inverse[rows, columns] - alpha[rows] * alpha[columns])
        by_diagonal = inverse[diagonal] - alpha * alpha
        gradient = np.empty_like(theta)
        gradient[:d] = 5 / 3 * signal * weights * (squares @ (by_pair * (1 + r) * decay))
        gradient[d] = signal * (by_pair @ matern + by_diagonal.sum())
        gradient[d + 1] = noise * by_diagonal.sum()
        gradient[d + 2] = trend * (by_pair @ dots + by_diagonal @ norms)
        surprise = (theta - believed) / deviation
        value = z @ alpha + 2 * np.log(factor[diagonal]).sum() + surprise @ surprise
        return value / 2, gradient / 2 + surprise / deviation

    bounds = [LENGTHS] * d + [SIGNAL, NOISE, TREND]

    def least(start: np.ndarray, steps: int) -> optimize.OptimizeResult:
        options = {"maxiter": steps}
        return optimize.minimize(
            loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options
        )

    found = least(start, STEPS)
    if found.x[d + 1] > LOUD:  # it may be shape that was taken for noise
        quiet = believed.copy()
        quiet[d + 1] = QUIET
        found = min(found, least(quiet, 2 * STEPS), key=lambda result: result.fun)
    return np.asarray(found.x)


class GaussianProcess:
    """What is known of z everywhere, given X, z and theta.

    Args:
        x: X.
        z: shape (n,).
        unordered: shape (d,), which axes are.
        theta: shape (d + 3,).
    """

    def __init__(self, x: np.ndarray, z: np.ndarray, unordered: np.ndarray, theta: np.ndarray):
        d = x.shape[1]
        self._x, self._unordered = x, unordered
        self._centred = _centred(x, unordered)
        per_length = SQRT5 * np.exp(-theta[:d])
        self._per_length = per_length[~unordered]
        self._weights = [(j, per_length[j] ** 2) for j in np.flatnonzero(unordered)]
        self._signal, noise, self._trend = np.exp(theta[d:])
        k = self._covariance(x, np.float64)  # or it may not be positive definite
        k[np.diag_indices(len(z))] += noise + JITTER
        self._factor = linalg.cholesky(k, lower=True, check_finite=False, overwrite_a=True)
        self._alpha = linalg.cho_solve((self._factor, True), z, check_finite=False)

    def mean(self, x: np.ndarray) -> np.ndarray:
        """Mean of z at points of shape (m, d)."""
        return np.asarray(self._covariance(x, np.float32) @ self._alpha)

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of z, without noise, at points of shape (m, d)."""
        # in single precision, four times as fast: 1e-7 does not change a ranking
        k = self._covariance(x, np.float32)
        mean = k @ self._alpha
        solved = linalg.blas.dtrsm(1.0, self._factor, k.T, lower=True, overwrite_b=True)
        variance = self._signal + self._trend * (_centred(x, self._unordered) ** 2).sum(1)
        variance -= np.einsum("ij,ij->j", solved, solved)
        return mean, np.sqrt(np.maximum(variance, 1e-12))

    def _covariance(self, x: np.ndarray, dtype: type) -> np.ndarray:
        """Of points with those of X, its exponential of a precision; shape (m, n)."""
        centred = _centred(x, self._unordered)
        k = np.matmul(self._trend * centred, self._centred.T)
        # |a - b|^2 = |a|^2 - 2ab + |b|^2, in one product
        a, b = centred * self._per_length, self._centred * self._per_length
        a = np.column_stack([-2 * a, (a * a).sum(1), np.ones(len(a))])
        b = np.column_stack([b, np.ones(len(b)), (b * b).sum(1)])
        r2 = a @ b.T
        for j, weight in self._weights:
            r2 += weight * (x[:, j, None] != self._x[:, j])
        matern = np.maximum(r2, 0.0, dtype=dtype, casting="same_kind")
        r = np.sqrt(matern)  # (1 + r + r^2 / 3) signal e^-r
        matern /= 3
        matern += r
        matern += 1
        matern *= np.exp(np.subtract(math.log(self._signal), r, out=r), out=r)
        k += matern
        return k


def _centred(x: np.ndarray, unordered: np.ndarray) -> np.ndarray:
    return x[:, ~unordered] - 0.5


class Surrogate:
    """A Gaussian process that is told of more and more trials.

    Args:
        unordered: shape (axes,), which axes are.
        levelled: whether trials were trained to several levels.

    Attributes:
        theta: of the last fit.
        fitted: number of trials that it was made of; 0 for none.
    """

    def __init__(self, unordered: np.ndarray, levelled: bool):
        self._levelled = levelled
        self._unordered = np.append(unordered, False) if levelled else unordered
        self.theta, _ = prior(len(self._unordered))
        self.fitted = 0

    def learn(self, points: np.ndarray, levels: np.ndarray, losses: np.ndarray, ended: int) -> bool:
        """Takes in what is known of the trials.

        Args:
            points: shape (n, axes).
            levels: how far each was trained, 1 for a whole training, shape (n,).
            losses: smaller is better, shape (n,).
            ended: how many trials there are, of which these are n.

        Returns:
            Whether theta changed.
        """
        self._x, self._z = self._input(points, levels), warp(losses)
        due = ended >= REFIT * self.fitted
        if due:
            self.theta = fit(self._x, self._z, self._unordered, self.theta)
            self.fitted = ended
        self._process = self._given(self._x, self._z)
        self.means = self._process.mean(self._input(points, np.ones(len(points))))
        self.best = float(self.means.min())
        return due

    def recall(self, theta: np.ndarray, fitted: int) -> None:
        """Takes up an earlier fit, if it was of these axes."""
        if len(theta) == len(self.theta):
            self.theta, self.fitted = theta, fitted

    def expect(self, points: np.ndarray) -> None:
        """Takes for true what is foretold of running trials, so that others go elsewhere."""
        points = self._input(points, np.ones(len(points)))
        means = self._process.mean(points)
        x = np.concatenate([self._x, points])
        self._process = self._given(x, np.concatenate([self._z, means]))
        self.best = min(self.best, float(means.min()))

    def predict(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of the warped loss at points, shape (m, axes), trained in full."""
        return self._process.predict(self._input(points, np.ones(len(points))))

    @property
    def noise(self) -> float:
        """Deviation of a trial's warped loss from its mean."""
        return math.exp(self.theta[-2] / 2)

    @property
    def widths(self) -> np.ndarray:
        """Length scales of the axes, their geometric mean 1, shape (axes,)."""
        lengths = self.theta[: len(self._unordered) - self._levelled]
        return np.exp(lengths - lengths.mean()) if len(lengths) else lengths

    def _given(self, x: np.ndarray, z: np.ndarray) -> GaussianProcess:
        return GaussianProcess(x, z, self._unordered, self.theta)

    def _input(self, points: np.ndarray, levels: np.ndarray) -> np.ndarray:
        return np.column_stack([points, levels]) if self._levelled else points
