"""The values of a search trial by trial, and the boxes that shrink round the best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kbn.report.history import draw_history, frame_trials
from kbn.report.panels import (
    BEST,
    BLUE,
    FAILED,
    SCORES,
    active,
    colour_bar,
    coordinates,
    dot_size,
    dress,
    grid,
    indices,
    legend,
    ranks,
    score_label,
    text,
)
from kbn.report.results import Search
from kbn.search.axes import Axis, Discrete, Range
from kbn.search.zoom import Round

BOX: dict[str, Any] = {"color": BLUE, "alpha": 0.15, "linewidth": 0}  # darker where they overlap
DRAWN = "what a round draws from"


def boxes(search: Search) -> Figure:
    """Each hyperparameter's value in every trial, and the boxes that each round draws from.

    A panel a hyperparameter, its own scale upwards, the trials in the order of start to the right.
    A dot's colour is the rank of its trial's score.
    """
    figure, panels = grid(len(search.space.axes))
    _draw_boxes(figure, panels, search)
    return figure


def summary(search: Search) -> Figure:
    """A search in one picture: its scores, and its `boxes`."""
    figure, panels = grid(1 + len(search.space.axes), heading=0.6, most=4)
    figure.suptitle(text(search.title))
    draw_history(panels[0], search)
    panels[0].set_xlabel("trial", fontsize=8)
    panels[0].set_title(score_label(search).replace("\n", " "), fontsize=9.5, loc="left")
    _draw_boxes(figure, panels[1:], search)
    return figure


def _draw_boxes(figure: Figure, panels: Sequence[Axes], search: Search) -> None:
    levels = ranks(search.results)
    for panel, axis in zip(panels, search.space.axes, strict=True):
        for corner, width, height in _rectangles(axis, search.rounds):
            panel.add_patch(Rectangle(corner, width, height, label=DRAWN, **BOX))
        _draw_values(panel, axis, search, levels)
        dress(panel, axis, "y")
        frame_trials(panel, search)
        panel.set_xlabel("trial", fontsize=8)
    colour_bar(figure, figure.axes, "rank of the trial's score", ("worst", "best"))
    legend(figure, figure.axes)


def _draw_values(panel: Axes, axis: Axis, search: Search, levels: dict[str, float]) -> None:
    results = search.results
    trials = active(results.finished, axis)
    colours = [levels[trial.trial] for trial in trials]
    dots = indices(trials), coordinates(trials, axis)
    size = dot_size(results.trials)
    panel.scatter(*dots, c=colours, cmap=SCORES, vmin=0, vmax=1, s=size, label="trial")
    if failed := active(results.failed, axis):
        crosses = indices(failed), coordinates(failed, axis)
        panel.scatter(*crosses, s=18, color=FAILED, marker="x", linewidths=1, label="failed")
    best = active(results.ranked[:1], axis)
    ring = indices(best), coordinates(best, axis)
    panel.scatter(*ring, s=90, color="none", edgecolors=BEST, label="best")


def _rectangles(
    axis: Axis, rounds: Sequence[Round]
) -> Iterator[tuple[tuple[float, float], float, float]]:
    """Corner, width and height of every box, as drawn."""
    for current in rounds:
        for box in current.boxes:
            for low, high in _extents(axis, box.get(axis.name, axis.whole)):
                yield (current.first - 0.5, low), current.size, high - low


def _extents(axis: Axis, part: Range) -> Iterator[tuple[float, float]]:
    """Lowest and highest coordinate of a range; of a choice, of each of its values."""
    if isinstance(axis, Discrete):
        yield from (axis.edges([value]) for value in part)
    else:
        yield axis.edges(part)
