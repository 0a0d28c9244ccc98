"""Coarse to fine in epochs: early trials train for a few epochs, the good ones for more.

Source: Li et al., A System for Massively Parallel Hyperparameter Tuning (MLSys 2020), algorithm 2
(asynchronous successive halving: a trial continues as soon as it is among the best third of its
rung). That later trials start at higher rungs is our own addition.

Glossary:
    rung    number of epochs after which trials are compared; the last is a whole training
    level   coordinate of a rung in (0, 1], 1 for the last
    budget  epochs of the whole search
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kbn.search.axes import Value
    from kbn.search.space import Values


# Keys in a trial's values for its epochs. The names are those of KerasTuner's Hyperband.
EPOCHS, INITIAL_EPOCH, PARENT = "tuner/epochs", "tuner/initial_epoch", "tuner/trial_id"
PRUNED = "tuner/pruned"  # the same for the epoch after which it was ended, counted from 1


@dataclasses.dataclass(frozen=True)
class FidelitySettings:
    """The tuned numbers of training with fewer epochs first.

    Sources: the factor is what Li et al., Hyperband: A Novel Bandit-Based Approach to
    Hyperparameter Optimization (JMLR 18, 2018) suggest, 3 or 4. Rungs and stages were chosen on the
    LCBench tasks of benchmarks/tabulated; another value is measured by, for example,
    `python -m benchmarks.tabulated --data DIR --tuners epochs --suites lcbench --budget 50
    --set fidelity.rungs=3`.

    Attributes:
        factor: ratio of epochs between neighbouring rungs. One trial in so many continues.
        rungs: largest number of rungs.
        stages: new trials start at the first, second, third rung until so many epochs are spent:
            (number of whole trainings, but at most this share of the budget), for each rung.
        offset: standard deviation, before any trial, of what the warped losses at a rung differ by
            from those at the highest one.
    """

    factor: int = 3
    rungs: int = 4
    stages: tuple[tuple[float, float], ...] = ((6.0, 0.2), (8.0, 0.3), (30.0, 0.6))
    offset: float = 3.0


FIDELITY = FidelitySettings()


def trained(values: Mapping[str, Value], max_epochs: int) -> int:
    """Return how many epochs a trial trained: a whole training unless its values say less."""
    if EPOCHS in values:
        return int(values[EPOCHS] - values.get(INITIAL_EPOCH, 0))
    return int(values.get(PRUNED, max_epochs))


def rungs(max_epochs: int) -> tuple[int, ...]:
    """Return the epochs after which trials are compared: (2, 6, 17, 52) for 52."""
    divisors = [FIDELITY.factor**i for i in range(FIDELITY.rungs)]
    return tuple(sorted({max(1, round(max_epochs / divisor)) for divisor in divisors}))


@dataclasses.dataclass(frozen=True)
class EpochRange:
    """Epochs that the next trial trains.

    Attributes:
        epochs: epoch at which it ends, counted from 1.
        initial_epoch: epochs that were trained before; 0 for a new trial.
        parent: id of the trial whose weights it continues from; None for a new trial.
    """

    epochs: int
    initial_epoch: int = 0
    parent: str | None = None

    @property
    def cost(self) -> int:
        """Number of epochs to train."""
        return self.epochs - self.initial_epoch

    @property
    def values(self) -> Values:
        """The step as entries of a trial's values."""
        values = {EPOCHS: self.epochs, INITIAL_EPOCH: self.initial_epoch}
        return values if self.parent is None else {**values, PARENT: self.parent}


class Ladder:
    """Record of the epochs that trials were given, and choice of those that continue.

    Args:
        max_epochs: epochs of a whole training, at least 1.

    Attributes:
        spent: epochs of all trials that started.
        levelled: whether trials end at different levels.
    """

    levelled = True

    def __init__(self, max_epochs: int):
        self._rungs = rungs(max_epochs)
        self.spent = 0
        self._ended = dict.fromkeys(self._rungs, 0)  # number of trials at a rung
        # those of them that did not fail, best first: loss, number ended before, id
        self._best: dict[int, list[tuple[float, int, str]]] = {rung: [] for rung in self._rungs}
        self._continued: set[str] = set()

    @property
    def whole_trainings(self) -> float:
        """The epochs spent so far, in whole trainings."""
        return self.spent / self._rungs[-1]

    @property
    def first_cost(self) -> float:
        """Cost of a trial at the first rung, in whole trainings."""
        return self._rungs[0] / self._rungs[-1]

    def start(self, values: Mapping[str, Value]) -> None:
        """Record that a trial started."""
        self.spent += values[EPOCHS] - values[INITIAL_EPOCH]
        self._continued.add(values.get(PARENT, ""))

    def end(self, trial_id: str, values: Mapping[str, Value], loss: float) -> None:
        """Record that a trial ended; its loss is NaN if it failed."""
        rung = values[EPOCHS]
        if math.isfinite(loss):
            bisect.insort(self._best[rung], (loss, self._ended[rung], trial_id))
        self._ended[rung] += 1

    def level(self, values: Mapping[str, Value]) -> float:
        """Coordinate of a trial's rung in (0, 1], in equal steps; 1 for the last."""
        return (self._rungs.index(values[EPOCHS]) + 1) / len(self._rungs)

    def next(self, budget: float) -> EpochRange:
        """Return the next trial's epochs: a promotion if one is due, else a new trial.

        Args:
            budget: epochs of the whole search; infinite if it has no end.
        """
        for rung, above in reversed(list(zip(self._rungs, self._rungs[1:], strict=False))):
            parent = self._promoted(rung)
            if parent is not None:
                return EpochRange(above, rung, parent)
        return EpochRange(self._first_rung(budget))

    def _promoted(self, rung: int) -> str | None:
        """Id of the best trial of a rung that has not continued, if it is among the best third."""
        best = self._best[rung][: self._ended[rung] // FIDELITY.factor]
        return next((trial for _, _, trial in best if trial not in self._continued), None)

    def _first_rung(self, budget: float) -> int:
        *lower, whole = self._rungs
        stages = FIDELITY.stages[FIDELITY.rungs - 1 - len(lower) :]
        for rung, (trainings, share) in zip(lower, stages, strict=True):
            if self.spent < min(trainings * whole, share * budget):
                return rung
        return whole
