"""What a tuner works on: a search space, and the loss of every configuration in it."""

from __future__ import annotations

import abc
import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import keras_tuner as kt
import numpy as np

Values = Mapping[str, Any]

REFERENCES = Path(__file__).with_name("references.json")


@dataclasses.dataclass(frozen=True)
class Reference:
    """The losses between which regrets are normalized.

    Attributes:
        best: the lowest known loss.
        median: the median loss of random configurations.
    """

    best: float
    median: float


class Task(abc.ABC):
    """A search space and its losses; a smaller loss is better.

    Args:
        suite: name of the suite.
        name: name of the task within its suite.
        data: directory with the published files; None for a suite that needs none.

    Attributes:
        epochs: epochs of a whole training; None where the loss after fewer is unknown.
    """

    epochs: int | None = None

    def __init__(self, suite: str, name: str, data: Path | None = None):
        self.suite, self.name, self.data = suite, name, data

    @abc.abstractmethod
    def names(self) -> Sequence[str]:
        """Return the names of all tasks in the suite, this one's included."""

    @abc.abstractmethod
    def declare(self, hp: kt.HyperParameters) -> None:
        """Declare the search space in `hp`, parents before their children."""

    @abc.abstractmethod
    def losses(self, many: Sequence[Values], epochs: int | None = None) -> np.ndarray:
        """Return losses without noise, shape (len(many),), after so many epochs; None for all."""

    @abc.abstractmethod
    def measure_reference(self) -> Reference:
        """Find the task's best and median loss, which takes seconds."""

    def loss(self, values: Values, epochs: int | None = None) -> float:
        """Return one configuration's loss without noise."""
        return float(self.losses([values], epochs)[0])

    def observe(self, values: Values, rng: np.random.Generator, epochs: int | None = None) -> float:
        """Return what a single training would report; where repeats were tabulated, one of them."""
        del rng
        return self.loss(values, epochs)

    def regret(self, loss: float) -> float:
        """Return a loss on the scale from best (0) to median (1), clipped to [0, 1]."""
        best, median = self.reference.best, self.reference.median
        return float(np.clip((loss - best) / (median - best), 0, 1))

    @functools.cached_property
    def reference(self) -> Reference:
        """Best and median loss, from references.json or measured anew."""
        known = references().get(f"{self.suite}/{self.name}")
        return Reference(**known) if known else self.measure_reference()

    def others(self) -> tuple[Self, ...]:
        """Return the suite's other tasks, which have the same search space."""
        names = [name for name in self.names() if name != self.name]
        return tuple(type(self)(self.suite, name, self.data) for name in names)

    @functools.cached_property
    def hyperparameters(self) -> list[Any]:
        """KerasTuner's hyperparameters, parents before their children."""
        hp = kt.HyperParameters()
        self.declare(hp)
        return list(hp.space)

    def draw(
        self, rng: np.random.Generator, choose: Callable[[Any], Any] = lambda hp: None
    ) -> dict[str, Any]:
        """Draw a configuration at random, each hyperparameter on its own scale.

        Args:
            rng: source of randomness.
            choose: takes a hyperparameter and returns its value, or None for a random one.
        """
        values: dict[str, Any] = {}
        for hp in self.hyperparameters:
            if all(condition.is_active(values) for condition in hp.conditions):
                value = choose(hp)
                values[hp.name] = hp.prob_to_value(rng.random()) if value is None else value
        return values


@functools.cache
def references() -> dict[str, dict[str, float]]:
    """Return the references measured before, by "suite/task"."""
    known: dict[str, dict[str, float]] = json.loads(REFERENCES.read_text(encoding="utf-8"))
    return known


def write_references(tasks: Sequence[Task]) -> None:
    """Add the references of tasks that have none yet to references.json."""
    known = dict(references())
    for task in tasks:
        known[f"{task.suite}/{task.name}"] = dataclasses.asdict(task.reference)
        text = json.dumps(known, indent=1, sort_keys=True) + "\n"
        REFERENCES.write_text(text, encoding="utf-8")
