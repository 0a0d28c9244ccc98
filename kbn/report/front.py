"""Figure of the front: the trials of several objectives that no other one dominates."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kbn.report.grids import ALONE, SCORE_WIDTH, arrange, panel_grid
from kbn.report.panels import (
    BEST_COLOUR,
    INFEASIBLE_STYLE,
    TRIAL_COLOUR,
    dot_size,
    plain_frame,
    single_panel,
    text,
)
from kbn.report.results import Results, SearchSummary
from kbn.report.span import BEYOND_END, Span
from kbn.report.words import better
from kbn.tracking.attempts import Attempt

FRONT_SIZE = 26  # area of a dot on the front, in square points
LOG_FACTOR = 10
TWO = 2  # objectives, whose front is a line


def front(search: SearchSummary) -> Figure:
    """Draw every trial by its objectives: one panel for two objectives, else one for each pair.

    The first objective of a pair runs upwards, the second to the right.
    """
    objectives = search.results.objectives
    pairs = list(itertools.combinations(objectives, 2))
    if len(pairs) == 1:
        figure, panel = single_panel()
        panels = [panel]
    else:
        figure, panels = panel_grid(len(pairs), heading=0.6)
    for panel, (upward, sideward) in zip(panels, pairs, strict=True):
        plain_frame(panel)
        _draw(panel, search.results, sideward, upward, line=len(objectives) == TWO)
    arrange(figure, panels, dataclasses.replace(ALONE, beside=SCORE_WIDTH))
    return figure


def _draw(
    panel: Axes, results: Results, x: tuple[str, str], y: tuple[str, str], *, line: bool
) -> None:
    across, up = (_span(results, *each) for each in (x, y))

    def dots(trials: Sequence[Attempt]) -> tuple[np.ndarray, np.ndarray]:
        return _places(trials, x[0], across), _places(trials, y[0], up)

    chosen = {trial.trial for trial in results.front}
    others = [trial for trial in results.finished if trial.trial not in chosen]
    size = dot_size(results.trials)
    panel.scatter(*dots(others), s=size, color=TRIAL_COLOUR, alpha=0.5, label="dominated")
    if infeasible := [t for t in results.infeasible if t.metrics.keys() & {x[0], y[0]}]:
        panel.scatter(*dots(infeasible), **INFEASIBLE_STYLE)
    left, bottom = dots(results.front)
    if line:
        order = np.lexsort((bottom, left if x[1] == "min" else -left))
        end = across.at(BEYOND_END)  # all that is worse there is dominated, too
        steps = np.append(left[order], end), np.append(bottom[order], bottom[order][-1])
        panel.step(*steps, where="post", color=BEST_COLOUR, linewidth=1, zorder=1)
    panel.scatter(left, bottom, s=FRONT_SIZE, color=BEST_COLOUR, label="on the front")
    best = dots(results.ranked[:1])
    label = f"best {text(results.objectives[0][0], 30)}"
    panel.scatter(*best, s=90, color="none", edgecolors=BEST_COLOUR, label=label)
    up.frame(panel)
    across.frame(panel, "x")
    panel.set_xlabel(f"{text(x[0], 30)} ({better(x[1])})", fontsize=9)
    panel.set_ylabel(f"{text(y[0], 30)}\n({better(y[1])})", fontsize=9)


def _span(results: Results, metric: str, direction: str) -> Span:
    """Return the range to show of an objective, which hides diverged trials, but no front.

    It is logarithmic where less is better and the front spans a power of ten, as with sizes.
    """
    shown = [trial.metrics[metric] for trial in results.front]
    values = np.array([trial.metrics[metric] for trial in results.finished])
    values = values[np.isfinite(values)]
    if direction == "min" and min(values) > 0 and max(shown) > LOG_FACTOR * min(values):
        span = Span.of(np.log10(values).tolist(), direction)
        span = Span(10**span.worst, 10**span.best, direction, log=True)
    else:
        span = dataclasses.replace(Span.of(values.tolist(), direction), log=False)
    worst = max(span.worst, *shown) if direction == "min" else min(span.worst, *shown)
    return dataclasses.replace(span, worst=worst)


def _places(trials: Sequence[Attempt], metric: str, span: Span) -> np.ndarray:
    """Return where to draw trials, shape (trials,); what is not known stands beyond the end."""
    known = (trial.metrics.get(metric, math.nan) for trial in trials)
    beyond = span.at(BEYOND_END)
    return np.array([beyond if math.isnan(v) or span.hides(v) else v for v in known], float)
