"""Choice of the next trial: random points ranked by expected improvement, then refined.

Glossary, beside that of `space`:
    mean, deviation  what the surrogate predicts at m points, shape (m,)
    best             lowest predicted mean so far, on which a point is to improve
    t                (best - mean) / deviation, shape (m,)
    promise          logarithm of the expected improvement, shape (m,):
                     log(deviation * (density(t) + t * probability(t))), of the standard normal

Source: Jones, Schonlau and Welch, Efficient Global Optimization of Expensive Black-Box Functions,
J. Global Optimization 13 (1998), section 4.1 (expected improvement). Ament et al., Unexpected
Improvements to Expected Improvement (NeurIPS 2023), section 4.1 (why its logarithm).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from kbn.search.sampling import Region, near
from kbn.search.space import Space
from kbn.search.surrogate import Surrogate


@dataclasses.dataclass(frozen=True)
class AcquisitionSettings:
    """The tuned numbers of choosing among candidates.

    Sources: chosen on the development tasks of benchmarks/tabulated, and for a suggestion's time by
    `python benchmarks/suggestion.py`. Another value's regret is measured by, for example,
    `python -m benchmarks.tabulated --data DIR --tuners ours --set acquisition.candidates=1000`.

    Attributes:
        candidates: number of random points that compete for a trial.
        box_shares: relative number of them in the first, second and third box. Without a model,
            the relative number of trials there.
        refine_radii: standard deviations of the finer draws, each as a share of a box's half width.
        refined: number of points that each finer draw starts from.
        neighbours: number of neighbours drawn round each of them.
        far: improvement, in standard deviations, below which a series replaces the closed form of
            the logarithm; in double precision both agree there.
        offered: number of points handed back, in case the best ones have been tried.
    """

    candidates: int = 500
    box_shares: tuple[int, ...] = (4, 2, 1)
    refine_radii: tuple[float, ...] = (0.25, 0.08)
    refined: int = 10
    neighbours: int = 10
    far: float = -1e3
    offered: int = 60


ACQUISITION = AcquisitionSettings()


def most_promising(
    space: Space,
    regions: Sequence[Region],
    centres: Sequence[np.ndarray | None],
    model: Surrogate,
    radii: np.ndarray,
    rng: np.random.Generator,
    offered: np.ndarray | None = None,
) -> np.ndarray:
    """Return points of the regions by expected improvement, best first.

    Args:
        space: the points' axes.
        regions: boxes to draw from, the best first.
        centres: for each region the points to draw around, as `Region.draw` takes them.
        model: a surrogate that has learned from the trials.
        radii: half widths of a region, shape (axes,).
        rng: this trial's source of randomness.
        offered: points that compete too where they lie in a region, shape (m, axes); None for none.

    Returns:
        Shape (at most `ACQUISITION.offered`, axes).
    """
    shares = np.array(ACQUISITION.box_shares[: len(regions)])
    counts = (ACQUISITION.candidates * shares / shares.sum()).astype(int)
    draws = [r.draw(n, rng, c) for r, n, c in zip(regions, counts, centres, strict=True)]
    if offered is not None:
        draws.append(offered[np.any([region.contains(offered) for region in regions], axis=0)])
    points = space.snap(np.concatenate(draws))
    promise = log_expected_improvement(*model.predict(points), model.best)
    for share in ACQUISITION.refine_radii:
        top = _best_first(points, promise, ACQUISITION.refined)
        finer = near(space, np.repeat(top, ACQUISITION.neighbours, axis=0), share * radii, rng)
        finer = space.snap(finer)
        finer = finer[np.any([region.contains(finer) for region in regions], axis=0)]
        points = np.concatenate([points, finer])
        new = log_expected_improvement(*model.predict(finer), model.best)
        promise = np.concatenate([promise, new])
    return _best_first(points, promise, ACQUISITION.offered)


def log_expected_improvement(mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
    """Logarithm of the expected improvement on `best`, shape (m,).

    Args:
        mean: predicted losses, shape (m,).
        deviation: their standard deviations, > 0, shape (m,).
        best: the loss to improve on.
    """
    limit = ACQUISITION.far
    t = (best - mean) / deviation
    above, below, far = np.maximum(t, 0.0), np.clip(t, limit, 0.0), np.minimum(t, limit)
    log_density = -0.5 * t * t - 0.5 * math.log(2 * math.pi)
    # Below 0, density + t * probability cancels and their ratio does not. Far below, 1 + t * ratio
    # cancels too, and 1 / t^2 is its leading term.
    ratio = math.sqrt(math.pi / 2) * special.erfcx(-below / math.sqrt(2))  # probability / density
    tail = np.where(t > limit, np.log1p(below * ratio), -2 * np.log(-far))
    body = np.log(np.exp(-0.5 * above**2) / math.sqrt(2 * math.pi) + above * special.ndtr(above))
    return np.asarray(np.where(t >= 0, body, log_density + tail) + np.log(deviation))


def _best_first(points: np.ndarray, promise: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many distinct points, the most promising first."""
    order = np.argsort(-promise, kind="stable")
    # equal points promise the same up to rounding, so they stand together
    best = points[order]
    distinct = np.append(True, (best[1:] != best[:-1]).any(1))
    return best[distinct][:most]
