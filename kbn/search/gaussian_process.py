"""Gaussian process: the prior of its parameters, their fit, and the posterior it predicts.

Glossary:
    X       points of the unit cube, and what else is known of each: f features, shape (n, d + f)
    z       losses there, warped to mean 0 and deviation 1, smaller is better, shape (n,)
    theta   logarithms of the model's parameters, shape (d + 3,): d length scales, then the
            variances of signal, noise and trend
    k       covariance: signal * matern(r) + trend * (x - .5)(x' - .5) + f f', where r is the
            distance of two points in length scales. On an unordered axis two values are 0 or 1
            apart, and there is no trend along it. In its features f, z is linear, with slopes of
            variance 1

The trend is a plane through all trials. A few trials already show which end of an axis is the good
one, and the plane extends that to where no trial was.

Sources: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), algorithm 2.1 and
section 5.4.1 (evidence and its gradient), sections 4.2.1 and 4.2.2 (Matern 5/2, dot product).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from scipy import linalg, optimize

SQRT5 = math.sqrt(5.0)


@dataclasses.dataclass(frozen=True)
class SurrogateSettings:
    """The surrogate's tuned numbers.

    Losses are warped to variance 1 and coordinates lie in [0, 1], so variances and lengths have no
    unit; all are natural logarithms unless stated otherwise. Every prior is a normal distribution
    of the logarithm, given as (mean, standard deviation), every bound as (low, high).

    Sources: that length scales, signal and noise get log-normal priors, and the mean of the length
    scales grows with the root of the number of axes, follows Hvarfner, Hellsten and Nardi, Vanilla
    Bayesian Optimization Performs Great in High Dimensions (ICML 2024), section 4. The numbers
    themselves were chosen on the development tasks of benchmarks/tabulated; whether another value
    serves better is measured by, for example,
    `python -m benchmarks.tabulated --data DIR --tuners ours --set surrogate.refit_growth=1.5`.

    Attributes:
        jitter: variance (not its logarithm) added to the diagonal, so that equal points leave the
            covariance positive definite in double precision.
        length_bounds: of a length scale, in widths of an axis.
        signal_bounds: of the variance of the signal.
        noise_bounds: of the variance of the noise; the low end is a deviation of .0025.
        trend_bounds: of the variance of the trend's slope.
        length_prior: of a length scale on one axis; with d axes the mean is log(d) / 2 more, as
            distances in the cube grow with the root of d.
        signal_prior: of the signal; the mean is the variance of the warped losses.
        noise_prior: of the noise; the mean is a deviation of .08.
        trend_prior: of the trend.
        fit_steps: most iterations of L-BFGS-B in one fit, which starts from the last one.
        doubted_noise: noise above which a fit is repeated from little noise, since it may have
            taken a narrow valley for noise; a deviation of .1.
        little_noise: noise from which that second fit starts.
        refit_growth: ratio of trials to those at the last fit from which theta is fitted anew; the
            total time of all fits is then proportional to that of the last one.
    """

    jitter: float = 1e-6
    length_bounds: tuple[float, float] = (-4.0, 4.0)
    signal_bounds: tuple[float, float] = (-4.0, 3.0)
    noise_bounds: tuple[float, float] = (-12.0, 1.0)
    trend_bounds: tuple[float, float] = (-9.0, 3.0)
    length_prior: tuple[float, float] = (math.log(0.5), 1.0)
    signal_prior: tuple[float, float] = (0.0, 1.0)
    noise_prior: tuple[float, float] = (-5.0, 1.5)
    trend_prior: tuple[float, float] = (1.0, 1.5)
    fit_steps: int = 10
    doubted_noise: float = math.log(0.1**2)
    little_noise: float = -10.0
    refit_growth: float = 1.1


SURROGATE = SurrogateSettings()


def prior(dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of theta before any trial, each of shape (d + 3,)."""
    mean, deviation = SURROGATE.length_prior
    lengths = [(mean + math.log(max(1, dimensions)) / 2, deviation)] * dimensions
    others = [SURROGATE.signal_prior, SURROGATE.noise_prior, SURROGATE.trend_prior]
    means, deviations = np.array([*lengths, *others]).T
    return means, deviations


def fit(x: np.ndarray, z: np.ndarray, unordered: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the theta with the highest posterior density that the minimizer finds.

    Args:
        x: X, shape (n, d + f).
        z: shape (n,).
        unordered: shape (d,), whether an axis is unordered; what x has beyond these are features.
        start: theta to begin with, shape (d + 3,).
    """
    n, d = len(x), len(unordered)
    x, features = x[:, :d], x[:, d:]
    rows, columns = np.tril_indices(n, -1)  # each pair once
    diagonal = np.diag_indices(n)
    squares = (x[rows] - x[columns]) ** 2
    squares[:, unordered] = squares[:, unordered] > 0
    squares = np.ascontiguousarray(squares.T)
    centred = _centred(x, unordered)
    dots, norms = (centred[rows] * centred[columns]).sum(1), (centred**2).sum(1)
    given, given_norms = (features[rows] * features[columns]).sum(1), (features**2).sum(1)
    believed, deviation = prior(d)

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        weights = np.exp(-2 * theta[:d])
        signal, noise, trend = np.exp(theta[d:])
        r2 = weights @ squares
        r = SQRT5 * np.sqrt(r2)
        decay = np.exp(-r)
        matern = (1 + r + r2 * (5 / 3)) * decay
        k = np.zeros((n, n))
        k[rows, columns] = signal * matern + trend * dots + given
        k[diagonal] = signal + trend * norms + given_norms + noise + SURROGATE.jitter
        factor, failed = linalg.lapack.dpotrf(k, lower=True, overwrite_a=True)
        if failed:
            return 1e10, np.zeros_like(theta)
        alpha = linalg.cho_solve((factor, True), z, check_finite=False)
        inverse, _ = linalg.lapack.dpotri(factor, lower=True)
        # twice the derivative of the loss by k: by a pair, which k holds twice, and the diagonal
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

    bounds = [SURROGATE.length_bounds] * d
    bounds += [SURROGATE.signal_bounds, SURROGATE.noise_bounds, SURROGATE.trend_bounds]

    def minimize(start: np.ndarray, steps: int) -> optimize.OptimizeResult:
        options = {"maxiter": steps}
        return optimize.minimize(
            loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options
        )

    found = minimize(start, SURROGATE.fit_steps)
    if found.x[d + 1] > SURROGATE.doubted_noise:
        quiet = believed.copy()
        quiet[d + 1] = SURROGATE.little_noise
        again = minimize(quiet, 2 * SURROGATE.fit_steps)
        found = min(found, again, key=lambda result: result.fun)
    return np.asarray(found.x)


class GaussianProcess:
    """Posterior of z at any point, given X, z and theta.

    Args:
        x: X, shape (n, d + f).
        z: shape (n,).
        unordered: shape (d,), whether an axis is unordered.
        theta: shape (d + 3,).
    """

    def __init__(self, x: np.ndarray, z: np.ndarray, unordered: np.ndarray, theta: np.ndarray):
        d = len(unordered)
        self._x, self._unordered = x, unordered
        self._centred, self._features = _centred(x, unordered), x[:, d:]
        per_length = SQRT5 * np.exp(-theta[:d])
        self._per_length = per_length[~unordered]
        self._weights = [(j, per_length[j] ** 2) for j in np.flatnonzero(unordered)]
        self._signal, noise, self._trend = np.exp(theta[d:])
        k = self._covariance(x, np.float64)  # in single precision it may not be positive definite
        k[np.diag_indices(len(z))] += noise + SURROGATE.jitter
        self._factor = linalg.cholesky(k, lower=True, check_finite=False, overwrite_a=True)
        self._alpha = linalg.cho_solve((self._factor, True), z, check_finite=False)

    def mean(self, x: np.ndarray) -> np.ndarray:
        """Predict the mean of z at points of shape (m, d + f); shape (m,)."""
        return np.asarray(self._covariance(x, np.float32) @ self._alpha)

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predict mean and deviation of z without noise, shape (m,), at points as in `mean`."""
        # single precision is four times as fast, and 1e-7 does not change a ranking
        k = self._covariance(x, np.float32)
        mean = k @ self._alpha
        solved = linalg.blas.dtrsm(1.0, self._factor, k.T, lower=True, overwrite_b=True)
        variance = self._signal + self._trend * (_centred(x, self._unordered) ** 2).sum(1)
        variance += (x[:, len(self._unordered) :] ** 2).sum(1)
        variance -= np.einsum("ij,ij->j", solved, solved)
        return mean, np.sqrt(np.maximum(variance, 1e-12))

    def _covariance(self, x: np.ndarray, dtype: type) -> np.ndarray:
        """Covariance of points with those of X, shape (m, n); its exponential is of `dtype`."""
        centred = _centred(x, self._unordered)
        k = np.matmul(self._trend * centred, self._centred.T)
        k += x[:, len(self._unordered) :] @ self._features.T
        # |a - b|^2 = |a|^2 - 2ab + |b|^2 as one matrix product
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
    """Return the ordered coordinates round the middle of the cube, shape (n, ordered axes)."""
    return x[:, : len(unordered)][:, ~unordered] - 0.5
