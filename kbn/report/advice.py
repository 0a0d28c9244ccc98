"""What to try after a search, and how sure its findings are, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kbn.report.results import SearchSummary
from kbn.report.words import number
from kbn.search.axes import Axis, Discrete
from kbn.search.ranking import original

LEADERS = 5  # best trials that are looked at together
FEW_PER_AXIS = 10  # trials per hyperparameter; with fewer, importance is a guess
MANY_FAILED = 0.2  # share of trials
LATE = 0.75  # share of the finished trials before the best one


def next_steps(search: SearchSummary) -> list[str]:
    """Return sentences about what to change in the next search."""
    steps = [
        *_widen(search),
        *_fix_failures(search),
        *_train_longer(search),
        *_go_on(search),
        *_leave_alone(search),
    ]
    return steps or ["Nothing in these trials asks for another search."]


def certainty(search: SearchSummary) -> list[str]:
    """Return sentences about how far the findings can be trusted."""
    return [*_of_the_score(search), *_of_the_order(search), *_of_importance(search)]


def edge(axis: Axis, value: Any) -> bool | int | float | str | None:
    """Return the end of an axis that a value lies at, to the digits that are printed; else None.

    An end that nothing can lie beyond is none: 0, and those of a choice without an order.
    """
    if isinstance(axis, Discrete) and (len(axis.values) <= 2 or not axis.ordered):  # noqa: PLR2004
        return None
    low, high = axis.whole[0], axis.whole[-1]
    if low == high:
        return None
    return next((end for end in (low, high) if end and number(end) == number(value)), None)


def _widen(search: SearchSummary) -> Iterator[str]:
    """Name the best values at an edge, of the hyperparameters that mattered."""
    best = search.results.best
    mattered = {one.name for one in search.importance if one.is_shown}
    for axis in search.space.axes:
        if best is not None and axis.name in mattered & best.values.keys():
            end = edge(axis, best.values[axis.name])
            if end is not None:
                yield f"The best {axis.name} is at the edge of its range, {number(end)}: widen it."


def _fix_failures(search: SearchSummary) -> Iterator[str]:
    failed, trials = len(search.results.failed), len(search.results.trials)
    if failed > MANY_FAILED * trials:
        yield (
            f"{failed} of {trials} trials failed: find out why, or leave out the values they had; "
            "the table says which."
        )


def _train_longer(search: SearchSummary) -> Iterator[str]:
    """Advise more epochs where most of the best trials were best in their last one."""
    leaders = [trial for trial in search.results.ranked[:LEADERS] if trial.epochs]
    last = [t for t in leaders if t.best_step == max(epoch.epoch for epoch in t.epochs) > 0]
    if len(last) > len(leaders) / 2:
        yield (
            f"{len(last)} of the {len(leaders)} best trials had their best epoch last: try more "
            "epochs."
        )


def _go_on(search: SearchSummary) -> Iterator[str]:
    """Advise more trials where they have not shown what matters, or found the best one late."""
    finished = search.results.finished
    best = search.results.best
    if best is None:
        yield "Mend what made the trials fail, then begin anew."
        return
    place = finished.index(best) + 1
    if search.importance and not any(one.is_shown for one in search.importance):
        yield "Run more trials: these do not show yet which hyperparameters matter."
    elif search.rounds and place > LATE * len(finished):
        yield (
            f"The best score came late, from finished trial {place} of {len(finished)}: more "
            "trials may find a better one."
        )


def _leave_alone(search: SearchSummary) -> Iterator[str]:
    """Name what can be fixed, where something else was shown to matter."""
    weak = [one.name for one in search.importance if not one.is_shown]
    if weak and len(weak) < len(search.importance):
        yield (
            "To search fewer hyperparameters, fix those without a visible effect at the best "
            f"trial's values first: {', '.join(weak)}."
        )


def _of_the_score(search: SearchSummary) -> Iterator[str]:
    finished = len(search.results.finished)
    if search.test:
        yield "The test scores are fair: nothing was chosen by them."
    elif finished > 1:
        yield (
            f"The best score is the best of {finished}, on data that it was chosen by: expect a "
            "somewhat worse one on new data. A test part would show it."
        )


def _of_the_order(search: SearchSummary) -> Iterator[str]:
    """Compare the best with what repeats of it scored, or else with the second best."""
    results, best = search.results, search.results.best
    if best is None or len(results.ranked) == 1:
        return
    first = original(best.trial, best.values)
    alike = [t for t in results.finished if original(t.trial, t.values) == first]
    if len(alike) > 1:
        scores = [trial.score or 0.0 for trial in alike]
        yield (
            f"The best values were trained {len(alike)} times, with scores from "
            f"{number(min(scores))} to {number(max(scores))}: trials that differ by less cannot be "
            "told apart."
        )
        return
    second = results.ranked[1]
    trainings = 1 + max((epoch.execution for epoch in best.epochs), default=0)
    each = "was trained once" if trainings == 1 else f"is the mean of {trainings} trainings"
    yield (
        f"The second best, trial {second.trial}, has {number(second.score)}. Each {each}, so that "
        "chance may decide between them: train the two with several seeds to tell."
    )


def _of_importance(search: SearchSummary) -> Iterator[str]:
    trials, axes = len(search.results.finished), len(search.importance)
    if axes and trials < FEW_PER_AXIS * axes:
        yield (
            f"What mattered is judged from {trials} trials of {axes} hyperparameters, which is "
            "few: more trials narrow the intervals."
        )
