"""Which trial of a search is the best, where they differ in epochs and some were repeated."""

from __future__ import annotations

import bisect
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from kbn.search.fidelity import EPOCHS

# In a trial's values: the trial that it repeats, since noise may have decided that one's score.
REPEATS = "tuner/repeats"


class Ranking:
    """The trials of a search: those that trained longest first, then by score, then by age.

    A trial that was repeated counts, as its repeats do, with the mean of its scores.

    Args:
        direction: "min" or "max", which scores are better.
    """

    def __init__(self, direction: str):
        self._sign = -1.0 if direction == "max" else 1.0
        # sorted; of each trial minus its epochs, what it counts with, its number and its id
        self._ranks: list[tuple[int, float, int, str]] = []
        # of a trial and its repeats, under the first one's id: the same with their own scores
        self._alike: dict[str, list[tuple[int, float, int, str]]] = {}

    def add(self, trial_id: str, values: Mapping[str, Any], score: float, number: int) -> None:
        """Adds a trial that ended.

        Args:
            trial_id: its id.
            values: its values.
            score: finite.
            number: its place in the order of start.
        """
        alike = self._alike.setdefault(values.get(REPEATS, trial_id), [])
        for rank in _with_mean(alike):
            del self._ranks[bisect.bisect_left(self._ranks, rank)]
        alike.append((-values.get(EPOCHS, 0), self._sign * score, number, trial_id))
        for rank in _with_mean(alike):
            bisect.insort(self._ranks, rank)

    def first(self, count: int) -> list[str]:
        """The ids of the best ones, the best first, at most so many."""
        return [trial_id for *_, trial_id in self._ranks[:count]]


def _with_mean(alike: list[tuple[int, float, int, str]]) -> list[tuple[int, float, int, str]]:
    mean = statistics.fmean(score for _, score, *_ in alike) if alike else 0.0
    return [(epochs, mean, number, trial_id) for epochs, _, number, trial_id in alike]


def best_first(trials: Iterable[tuple[str, Mapping[str, Any], float]], direction: str) -> list[str]:
    """The ids of trials, ranked.

    Args:
        trials: of each its id, its values and its finite score, in the order of their start.
        direction: "min" or "max", which scores are better.
    """
    ranking, count = Ranking(direction), 0
    for count, (trial_id, values, score) in enumerate(trials, 1):
        ranking.add(trial_id, values, score, count)
    return ranking.first(count)
