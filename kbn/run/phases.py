"""The phases of a training: head first, then the last blocks of the backbone with it.

Each phase is a `fit` of its own, with an optimizer and a learning-rate schedule of its own. Epochs
are counted through. Callbacks begin anew in each phase, as Keras' do. EarlyStopping ends a phase;
what else ends a training ends all of it.

Source: Keras' guide "Transfer learning & fine-tuning".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kbn.recipe.applications import HYPERPARAMETERS
from kbn.recipe.models import ModelSpec


@dataclasses.dataclass(frozen=True)
class Phase:
    """A part of a training.

    Attributes:
        epochs: that it lasts, >= 1.
        values: hyperparameters that have another value in it.
        unfrozen: number of blocks of the backbone that are trained, >= 0; None for a model that is
            trained as it is.
    """

    epochs: int
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)
    unfrozen: int | None = None


def phases_of(model: ModelSpec, values: Mapping[str, Any], epochs: int) -> list[Phase]:
    """Return the phases of a training: one or two of an application, else one.

    Args:
        model: of the recipe.
        values: hyperparameters; `head_share`, `unfrozen` and `fine_learning_rate` decide.
        epochs: of all phases together, >= 1.
    """
    if model.backbone is None:
        return [Phase(epochs)]
    share, unfrozen, rate = (
        values.get(name, HYPERPARAMETERS[name])
        for name in ("head_share", "unfrozen", "fine_learning_rate")
    )
    if not unfrozen:
        return [Phase(epochs, unfrozen=0)]
    head = min(round(share * epochs), epochs - 1)
    fine = Phase(epochs - head, {"learning_rate": rate}, unfrozen)
    return [Phase(head, unfrozen=0), fine] if head else [fine]


def forget_best(callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Forget the best epoch so far, which EarlyStopping keeps from `fit` to `fit` in Keras 3.13."""
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.EarlyStopping):
            callback.best = None


def is_over(model: keras.Model, callbacks: Sequence[keras.callbacks.Callback]) -> bool:
    """Return whether a phase that has ended ended the whole training."""
    return model.stop_training and not any(getattr(c, "stopped_epoch", 0) for c in callbacks)


def joined(parts: Sequence[keras.callbacks.History]) -> keras.callbacks.History:
    """Return the last phase's history with those of the phases before it in front."""
    whole = parts[-1]
    whole.epoch = [epoch for part in parts for epoch in part.epoch]
    whole.history = {
        name: [value for part in parts for value in part.history.get(name, ())]
        for name in whole.history
    }
    return whole
