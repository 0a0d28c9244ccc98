"""Figure of the learning curves of a search."""

from __future__ import annotations

import collections
import dataclasses
import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kbn.report.grids import ALONE, arrange
from kbn.report.panels import (
    BAR_WIDTH,
    BEST_COLOUR,
    FAILED_COLOUR,
    SCORE_COLOURS,
    colour_bar,
    ranks,
    score_label,
    single_panel,
)
from kbn.report.results import SearchSummary
from kbn.report.span import Span
from kbn.tracking.attempts import Attempt

MAX_CURVES = 300  # more cannot be distinguished


def learning_curves(search: SearchSummary) -> Figure:
    """Draw the objective's metric by epoch, one line per trial: the mean over its executions.

    Of more than `MAX_CURVES` trials only that many are drawn, evenly by rank from best to worst.

    At least one trial must have reported the metric by epoch: see `has_curves`.
    """
    figure, panel = single_panel()
    levels, best = ranks(search.results), search.results.best
    for trial in search.results.thinned(MAX_CURVES):
        style: dict[str, Any]
        if trial is best:
            style = {"color": BEST_COLOUR, "linewidth": 2.5, "zorder": 3, "label": "best"}
        elif trial.trial in levels:
            style = {"color": SCORE_COLOURS(levels[trial.trial]), "alpha": 0.8}
        else:
            style = {"color": FAILED_COLOUR, "linestyle": "--", "label": "failed or running"}
        curve = _curve(trial, search.metric)
        if len(curve):
            dot = "o" if len(curve) == 1 else ""
            panel.plot(*curve.T, marker=dot, markersize=3, **{"linewidth": 1.0, **style})
    Span.of(_finite_values(search), search.results.direction).frame(panel)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panel.set_xlabel("epoch")
    panel.set_ylabel(score_label(search))
    room = ALONE
    if levels:
        colour_bar(figure)
        room = dataclasses.replace(room, right=BAR_WIDTH)
    arrange(figure, [panel], room)
    return figure


def has_curves(search: SearchSummary) -> bool:
    """Whether any trial reported a finite value of the objective's metric by epoch."""
    return bool(_finite_values(search))


def _finite_values(search: SearchSummary) -> list[float]:
    """Return all finite values of the metric in all epochs of all trials."""
    curves = [_curve(trial, search.metric)[:, 1] for trial in search.results.trials]
    return [value for curve in curves for value in curve.tolist() if math.isfinite(value)]


def _curve(trial: Attempt, metric: str) -> np.ndarray:
    """Return shape (epochs, 2): the epoch from 1, and the metric's mean over the executions."""
    values: dict[int, list[float]] = collections.defaultdict(list)
    for epoch in trial.epochs:
        if metric in epoch.metrics:
            values[epoch.epoch + 1].append(epoch.metrics[metric])
    points = [(epoch, sum(of) / len(of)) for epoch, of in sorted(values.items())]
    return np.array(points, float).reshape(-1, 2)
