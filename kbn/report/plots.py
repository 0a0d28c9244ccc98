"""A search as a picture: the scores, and the boxes that shrink round the best."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kbn.report.results import Results
from kbn.search.axes import Axis, Discrete
from kbn.search.space import Space
from kbn.search.zoom import Round
from kbn.tracking.journal import Attempt

COLUMNS = 4
LEGEND = (
    "trial     (blue: the boxes that a round draws from; a dot's colour: its score's rank, "
    "from yellow for the best to purple; red ring: the best trial)"
)
BOX, BEST, LINE = "tab:blue", "tab:red", "0.35"


def draw(
    results: Results, space: Space, rounds: Sequence[Round], title: str, metric: str
) -> Figure:
    """Draws a finished search.

    The first panel shows the score of every trial. Each other one shows a hyperparameter on its
    own scale: its value in every trial, coloured by the trial's score, and the boxes of each
    round.

    Args:
        results: of the search; at least one trial finished.
        space: its axes, one panel each.
        rounds: of its oracle.
        title: heads the figure.
        metric: the objective's name, labels the first panel.
    """
    rows = math.ceil((1 + len(space.axes)) / COLUMNS)
    figure = Figure(figsize=(3.4 * COLUMNS, 0.6 + 2.3 * rows), dpi=110, layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).flat
    figure.suptitle(title)
    figure.supxlabel(LEGEND, fontsize=9)
    _draw_scores(next(panels), results, metric)
    colours = _ranks(results)
    for panel, axis in zip(panels, space.axes, strict=False):
        _draw_axis(panel, axis, results, rounds, colours)
    for panel in panels:  # those left over
        panel.axis("off")
    return figure


def _draw_scores(panel: Axes, results: Results, metric: str) -> None:
    indices = _indices(results.finished)
    panel.scatter(
        indices, [t.score or 0.0 for t in results.finished], s=12, color=LINE, label="trial"
    )
    panel.step(indices, results.best_so_far(), where="post", color=BEST, label="best so far")
    panel.set_title(metric, fontsize=10)
    panel.tick_params(labelsize=8)
    panel.legend(fontsize=8, loc="best")


def _draw_axis(
    panel: Axes, axis: Axis, results: Results, rounds: Sequence[Round], colours: np.ndarray
) -> None:
    for index, low, high in _extents(axis, rounds):
        size = rounds[index].size
        corner = (rounds[index].first - 0.5, low)
        panel.add_patch(Rectangle(corner, size, high - low, color=BOX, alpha=0.15, linewidth=0))
    drawn = [i for i, trial in enumerate(results.finished) if axis.name in trial.values]
    trials = [results.finished[i] for i in drawn]
    heights = [axis.to_unit(trial.values[axis.name]) for trial in trials]
    panel.scatter(
        _indices(trials), heights, c=colours[drawn], cmap="viridis_r", s=12, vmin=0, vmax=1
    )
    best = results.best
    if best and axis.name in best.values:
        height = axis.to_unit(best.values[axis.name])
        panel.scatter(int(best.trial), height, s=90, facecolors="none", edgecolors=BEST)
    ticks, labels = _ticks(axis)
    panel.set_yticks(ticks, labels, fontsize=8)
    panel.set_ylim(-0.03, 1.03)
    panel.set_title(axis.name, fontsize=10)
    panel.tick_params(labelsize=8)


def _extents(axis: Axis, rounds: Sequence[Round]) -> Iterator[tuple[int, float, float]]:
    """(index of the round, lowest and highest coordinate) of every box, as drawn."""
    for index, current in enumerate(rounds):
        for box in current.boxes:
            part = box.get(axis.name, axis.whole)
            if isinstance(axis, Discrete):
                half = 0.5 / len(axis.values)
                for value in part:
                    yield index, axis.to_unit(value) - half, axis.to_unit(value) + half
            else:
                yield index, *axis.edges(part)


def _ticks(axis: Axis) -> tuple[list[float], list[str]]:
    """Coordinates and natural values at the axis' side."""
    if isinstance(axis, Discrete):
        return [axis.to_unit(value) for value in axis.values], [str(value) for value in axis.values]
    values = [axis.sample(axis.whole, u) for u in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return [axis.to_unit(value) for value in values], [f"{value:.4g}" for value in values]


def _indices(trials: Sequence[Attempt]) -> list[int]:
    return [int(trial.trial) for trial in trials]


def _ranks(results: Results) -> np.ndarray:
    """0 for the best of the finished trials to 1 for the worst, shape (finished,)."""
    scores = np.array([trial.score for trial in results.finished], float)
    order = np.argsort(np.argsort(scores if results.direction == "min" else -scores))
    return order / max(1, len(scores) - 1)
