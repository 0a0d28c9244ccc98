"""Compiled models that serve all trials that differ in nothing but numbers.

TensorFlow traces a training step anew for every compiled model, which takes longer than a short
trial trains. But a learning rate is a constant of that trace only because Keras makes it one. Here
it becomes a variable: a model once traced then takes over the weights, the state and the numbers of
a newly built one, and trains in its place.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

import keras

from kbn.run._keras import layers_within, schedule_of

# hyperparameters of a recipe that reach a compiled model as numbers alone
NUMBERS = frozenset(
    ("learning_rate", "decay", "momentum", "beta_1", "beta_2", "adam_epsilon", "norm_momentum")
)
KEPT = 2**23  # parameters of all models kept at a time; larger ones gain little


class Number:
    """Number that a compiled model reads at every step, but that is no weight of the model."""

    def __init__(self, value: float):
        self._value, self._complement = (
            keras.Variable(number, dtype="float32", trainable=False)
            for number in (value, 1 - value)
        )

    dtype = "float32"

    def assign(self, value: float) -> None:
        """Change what the model reads."""
        self._value.assign(value)
        self._complement.assign(1 - value)

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> Any:
        return self._value.__tf_tensor__(dtype, name)

    def __rsub__(self, one: float) -> Any:
        # 1 - x of a rounded x would lose the digits of an x that is close to 1
        return keras.ops.convert_to_tensor(self._complement if one == 1 else one - self._value)


class Reuse:
    """Store of compiled models for later trials."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[keras.Model, list[Number]]] = {}

    def stand_in(self, model: keras.Model, alike: Hashable) -> keras.Model:
        """Return the model to train in place of a newly built and compiled one.

        It has the weights, the optimizer's state and the numbers of `model`; it may be `model`.

        Args:
            model: built, as is its optimizer; not trained yet, or with the state of an earlier
                training.
            alike: equal for two models that differ in their weights, their state and `NUMBERS`
                alone.
        """
        if keras.backend.backend() != "tensorflow" or model.count_params() > KEPT:
            return model  # JAX takes variables for constants; PyTorch traces nothing
        kept = self._kept.pop(alike, None)  # and puts it back as the latest
        if kept is None:
            numbers = []
            for owner, name in list(_numbers(model)):
                numbers.append(Number(getattr(owner, name)))
                setattr(owner, name, numbers[-1])
            self._make_room(model.count_params())
        else:
            stand_in, numbers = kept
            for number, (owner, name) in zip(numbers, _numbers(model), strict=True):
                number.assign(getattr(owner, name))
            for old, new in zip(_state(stand_in), _state(model), strict=True):
                old.assign(new)
            model = stand_in
        self._kept[alike] = model, numbers
        return model

    def drop(self, alike: Hashable) -> None:
        """Drop a model whose training failed."""
        self._kept.pop(alike, None)

    def _make_room(self, parameters: int) -> None:
        kept = [(alike, model.count_params()) for alike, (model, _) in self._kept.items()]
        total = parameters + sum(count for _, count in kept)
        for alike, count in kept:  # the one unused for longest comes first
            if total > KEPT:
                del self._kept[alike]
                total -= count


def _numbers(model: keras.Model) -> Iterator[tuple[Any, str]]:
    """Yield (object, attribute) of the numbers that training reads."""
    optimizer = model.optimizer
    for name in ("initial_learning_rate", "decay_rate", "decay_steps"):
        yield schedule_of(optimizer), name
    for name in ("momentum", "beta_1", "beta_2", "epsilon"):
        if getattr(optimizer, name, None):  # without momentum, SGD has no state for it
            yield optimizer, name
    for layer in layers_within(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            yield layer, "momentum"


def _state(model: keras.Model) -> list[Any]:
    return [*model.variables, *model.optimizer.variables]
