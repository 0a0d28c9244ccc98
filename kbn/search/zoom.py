"""Coarse to fine: the rounds of a search and the boxes they draw from.

Round 0 covers the whole space. Every later round draws from boxes round the best trials so far.
They shrink from round to round and are narrower along hyperparameters that matter more. A fixed
share of the trials still covers the whole space, so that a lucky early trial cannot lock the search
in. A search that is made longer has more rounds to shrink in: its boxes widen again to what the
longer search has at that round.

Glossary, beside that of `space`:
    side    mean width of a round's boxes as a share of an axis, in (0, 1]
    widths  width along each axis as a multiple of the mean, shape (axes,)
    begun   what the trials so far were given, in whole trainings
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from kbn.search.axes import Axis, Discrete, Range, Value
from kbn.search.space import Box, Space


@dataclasses.dataclass(frozen=True)
class ZoomSettings:
    """The tuned numbers of the rounds and their boxes.

    Sources: chosen on the development tasks of benchmarks/tabulated, where neither 1 nor 5 boxes
    nor other ways to shrink them helped beyond the noise of the seeds. Another value is measured
    by, for example,
    `python -m benchmarks.tabulated --data DIR --tuners ours plain --set zoom.final_side=0.1`.

    Attributes:
        final_side: mean width of the last round's boxes as a share of an axis, in (0, 1].
        most_boxes: largest number of boxes in a round.
        fewest_values: number of values of an ordered choice that stay in every box.
        rounds_by_root: number of rounds as a multiple of the square root of `max_trials`.
        width_limits: smallest and largest width of a box along one axis, as multiples of its mean
            width.
        explore_every: with a model, one trial in so many is drawn from the whole space, where the
            model finds good points too.
        blind_explore_every: the same without a model, where such draws are rarely good.
        endless_rounds: number of rounds until the final width in a search without an end.
        endless_size: number of trials in each round of such a search.
    """

    final_side: float = 0.3
    most_boxes: int = 3
    fewest_values: int = 3
    rounds_by_root: int = 2
    width_limits: tuple[float, float] = (0.25, 4.0)
    explore_every: int = 3
    blind_explore_every: int = 6
    endless_rounds: int = 8
    endless_size: int = 12


ZOOM = ZoomSettings()


@dataclasses.dataclass(frozen=True)
class Round:
    """Consecutive trials that draw from the same boxes.

    Attributes:
        number: 0 for the coarse round.
        first: index of its first trial, in order of start.
        size: number of its trials.
        side: mean width of its boxes as a share of an axis, in (0, 1].
        boxes: each {hyperparameter: range} in natural units, best centre first. A range is
            [low, high] for a numeric hyperparameter, a list of values for a discrete one.
        until: number of whole trainings after which the next round begins.
        explore_every: one trial in so many is drawn from the whole space, whatever the boxes.
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
        """Index of the first trial after the round."""
        return self.first + self.size

    def explores(self, index: int) -> bool:
        """Whether the trial at `index` is drawn from the whole space, whatever the boxes."""
        return index % self.explore_every == self.explore_every - 1

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Round:
        return cls(**{**config, "boxes": tuple(config["boxes"])})


@dataclasses.dataclass(frozen=True)
class Plan:
    """Length of a search and its number of rounds.

    Attributes:
        max_trials: number of whole trainings; None for no end.
        rounds: number of rounds, at least 1; None for twice the square root of `max_trials`.
        coarse: number of whole trainings in the first of several rounds.
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
        """Return the next round.

        Args:
            space: the axes to search.
            good: the best trials so far, best first, shape (n, axes).
            widths: width of a box along each axis as a multiple of its mean, shape (axes,).
            number: number of rounds before it.
            first: index of its first trial.
            begun: number of whole trainings before it.
        """
        rounds = self.rounds or (
            round(ZOOM.rounds_by_root * math.sqrt(self.max_trials))
            if self.max_trials
            else ZOOM.endless_rounds
        )
        size: float = ZOOM.endless_size
        if number == 0 and rounds > 1:
            size = self.coarse
        elif self.max_trials:
            size = math.ceil((self.max_trials - begun) / max(1, rounds - number))
        side = 1.0
        boxes: tuple[Box, ...] = (space.whole,)
        if number > 0 and rounds > 1 and len(good):
            side = ZOOM.final_side ** min(1.0, number / (rounds - 1))
            boxes = boxes_round(space, good, side, widths)
        return Round(number, first, math.ceil(size), side, boxes, begun + size, self.explore_every)

    def preview(self, space: Space) -> list[Round]:
        """Return the rounds of the whole search as far as they are known before any score.

        Their boxes have the right sizes, but lie in the middle of the space. Without an end these
        are the rounds until the boxes shrink no more.
        """
        middle, even = np.full((1, len(space.axes)), 0.5), np.ones(len(space.axes))
        most = math.inf if self.max_trials else self.rounds or ZOOM.endless_rounds
        end = self.max_trials or math.inf
        rounds: list[Round] = []
        first, begun = 0, 0.0
        while begun < end and len(rounds) < most:
            rounds.append(self.next_round(space, middle, even, len(rounds), first, begun))
            first, begun = rounds[-1].end, rounds[-1].until
        return rounds


def boxes_round(
    space: Space, points: np.ndarray, side: float, widths: np.ndarray
) -> tuple[Box, ...]:
    """Return boxes round the best and distinct of the points, best first.

    Args:
        space: the boxes' axes.
        points: the good trials, best first, shape (n, axes), n >= 1.
        side: mean width of the boxes as a share of an axis, in (0, 1].
        widths: width along each axis as a multiple of the mean, shape (axes,).
    """
    sides = np.minimum(1.0, side * widths)
    # an unordered choice is whole in every box, so it does not make two boxes distinct
    centres = _centres(points[:, ~space.unordered], side)
    return tuple(_box(space, points[i], sides) for i in centres)


def _centres(points: np.ndarray, side: float) -> list[int]:
    """Return indices of the best points that lie more than half a side apart, best first."""
    chosen: list[int] = []
    for i, point in enumerate(points):
        if all(np.abs(point - points[other]).max(initial=0.0) > side / 2 for other in chosen):
            chosen.append(i)
        if len(chosen) == ZOOM.most_boxes:
            break
    return chosen


def _box(space: Space, centre: np.ndarray, sides: np.ndarray) -> Box:
    values = space.sample(space.whole, centre.tolist())
    return {
        axis.name: _range(axis, values[axis.name], float(side))
        if axis.name in values
        else axis.whole  # inactive at the centre: nothing is known of it
        for axis, side in zip(space.axes, sides, strict=True)
    }


def _range(axis: Axis, centre: Value, side: float) -> Range:
    if isinstance(axis, Discrete):
        # Unordered values have no neighbours. They are drawn as often as the good trials have them.
        if not axis.ordered:
            return axis.whole
        side = max(side, ZOOM.fewest_values / len(axis.values))
    return axis.narrow(centre, side)
