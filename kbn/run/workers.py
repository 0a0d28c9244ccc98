"""Workers: where the trials of a search are trained, and what they report.

The driver, the process that runs the search, owns the oracle, the journal, MLflow and the report.
A worker is given a job, which is a trial with its hyperparameters, and reports its epochs and its
end; it knows nothing of the search but its recipe and its data.

Without workers, KerasTuner's own loop trains one trial after another in the driver. `processes.py`
starts workers on this machine and `_ray.py` on a Ray cluster, as `placement.py` decides;
`trainer.py` is what each of them runs, and `driving.py` is the driver's loop.
"""

from __future__ import annotations

import abc
import dataclasses
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from kbn.errors import MachineError

if TYPE_CHECKING:
    from kbn.recipe.dataset import Dataset
    from kbn.recipe.schema import Recipe

STARTS = 3  # deaths in a row before a worker is ever ready; then something else is wrong


@dataclasses.dataclass(frozen=True)
class Study:
    """What a worker has to know before its first trial.

    Attributes:
        recipe: of the search.
        dataset: the recipe's data; None if each worker loads them itself, as it does with streams.
        keeps_models: whether a trial's weights are wanted.
    """

    recipe: Recipe
    dataset: Dataset | None
    keeps_models: bool

    @classmethod
    def of(cls, recipe: Recipe, dataset: Dataset, *, keeps_models: bool) -> Study:
        """Return what workers have to know of a search with these data."""
        from kbn.recipe.arrays import Arrays

        shared = dataset if isinstance(dataset, Arrays) else None
        return cls(recipe.for_elsewhere(), shared, keeps_models)


@dataclasses.dataclass(frozen=True)
class Job:
    """A trial to be run.

    Attributes:
        trial: its state, as KerasTuner writes it.
        notes: what the oracle noted of the trials that ended, where that decides when a hopeless
            training ends; {trial id: notes}.
        parent: id of the trial whose training it continues; None if it begins anew.
        files: what the training of that trial left, {name: content}.
    """

    trial: Mapping[str, Any]
    notes: Mapping[str, Mapping[str, Any]]
    parent: str | None = None
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Ready:
    """The worker waits for its next job."""


@dataclasses.dataclass(frozen=True)
class Epoch:
    """An epoch has ended; it counts from 0 in each execution of the trial."""

    number: int
    metrics: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Ended:
    """The trial has ended, well or not, and the worker waits for its next job.

    Attributes:
        trial: its state, as KerasTuner writes it, with metrics, status and message.
        notes: what the oracle is to note of it.
        files: its checkpoint and what belongs to that, {name: content}.
    """

    trial: Mapping[str, Any]
    notes: Mapping[str, Any]
    files: Mapping[str, bytes]


@dataclasses.dataclass(frozen=True)
class Broken:
    """The search cannot go on: every trial would fail for the same reason."""

    error: Exception


@dataclasses.dataclass(frozen=True)
class Died:
    """The worker's process, or its machine, has died; another one takes its place.

    Attributes:
        reason: what is known of it, in words.
    """

    reason: str


Report: TypeAlias = Ready | Epoch | Ended | Broken | Died


class Deaths:
    """Counts the deaths of workers before they were ready.

    Args:
        slots: number of workers.
        patience: seconds from the first of these deaths until none is expected to get ready.
    """

    def __init__(self, slots: int, patience: float):
        self._counts, self._patience = [0] * slots, patience
        self._first = 0.0  # when the first of them died, in seconds of `time.monotonic`

    def end(self, slot: int) -> None:
        """Note that a worker got ready."""
        self._counts[slot] = 0

    def add(self, slot: int, why: str) -> None:
        """Note a death.

        Raises:
            MachineError: if no worker gets ready in any slot.
        """
        if not any(self._counts):
            self._first = time.monotonic()
        self._counts[slot] += 1
        if min(self._counts) >= STARTS and time.monotonic() - self._first >= self._patience:
            raise MachineError(
                f"search.workers: a worker must start; {STARTS} in a row ended before they were "
                f"ready. The last one: {why}"
            )


class Workers(abc.ABC):
    """A fixed number of slots, each of which holds a worker or the start of one.

    A context manager, which ends all of them.

    Attributes:
        slots: their number.
    """

    slots: int

    @abc.abstractmethod
    def begin(self, study: Study) -> None:
        """Prepare every worker for the trials of a search; each reports when it is ready."""

    @abc.abstractmethod
    def start(self, slot: int, job: Job) -> None:
        """Have a worker that is ready train a trial."""

    @abc.abstractmethod
    def replace(self, slot: int) -> None:
        """End a worker, whatever it does, with all processes that it started; start another."""

    @abc.abstractmethod
    def wait(self, seconds: float) -> list[tuple[int, Report]]:
        """Return what workers report, each with its slot; nothing if there is none in that time."""

    @abc.abstractmethod
    def close(self) -> None:
        """End all workers."""

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
