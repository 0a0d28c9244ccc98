"""HTML report of a search: its findings, its figures and a table of all trials."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from kbn.report import plots
from kbn.report.advice import certainty, next_steps
from kbn.report.document import Page, Picture, Table, write_page
from kbn.report.findings import findings
from kbn.report.live import live_data
from kbn.report.results import SearchSummary
from kbn.report.ticks import scale_name
from kbn.report.trial_table import trial_table
from kbn.report.words import number, shortened
from kbn.search.axes import Axis, Discrete

FRONT_CAPTION = (
    "Each dot is a trial. The coloured ones are the front: no trial is better in one objective and "
    "as good in all others. The ring is the one of them with the best {metric}. What is worse than "
    "an axis shows stands at its worse end."
)
INFEASIBLE_NOTE = (
    " A plus is an infeasible trial, which violates a constraint; it may not have been trained."
)
HISTORY_CAPTION = (
    "Each dot is a trial, in the order of their start; the line is the best score so far, the ring "
    "the best trial; a cross is a failed trial, a triangle one that is worse than the axis shows."
)
SLICES_CAPTION = (
    "Each dot is a trial at its value of one hyperparameter, on the scale that the search draws "
    "from: a ridge shows where good values lie, a flat cloud that the hyperparameter has little "
    "effect. Trials worse than the axis shows stand at its worse end, failed ones as crosses."
)
PARALLEL_CAPTION = (
    "Each line is a finished trial, from its values to its score at the right, best on top; the "
    "darker, the better. The thick lines are the five best: where they meet, good trials agree."
)
BOXES_CAPTION = (
    "The first panel shows the scores, each other one a hyperparameter's value, trial by trial. "
    "The blue boxes are what each round draws from, darker where several overlap; some trials draw "
    "from the whole range. The ring is the best trial, a cross a failed one."
)
VALUES_CAPTION = (
    "The first panel shows the scores, each other one a hyperparameter's value, trial by trial. "
    "The search had no rounds."
)
IMPORTANCE_CAPTION = (
    "The longer the bar, the more the score depends on this hyperparameter alone; the thin line "
    "is a 90 % interval. Where it begins at 0 %, there may be no effect. A number at the right is "
    "the believed tier, 1 for the most important."
)
CURVES_CAPTION = (
    "Each line is a trial, {metric} after each epoch; the thick line is the best one. Lines that "
    "still rise or fall at the end suggest more epochs."
)
THINNED = " Of {all} trials {drawn} are drawn: the best ones, and others evenly by rank."
NO_SCORES = "No trial has finished: there is nothing to draw."
NO_AXES = "The search has no hyperparameters: there is nothing to draw."
NO_IMPORTANCE = "It was not measured, or the trials do not show it."
NO_CURVES = "No trial reported {metric} by epoch: there is nothing to draw."


def write_report(search: SearchSummary, directory: Path) -> Path:
    """Write the report of a search: directory/report.html and directory/figures/*.png.

    The page needs no other file and no network, and says everything without JavaScript, too. A
    failure leaves an earlier report as it was.

    Returns:
        The page's path.

    Raises:
        OSError: if a file cannot be written.
    """
    page = Page(
        title=search.title,
        sections=[
            ("What was found", findings(search)),
            ("What to try next", next_steps(search)),
            ("How sure that is", certainty(search)),
        ],
        first=_best_table(search),
        pictures=list(_search_pictures(search)),
        last=trial_table({(): search.results}, search.space),
        data=live_data(search),
    )
    return write_page(page, directory)


def _best_table(search: SearchSummary) -> Table | None:
    """Return the best trial's values, each with the range and scale that were searched."""
    best = search.results.best
    if best is None:
        return None
    rows = []
    for axis in search.space.axes:
        if axis.name in best.values:
            value = number(best.values[axis.name])
            rows.append(("", [axis.name, value, _searched_range(axis), scale_name(axis)]))
    columns = ["hyperparameter", "value", "searched", "on"]
    return Table(f"The best trial: {best.trial}", columns, rows)


def _searched_range(axis: Axis) -> str:
    if isinstance(axis, Discrete):
        return shortened(", ".join(map(number, axis.values)))
    low, high = axis.whole
    return f"{number(low)} to {number(high)}"


def _search_pictures(search: SearchSummary) -> Iterator[Picture]:
    """Yield the figures; a figure that cannot be drawn has a caption that says why."""
    scored = None if search.results.finished else NO_SCORES
    noted = INFEASIBLE_NOTE if search.results.infeasible else ""
    if search.results.objectives:
        drawn, told = functools.partial(plots.front, search), FRONT_CAPTION + noted
        told = scored or told.replace("{metric}", search.metric)
        yield Picture("front", "The front", told, None if scored else drawn)
    spaced = scored or (None if search.space.axes else NO_AXES)
    measured = None if any(one.share for one in search.importance) else NO_IMPORTANCE
    curved = None if plots.has_curves(search) else NO_CURVES.replace("{metric}", search.metric)
    parallel = PARALLEL_CAPTION + _thinning_note(len(search.results.finished), plots.MAX_LINES)
    curves = CURVES_CAPTION + _thinning_note(len(search.results.trials), plots.MAX_CURVES)
    importance = IMPORTANCE_CAPTION
    boxes = (BOXES_CAPTION if search.rounds else VALUES_CAPTION) + noted
    for name, heading, caption, draw, missing in (
        ("history", "Scores", HISTORY_CAPTION + noted, plots.history, scored),
        ("importance", "Which hyperparameters mattered", importance, plots.importance, measured),
        ("slices", "Score by hyperparameter", SLICES_CAPTION + noted, plots.slices, spaced),
        ("parallel", "Whole trials", parallel, plots.parallel_coordinates, spaced),
        ("boxes", "From coarse to fine", boxes, plots.boxes, spaced),
        ("curves", "Learning curves", curves, plots.learning_curves, curved),
    ):
        given = functools.partial(draw, search)
        text = missing or caption.replace("{metric}", search.metric)
        yield Picture(name, heading, text, None if missing else given)


def _thinning_note(trials: int, most: int) -> str:
    """Return a sentence about how many trials are drawn; "" if all are."""
    return THINNED.format(all=trials, drawn=most) if trials > most else ""
