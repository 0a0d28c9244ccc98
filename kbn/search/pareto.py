"""Several objectives: which trials are best, and how a proposal weighs one objective with another.

Glossary:
    losses   of n trials in m objectives, smaller is better, shape (n, m)
    front    the trials that no other one dominates: none is as good in all and better in one
    weights  of the objectives in one proposal, >= 0 with the sum 1, shape (m,)
    excess   by how much a trial violates the constraints; 0 if it is feasible

Sources: Knowles, ParEGO: A Hybrid Algorithm with On-Line Landscape Approximation for Expensive
Multiobjective Optimization Problems, IEEE Trans. Evolutionary Computation 10 (2006), section III
(every proposal weighs the objectives anew, at random, so that the whole front is searched). Deb, An
Efficient Constraint Handling Method for Genetic Algorithms, Computer Methods in Applied Mechanics
and Engineering 186 (2000), section 3 (a feasible trial is better than any infeasible one, and of
two infeasible ones that with the smaller excess).
"""

from __future__ import annotations

import numpy as np

SUM_SHARE = 0.05  # rho of Knowles (2006), equation 2


def non_dominated(losses: np.ndarray) -> np.ndarray:
    """Return whether each trial is on the front, shape (n,); equal trials are there together.

    Args:
        losses: shape (n, m); a trial with a NaN is not on the front.
    """
    found = np.zeros(len(losses), bool)
    front = np.empty((0, losses.shape[1]))
    for i in np.lexsort(losses.T[::-1]):  # no trial is dominated by a later one in this order
        point = losses[i]
        if np.isnan(point).any():
            continue
        dominated = ((front <= point).all(1) & (front < point).any(1)).any()
        if not dominated:
            found[i] = True
            front = np.vstack([front, point])
    return found


def front_first(losses: np.ndarray) -> list[int]:
    """Return indices of the trials: the front, then the others, each by the first objective.

    Ties are broken by the next objectives, then by age, so that the first one is on the front.

    Args:
        losses: shape (n, m), in the order of the trials' age.
    """
    keys = *losses.T[::-1], ~non_dominated(losses)
    return [int(i) for i in np.lexsort(keys)]


def draw_weights(objectives: int, rng: np.random.Generator) -> np.ndarray:
    """Draw weights uniformly from all weights with the sum 1, shape (objectives,)."""
    return rng.dirichlet(np.ones(objectives))


def scalarized(losses: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return one loss for each trial: the augmented Tchebycheff function, shape (n,).

    It is max_j(weights_j z_j) + rho sum_j(weights_j z_j) with z from `normalized`: every point of
    the front is its minimum for some weights, whatever the front's shape.

    Args:
        losses: shape (n, m); NaN in all objectives of a failed trial, whose loss is NaN.
        weights: shape (m,).
    """
    weighted = normalized(losses) * weights
    return np.asarray(weighted.max(1) + SUM_SHARE * weighted.sum(1))


def normalized(losses: np.ndarray) -> np.ndarray:
    """Return each objective's ranks among the trials, from 0 for the best to 1, shape (n, m).

    Ranks make objectives comparable whose units are not, such as an error and a number of
    parameters that spans powers of ten, and one diverged trial does not squeeze all others. Equal
    losses have equal ranks, and NaN stays NaN.
    """
    ranks = np.full(losses.shape, np.nan)
    for j, column in enumerate(losses.T):
        known = ~np.isnan(column)
        values, places = np.unique(column[known], return_inverse=True)
        ranks[known, j] = places / max(1, len(values) - 1)
    return ranks


def penalized(losses: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """Return losses in which every infeasible trial is worse than all feasible ones, shape (n,).

    The excesses are scaled to the range of the feasible losses. A trial that failed is as bad as
    the worst.

    Args:
        losses: shape (n,); NaN if a trial failed, or was not trained.
        excess: shape (n,), >= 0.

    Returns:
        Shape (n,), or (0,) while all trials have failed.
    """
    infeasible = excess > 0
    feasible = ~infeasible & ~np.isnan(losses)
    if infeasible.any():
        known = losses[feasible] if feasible.any() else np.zeros(1)
        worst, width = known.max(), float(np.ptp(known)) or 1.0
        losses = np.where(infeasible, worst + excess / excess.max() * width, losses)
    failed = np.isnan(losses)
    if failed.all():
        return losses[:0]
    return np.where(failed, losses[~failed].max(), losses) if failed.any() else losses
