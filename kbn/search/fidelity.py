"""Coarse to fine in epochs: early trials train for few of them, the good ones go on to more.

Source: Li et al., A System for Massively Parallel Hyperparameter Tuning (MLSys 2020), algorithm 2
(asynchronous successive halving: a trial goes on as soon as it is among the best third of its
rung). That later trials begin at higher rungs is our own.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

FACTOR = 3  # between rungs; also: one trial in three goes on
RUNGS = 4  # at most
# New trials begin at the first, second, third rung until so much is spent: whole trainings, but not
# more than this share of the budget.
STAGES = ((2.0, 0.1), (4.0, 0.2), (8.0, 0.4))
# What a trial's values tell of its epochs: the names are those of KerasTuner's Hyperband.
EPOCHS, INITIAL_EPOCH, PARENT = "tuner/epochs", "tuner/initial_epoch", "tuner/trial_id"


def rungs(max_epochs: int) -> tuple[int, ...]:
    """The numbers of epochs after which trials are compared, rising: (2, 6, 17, 52) for 52."""
    return tuple(sorted({max(1, round(max_epochs / FACTOR**i)) for i in range(RUNGS)}))


@dataclasses.dataclass(frozen=True)
class Step:
    """How long the next trial trains.

    Attributes:
        epochs: until which it trains.
        initial_epoch: from which it does, 0 for a new one.
        parent: the trial from whose weights it goes on; None for a new one.
    """

    epochs: int
    initial_epoch: int = 0
    parent: str | None = None

    @property
    def cost(self) -> int:
        """Epochs to train."""
        return self.epochs - self.initial_epoch

    @property
    def values(self) -> dict[str, Any]:
        """As a trial's values tell it."""
        values = {EPOCHS: self.epochs, INITIAL_EPOCH: self.initial_epoch}
        return values if self.parent is None else {**values, PARENT: self.parent}


class Ladder:
    """What the trials of a search were given, and which of them should go on.

    Args:
        max_epochs: of a whole training, at least 1.

    Attributes:
        spent: epochs of all trials that started.
    """

    def __init__(self, max_epochs: int):
        self._rungs = rungs(max_epochs)
        self.spent = 0
        self._ended = dict.fromkeys(self._rungs, 0)  # trials of a rung
        # of them, those that did not fail, best first: loss, how many had ended before, id
        self._best: dict[int, list[tuple[float, int, str]]] = {rung: [] for rung in self._rungs}
        self._continued: set[str] = set()

    @property
    def whole_trainings(self) -> float:
        """As many as have the epochs spent."""
        return self.spent / self._rungs[-1]

    @property
    def first_cost(self) -> float:
        """Of a trial at the first rung, in whole trainings."""
        return self._rungs[0] / self._rungs[-1]

    def start(self, values: Mapping[str, Any]) -> None:
        """Adds a trial that starts."""
        self.spent += values[EPOCHS] - values[INITIAL_EPOCH]
        self._continued.add(values.get(PARENT, ""))

    def end(self, trial_id: str, values: Mapping[str, Any], loss: float) -> None:
        """Adds a trial that ended; its loss is NaN if it failed."""
        rung = values[EPOCHS]
        if math.isfinite(loss):
            bisect.insort(self._best[rung], (loss, self._ended[rung], trial_id))
        self._ended[rung] += 1

    def level(self, epochs: int) -> float:
        """The rung as a coordinate, in equal steps; 1 for the last."""
        return (self._rungs.index(epochs) + 1) / len(self._rungs)

    def next(self, budget: float) -> Step:
        """What the next trial is given.

        Args:
            budget: epochs of the whole search; infinite if it has no end.
        """
        for rung, above in reversed(list(zip(self._rungs, self._rungs[1:], strict=False))):
            parent = self._promoted(rung)
            if parent is not None:
                return Step(above, rung, parent)
        return Step(self._first_rung(budget))

    def _promoted(self, rung: int) -> str | None:
        """The best trial of a rung that has not gone on, if it is among the best third."""
        best = self._best[rung][: self._ended[rung] // FACTOR]
        return next((trial for _, _, trial in best if trial not in self._continued), None)

    def _first_rung(self, budget: float) -> int:
        *lower, whole = self._rungs
        for rung, (trainings, share) in zip(lower, STAGES[RUNGS - 1 - len(lower) :], strict=True):
            if self.spent < min(trainings * whole, share * budget):
                return rung
        return whole
