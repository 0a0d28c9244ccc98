"""Ranking of trials that differ in epochs, and of which some were repeated."""

from __future__ import annotations

import bisect
import statistics
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from kbn.search.fidelity import EPOCHS

if TYPE_CHECKING:
    from kbn.search.axes import Value

# Key in a trial's values for the trial that it repeats, whose score noise may have decided.
REPEATS = "tuner/repeats"


def original(trial_id: str, values: Mapping[str, Value]) -> str:
    """Return the id of the trial that a trial repeats; its own if it repeats none."""
    return str(values.get(REPEATS, trial_id))


class Ranking:
    """Trials in order: those that trained longest first, then by score, then by age.

    A trial that was repeated counts with the mean of its scores, and so do its repeats.

    Args:
        direction: "min" or "max", whichever scores are better.
    """

    def __init__(self, direction: str):
        self._sign = -1.0 if direction == "max" else 1.0
        # sorted: minus the epochs, the mean score as a loss, the trial's number and id
        self._ranks: list[tuple[int, float, int, str]] = []
        # by id of a trial: the same of it and its repeats, each with its own score
        self._alike: dict[str, list[tuple[int, float, int, str]]] = {}

    def add(self, trial_id: str, values: Mapping[str, Value], score: float, number: int) -> None:
        """Add a trial that ended.

        Args:
            trial_id: the trial's id.
            values: the trial's values.
            score: finite.
            number: place of the trial in the order of start.
        """
        alike = self._alike.setdefault(original(trial_id, values), [])
        for rank in _with_mean(alike):
            del self._ranks[bisect.bisect_left(self._ranks, rank)]
        alike.append((-values.get(EPOCHS, 0), self._sign * score, number, trial_id))
        for rank in _with_mean(alike):
            bisect.insort(self._ranks, rank)

    def first(self, count: int) -> list[str]:
        """Return the ids of at most `count` trials, best first."""
        return [trial_id for *_, trial_id in self._ranks[:count]]


def _with_mean(alike: list[tuple[int, float, int, str]]) -> list[tuple[int, float, int, str]]:
    """Replace the scores of a trial and its repeats by their mean."""
    mean = statistics.fmean(score for _, score, *_ in alike) if alike else 0.0
    return [(epochs, mean, number, trial_id) for epochs, _, number, trial_id in alike]


def best_first(
    trials: Iterable[tuple[str, Mapping[str, Value], float]], direction: str
) -> list[str]:
    """Return the ids of trials, best first.

    Args:
        trials: id, values and finite score of each, in the order of their start.
        direction: "min" or "max", whichever scores are better.
    """
    ranking, count = Ranking(direction), 0
    for count, (trial_id, values, score) in enumerate(trials, 1):
        ranking.add(trial_id, values, score, count)
    return ranking.first(count)
