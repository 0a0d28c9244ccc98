"""Figures of a comparison. A variant has the same colour and mark in all of them."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kbn.report.comparison import Comparison
from kbn.report.grids import (
    ALONE,
    SCORE_WIDTH,
    Room,
    arrange,
    label_height,
    label_once,
    panel_grid,
)
from kbn.report.panels import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    active,
    coordinates,
    dot_size,
    dress,
    legend,
    plain_frame,
    single_panel,
    text,
    write_above,
)
from kbn.report.results import Results, has_score, scores_of
from kbn.report.slices import SLICE_JITTER
from kbn.report.span import Span
from kbn.report.words import better, number
from kbn.search.axes import Axis

COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKS = "os^Dv<>P"
MAX_VARIANT = 28  # characters of a variant's name in a figure
MAX_COLUMNS = 4  # panels of distributions side by side


def measures(comparison: Comparison) -> Figure:
    """Draw the measure of every search, one column per variant, with mean and 95 % interval.

    Thin lines join the searches of one seed. At least one search must have a measure.
    """
    rows = comparison.table()
    figure, panel = single_panel(max(4.5, 1.6 + 1.3 * len(rows)))
    for seed in range(comparison.seeds):
        panel.plot([row.measures[seed] for row in rows], color="0.8", linewidth=0.8, zorder=0)
    for place, (row, style) in enumerate(zip(rows, _styles(), strict=False)):
        panel.scatter([place] * len(row.measures), row.measures, s=18, alpha=0.6, **style)
        low, high = row.mean.interval or (row.mean.value, row.mean.value)
        reach = [[row.mean.value - low], [high - row.mean.value]]
        bar = {"markersize": 9, "capsize": 6, "linewidth": 2, "color": style["color"]}
        panel.errorbar(place + 0.2, row.mean.value, yerr=reach, fmt="_", **bar)
    names = [text(row.variant, MAX_VARIANT) for row in rows]
    panel.set_xticks(range(len(rows)), names, fontsize=9)
    panel.set_xlim(-0.5, len(rows) - 0.4)
    note = "higher is better" if comparison.more_is_better else "lower is better"
    panel.set_ylabel(f"{text(comparison.measure, 40)}\n({note})")
    arrange(figure, [panel], dataclasses.replace(ALONE, below=0.3))
    return figure


def best_so_far(comparison: Comparison) -> Figure:
    """Draw the best score so far by trial: mean and range over the seeds of each variant.

    At least one trial must have finished.
    """
    figure, panel = single_panel()
    drawn = []
    for (variant, searches), style in zip(comparison.searches.items(), _styles(), strict=False):
        trials = min(len(results.trials) for results in searches)
        best = np.array([_best_after(results)[:trials] for results in searches])
        x = np.arange(1, trials + 1)
        panel.plot(x, best.mean(axis=0), color=style["color"], label=text(variant, MAX_VARIANT))
        ends = best.min(axis=0), best.max(axis=0)
        panel.fill_between(x, *ends, color=style["color"], alpha=0.15, linewidth=0)
        drawn.append(best.ravel())
    found = np.concatenate(drawn)
    if np.isfinite(found).any():
        Span.of(found[np.isfinite(found)].tolist(), comparison.direction).frame(panel)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panel.set_xlabel("trials")
    panel.set_ylabel(f"best {text(comparison.metric, 30)} so far\n({better(comparison.direction)})")
    arrange(figure, [panel], ALONE)
    return figure


def variant_slices(comparison: Comparison) -> Figure:
    """Draw the score of every trial of every search against each hyperparameter, by variant.

    Failed trials are crosses at the worse end of the scores. At least one trial must have finished.
    """
    figure, panels = panel_grid(len(comparison.space.axes))
    span = _span(comparison)
    for panel, axis in zip(panels, comparison.space.axes, strict=True):
        _draw_variants(panel, axis, comparison, span)
    label_once(panels, "y")
    note = f"{text(comparison.metric, 30)}\n({better(comparison.direction)})"
    figure.supylabel(note, fontsize=9)
    below = label_height(comparison.space.axes)
    arrange(figure, panels, Room(left=SCORE_WIDTH, beside=0.3, below=below))
    return figure


def distributions(distribution: Mapping[str, np.ndarray]) -> Figure:
    """Draw the distribution of one unit's inputs by training step, one panel per variant.

    Args:
        distribution: {variant: shape (steps, 3)}, the 15th, 50th and 85th percentile.
    """
    columns = min(len(distribution), MAX_COLUMNS)
    rows = math.ceil(len(distribution) / columns)
    figure = Figure(figsize=(1 + 2.8 * columns, 0.6 + 2.6 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for (variant, percentiles), panel in zip(distribution.items(), panels, strict=False):
        plain_frame(panel)
        low, middle, high = np.asarray(percentiles, float).T
        steps = np.arange(1, len(middle) + 1)
        label = "15th to 85th percentile"
        panel.fill_between(steps, low, high, color=BLUE, alpha=0.2, linewidth=0, label=label)
        panel.plot(steps, middle, color=BLUE, linewidth=1.2, label="median")
        write_above(panel, text(variant, MAX_VARIANT))
        panel.set_xlabel("training step", fontsize=8)
    for panel in panels[len(distribution) :]:
        panel.remove()
    legend(figure, list(panels[:1]))
    figure.supylabel("input of the unit", fontsize=9)
    return figure


def _styles() -> Iterator[dict[str, Any]]:
    """Yield the colour and the mark of each variant, endlessly."""
    for colour, mark in zip(itertools.cycle(COLOURS), itertools.cycle(MARKS), strict=False):
        yield {"color": colour, "marker": mark}


def _best_after(results: Results) -> np.ndarray:
    """Return the best score after each trial, shape (trials,); NaN before the first score."""
    after = iter(results.best_so_far())
    best = [math.nan]
    for trial in results.trials:
        best.append(next(after) if has_score(trial) else best[-1])
    return np.array(best[1:])


def _span(comparison: Comparison) -> Span:
    every = itertools.chain.from_iterable(comparison.searches.values())
    scores = [score for results in every for score in scores_of(results.finished)]
    known = [] if comparison.threshold is None else [comparison.threshold]
    return Span.of([*scores, *known], comparison.direction)


def _draw_variants(panel: Axes, axis: Axis, comparison: Comparison, span: Span) -> None:
    for (variant, searches), style in zip(comparison.searches.items(), _styles(), strict=False):
        trials = [trial for results in searches for trial in active(results.finished, axis)]
        failed = [trial for results in searches for trial in active(results.failed, axis)]
        size = dot_size(trials)
        dots = coordinates(trials, axis, SLICE_JITTER), span.heights(trials)
        panel.scatter(
            *dots, s=size, alpha=0.6, linewidths=0, label=text(variant, MAX_VARIANT), **style
        )
        crosses = coordinates(failed, axis, SLICE_JITTER), span.heights(failed)
        panel.scatter(*crosses, s=18, marker="x", linewidths=1, alpha=0.7, color=style["color"])
    if comparison.threshold is not None:
        label = f"threshold {number(comparison.threshold)}"
        panel.axhline(comparison.threshold, color="0.2", linestyle="--", linewidth=1, label=label)
    dress(panel, axis, "x")
    span.frame(panel)
