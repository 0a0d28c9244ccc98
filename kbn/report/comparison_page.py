"""HTML report of a comparison: the outcome first, then the numbers and the figures."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from kbn.report import comparison_plots as plots
from kbn.report.comparison import Comparison, SeedMean
from kbn.report.document import Page, Picture, Table, write_page
from kbn.report.page import NO_AXES, NO_SCORES
from kbn.report.results import Results
from kbn.report.trial_table import trial_table
from kbn.report.words import fixed, number

MEASURES_CAPTION = (
    "Each dot is the measure of one search; thin lines join searches with the same seed. Beside "
    "the dots is the mean with its 95 % interval. The table compares variants seed by seed."
)
SO_FAR_CAPTION = (
    "The best score so far by number of trials: the line is the mean over the seeds, the band "
    "reaches from the worst seed to the best."
)
VARIANT_SLICES_CAPTION = (
    "Each mark is a trial at its value of one hyperparameter; its colour is the variant. Trials "
    "that are worse than the axis shows stand at its worse end, failed ones as crosses. A variant "
    "that stays good over a wider range needs less tuning."
)
DISTRIBUTION_CAPTION = (
    "The inputs of one unit of a late layer during training, median and 15th to 85th percentile: "
    "the steadier the band, the less the earlier layers shift the unit's inputs."
)
TRIALS_HEADING = "All trials, by variant and seed, the best of each search first"
# data of the page's script, which is to draw no figure anew
TABLE_ALONE: Mapping[str, Sequence[object]] = {"axes": [], "trials": []}
ONE_VARIANT = "There is only one variant, so there is nothing to compare it with."


def write_comparison(comparison: Comparison, directory: Path) -> Path:
    """Write the report of a comparison: directory/report.html and directory/figures/*.png.

    As with `kbn.report.page.write_report`, the page needs no other file, and a failure leaves an
    earlier report as it was.

    Returns:
        The page's path.

    Raises:
        OSError: if a file cannot be written.
    """
    sections = [
        ("What was found", [*(comparison.sentences() or [ONE_VARIANT]), *_measure(comparison)]),
        ("What to try next", comparison.next_steps()),
        ("How sure that is", list(_certainty(comparison))),
    ]
    pictures = list(_comparison_pictures(comparison))
    means, trials = means_table(comparison), _all_trials(comparison)
    page = Page(comparison.title, sections, means, pictures, trials, TABLE_ALONE)
    return write_page(page, directory)


def _measure(comparison: Comparison) -> Iterator[str]:
    if comparison.threshold is not None:
        side = "or less" if comparison.direction == "min" else "or more"
        good = f"{comparison.metric} {number(comparison.threshold)} {side}"
        yield f"The measure is the share of trials with {good}; failed trials count as worse."


def _certainty(comparison: Comparison) -> Iterator[str]:
    variants = len(comparison.searches)
    if comparison.seeds > 1 and variants > 1:
        yield (
            f"The intervals are Student's, of differences seed by seed, from {comparison.seeds} "
            "seeds. They tell of other seeds on these data, not of other data."
        )
    if variants > len(("first", "other")):
        yield "Each interval holds by itself: of twenty equal pairs, about one will look different."


def means_table(comparison: Comparison) -> Table:
    """Return the mean of every variant, and its difference to the first one."""
    columns = ["variant", comparison.measure, "95 %", f"more than {comparison.first}", "95 %"]
    rows = []
    for row in comparison.table():
        seeds = ", ".join(fixed(measure, row.mean.uncertainty) for measure in row.measures)
        cells = [row.variant, *_mean_cells(row.mean), *_mean_cells(row.difference), seeds]
        rows.append(("", cells))
    return Table("Over the seeds", [*columns, "each seed"], rows)


def _all_trials(comparison: Comparison) -> Table:
    """Return the trials of all searches; seeds are counted from 1, in their order."""
    searches: dict[tuple[str, ...], Results] = {
        (variant, str(seed)): results
        for variant, found in comparison.searches.items()
        for seed, results in enumerate(found, 1)
    }
    return trial_table(searches, comparison.space, ("variant", "seed"), TRIALS_HEADING)


def _mean_cells(mean: SeedMean | None) -> tuple[str, str]:
    """Return a mean and its interval as two cells."""
    if mean is None:
        return "", ""
    value, _, interval = str(mean).partition(" ")
    if mean.interval is None and mean.count:
        interval = "none: one seed" if mean.count == 1 else "none: all equal"
    return value, interval


def _comparison_pictures(comparison: Comparison) -> Iterator[Picture]:
    every = [results for searches in comparison.searches.values() for results in searches]
    scored = None if any(results.finished for results in every) else NO_SCORES
    spaced = scored or (None if comparison.space.axes else NO_AXES)
    for name, heading, caption, draw, missing in (
        ("measures", f"By variant: {comparison.measure}", MEASURES_CAPTION, plots.measures, scored),
        ("best_so_far", "Best score so far", SO_FAR_CAPTION, plots.best_so_far, scored),
        ("slices", "Score by hyperparameter", VARIANT_SLICES_CAPTION, plots.variant_slices, spaced),
    ):
        drawn = None if missing else functools.partial(draw, comparison)
        yield Picture(name, heading, missing or caption, drawn)
    if comparison.distribution is not None:
        drawn = functools.partial(plots.distributions, comparison.distribution)
        yield Picture(
            "distribution", "Inputs of one unit during training", DISTRIBUTION_CAPTION, drawn
        )
