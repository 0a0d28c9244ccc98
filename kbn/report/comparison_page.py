"""The report of a comparison: its outcome first, then its numbers and its figures."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from kbn.report import comparison_plots as plots
from kbn.report.comparison import Comparison, Mean
from kbn.report.document import Page, Picture, Table, write_page
from kbn.report.page import NO_AXES, NO_SCORES
from kbn.report.words import fixed, number

MEASURES = (
    "Every dot is the measure of one search, a thin line joins the same seed; beside them the mean "
    "with its 95 % interval. Variants are judged by the differences of the same seed, in the table."
)
SO_FAR = (
    "The best score so far after so many trials: the line is the mean over the seeds, the band "
    "reaches from the worst seed to the best."
)
SLICES = (
    "Every mark is a trial at its value of one hyperparameter, its colour the variant. At the "
    "worse end stand trials that are worse than the axis shows, and as crosses those that failed. "
    "A variant that stays good over a wider range asks for less tuning."
)
DISTRIBUTION = (
    "The inputs of one unit of a late layer during training, median and 15th to 85th percentile: "
    "the steadier the band, the less the layers before it move under the unit."
)
ALONE = "There is one variant: nothing to compare it with."


def write_comparison(comparison: Comparison, directory: Path) -> Path:
    """Write the report of a comparison: directory/report.html and directory/figures/*.png.

    As with `kbn.report.page.write_report`, the page needs no other file, and a failure leaves an
    earlier report as it was.

    Returns:
        The page's path.

    Raises:
        OSError: if a file cannot be written.
    """
    sentences = [*(comparison.sentences() or [ALONE]), *_notes(comparison)]
    pictures = list(_pictures(comparison))
    return write_page(Page(comparison.title, sentences, _table(comparison), pictures), directory)


def _notes(comparison: Comparison) -> Iterator[str]:
    if comparison.threshold is not None:
        side = "or less" if comparison.direction == "min" else "or more"
        good = f"{comparison.metric} {number(comparison.threshold)} {side}"
        yield f"A search is measured by the share of its trials with {good}; failed ones have not."
    if len(comparison.searches) > len(("first", "other")):
        yield "Each interval holds by itself: of twenty comparisons of equals, one looks different."


def _table(comparison: Comparison) -> Table:
    columns = ["variant", comparison.measure, "95 %", f"more than {comparison.first}", "95 %"]
    rows = []
    for row in comparison.table():
        seeds = ", ".join(fixed(measure, row.mean.uncertainty) for measure in row.measures)
        cells = [row.variant, *_cells(row.mean), *_cells(row.difference), seeds]
        rows.append(("", cells))
    return Table("Over the seeds", [*columns, "each seed"], rows)


def _cells(mean: Mean | None) -> tuple[str, str]:
    """A mean and its interval."""
    if mean is None:
        return "", ""
    value, _, interval = str(mean).partition(" ")
    return value, "one seed tells none" if mean.count == 1 else interval


def _pictures(comparison: Comparison) -> Iterator[Picture]:
    every = [results for searches in comparison.searches.values() for results in searches]
    scored = None if any(results.finished for results in every) else NO_SCORES
    spaced = scored or (None if comparison.space.axes else NO_AXES)
    for name, heading, caption, draw, missing in (
        ("measures", f"By variant: {comparison.measure}", MEASURES, plots.measures, scored),
        ("best_so_far", "Best score so far", SO_FAR, plots.best_so_far, scored),
        ("slices", "Score by hyperparameter", SLICES, plots.slices, spaced),
    ):
        drawn = None if missing else functools.partial(draw, comparison)
        yield Picture(name, heading, missing or caption, drawn)
    if comparison.distribution is not None:
        drawn = functools.partial(plots.distributions, comparison.distribution)
        yield Picture("distribution", "Inputs of one unit during training", DISTRIBUTION, drawn)
