"""Building blocks of all figures: colours, text, panels, legends and hyperparameter axes."""

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

from kbn.report.results import Results, SearchSummary
from kbn.report.ticks import scale_name, ticks
from kbn.report.words import better, number, visible
from kbn.search.axes import Axis, Condition, Discrete
from kbn.tracking.attempts import Attempt

# Okabe and Ito's palette: the colour-blind can tell it apart, and it is dark enough on white
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
PURPLE, SKY, BLACK = "#CC79A7", "#56B4E9", "#000000"
TRIAL_COLOUR, BEST_COLOUR, FAILED_COLOUR = "0.4", VERMILION, "#882255"
INFEASIBLE_STYLE: dict[str, Any] = {
    "s": 26,
    "marker": "+",
    "color": ORANGE,
    "label": "infeasible",
}
# from bad to good scores: viridis without its bright end, which is faint on white
SCORE_COLOURS = LinearSegmentedColormap.from_list(
    "scores", ["#b8de29", "#55c667", "#1f968b", "#33638d", "#440154"]
)
PANEL_SIZE = (3.2, 2.35)  # inches
LEGEND_STYLE: dict[str, Any] = {
    "loc": "outside lower center",
    "fontsize": 8,
    "frameon": False,
}
BAR_WIDTH = 0.85  # of the bar that explains colours, with its labels, in inches
MINOR_TICK_STYLE: dict[str, Any] = {  # as matplotlib's minor ticks
    "linestyle": "none",
    "color": "black",
    "markersize": 2,
    "markeredgewidth": 0.6,
    "clip_on": False,
    "in_layout": False,
}
AXIS_MARGIN = 0.04  # margin at both ends of an axis of coordinates in [0, 1]
MAX_TITLE = 27  # characters of a panel's title
MAX_NOTE = 46  # characters of the note below it
MAX_LABEL = 12  # characters of a tick's label


def indices(trials: Sequence[Attempt]) -> np.ndarray:
    """Return the trials' places in the search, shape (trials,): their ids are numbers."""
    return np.array([int(trial.trial) for trial in trials], int)


def ranks(results: Results) -> dict[str, float]:
    """Return {trial: rank} of the finished trials, from 1 for the best to 0 for the worst."""
    last = max(1, len(results.ranked) - 1)
    return {trial.trial: 1 - place / last for place, trial in enumerate(results.ranked)}


def dot_size(trials: Sequence[Attempt]) -> float:
    """Return the area of a trial's dot in square points: the more trials, the smaller."""
    return float(np.clip(2000 / max(1, len(trials)), 5, 14))


def single_panel(width: float = 6.6, height: float = 3.8) -> tuple[Figure, Axes]:
    """Return a new figure of a size in inches, and its only panel, before it is arranged."""
    figure = Figure(figsize=(width, height))
    panel = figure.subplots()
    plain_frame(panel)
    return figure, panel


def plain_frame(panel: Axes) -> None:
    """Remove the lines above and at the right of a panel."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=8)
    write_above(panel, "")


def write_above(panel: Axes, title: str, pad: float = 4) -> None:
    """Write a title above a panel at the left, with `pad` points between.

    Without `y`, matplotlib would measure all labels of the panel to find where the title fits.
    """
    panel.set_title(title, fontsize=9.5, loc="left", y=1.0, pad=pad)


def dress(panel: Axes, axis: Axis, side: str) -> None:
    """Label a side of a panel, "x" or "y", with a hyperparameter's scale, and name the panel."""
    at, labels = ticks(axis), tick_labels(axis)
    if side == "x":
        panel.set_xlim(-AXIS_MARGIN, 1 + AXIS_MARGIN)
        rotated = is_crowded(axis)
        panel.set_xticks(at.places, labels, rotation=30 if rotated else 0)
        if rotated:
            for label in panel.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
        _small_ticks(panel, at.minor, "x")
    else:
        panel.set_ylim(-AXIS_MARGIN, 1 + AXIS_MARGIN)
        panel.set_yticks(at.places, labels)
        _small_ticks(panel, at.minor, "y")
    name_panel(panel, axis)


def tick_labels(axis: Axis) -> list[str]:
    """Return the labels of a hyperparameter's ticks, as figures show them."""
    return [text(label, MAX_LABEL) for label in ticks(axis).labels]


def is_crowded(axis: Axis) -> bool:
    """Whether a hyperparameter's tick labels must be rotated to fit below a panel."""
    return sum(map(len, tick_labels(axis))) > 25  # noqa: PLR2004  characters in a panel's width


def _small_ticks(panel: Axes, places: Sequence[float], side: str) -> None:
    """Draw minor ticks as marks of one line: as real ticks they take a third of all time."""
    at, none = list(places), [0.0] * len(places)
    where, marker, transform = (
        ((at, none), TICKDOWN, panel.get_xaxis_transform())
        if side == "x"
        else ((none, at), TICKLEFT, panel.get_yaxis_transform())
    )
    panel.plot(*where, transform=transform, marker=marker, **MINOR_TICK_STYLE)


def name_panel(panel: Axes, axis: Axis) -> None:
    """Write a hyperparameter's name above a panel, then its scale and conditions, small."""
    notes = [scale_name(axis), *map(_condition_text, axis.conditions)]
    note = text(", ".join(filter(None, notes)), MAX_NOTE)
    write_above(panel, text(axis.name, MAX_TITLE), pad=14 if note else 4)
    if note:
        panel.text(0, 1.02, note, transform=panel.transAxes, fontsize=7.5, color="0.35")


def text(raw: object, most: int = 90) -> str:
    """Return text for a figure: no formula between dollars, the middle left out if too long.

    All names, values and titles of a search that enter a figure must pass through this.
    """
    line = visible(" ".join(str(raw).split()))
    if len(line) > most:
        line = f"{line[: most // 2]}…{line[-(most - most // 2 - 1) :]}"
    return line.replace("$", r"\$")


def score_label(search: SearchSummary) -> str:
    """Return the label of an axis of scores."""
    return f"{text(search.metric, 30)}\n({better(search.results.direction)})"


def active(trials: Iterable[Attempt], axis: Axis) -> list[Attempt]:
    """Return the trials in which a hyperparameter is active."""
    return [
        trial
        for trial in trials
        if axis.name in trial.values and all(c.holds(trial.values) for c in axis.conditions)
    ]


def coordinates(trials: Sequence[Attempt], axis: Axis, jitter: float = 0.0) -> np.ndarray:
    """Return the trials' coordinates in [0, 1] on an axis active in all of them, shape (trials,).

    Args:
        trials: any number of trials.
        axis: axis of the hyperparameter.
        jitter: share of a choice's width over which trials with the same choice are spread, so
            that none hides another, in [0, 1].
    """
    places = np.array([axis.to_unit(trial.values[axis.name]) for trial in trials])
    if isinstance(axis, Discrete):
        golden = (math.sqrt(5) - 1) / 2  # whose multiples modulo 1 spread evenly
        shifts = indices(trials) * golden % 1 - 0.5
        places = places + jitter * shifts / len(axis.values)
    return places


def colour_bar(figure: Figure) -> None:
    """Add a bar that explains `SCORE_COLOURS`, in the `BAR_WIDTH` at the right of a figure."""
    wide, high = figure.get_size_inches()
    place = figure.add_axes((1 - 0.7 / wide, 0.35, 0.12 / wide, min(0.4, 3 / high)))
    bar = figure.colorbar(ScalarMappable(cmap=SCORE_COLOURS), cax=place)
    bar.set_ticks([0, 1], labels=["worst", "best"], fontsize=8)
    bar.set_label("rank of the trial's score", fontsize=8, labelpad=2)
    bar.outline.set_visible(False)


def legend(figure: Figure, panels: Sequence[Axes]) -> int:
    """Add one legend for all panels, below them, in as many columns as fit; return its rows."""
    found = [panel.get_legend_handles_labels() for panel in panels]
    entries = {
        name: mark for marks, names in found for mark, name in zip(marks, names, strict=True)
    }
    each = 0.6 + 0.08 * max(map(len, entries), default=0)  # estimated width of an entry, in inches
    columns = max(1, min(len(entries), int(figure.get_figwidth() / each)))
    figure.legend(list(entries.values()), list(entries), **LEGEND_STYLE | {"ncols": columns})
    return math.ceil(len(entries) / columns)


def _condition_text(condition: Condition) -> str:
    values = " or ".join(map(number, condition.values))
    return f"where {condition.name} is {values}"
