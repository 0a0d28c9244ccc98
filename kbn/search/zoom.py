"""Coarse to fine: the rounds of a search and the boxes they draw from.

Round 0 covers the whole space. Every later round draws from boxes round the best trials so far,
smaller from round to round; a fixed share of its trials still covers the whole space, so that a
lucky early trial cannot lock the search in. A search that is made longer has more rounds to shrink
in: its boxes open again to the width that the longer search has at that round.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

from kbn.search.space import Axis, Box, Discrete, Space, Values

FINAL_SIDE = 0.15  # side of the last round's boxes
REGIONS = 3  # boxes alive in a round
ENDLESS_ROUNDS, ENDLESS_SIZE = 8, 12  # rounds to the final side and trials of one, without an end
EXPLORE_EVERY = 6  # every 6th trial of a fine round is drawn from the whole space


@dataclasses.dataclass(frozen=True)
class Round:
    """A stretch of a search that draws from the same boxes.

    Attributes:
        number: 0 for the coarse round.
        first: index of its first trial, in order of start.
        size: number of its trials.
        side: width of its boxes as a share of each axis, in (0, 1].
        boxes: {hyperparameter: range} in natural units, best centre first. A range is
            [low, high] of a numeric hyperparameter, the list of values of a discrete one.
    """

    number: int
    first: int
    size: int
    side: float
    boxes: tuple[Box, ...]

    @property
    def end(self) -> int:
        """Index of the first trial after it."""
        return self.first + self.size

    def explores(self, index: int) -> bool:
        """Whether the trial at `index` is drawn from the whole space, whatever the boxes."""
        return index % EXPLORE_EVERY == EXPLORE_EVERY - 1

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Round:
        return cls(**{**config, "boxes": tuple(config["boxes"])})


def next_round(
    space: Space,
    best_first: Sequence[Values],
    done: Sequence[Round],
    max_trials: int | None,
    rounds: int | None,
) -> Round:
    """The round that follows those done.

    Args:
        space: the search space.
        best_first: values of the completed trials, the best first; may be empty.
        done: rounds so far.
        max_trials: length of the search in trials; None for no end.
        rounds: how many rounds the search should have, at least 1; None for about as many as a
            round has trials.
    """
    number, first = len(done), done[-1].end if done else 0
    rounds = rounds or (round(math.sqrt(max_trials)) if max_trials else ENDLESS_ROUNDS)
    left = max(1, rounds - number)
    size = math.ceil((max_trials - first) / left) if max_trials else ENDLESS_SIZE
    if number == 0 or rounds == 1 or not best_first:
        return Round(number, first, size, 1.0, (space.whole,))
    side = FINAL_SIDE ** min(1.0, number / (rounds - 1))
    boxes = tuple(
        _box(space, centre, side, best_first) for centre in _centres(space, best_first, side)
    )
    return Round(number, first, size, side, boxes)


def _centres(space: Space, best_first: Sequence[Values], side: float) -> Iterator[Values]:
    """Up to REGIONS good trials, half a side apart at least, the best of all first."""
    chosen: list[Values] = []
    good = best_first[: max(REGIONS, len(best_first) // 4)]
    for values in good:
        if all(space.distance(values, other) > side / 2 for other in chosen):
            chosen.append(values)
            yield values
        if len(chosen) == REGIONS:
            return


def _box(space: Space, centre: Values, side: float, best_first: Sequence[Values]) -> Box:
    return {axis.name: _range(axis, centre, side, best_first) for axis in space.axes}


def _range(axis: Axis, centre: Values, side: float, best_first: Sequence[Values]) -> Sequence[Any]:
    if axis.name not in centre:  # inactive there: nothing is known of it
        return axis.whole
    if isinstance(axis, Discrete):
        liked = [values[axis.name] for values in best_first if axis.name in values]
        return axis.narrow(centre[axis.name], side, liked)
    return axis.narrow(centre[axis.name], side)
