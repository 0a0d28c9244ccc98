"""The report of a search: one page that says what it found, shows it, and lists every trial."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

from kbn.report import plots
from kbn.report.document import Page, Picture, Table, write_page
from kbn.report.findings import findings
from kbn.report.results import (
    BOOKKEEPING,
    Results,
    Search,
    has_failed,
    has_score,
    hyperparameters,
    why_failed,
)
from kbn.report.ticks import scale_name
from kbn.report.words import number, score, shortened
from kbn.search.axes import Axis, Discrete
from kbn.tracking.journal import Attempt

HISTORY = (
    "Every dot is a trial, in the order of start; the line is the best score so far, the ring the "
    "best trial; a cross is a failed trial, a triangle one too bad for the axis."
)
SLICES = (
    "Every dot is a trial at its value of one hyperparameter, on the scale that the search draws "
    "from: a ridge shows where good values lie, a flat cloud that the hyperparameter does little. "
    "At the worse end stand trials worse than the axis shows, and as crosses those that failed."
)
PARALLEL = (
    "Every line is a finished trial, from its values to its score at the right, best on top; the "
    "darker, the better. The thick lines are the five best: where they meet, good trials agree."
)
BOXES = (
    "Each panel shows a hyperparameter's value trial by trial; the blue boxes are what each round "
    "draws from, darker where several overlap; one trial in a few is drawn from everywhere. A ring "
    "is the best trial, a cross a failed one."
)
VALUES = "Each panel shows a hyperparameter's value trial by trial; the search had no rounds."
IMPORTANCE = (
    "The longer the bar, the more the score depends on this hyperparameter alone; the thin line "
    "is a 90 % interval. A number at the right is the believed tier, 1 for the most important."
)
CURVES = (
    "Every line is a trial, {metric} after each epoch; the thick line is the best one. Lines that "
    "still rise or fall at the end ask for more epochs."
)
THINNED = " Of {all} trials {drawn} are drawn: the best ones, and others by rank down to the worst."
NO_SCORES = "No trial has finished: there is nothing to draw."
NO_AXES = "The search has no hyperparameters: there is nothing to draw."
NO_IMPORTANCE = "It was not measured, or the trials do not tell."
NO_CURVES = "No trial told {metric} by epoch: there is nothing to draw."


def write_report(search: Search, directory: Path) -> Path:
    """Writes the report of a search: directory/report.html and directory/figures/*.png.

    The page needs no other file, no network and no JavaScript. A failure leaves an earlier report
    as it was.

    Returns:
        The page's path.

    Raises:
        OSError: if a file cannot be written.
    """
    trials = _trials(search)
    page = Page(search.title, findings(search), _best(search), list(_pictures(search)), trials)
    return write_page(page, directory)


def _best(search: Search) -> Table | None:
    """The best trial's values, each with the range and the scale that it was searched on."""
    best = search.results.best
    if best is None:
        return None
    rows = []
    for axis in search.space.axes:
        if axis.name in best.values:
            value = number(best.values[axis.name])
            rows.append(("", [axis.name, value, _range(axis), scale_name(axis)]))
    columns = ["hyperparameter", "value", "searched", "on"]
    return Table(f"The best trial: {best.trial}", columns, rows)


def _range(axis: Axis) -> str:
    if isinstance(axis, Discrete):
        return shortened(", ".join(map(number, axis.values)))
    low, high = axis.whole
    return f"{number(low)} to {number(high)}"


def _pictures(search: Search) -> Iterator[Picture]:
    """The figures, those that cannot be drawn replaced by a sentence that says why."""
    scored = None if search.results.finished else NO_SCORES
    spaced = scored or (None if search.space.axes else NO_AXES)
    measured = None if any(one.share for one in search.importance) else NO_IMPORTANCE
    curved = None if plots.has_curves(search) else NO_CURVES.replace("{metric}", search.metric)
    parallel = PARALLEL + _thinned(len(search.results.finished), plots.MOST_LINES)
    curves = CURVES + _thinned(len(search.results.trials), plots.MOST_CURVES)
    for name, heading, caption, draw, missing in (
        ("history", "Scores", HISTORY, plots.history, scored),
        ("importance", "Which hyperparameters mattered", IMPORTANCE, plots.importance, measured),
        ("slices", "Score by hyperparameter", SLICES, plots.slices, spaced),
        ("parallel", "Whole trials", parallel, plots.parallel_coordinates, spaced),
        ("boxes", "From coarse to fine", BOXES if search.rounds else VALUES, plots.boxes, spaced),
        ("curves", "Learning curves", curves, plots.learning_curves, curved),
    ):
        given = functools.partial(draw, search)
        text = missing or caption.replace("{metric}", search.metric)
        yield Picture(name, heading, text, None if missing else given)


def _thinned(trials: int, most: int) -> str:
    """A sentence that says so where not all trials are drawn."""
    return THINNED.format(all=trials, drawn=most) if trials > most else ""


def _trials(search: Search) -> Table:
    results = search.results
    rest = [trial for trial in results.trials if not has_score(trial)]
    axes = [axis.name for axis in search.space.axes]
    found = (name for trial in results.trials for name in hyperparameters(trial))
    names = list(dict.fromkeys([*axes, *found]))
    rows = [(_kind(trial, results), _cells(trial, names)) for trial in (*results.ranked, *rest)]
    columns = ["trial", "status", "score", "seconds", "notes", *names]
    return Table("All trials, the best first", columns, rows, range(5, 5 + len(names)))


def _kind(trial: Attempt, results: Results) -> str:
    if trial is results.best:
        return "best"
    return "failed" if has_failed(trial) else ""


def _cells(trial: Attempt, names: Sequence[str]) -> list[str]:
    scored = "" if trial.score is None else score(trial.score)
    seconds = "" if trial.seconds is None else f"{trial.seconds:.1f}"
    values = [number(trial.values[name]) if name in trial.values else "" for name in names]
    return [trial.trial, trial.status or "RUNNING", scored, seconds, _note(trial), *values]


def _note(trial: Attempt) -> str:
    """Why it failed, or what the tuner noted of it, as the trial that it repeats."""
    if has_failed(trial):
        return shortened(why_failed(trial))
    names = sorted(trial.values.keys() - hyperparameters(trial).keys())
    return ", ".join(f"{n.removeprefix(BOOKKEEPING)} {trial.values[n]}" for n in names)
