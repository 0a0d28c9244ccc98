"""What a search found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kbn.report.agreement import AGREES, LESS, MORE, UNDECIDED, agreement
from kbn.report.results import Search
from kbn.report.words import better, number, shortened
from kbn.search.axes import Axis, Discrete

EDGE = 0.03  # of an axis: a best value that close to its end may lie beyond it


def findings(search: Search) -> list[str]:
    """The outcome of a search: its best trial, its failures, its importance, its edges."""
    return [_outcome(search), *_failures(search), *_importance(search), *_edges(search)]


def _outcome(search: Search) -> str:
    best, finished = search.results.best, len(search.results.finished)
    count = _of(finished, len(search.results.trials))
    if best is None:
        return f"{count} finished: there is no score to compare."
    score = f"{search.metric} {number(best.score)} ({better(search.results.direction)})"
    return f"{count} finished. The best is trial {best.trial}: {score}."


def _of(part: int, whole: int) -> str:
    if not whole:
        return "No trial"
    return f"{part or 'None'} of {whole} trial{'s' * (whole != 1)}"


def _failures(search: Search) -> Iterator[str]:
    results = search.results
    running = len(results.trials) - len(results.finished) - len(results.failed)
    if results.failed:
        reason = shortened(results.commonest_failure())
        yield f"{len(results.failed)} failed; the commonest reason: {reason}"
    if running:
        yield f"{running} had not ended when this was written."


def _importance(search: Search) -> Iterator[str]:
    found = [one for one in search.importance if one.share]
    if not found:
        if search.importance:
            yield "The trials do not tell which hyperparameters matter."
        return
    first, *others = found
    told = [one for one in others if one.low > 0]
    interval = f"90 % interval {_percent(first.low)} to {_percent(first.high)}"
    sentence = (
        f"{first.name} mattered most: {_percent(first.share)} of what the hyperparameters do one "
        f"by one ({interval})"
    )
    if told:
        sentence += "; then " + ", ".join(f"{one.name} ({_percent(one.share)})" for one in told)
    rest = len(search.importance) - 1 - len(told)
    if rest:
        sentence += f"; {rest} cannot be told from hyperparameters that do nothing"
    yield f"{sentence}."
    yield from _agreement(search)


def _agreement(search: Search) -> Iterator[str]:
    verdicts = agreement(search.importance, search.tiers)
    for verdict, words in (
        (AGREES, "In line with what was believed"),
        (MORE, "More important than believed"),
        (LESS, "Less important than believed"),
        (UNDECIDED, "Not settled by these trials"),
    ):
        names = [
            f"{name} (tier {search.tiers[name]})" for name, v in verdicts.items() if v == verdict
        ]
        if names:
            yield f"{words}: {', '.join(names)}."


def _edges(search: Search) -> Iterator[str]:
    best = search.results.best
    for axis in search.space.axes:
        if best is not None and axis.name in best.values:
            end = edge(axis, best.values[axis.name])
            if end is not None:
                yield f"{axis.name}'s best lies at the edge of its range, {number(end)}: widen it."


def edge(axis: Axis, value: Any) -> Any:
    """The end of an axis at which a value lies; None inside it, or where nothing lies beyond."""
    if isinstance(axis, Discrete) and (len(axis.values) <= 2 or not axis.ordered):  # noqa: PLR2004
        return None
    if axis.whole[0] == axis.whole[-1]:
        return None
    ends = axis.whole[0], axis.whole[-1]
    near = (end for end in ends if end != 0 and abs(axis.to_unit(value) - axis.to_unit(end)) < EDGE)
    return next(near, None)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
