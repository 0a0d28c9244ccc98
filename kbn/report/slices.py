"""Figure of the scores of a search against each hyperparameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kbn.report.grids import (
    SCORE_WIDTH,
    Room,
    arrange,
    label_height,
    label_once,
    panel_grid,
)
from kbn.report.panels import (
    BEST_COLOUR,
    FAILED_COLOUR,
    INFEASIBLE_STYLE,
    TRIAL_COLOUR,
    active,
    coordinates,
    dot_size,
    dress,
    score_label,
)
from kbn.report.results import SearchSummary
from kbn.report.span import Span
from kbn.search.axes import Axis
from kbn.tracking.attempts import Attempt

SLICE_JITTER = 0.6  # spread of trials with the same choice, as a share of its width


def slices(search: SearchSummary) -> Figure:
    """Draw the score of every trial against each hyperparameter, on its own scale.

    Failed trials are crosses at the worse end of the scores. The panel of a conditional
    hyperparameter shows the trials in which it is active.
    """
    figure, panels = panel_grid(len(search.space.axes))
    span = Span.of_results(search.results)
    for panel, axis in zip(panels, search.space.axes, strict=True):
        _draw_slice(panel, axis, search, span)
    label_once(panels, "y")
    figure.supylabel(score_label(search), fontsize=9)
    below = label_height(search.space.axes)
    arrange(figure, panels, Room(left=SCORE_WIDTH, beside=0.3, below=below))
    return figure


def _draw_slice(panel: Axes, axis: Axis, search: SearchSummary, span: Span) -> None:
    results = search.results

    def draw(trials: Sequence[Attempt], label: str, **style: Any) -> None:
        trials = active(trials, axis)
        dots = coordinates(trials, axis, SLICE_JITTER), span.heights(trials)
        panel.scatter(*dots, label=label, **style)

    size = dot_size(results.trials)
    draw(results.finished, "trial", s=size, color=TRIAL_COLOUR, alpha=0.7, linewidths=0)
    if results.failed:
        draw(results.failed, "failed", s=18, color=FAILED_COLOUR, marker="x", linewidths=1)
    if results.infeasible:
        draw(results.infeasible, **INFEASIBLE_STYLE)
    draw(results.ranked[:1], "best", s=80, facecolors="none", edgecolors=BEST_COLOUR)
    dress(panel, axis, "x")
    span.frame(panel)
