"""Grids of panels, arranged by the lengths of their labels.

Matplotlib's constrained layout measures every text twice, which takes longer than drawing them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kbn.report.panels import PANEL_SIZE, is_crowded, legend, plain_frame, tick_labels
from kbn.search.axes import Axis

PANELS_IN_A_ROW = 3  # panels side by side
CHARACTER = 0.07  # width of a digit in 8 points, in inches
SCORE_WIDTH = 1.0  # of the labels of scores at the left, with the name of the score, in inches
ROTATED = 0.3  # more height of labels that are rotated, in inches
LEGEND_ROW = 0.18  # height, in inches


@dataclasses.dataclass(frozen=True)
class Room:
    """Room around and between panels, in inches.

    Attributes:
        left, right, top: between the panels and the figure's edges.
        beside: between neighbours in a row.
        name: above a panel, for its name and note.
        below: below a panel, for its labels.
    """

    left: float
    beside: float
    right: float = 0.15
    top: float = 0.0
    name: float = 0.45
    below: float = 0.25


# of a single panel with the names of both its axes
ALONE = Room(left=SCORE_WIDTH, beside=0.0, name=0.15, below=0.5)


def panel_grid(
    count: int, heading: float = 0.3, most: int = PANELS_IN_A_ROW
) -> tuple[Figure, list[Axes]]:
    """Return a new figure and its panels, in rows, before they are arranged.

    Args:
        count: number of panels, at least 1.
        heading: room for titles and legends above and below the panels, in inches.
        most: highest number of panels in a row.
    """
    columns = min(count, most)
    rows = math.ceil(count / columns)
    size = (PANEL_SIZE[0] * columns, PANEL_SIZE[1] * rows + heading)
    figure = Figure(figsize=size)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in panels[count:]:
        panel.remove()
    for panel in panels[:count]:
        plain_frame(panel)
    return figure, panels[:count]


def arrange(figure: Figure, panels: Sequence[Axes], room: Room) -> None:
    """Place the panels of a grid, with one legend for all below them."""
    foot = room.below + LEGEND_ROW * legend(figure, panels) + 0.15
    (width, height), (rows, columns) = figure.get_size_inches(), _shape(panels)
    across = (width - room.left - room.right - room.beside * (columns - 1)) / columns
    top, between = room.top + room.name, room.name + room.below
    up = (height - top - foot - between * (rows - 1)) / rows
    figure.subplots_adjust(
        left=room.left / width,
        right=1 - room.right / width,
        bottom=foot / height,
        top=1 - top / height,
        wspace=room.beside / across,
        hspace=between / up,
    )


def label_once(panels: Sequence[Axes], side: str) -> None:
    """Label an axis that all panels share only at the left ("y") or the bottom ("x")."""
    _, columns = _shape(panels)
    for place, panel in enumerate(panels):
        if side == "y" and place % columns:
            panel.tick_params(labelleft=False)
        elif side == "x" and place + columns < len(panels):
            panel.tick_params(labelbottom=False)
            panel.set_xlabel("")


def label_width(axes: Sequence[Axis]) -> float:
    """Return the width that the longest tick label of hyperparameters takes, in inches."""
    return CHARACTER * max(len(label) for axis in axes for label in tick_labels(axis))


def label_height(axes: Sequence[Axis]) -> float:
    """Return the height that the tick labels below panels of hyperparameters take, in inches."""
    return 0.25 + ROTATED * any(map(is_crowded, axes))


def _shape(panels: Sequence[Axes]) -> tuple[int, int]:
    """Return the numbers of rows and columns of a grid."""
    spec = panels[0].get_subplotspec()
    grid = None if spec is None else spec.get_gridspec()
    return (1, len(panels)) if grid is None else (grid.nrows, grid.ncols)
