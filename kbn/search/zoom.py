"""Coarse to fine: the rounds of a search and the boxes they draw from.

Round 0 covers the whole space. Every later round draws from boxes round the best trials so far,
smaller from round to round, and narrower along what matters more; a fixed share of its
trials still covers the whole space, so that a lucky early trial cannot lock the search in. A search
that is made longer has more rounds to shrink in: its boxes open again to the width that the longer
search has at that round.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from kbn.search.axes import Axis, Discrete, Range
from kbn.search.space import Box, Space

FINAL_SIDE = 0.3  # side of the last round's boxes
REGIONS = 3  # boxes alive in a round
FEW = 3  # so many values of an ordered choice stay in every box
ENDLESS_ROUNDS, ENDLESS_SIZE = 8, 12  # rounds to the final side and trials of one, without an end


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
        until: whole trainings after which the next round begins.
        explore_every: of so many trials one is drawn from the whole space, whatever the boxes.
    """

    number: int
    first: int
    size: int
    side: float
    boxes: tuple[Box, ...]
    until: float
    explore_every: int

    @property
    def end(self) -> int:
        """Index of the first trial after it."""
        return self.first + self.size

    def explores(self, index: int) -> bool:
        """Whether the trial at `index` is drawn from the whole space, whatever the boxes."""
        return index % self.explore_every == self.explore_every - 1

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Round:
        return cls(**{**config, "boxes": tuple(config["boxes"])})


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long a search is, and how many rounds it has.

    Attributes:
        max_trials: whole trainings that it is given; None for no end.
        rounds: number of rounds, at least 1; None for twice the square root of `max_trials`.
        coarse: whole trainings of the first of several rounds.
        explore_every: as in `Round`.
    """

    max_trials: int | None
    rounds: int | None
    coarse: float
    explore_every: int

    def next_round(
        self,
        space: Space,
        good: np.ndarray,
        widths: np.ndarray,
        number: int,
        first: int,
        begun: float,
    ) -> Round:
        """The round that follows.

        Args:
            space: to search.
            good: the best trials so far, best first, shape (n, axes).
            widths: of a box along each axis as multiples of its mean width, shape (axes,).
            number: of rounds before it.
            first: index of its first trial.
            begun: whole trainings before it.
        """
        rounds = self.rounds or (
            round(2 * math.sqrt(self.max_trials)) if self.max_trials else ENDLESS_ROUNDS
        )
        size: float = ENDLESS_SIZE
        if number == 0 and rounds > 1:
            size = self.coarse
        elif self.max_trials:
            size = math.ceil((self.max_trials - begun) / max(1, rounds - number))
        side = 1.0
        boxes: tuple[Box, ...] = (space.whole,)
        if number > 0 and rounds > 1 and len(good):
            side = FINAL_SIDE ** min(1.0, number / (rounds - 1))
            boxes = boxes_round(space, good, side, widths)
        return Round(number, first, math.ceil(size), side, boxes, begun + size, self.explore_every)


def boxes_round(
    space: Space, points: np.ndarray, side: float, widths: np.ndarray
) -> tuple[Box, ...]:
    """Boxes round the best of some points, best first.

    Args:
        space: of the boxes.
        points: the good trials, shape (n, axes), best first, n >= 1.
        side: mean width of the boxes, in (0, 1].
        widths: shape (axes,), how much wider than the mean each axis is.
    """
    sides = np.minimum(1.0, side * widths)
    # an unordered choice is whole in every box: it sets none apart
    centres = _centres(points[:, ~space.unordered], side)
    return tuple(_box(space, points[i], sides) for i in centres)


def _centres(points: np.ndarray, side: float) -> list[int]:
    """Up to REGIONS points, half a side apart at least, the best of all first."""
    chosen: list[int] = []
    for i, point in enumerate(points):
        if all(np.abs(point - points[other]).max(initial=0.0) > side / 2 for other in chosen):
            chosen.append(i)
        if len(chosen) == REGIONS:
            break
    return chosen


def _box(space: Space, centre: np.ndarray, sides: np.ndarray) -> Box:
    values = space.sample(space.whole, centre.tolist())
    return {
        axis.name: _range(axis, values[axis.name], float(side))
        if axis.name in values
        else axis.whole  # inactive there: nothing is known of it
        for axis, side in zip(space.axes, sides, strict=True)
    }


def _range(axis: Axis, centre: Any, side: float) -> Range:
    if isinstance(axis, Discrete):
        # without an order it has no neighbours: it is drawn as often as the good trials have it
        if not axis.ordered:
            return axis.whole
        side = max(side, FEW / len(axis.values))
    return axis.narrow(centre, side)
