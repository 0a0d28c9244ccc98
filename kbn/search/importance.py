"""Which hyperparameter mattered: functional ANOVA of the finished trials, by a random forest.

A tree is constant in each of its leaves, boxes that partition the unit cube. Its mean over all
other axes, at each coordinate of one of them, is the marginal of that axis; the variance of the
marginal is its main effect. As the leaves are boxes, both are exact sums over them.

Glossary:
    n, d       finished trials, hyperparameters; axis d + 1 is chance, coordinates without meaning
    u          coordinates in [0, 1] as the space samples them, uniformly, shape (n, d)
    column     what a tree splits: an axis, or one category of an unordered axis
    cell       stretch of an axis between neighbouring splits of a tree, or one category
    width      share of the axis that a cell is, shape (cells,), sum 1
    covers     whether a leaf's box reaches over a cell, shape (leaves, cells)
    extent     share of an axis that a leaf's box covers, shape (leaves,)
    presence   share of a leaf's trials in which an axis is active, shape (leaves,)

Source: Hutter, Hoos and Leyton-Brown, An Efficient Approach for Assessing Hyperparameter Importance
(ICML 2014), algorithm 2. How conditions and chance are treated is our own.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

TREES = 64
COLUMNS = 0.7  # share of columns that a split chooses among: of all, a strong one hides the weak
QUANTILES = (0.05, 0.95)
TINY = np.finfo(float).tiny


@dataclasses.dataclass(frozen=True)
class Importance:
    """How much of what the hyperparameters do one by one is done by this one.

    The interval is that of single trees, each grown on its own bootstrap resample of the trials.
    It shows how much hangs on which trials were run, not the error of trees as such: beside a
    strong hyperparameter they see weak ones as weaker, by up to .05 each.

    Attributes:
        name: the hyperparameter's.
        share: of the sum of all main effects, in [0, 1], mean over the trees. The shares of all
            hyperparameters sum to 1; what only two of them together do counts for none.
        low: 5 % quantile over the trees of the share less that of chance in the same tree; 0 where
            the hyperparameter cannot be told from one that does nothing.
        high: 95 % quantile over the trees of the share.
    """

    name: str
    share: float
    low: float
    high: float


def functional_anova(
    names: Sequence[str],
    u: np.ndarray,
    scores: np.ndarray,
    *,
    categories: np.ndarray,
    active: np.ndarray,
    rng: np.random.Generator,
) -> tuple[Importance, ...]:
    """The importance of every hyperparameter, the most important first.

    A conditional hyperparameter counts where it is active: the variance of its marginal there,
    times the share of the cube where that is so. What switching it on does is its condition's.

    Args:
        names: of the hyperparameters, d of them.
        u: shape (n, d), in [0, 1]; ignored where inactive. The i-th of K categories is anywhere in
            [i / K, (i + 1) / K).
        scores: shape (n,), finite, in any unit and direction.
        categories: shape (d,), how many values an unordered hyperparameter has; 0 for any other.
        active: shape (n, d), bool; False where conditions leave the hyperparameter out.
        rng: source of resamples, splits and chance.

    Returns:
        d of them. If the trials tell nothing, as none or all with the same score, every share is 0
        and every interval [0, 1].

    Raises:
        ValueError: if a score is not finite.
    """
    if not np.isfinite(scores).all():
        raise ValueError(
            f"The scores parameter of functional_anova must be finite. Got {scores} instead. "
            "Give a failed trial the worst finite score."
        )
    effects = np.zeros((1, len(names) + 1))
    if np.unique(scores).size > 1:
        effects = _forest_effects(u, scores, categories, active, rng)
    total = np.maximum(effects[:, :-1].sum(axis=1, keepdims=True), TINY)
    shares, chance = effects[:, :-1] / total, effects[:, -1:] / total
    if not shares.any():
        return tuple(Importance(name, 0.0, 0.0, 1.0) for name in names)
    share = shares.mean(axis=0)
    share /= share.sum()  # less than 1 if the resample of a tree was one trial over and over
    low = np.quantile(np.maximum(shares - chance, 0.0), QUANTILES[0], axis=0)
    high = np.quantile(shares, QUANTILES[1], axis=0)
    # a mean can lie outside its quantiles
    ends = np.minimum(low, share).tolist(), np.maximum(high, share).tolist()
    found = map(Importance, names, share.tolist(), *ends)
    return tuple(sorted(found, key=lambda importance: -importance.share))


def _forest_effects(
    u: np.ndarray,
    scores: np.ndarray,
    categories: np.ndarray,
    active: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """The main effects in each tree, the last that of chance, shape (TREES, d + 1)."""
    from sklearn.tree import DecisionTreeRegressor

    n, d = u.shape
    y = scores - scores.mean()
    y /= np.abs(y).max()  # scikit-learn takes a variance below 2e-16 for 0
    counts = [*categories, 0]
    ends = np.cumsum(np.maximum(counts, 1))[:-1]
    present = np.column_stack([active, np.ones(n)])
    effects = []
    for _ in range(TREES):
        # Where inactive, a hyperparameter does nothing at any coordinate, so it gets a random one:
        # by a fixed one a tree would know that it is inactive.
        points = rng.random((n, d + 1))
        points[:, :-1][active] = u[active]
        rows = rng.integers(n, size=n)
        x = np.hstack([_columns(points[rows, j], count) for j, count in enumerate(counts)])
        choice, seed = math.ceil(COLUMNS * x.shape[1]), int(rng.integers(2**31))
        model = DecisionTreeRegressor(max_features=choice, random_state=seed).fit(x, y[rows])
        tree = model.tree_
        leaves, low, high = _boxes(tree)
        presence = np.zeros((tree.node_count, d + 1))
        np.add.at(presence, model.apply(x), present[rows])
        presence = presence[leaves] / tree.n_node_samples[leaves, None]
        axes = map(_cells, np.split(low, ends, axis=1), np.split(high, ends, axis=1))
        effects.append(_main_effects(tree.value[leaves, 0, 0], list(axes), presence))
    return np.array(effects)


def _columns(u: np.ndarray, count: int) -> np.ndarray:
    """An axis as a tree sees it, shape (n, 1), or one-hot, shape (n, count)."""
    if count == 0:
        return u[:, None]
    return np.eye(count)[np.minimum((u * count).astype(int), count - 1)]


def _boxes(tree: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which nodes are leaves, and the low and high ends of their boxes, shape (leaves, columns)."""
    low = np.zeros((tree.node_count, tree.n_features))
    high = np.ones_like(low)
    left, right = tree.children_left, tree.children_right
    nodes = np.array([0])
    while (nodes := nodes[left[nodes] >= 0]).size:  # level by level
        for child, end in ((left[nodes], high), (right[nodes], low)):
            low[child], high[child] = low[nodes], high[nodes]
            end[child, tree.feature[nodes]] = tree.threshold[nodes]
        nodes = np.concatenate([left[nodes], right[nodes]])
    leaves = np.flatnonzero(left < 0)
    return leaves, low[leaves], high[leaves]


def _cells(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`covers` and `width` of an axis, given the ends of the boxes in its columns."""
    if low.shape[1] == 1:
        edges = np.unique(np.append(low, 1.0))
        middles, width = (edges[:-1, None] + edges[1:, None]) / 2, np.diff(edges)
    else:
        middles, width = np.eye(low.shape[1]), np.full(low.shape[1], 1 / low.shape[1])
    return ((low[:, None] <= middles) & (middles <= high[:, None])).all(axis=2), width


def _main_effects(
    value: np.ndarray, axes: Sequence[tuple[np.ndarray, np.ndarray]], presence: np.ndarray
) -> np.ndarray:
    """Of the axes in one tree, shape (axes,).

    Args:
        value: of the tree in each leaf, shape (leaves,).
        axes: `covers` and `width` of each.
        presence: shape (leaves, axes).
    """
    extents = np.column_stack([covers @ width for covers, width in axes])
    effects = np.empty(len(axes))
    for j, (covers, width) in enumerate(axes):
        # across the cube at one coordinate of the axis: what a leaf that covers it has there
        across = presence[:, j] * np.delete(extents, j, axis=1).prod(axis=1)
        active = across @ covers
        marginal = (across * value) @ covers / np.maximum(active, TINY)
        weight = width * active
        mean = weight @ marginal / max(weight.sum(), TINY)
        effects[j] = weight @ (marginal - mean) ** 2
    return effects
