"""The Keras callback that ends hopeless trainings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import keras
import keras_tuner

from kbn.search.pruning import is_hopeless


class Prune(keras.callbacks.Callback):
    """Callback that ends a training where it is hopeless beside earlier ones.

    Args:
        objective: of the search.
        others: curves of the trials that ended before, as `curve` is one.
        epochs: of a whole training.

    Attributes:
        curve: the objective after each epoch as a loss, smaller is better; NaN if it is not finite.
        ended: number of epochs after which this callback ended the training; None if it did not.
    """

    def __init__(
        self, objective: keras_tuner.Objective, others: Sequence[Sequence[float]], epochs: int
    ):
        super().__init__()
        self._objective, self._others, self._epochs = objective, others, epochs
        self._sign = -1.0 if objective.direction == "max" else 1.0
        self.curve: list[float] = []
        self.ended: int | None = None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if not self._objective.has_value(logs or {}):
            return  # the tuner reports that
        loss = self._sign * float(self._objective.get_value(logs))
        self.curve.append(loss if math.isfinite(loss) else math.nan)
        if is_hopeless(self.curve, self._others, self._epochs):
            self.model.stop_training = True
            self.ended = epoch + 1
