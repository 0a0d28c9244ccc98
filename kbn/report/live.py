"""Data of an interactive page: every trial with its place on every axis."""

from __future__ import annotations

from typing import Any

from kbn.report.panels import active, coordinates, indices, ranks
from kbn.report.parallel import EMPHASIZED, LINE_JITTER
from kbn.report.results import SearchSummary, scores_of
from kbn.report.span import Span
from kbn.report.ticks import scale_name, ticks
from kbn.report.words import better, number, visible
from kbn.search.axes import Axis

MOST_TRIALS = 2000  # that a browser draws at once


def live_data(search: SearchSummary) -> dict[str, Any]:
    """Return what the page's script draws, as JSON values; empty if no trial finished.

    Coordinates are shares of an axis in [0, 1], on its own scale, or None where a trial has none.
    """
    results = search.results
    if not results.finished:
        return {}
    trials, span, levels = results.thinned(MOST_TRIALS), Span.of_results(results), ranks(results)
    top = {trial.trial for trial in results.ranked[:EMPHASIZED]}
    at: dict[str, list[float | None]] = {trial.trial: [] for trial in trials}
    for axis in search.space.axes:
        within = active(trials, axis)
        ids = [trial.trial for trial in within]
        found = dict(zip(ids, coordinates(within, axis, LINE_JITTER).tolist(), strict=True))
        for name, places in at.items():
            places.append(_rounded(found.get(name)))
    scores = span.to_unit(scores_of(results.finished)).tolist()
    heights = dict(zip((trial.trial for trial in results.finished), scores, strict=True))
    last = max(1, int(indices(results.trials).max()))
    return {
        "axes": [
            {"name": visible(axis.name), "note": scale_name(axis), "ticks": _ticks_of(axis)}
            for axis in search.space.axes
        ],
        "score": {
            "name": visible(search.metric),
            "note": better(results.direction),
            "ticks": [[share, number(span.at(share))] for share in (0.0, 0.5, 1.0)],
        },
        "order": {
            "name": visible(search.metric),
            "note": f"by trial; {better(results.direction)}",
            "ticks": [[place / last, str(place)] for place in _whole_numbers(last)],
        },
        "best": [
            [place / last, _rounded(height)]
            for place, height in zip(
                indices(results.finished).tolist(),
                span.to_unit(results.best_so_far()).tolist(),
                strict=True,
            )
        ],
        "trials": [
            {
                "id": trial.trial,
                "at": [*at[trial.trial], _rounded(heights.get(trial.trial))],
                "order": int(trial.trial) / last,
                "rank": levels.get(trial.trial),
                "top": trial.trial in top,
            }
            for trial in sorted(trials, key=lambda each: levels.get(each.trial, -1.0))
        ],
    }


def _whole_numbers(last: int) -> list[int]:
    """Return at most six round numbers from 0 to `last`."""
    step = next(
        s for power in range(9) for s in (10**power, 2 * 10**power, 5 * 10**power) if 5 * s >= last
    )
    return list(range(0, last + 1, step))


def _ticks_of(axis: Axis) -> list[list[Any]]:
    found = ticks(axis)
    return [[_rounded(u), label] for u, label in zip(found.places, found.labels, strict=True)]


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)
