"""Figure of the values tried in each trial, and of the boxes that shrink around the best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from kbn.report.grids import Room, arrange, label_once, label_width, panel_grid
from kbn.report.history import draw_history, frame_trials
from kbn.report.panels import (
    BAR_WIDTH,
    BEST_COLOUR,
    BLUE,
    FAILED_COLOUR,
    INFEASIBLE_STYLE,
    SCORE_COLOURS,
    active,
    colour_bar,
    coordinates,
    dot_size,
    dress,
    indices,
    ranks,
    score_label,
    text,
    write_above,
)
from kbn.report.results import SearchSummary
from kbn.search.axes import Axis, Discrete, Range
from kbn.search.zoom import Round

# translucent, so that overlapping boxes are darker
BOX_STYLE: dict[str, Any] = {"color": BLUE, "alpha": 0.15, "linewidth": 0}
SCORE_LABEL, BELOW = 0.5, 0.4  # room for labels of the scores and of the trials, in inches
BOX_LABEL = "what a round draws from"


def boxes(search: SearchSummary) -> Figure:
    """Draw a search as one picture: its scores, every value tried, and what each round draws from.

    Each hyperparameter has a panel: its scale runs upwards, the trials run to the right in the
    order in which they started. The colour of a dot is the rank of its trial's score.
    """
    figure, panels = panel_grid(1 + len(search.space.axes), heading=0.6, most=4)
    figure.suptitle(text(search.title))
    draw_history(panels[0], search)
    panels[0].set_xlabel("trial", fontsize=8)
    write_above(panels[0], score_label(search).replace("\n", " "))
    _draw_boxes(panels[1:], search)
    label_once(panels, "x")
    colour_bar(figure)
    labels = 0.15 + max(SCORE_LABEL, label_width(search.space.axes))
    room = Room(left=labels, beside=labels + 0.1, right=BAR_WIDTH, top=0.35, below=BELOW)
    arrange(figure, panels, room)
    return figure


def _draw_boxes(panels: Sequence[Axes], search: SearchSummary) -> None:
    levels = ranks(search.results)
    for panel, axis in zip(panels, search.space.axes, strict=True):
        # one collection: as patches, the thousands of boxes of a long search take minutes
        corners = list(_corners(axis, search.rounds))
        panel.add_collection(PolyCollection(corners, label=BOX_LABEL, **BOX_STYLE), autolim=False)
        _draw_values(panel, axis, search, levels)
        dress(panel, axis, "y")
        frame_trials(panel, search)
        panel.set_xlabel("trial", fontsize=8)


def _draw_values(panel: Axes, axis: Axis, search: SearchSummary, levels: dict[str, float]) -> None:
    results = search.results
    trials = active(results.finished, axis)
    colours = [levels[trial.trial] for trial in trials]
    dots = indices(trials), coordinates(trials, axis)
    size = dot_size(results.trials)
    panel.scatter(*dots, c=colours, cmap=SCORE_COLOURS, vmin=0, vmax=1, s=size, label="trial")
    if failed := active(results.failed, axis):
        crosses = indices(failed), coordinates(failed, axis)
        panel.scatter(*crosses, s=18, color=FAILED_COLOUR, marker="x", linewidths=1, label="failed")
    if infeasible := active(results.infeasible, axis):
        panel.scatter(indices(infeasible), coordinates(infeasible, axis), **INFEASIBLE_STYLE)
    best = active(results.ranked[:1], axis)
    ring = indices(best), coordinates(best, axis)
    panel.scatter(*ring, s=90, color="none", edgecolors=BEST_COLOUR, label="best")


def _corners(axis: Axis, rounds: Sequence[Round]) -> Iterator[list[tuple[float, float]]]:
    """Yield the four corners of the rectangle of every box."""
    for current in rounds:
        left, right = current.first - 0.5, current.end - 0.5
        for box in current.boxes:
            for low, high in _extents(axis, box.get(axis.name, axis.whole)):
                yield [(left, low), (right, low), (right, high), (left, high)]


def _extents(axis: Axis, part: Range) -> Iterator[tuple[float, float]]:
    """Yield the lowest and highest coordinate of a range; for a choice, of each of its values."""
    if isinstance(axis, Discrete):
        yield from (axis.edges([value]) for value in part)
    else:
        yield axis.edges(part)
