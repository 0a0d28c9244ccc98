"""Compiled models that serve all trials that differ in nothing but numbers.

TensorFlow traces a training step anew for every compiled model, which takes longer than a short
trial trains. But a learning rate is a constant of that trace only because Keras makes it one. Here
it becomes a variable: a model that was traced once gets the initial weights, the optimizer's
initial state and the numbers of a newly built one, and trains in its place.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from kbn.norm.surgery import norms_in
from kbn.recipe.warming import WarmUp
from kbn.run._keras import schedule_of
from kbn.search.checkpoint import restore_state, state_of

# hyperparameters of a recipe that reach a compiled model as numbers alone
NUMBERS = frozenset(
    (
        *("learning_rate", "decay", "warmup", "weight_decay", "momentum", "beta_1", "beta_2"),
        *("adam_epsilon", "norm_momentum"),
    )
)
OPTIMIZERS = (keras.optimizers.Adam, keras.optimizers.AdamW, keras.optimizers.SGD)
# schedule -> attributes that it reads at every step
SCHEDULES = {
    keras.optimizers.schedules.ExponentialDecay: (
        *("initial_learning_rate", "decay_rate", "decay_steps"),
    ),
    keras.optimizers.schedules.CosineDecay: ("initial_learning_rate", "alpha", "decay_steps"),
}
KEPT = 2**23  # parameters of all models kept at a time; larger ones gain little
MODELS = 16  # kept at a time; what TensorFlow traced of a small one takes some 7 MB


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


@dataclasses.dataclass(frozen=True)
class Start:
    """State of a newly built model, and of the random generators after it was built."""

    variables: Sequence[np.ndarray]
    python: object
    numpy: dict[str, Any]

    @classmethod
    def of(cls, model: keras.Model) -> Start:
        return cls(state_of(model), random.getstate(), np.random.get_state(legacy=False))  # noqa: NPY002

    def restore(self, model: keras.Model) -> None:
        restore_state(model, self.variables)
        random.setstate(self.python)  # type: ignore[arg-type]
        np.random.set_state(self.numpy)  # noqa: NPY002


@dataclasses.dataclass(frozen=True)
class Kept:
    """A compiled model, and what it reads in place of constants.

    Attributes:
        model: traced by an earlier trial.
        optimizer: numbers of its optimizer.
        momenta: the momentum of each batch norm.
        starts: {seed: initial state}.
    """

    model: keras.Model
    optimizer: Sequence[Number]
    momenta: Sequence[Number]
    starts: dict[int, Start]


def serves(optimizer: keras.Optimizer) -> bool:
    """Return whether a model with this optimizer can be used for other numbers of it."""
    schedule = schedule_of(optimizer)
    if isinstance(schedule, WarmUp):
        schedule = schedule.schedule
    return type(optimizer) in OPTIMIZERS and type(schedule) in SCHEDULES


class Reuse:
    """Store of compiled models for later trials."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, Kept] = {}

    def keep(self, model: keras.Model, alike: Hashable, seed: int) -> keras.Model:
        """Return the model to train in place of a newly built and compiled one.

        It has the weights, the optimizer's state and the numbers of `model`; it may be `model`.

        Args:
            model: built, as is its optimizer; not trained yet.
            alike: equal for two models that differ in their weights, their state and `NUMBERS`
                alone.
            seed: that all random generators were seeded with before the model was built.
        """
        if keras.backend.backend() != "tensorflow" or model.count_params() > KEPT:
            return model  # JAX takes variables for constants; PyTorch traces nothing
        start, kept = Start.of(model), self._kept.pop(alike, None)
        if kept is None:
            owners = (
                list(_numbers(model.optimizer)),
                [(norm, "momentum") for norm in norms_in(model)],
            )
            self._make_room(model.count_params())
            kept = Kept(model, _replaced(owners[0]), _replaced(owners[1]), {})
        else:
            _assign(kept.optimizer, _numbers(model.optimizer))
            _assign(kept.momenta, ((norm, "momentum") for norm in norms_in(model)))
            start.restore(kept.model)
        kept.starts[seed] = start
        self._kept[alike] = kept  # the latest
        return kept.model

    def renew(
        self,
        alike: Hashable,
        seed: int,
        optimizer: keras.Optimizer,
        norm_momentum: float | None,
    ) -> keras.Model | None:
        """Return a kept model as it would be if it had been newly built; None where there is none.

        Args:
            alike: as in `keep`.
            seed: as in `keep`; the generators must be seeded with it.
            optimizer: a new one, whose numbers the model is to have.
            norm_momentum: of every batch norm; None where it is no hyperparameter.
        """
        if alike not in self._kept or seed not in self._kept[alike].starts:
            return None
        kept = self._kept[alike] = self._kept.pop(alike)  # the latest
        _assign(kept.optimizer, _numbers(optimizer))
        if norm_momentum is not None:
            for number in kept.momenta:
                number.assign(norm_momentum)
        kept.starts[seed].restore(kept.model)
        return kept.model

    def drop(self, alike: Hashable) -> None:
        """Drop a model whose training failed."""
        self._kept.pop(alike, None)

    def _make_room(self, parameters: int) -> None:
        kept = [(alike, each.model.count_params()) for alike, each in self._kept.items()]
        total = parameters + sum(count for _, count in kept)
        for alike, count in kept:  # the one unused for longest comes first
            if total > KEPT or len(self._kept) >= MODELS:
                del self._kept[alike]
                total -= count


def _replaced(owners: Sequence[tuple[Any, str]]) -> list[Number]:
    """Replace attributes, each given as (object, name), with numbers that can be changed."""
    numbers = [Number(getattr(owner, name)) for owner, name in owners]
    for number, (owner, name) in zip(numbers, owners, strict=True):
        setattr(owner, name, number)
    return numbers


def _assign(numbers: Sequence[Number], owners: Iterator[tuple[Any, str]]) -> None:
    for number, (owner, name) in zip(numbers, owners, strict=True):
        number.assign(getattr(owner, name))


def _numbers(optimizer: keras.Optimizer) -> Iterator[tuple[Any, str]]:
    """Yield (object, attribute) of the numbers that an optimizer reads."""
    schedule = schedule_of(optimizer)
    if isinstance(schedule, WarmUp):
        yield schedule, "steps"
        schedule = schedule.schedule
    for name in SCHEDULES[type(schedule)]:
        yield schedule, name
    for name in ("momentum", "beta_1", "beta_2", "epsilon", "weight_decay"):
        if getattr(optimizer, name, None):  # without momentum, SGD has no state for it
            yield optimizer, name
