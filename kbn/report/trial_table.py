"""Table of all trials of one search or of several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from kbn.report.document import Table
from kbn.report.results import (
    BOOKKEEPING,
    Results,
    has_failed,
    hyperparameter_values,
    why_failed,
)
from kbn.report.words import amount, format_score, number, shortened

if TYPE_CHECKING:
    from kbn.search.space import Space
    from kbn.tracking.attempts import Attempt

HEADING = "All trials, the best first"
OWN = ("trial", "status", "score", "seconds", "notes")  # columns that every table has


def trial_table(
    searches: Mapping[tuple[str, ...], Results],
    space: Space,
    labels: Sequence[str] = (),
    heading: str = HEADING,
) -> Table:
    """Return the table of all trials, search by search, the best of each first.

    Args:
        searches: results by the cells that tell which search a trial belongs to.
        space: its hyperparameters are the first of the columns that show values.
        labels: names of the columns of these cells.
        heading: heading of the table.
    """
    every = [trial for results in searches.values() for trial in results.trials]
    axes = [axis.name for axis in space.axes]
    found = (name for trial in every for name in hyperparameter_values(trial))
    names = list(dict.fromkeys([*axes, *found]))
    measured = list(dict.fromkeys(name for trial in every for name in trial.metrics))
    rows = [
        (_row_class(trial, results), [*cells, *_trial_cells(trial, measured, names)])
        for cells, results in searches.items()
        for trial in _best_first(results)
    ]
    columns = [*labels, *OWN, *measured, *names]
    turned = range(len(labels) + len(OWN), len(columns))
    return Table(heading, columns, rows, turned, of_trials=True)


def _best_first(results: Results) -> Iterator[Attempt]:
    ranked = {trial.trial for trial in results.ranked}
    yield from results.ranked
    yield from (trial for trial in results.trials if trial.trial not in ranked)


def _row_class(trial: Attempt, results: Results) -> str:
    if trial is results.best:
        return "best"
    return "failed" if has_failed(trial) or trial.violations else ""


def _trial_cells(trial: Attempt, measured: Sequence[str], names: Sequence[str]) -> list[str]:
    scored = "" if trial.score is None else format_score(trial.score)
    seconds = "" if trial.seconds is None else f"{trial.seconds:.1f}"
    values = [number(trial.values[name]) if name in trial.values else "" for name in names]
    metrics = [amount(trial.metrics[n]) if n in trial.metrics else "" for n in measured]
    status = "INFEASIBLE" if trial.violations else trial.status or "RUNNING"
    return [trial.trial, status, scored, seconds, _note(trial), *metrics, *values]


def _note(trial: Attempt) -> str:
    """Return why a trial failed or is infeasible, or else what the tuner noted of it."""
    if trial.violations:
        return shortened("; ".join(trial.violations))
    if has_failed(trial):
        return shortened(why_failed(trial))
    names = sorted(trial.values.keys() - hyperparameter_values(trial).keys())
    return ", ".join(f"{n.removeprefix(BOOKKEEPING)} {trial.values[n]}" for n in names)
