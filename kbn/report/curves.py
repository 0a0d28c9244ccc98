"""The learning curves of a search."""

from __future__ import annotations

import collections
import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kbn.report.panels import (
    BEST,
    FAILED,
    SCORES,
    colour_bar,
    legend,
    ranks,
    score_label,
    single,
)
from kbn.report.results import Search
from kbn.report.span import Span
from kbn.tracking.journal import Attempt

MOST = 300  # curves: more cannot be told apart


def learning_curves(search: Search) -> Figure:
    """The objective's metric by epoch, a line a trial; the mean of its executions.

    Of more than `MOST` trials so many are drawn, by rank from the best to the worst.

    At least one trial has told the metric by epoch: `has_curves`.
    """
    figure, panel = single()
    levels, best = ranks(search.results), search.results.best
    for trial in search.results.thinned(MOST):
        style: dict[str, Any] = {"color": FAILED, "linestyle": "--", "label": "failed or running"}
        if trial is best:
            style = {"color": BEST, "linewidth": 2.5, "zorder": 3, "label": "best"}
        elif trial.trial in levels:
            style = {"color": SCORES(levels[trial.trial]), "alpha": 0.8}
        curve = _curve(trial, search.metric)
        if len(curve):
            dot = "o" if len(curve) == 1 else ""
            panel.plot(*curve.T, marker=dot, markersize=3, **{"linewidth": 1.0, **style})
    _frame(search).frame(panel)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panel.set_xlabel("epoch")
    panel.set_ylabel(score_label(search))
    if levels:
        colour_bar(figure, panel, "rank of the trial's score", ("worst", "best"))
    legend(figure, [panel])
    return figure


def has_curves(search: Search) -> bool:
    """Whether a trial told the objective's metric by epoch, finite at least once."""
    return bool(_finite(search))


def _frame(search: Search) -> Span:
    return Span.of(_finite(search), search.results.direction)


def _finite(search: Search) -> list[float]:
    """All values of the metric."""
    curves = [_curve(trial, search.metric)[:, 1] for trial in search.results.trials]
    return [value for curve in curves for value in curve.tolist() if math.isfinite(value)]


def _curve(trial: Attempt, metric: str) -> np.ndarray:
    """Shape (epochs, 2): the epoch from 1, and the metric after it, mean of the executions."""
    values: dict[int, list[float]] = collections.defaultdict(list)
    for epoch in trial.epochs:
        if metric in epoch.metrics:
            values[epoch.epoch + 1].append(epoch.metrics[metric])
    points = [(epoch, sum(of) / len(of)) for epoch, of in sorted(values.items())]
    return np.array(points, float).reshape(-1, 2)
