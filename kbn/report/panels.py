"""What all figures share: colours, text, the axis of scores, a hyperparameter's axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.markers import TICKDOWN, TICKLEFT

from kbn.report.results import Results, Search
from kbn.report.ticks import scale_name, ticks
from kbn.report.words import better, number, visible
from kbn.search.axes import Axis, Condition, Discrete
from kbn.tracking.journal import Attempt

# Okabe and Ito's colours: told apart by the colour-blind, and dark enough on white
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
PURPLE, SKY, BLACK = "#CC79A7", "#56B4E9", "#000000"
TRIAL, BEST, FAILED = "0.4", VERMILION, "#882255"
# scores from bad to good: viridis without its bright end, which is faint on white
SCORES = LinearSegmentedColormap.from_list(
    "scores", ["#b8de29", "#55c667", "#1f968b", "#33638d", "#440154"]
)
PANEL = (3.2, 2.35)  # inches
COLUMNS = 3  # panels side by side
LEGEND: dict[str, Any] = {
    "loc": "outside lower center",
    "fontsize": 8,
    "frameon": False,
}
BAR: dict[str, Any] = {"shrink": 0.4, "fraction": 0.02, "aspect": 30, "pad": 0.02}
SMALL: dict[str, Any] = {  # as matplotlib's minor ticks
    "linestyle": "none",
    "color": "black",
    "markersize": 2,
    "markeredgewidth": 0.6,
    "clip_on": False,
    "in_layout": False,
}
MARGIN = 0.04  # of an axis of coordinates, at both ends
NAME, NOTE, LABEL = 27, 46, 12  # letters of a panel's title, of what is below it, of a tick


def indices(trials: Sequence[Attempt]) -> np.ndarray:
    """Where they stand in the search, shape (trials,): KerasTuner's trial ids are numbers."""
    return np.array([int(trial.trial) for trial in trials], int)


def ranks(results: Results) -> dict[str, float]:
    """{trial: 1 for the best to 0 for the worst} of the finished trials."""
    last = max(1, len(results.ranked) - 1)
    return {trial.trial: 1 - place / last for place, trial in enumerate(results.ranked)}


def dot_size(trials: Sequence[Attempt]) -> float:
    """Area of a trial's dot: many trials have small ones."""
    return float(np.clip(2000 / max(1, len(trials)), 5, 14))


def grid(count: int, heading: float = 0.3, most: int = COLUMNS) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, some in a row.

    Args:
        count: of the panels, at least 1.
        heading: room above and below them, in inches.
        most: panels in a row.
    """
    columns = min(count, most)
    rows = math.ceil(count / columns)
    size = (PANEL[0] * columns, PANEL[1] * rows + heading)
    figure = Figure(figsize=size, layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in panels[count:]:
        panel.remove()
    for panel in panels[:count]:
        plain_frame(panel)
    return figure, panels[:count]


def single(width: float = 6.6, height: float = 3.8) -> tuple[Figure, Axes]:
    """A figure of one panel, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    panel = figure.subplots()
    plain_frame(panel)
    return figure, panel


def plain_frame(panel: Axes) -> None:
    """Leaves a panel the axes at its left and below it."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=8)


def dress(panel: Axes, axis: Axis, side: str) -> None:
    """Gives a panel a hyperparameter's scale, "x" or "y", and its name."""
    at = ticks(axis)
    labels = [text(label, LABEL) for label in at.labels]
    if side == "x":
        panel.set_xlim(-MARGIN, 1 + MARGIN)
        crowded = sum(map(len, labels)) > 25  # noqa: PLR2004  letters in a panel's width
        panel.set_xticks(at.places, labels, rotation=30 if crowded else 0)
        if crowded:
            for label in panel.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
        _small_ticks(panel, at.minor, "x")
    else:
        panel.set_ylim(-MARGIN, 1 + MARGIN)
        panel.set_yticks(at.places, labels)
        _small_ticks(panel, at.minor, "y")
    name_panel(panel, axis)


def _small_ticks(panel: Axes, places: Sequence[float], side: str) -> None:
    """Ticks without labels, as one line of marks: as an axis' own they take a third of all time."""
    at, none = list(places), [0.0] * len(places)
    where, marker, transform = (
        ((at, none), TICKDOWN, panel.get_xaxis_transform())
        if side == "x"
        else ((none, at), TICKLEFT, panel.get_yaxis_transform())
    )
    panel.plot(*where, transform=transform, marker=marker, **SMALL)


def name_panel(panel: Axes, axis: Axis) -> None:
    """The hyperparameter's name, then its scale and where it is active, small."""
    notes = [scale_name(axis), *map(_condition, axis.conditions)]
    note = text(", ".join(filter(None, notes)), NOTE)
    panel.set_title(text(axis.name, NAME), fontsize=9.5, loc="left", pad=14 if note else 4)
    if note:
        panel.text(0, 1.02, note, transform=panel.transAxes, fontsize=7.5, color="0.35")


def text(raw: Any, most: int = 90) -> str:
    """Text as it is, no formula between its dollars; its middle is left out if it is too long.

    Whatever a search brings into a figure, as names, values and titles, passes here.
    """
    line = visible(" ".join(str(raw).split()))
    if len(line) > most:
        line = f"{line[: most // 2]}…{line[-(most - most // 2 - 1) :]}"
    return line.replace("$", r"\$")


def score_label(search: Search) -> str:
    """Of the axis of scores."""
    return f"{text(search.metric, 30)}\n({better(search.results.direction)})"


def active(trials: Iterable[Attempt], axis: Axis) -> list[Attempt]:
    """The trials in which a hyperparameter is active."""
    return [
        trial
        for trial in trials
        if axis.name in trial.values and all(c.holds(trial.values) for c in axis.conditions)
    ]


def coordinates(trials: Sequence[Attempt], axis: Axis, apart: float = 0.0) -> np.ndarray:
    """Where the trials lie on an axis that is active in all of them, shape (trials,).

    Args:
        trials: any number of them.
        axis: of the hyperparameter.
        apart: share of a choice's width over which trials with the same choice are spread, so
            that none hides another.
    """
    places = np.array([axis.to_unit(trial.values[axis.name]) for trial in trials])
    if isinstance(axis, Discrete):
        golden = (math.sqrt(5) - 1) / 2  # of its multiples no two are close
        shifts = indices(trials) * golden % 1 - 0.5
        places = places + apart * shifts / len(axis.values)
    return places


def colour_bar(
    figure: Figure, panels: Axes | Sequence[Axes], label: str, ends: Sequence[str]
) -> None:
    """What the colours from `SCORES` mean: the labels of the worst and of the best."""
    bar = figure.colorbar(ScalarMappable(cmap=SCORES), ax=panels, **BAR)
    bar.set_ticks([0, 1], labels=list(ends), fontsize=8)
    bar.set_label(label, fontsize=8, labelpad=2)
    bar.outline.set_visible(False)


def legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """One for all panels, below them, in as many columns as have room."""
    found = [panel.get_legend_handles_labels() for panel in panels]
    entries = {
        name: mark for marks, names in found for mark, name in zip(marks, names, strict=True)
    }
    each = 0.6 + 0.08 * max(map(len, entries), default=0)  # inches of an entry
    columns = max(1, min(len(entries), int(figure.get_figwidth() / each)))
    figure.legend(list(entries.values()), list(entries), **LEGEND | {"ncols": columns})


def _condition(condition: Condition) -> str:
    values = " or ".join(map(number, condition.values))
    return f"where {condition.name} is {values}"
