"""Figure of all trials across all hyperparameters, in parallel coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from kbn.report.grids import CHARACTER
from kbn.report.panels import (
    MAX_LABEL,
    SCORE_COLOURS,
    active,
    coordinates,
    text,
)
from kbn.report.results import Results, SearchSummary, scores_of
from kbn.report.span import Span
from kbn.report.ticks import ticks
from kbn.report.words import better, number
from kbn.search.axes import Axis

MAX_NAME = 22  # characters of an axis's name
MAX_AXES = 12  # axes in a row
MAX_LINES = 600  # more would cover each other
AXIS_DISTANCE = 1.05  # inches between axes
LINE_JITTER = 0.2  # spread of trials with the same choice, as a share of its width
EMPHASIZED = 5  # number of the best trials whose lines are thick
INACTIVE_HEIGHT = -0.12  # where a trial's line passes the axis of an inactive hyperparameter
NAMES_HEIGHT = 0.85  # of the rotated names above a row, in inches
TICK_STYLE: dict[str, Any] = {"fontsize": 7.5, "va": "center", "ha": "left"}
HALO = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8}


def parallel_coordinates(search: SearchSummary) -> Figure:
    """Draw a line per finished trial from its hyperparameters, each on its scale, to its score.

    The best score is at the top, whatever the direction. Where a hyperparameter is not active in
    a trial, the trial's line passes below the axis. Many hyperparameters are drawn in several rows,
    each of which ends with the score. Of more than `MAX_LINES` trials only that many are drawn: the
    best five, and others evenly by rank.
    """
    axes = search.space.axes
    rows = math.ceil(len(axes) / MAX_AXES)
    size = (2.2 + AXIS_DISTANCE * math.ceil(len(axes) / rows), 4.4 * rows)
    figure = Figure(figsize=size)
    panels = figure.subplots(rows, 1, squeeze=False).flat
    for panel, part in zip(panels, np.array_split(np.arange(len(axes)), rows), strict=True):
        _draw_row(panel, [axes[j] for j in part], search)
    (wide, high), names = size, NAMES_HEIGHT / size[1]
    right = max(0.6, 1.2 * CHARACTER * len(text(search.metric, MAX_NAME)) - 0.4)  # the name is long
    figure.subplots_adjust(
        left=0.1 / wide,
        right=1 - right / wide,
        bottom=0.1 / high,
        top=1 - names,
        hspace=names * rows / (1 - names * rows),
    )
    return figure


def _draw_row(panel: Axes, axes: Sequence[Axis], search: SearchSummary) -> None:
    span = Span.of_results(search.results)
    _draw_lines(panel, axes, search.results, span)
    for place, axis in enumerate(axes):
        _draw_axis(panel, place, axis)
    _draw_scores(panel, len(axes), search, span)
    panel.set_xlim(-0.25, len(axes) + 0.6)
    panel.set_ylim(INACTIVE_HEIGHT - 0.08, 1.05)
    panel.set_yticks([])
    panel.spines[:].set_visible(False)
    panel.xaxis.tick_top()
    names = [text(name, MAX_NAME) for name in (*(axis.name for axis in axes), search.metric)]
    panel.set_xticks(range(len(names)), names, rotation=20, ha="left", fontsize=9)
    panel.tick_params(axis="x", length=0)


def _draw_lines(panel: Axes, axes: Sequence[Axis], results: Results, span: Span) -> None:
    best = results.ranked[:EMPHASIZED]
    rest = results.of(results.ranked[EMPHASIZED:])
    trials = (*best, *rest.thinned(MAX_LINES - EMPHASIZED))[::-1]  # the best ones on top
    heights = np.full((len(trials), len(axes) + 1), INACTIVE_HEIGHT)
    for place, axis in enumerate(axes):
        rows = [row for row, trial in enumerate(trials) if active([trial], axis)]
        heights[rows, place] = coordinates([trials[row] for row in rows], axis, LINE_JITTER)
    heights[:, -1] = span.to_unit(scores_of(trials))
    lines = [np.column_stack([np.arange(len(row)), row]) for row in heights]
    emphasized = [place >= len(trials) - EMPHASIZED for place in range(len(trials))]
    colours = SCORE_COLOURS(heights[:, -1])
    colours[:, 3] = np.where(emphasized, 1.0, 0.35)
    widths = [2.2 if e else 0.8 for e in emphasized]
    panel.add_collection(LineCollection(lines, colors=colours, linewidths=widths))


def _draw_axis(panel: Axes, place: int, axis: Axis) -> None:
    at = ticks(axis)
    panel.vlines(place, 0, 1, color="0.2", linewidth=1)
    panel.hlines(at.places, place - 0.03, place + 0.03, color="0.2", linewidth=1)
    panel.hlines(at.minor, place - 0.015, place + 0.015, color="0.2", linewidth=0.5)
    for height, label in zip(at.places, at.labels, strict=True):
        panel.text(place + 0.06, height, text(label, MAX_LABEL), bbox=HALO, **TICK_STYLE)
    if axis.conditions:
        panel.text(
            place, INACTIVE_HEIGHT - 0.05, "not active", color="0.35", fontsize=7.5, ha="center"
        )


def _draw_scores(panel: Axes, place: int, search: SearchSummary, span: Span) -> None:
    colours = np.linspace(0, 1, 100)[:, None]
    strip = place - 0.02, place + 0.02, 0, 1
    panel.imshow(colours, cmap=SCORE_COLOURS, extent=strip, origin="lower", aspect="auto", zorder=3)
    worst, best = number(span.worst), number(span.best)
    if any(span.hides(score) for score in scores_of(search.results.finished)):
        worst = f"{worst}\nand worse"
    for height, label in ((0, worst), (0.5, number(span.at(0.5))), (1, best)):
        panel.text(place + 0.06, height, label, bbox=HALO, **TICK_STYLE)
    note = f"best on top:\n{better(search.results.direction)}"
    panel.text(place, -0.04, note, fontsize=7.5, va="top", ha="center")
