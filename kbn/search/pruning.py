"""Pruning: a training ends early where it is hopeless beside those of the trials before it.

Source: Golovin et al., Google Vizier: A Service for Black-Box Optimization (KDD 2017), section
3.2.2, the median stopping rule. That it is the best third in place of the median, that best losses
are compared with best losses, that pruned trials are among them, and the grace epochs are our own.

Glossary:
    curve   losses of a trial by epoch, smaller is better, shape (epochs,); NaN where there is none
    budget  epochs of the whole search
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kbn.search.fidelity import PRUNED, EpochRange

if TYPE_CHECKING:
    from kbn.search.axes import Value
    from kbn.search.space import Values


@dataclasses.dataclass(frozen=True)
class PruningSettings:
    """The numbers of the rule.

    Source of the quantile: benchmarks/pruning.py, where a third beat the median on each of three
    tasks. A quarter gained a little more on two, but lost the best trial of an order on the third.
    The other numbers were not tried.

    Attributes:
        fewest: smallest number of trials that a training is compared with.
        grace: share of a whole training before whose end none is pruned.
        quantile: of the other trials' losses, which a training must not exceed; 1 / 3 for the best
            third.
    """

    fewest: int = 4
    grace: float = 0.1
    quantile: float = 1 / 3


PRUNING = PruningSettings()


def is_hopeless(curve: Sequence[float], others: Sequence[Sequence[float]], epochs: int) -> bool:
    """Return whether a training may end after the epochs that it has trained.

    It is hopeless if its best loss so far is not among the best third of the best losses that the
    other trials had after as many epochs. A curve that ended before counts with its best loss.

    Args:
        curve: of the training so far.
        others: curves of the trials that ended before.
        epochs: of a whole training.
    """
    trained = len(curve)
    if trained < max(1, PRUNING.grace * epochs) or trained >= epochs:
        return False
    if len(others) < PRUNING.fewest:
        return False
    bests = [_best(other[:trained]) for other in others]
    limit = np.quantile(bests, PRUNING.quantile, method="higher")
    return bool(_best(curve) > limit)


def _best(curve: Sequence[float]) -> float:
    return float(np.nanmin([np.inf, *curve]))


class WholeTraining(EpochRange):
    """Epochs of a trial that may train in full, which is not noted among its values."""

    @property
    def values(self) -> Values:
        return {}


class Savings:
    """Record of the epochs that trials were given, less those that pruned ones saved.

    It stands in for a `fidelity.Ladder` in a search whose trials all begin as whole trainings.

    Args:
        max_epochs: epochs of a whole training, at least 1.

    Attributes:
        spent: epochs of all trials; a trial that has not ended counts as a whole training.
    """

    levelled = False

    def __init__(self, max_epochs: int):
        self._max_epochs, self.spent = max_epochs, 0

    @property
    def whole_trainings(self) -> float:
        """The epochs spent so far, in whole trainings."""
        return self.spent / self._max_epochs

    def start(self, values: Mapping[str, Value]) -> None:
        """Record that a trial started."""
        del values
        self.spent += self._max_epochs

    def end(self, trial_id: str, values: Mapping[str, Value], loss: float) -> None:
        """Record that a trial ended."""
        del trial_id, loss
        self.spent -= self._max_epochs - values.get(PRUNED, self._max_epochs)

    def level(self, values: Mapping[str, Value]) -> float:
        """Return 1: what a trial had reached when it was pruned counts as its score."""
        del values
        return 1.0

    def next(self, budget: float) -> EpochRange:
        """Return the next trial's epochs."""
        del budget
        return WholeTraining(self._max_epochs)
