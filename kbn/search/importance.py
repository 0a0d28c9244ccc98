"""Importance of each hyperparameter: functional ANOVA of the finished trials, by a random forest.

A tree is constant in each of its leaves, which are boxes that partition the unit cube. The mean of
a tree over all axes but one is the marginal of that axis, and the variance of the marginal is the
axis's main effect. As the leaves are boxes, both are exact sums over them.

Glossary:
    n, d       finished trials, hyperparameters; axis d + 1 is chance, of random coordinates
    u          coordinates in [0, 1], which the space samples uniformly, shape (n, d)
    column     what a tree splits: an axis, or one category of an unordered axis
    cell       part of an axis between neighbouring splits of a tree, or one category
    width      a cell's share of its axis, shape (cells,), sum 1
    covers     whether a leaf's box contains a cell, shape (leaves, cells)
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

SMALLEST_SHOWN = 0.005  # share that rounds to 1 %
SMALLEST = np.finfo(float).tiny  # keeps a quotient of zeros defined


@dataclasses.dataclass(frozen=True)
class ForestSettings:
    """The numbers of the random forest.

    Sources: 64 trees is the default of Optuna's FanovaImportanceEvaluator, which
    tests/search/test_importance.py compares with. The share of columns was chosen on the known
    main effects of the same tests; with all columns a strong hyperparameter hides the weak ones.

    Attributes:
        trees: number of trees.
        resample: highest number of trials in the resample that a tree is grown on. The time grows
            faster than that number, and more of them change the shares by less than the trees
            differ.
        columns: share in (0, 1] of the columns that a split chooses among.
        quantiles: ends of the interval over the trees; between them lie 90 %.
    """

    trees: int = 64
    resample: int = 1000
    columns: float = 0.7
    quantiles: tuple[float, float] = (0.05, 0.95)


FOREST = ForestSettings()


@dataclasses.dataclass(frozen=True)
class Importance:
    """A hyperparameter's share of the sum of all main effects.

    The interval is over single trees, each grown on its own bootstrap resample of the trials. It
    shows how much depends on which trials were run, not the error of trees as such: beside a strong
    hyperparameter they underestimate weak ones, by up to .05 each.

    Attributes:
        name: the hyperparameter's name.
        share: its share, in [0, 1], mean over the trees. The shares of all hyperparameters sum to
            1; interactions count for none of them.
        low: 5 % quantile over the trees of the share less that of chance in the same tree; 0 where
            the hyperparameter cannot be distinguished from one that has no effect.
        high: 95 % quantile over the trees of the share.
    """

    name: str
    share: float
    low: float
    high: float

    @property
    def is_shown(self) -> bool:
        """Whether the trials show an effect: the interval begins at 1 % or more, as printed."""
        return self.low >= SMALLEST_SHOWN


def functional_anova(
    names: Sequence[str],
    u: np.ndarray,
    scores: np.ndarray,
    *,
    categories: np.ndarray,
    active: np.ndarray,
    rng: np.random.Generator,
) -> tuple[Importance, ...]:
    """Return the importance of every hyperparameter, the most important first.

    A conditional hyperparameter counts where it is active: the variance of its marginal there,
    times the share of the cube where it is active. The effect of switching it on counts for the
    hyperparameter that decides it.

    Args:
        names: names of the d hyperparameters.
        u: shape (n, d), in [0, 1]; ignored where inactive. The i-th of K categories is anywhere in
            [i / K, (i + 1) / K).
        scores: shape (n,), finite, in any unit and direction.
        categories: shape (d,), number of values of an unordered hyperparameter; 0 for any other.
        active: shape (n, d), bool; False where a condition does not hold.
        rng: source of resamples, splits and chance.

    Returns:
        d of them. Without any trials, or if all have the same score, every share is 0 and every
        interval [0, 1].

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
    total = np.maximum(effects[:, :-1].sum(axis=1, keepdims=True), SMALLEST)
    shares, chance = effects[:, :-1] / total, effects[:, -1:] / total
    if not shares.any():
        return tuple(Importance(name, 0.0, 0.0, 1.0) for name in names)
    share = shares.mean(axis=0)
    share /= share.sum()  # less than 1 if a tree's resample repeats a single trial
    low = np.quantile(np.maximum(shares - chance, 0.0), FOREST.quantiles[0], axis=0)
    high = np.quantile(shares, FOREST.quantiles[1], axis=0)
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
    """Main effects in each tree, chance last, shape (trees, d + 1)."""
    from sklearn.tree import DecisionTreeRegressor

    n, d = u.shape
    y = scores - scores.mean()
    y /= np.abs(y).max()  # scikit-learn treats a variance below 2e-16 as 0
    counts = [*categories, 0]
    ends = np.cumsum(np.maximum(counts, 1))[:-1]
    present = np.column_stack([active, np.ones(n)])
    effects = []
    for _ in range(FOREST.trees):
        # An inactive hyperparameter has no effect at any coordinate, so it gets a random one. From
        # a fixed one a tree would learn that it is inactive.
        points = rng.random((n, d + 1))
        points[:, :-1][active] = u[active]
        rows = rng.integers(n, size=min(n, FOREST.resample))
        x = np.hstack([_columns(points[rows, j], count) for j, count in enumerate(counts)])
        choice, seed = math.ceil(FOREST.columns * x.shape[1]), int(rng.integers(2**31))
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
    """Encode an axis for a tree: shape (n, 1), or one-hot, shape (n, count)."""
    if count == 0:
        return u[:, None]
    return np.eye(count)[np.minimum((u * count).astype(int), count - 1)]


def _boxes(tree: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the leaves, and low and high ends of their boxes, shape (leaves, columns)."""
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
    """Compute `covers` and `width` of an axis from the ends of the boxes in its columns."""
    if low.shape[1] == 1:
        edges = np.unique(np.append(low, 1.0))
        middles, width = (edges[:-1, None] + edges[1:, None]) / 2, np.diff(edges)
    else:
        middles, width = np.eye(low.shape[1]), np.full(low.shape[1], 1 / low.shape[1])
    return ((low[:, None] <= middles) & (middles <= high[:, None])).all(axis=2), width


def _main_effects(
    value: np.ndarray, axes: Sequence[tuple[np.ndarray, np.ndarray]], presence: np.ndarray
) -> np.ndarray:
    """Main effects of the axes in one tree, shape (axes,).

    Args:
        value: the tree's value in each leaf, shape (leaves,).
        axes: `covers` and `width` of each axis.
        presence: shape (leaves, axes).
    """
    extents = np.column_stack([covers @ width for covers, width in axes])
    effects = np.empty(len(axes))
    for j, (covers, width) in enumerate(axes):
        # a leaf's share of the slice of the cube at one coordinate of the axis
        across = presence[:, j] * np.delete(extents, j, axis=1).prod(axis=1)
        active = across @ covers
        marginal = (across * value) @ covers / np.maximum(active, SMALLEST)
        weight = width * active
        mean = weight @ marginal / max(weight.sum(), SMALLEST)
        effects[j] = weight @ (marginal - mean) ** 2
    return effects
