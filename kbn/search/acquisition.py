"""Which of many random points promises most: ranked by the model, then drawn closer.

Source: Jones, Schonlau and Welch, Efficient Global Optimization of Expensive Black-Box Functions,
J. Global Optimization 13 (1998), section 4.1 (expected improvement). Ament et al., Unexpected
Improvements to Expected Improvement (NeurIPS 2023), section 4.1 (why its logarithm).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from kbn.search.sampling import Region, near
from kbn.search.space import Space
from kbn.search.surrogate import Surrogate

CANDIDATES = 500  # random points of the boxes
BOX_SHARES = (4, 2, 1)  # how many of them in the first, second, third box
REFINE = (0.25, 0.08)  # radii of the finer draws, as shares of a box's half width
BEST, NEIGHBOURS = 10, 10  # so many points are refined, each by so many neighbours
FAR = -1e3  # deviations from the best, beyond which a series takes over
OFFERED = 60  # points to choose from, in case the best ones were tried


def most_promising(
    space: Space,
    regions: Sequence[Region],
    centres: Sequence[np.ndarray | None],
    model: Surrogate,
    radii: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Points of the regions by their expected improvement, best first.

    Args:
        space: of the points.
        regions: boxes to draw from, the best first.
        centres: of each region the points to draw around, as `Region.draw` takes them.
        model: that has learned from the trials.
        radii: half widths of a region, shape (axes,).
        rng: of this trial.

    Returns:
        Shape (at most OFFERED, axes).
    """
    shares = np.array(BOX_SHARES[: len(regions)])
    counts = (CANDIDATES * shares / shares.sum()).astype(int)
    draws = [r.draw(n, rng, c) for r, n, c in zip(regions, counts, centres, strict=True)]
    points = space.snap(np.concatenate(draws))
    promise = log_expected_improvement(*model.predict(points), model.best)
    for share in REFINE:
        top = _best_first(points, promise, BEST)
        finer = near(space, np.repeat(top, NEIGHBOURS, axis=0), share * radii, rng)
        finer = space.snap(finer)
        finer = finer[np.any([region.contains(finer) for region in regions], axis=0)]
        points = np.concatenate([points, finer])
        new = log_expected_improvement(*model.predict(finer), model.best)
        promise = np.concatenate([promise, new])
    return _best_first(points, promise, OFFERED)


def log_expected_improvement(mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
    """Logarithm of the improvement on `best` that is expected, shape (m,)."""
    t = (best - mean) / deviation
    above, below, far = np.maximum(t, 0.0), np.clip(t, FAR, 0.0), np.minimum(t, FAR)
    log_density = -0.5 * t * t - 0.5 * math.log(2 * math.pi)
    # density + t * probability cancels below 0, where their ratio does not; and 1 + t * ratio far
    # below, where 1 / t^2 is what is left of it
    ratio = math.sqrt(math.pi / 2) * special.erfcx(-below / math.sqrt(2))  # probability / density
    tail = np.where(t > FAR, np.log1p(below * ratio), -2 * np.log(-far))
    body = np.log(np.exp(-0.5 * above**2) / math.sqrt(2 * math.pi) + above * special.ndtr(above))
    return np.asarray(np.where(t >= 0, body, log_density + tail) + np.log(deviation))


def _best_first(points: np.ndarray, promise: np.ndarray, most: int) -> np.ndarray:
    """At most so many distinct points, the most promising first."""
    order = np.argsort(-promise, kind="stable")
    # equal points promise the same, but for rounding, so they stand together
    best = points[order]
    distinct = np.append(True, (best[1:] != best[:-1]).any(1))
    return best[distinct][:most]
