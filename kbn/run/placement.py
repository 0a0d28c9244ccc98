"""Where the trials of a search run: in this process, in processes of this machine, or on Ray."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from kbn.errors import KbnError
from kbn.run.hardware import automatic, cores, gpus
from kbn.run.workers import Workers

if TYPE_CHECKING:
    from kbn.recipe.schema import Recipe


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where trials are to run.

    Attributes:
        workers: how many trials run at a time; "auto" is one for each GPU or, without any, one for
            every two cores.
        gpus_each: GPUs of a worker, or a share of one; None for all in the driver itself, and an
            equal share of them otherwise.
        address: of a Ray cluster, as `ray.init` takes it; None for this machine without Ray.
        apart: whether even a single worker is a process of its own, which can be killed.
    """

    workers: int | Literal["auto"]
    gpus_each: float | None
    address: str | None
    apart: bool

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        workers: int | Literal["auto"] | None = None,
        gpus_per_worker: float | None = None,
        address: str | None = None,
    ) -> Placement:
        """Return where a recipe's trials are to run; arguments that are None are the recipe's."""
        search = recipe.search
        return cls(
            search.workers if workers is None else workers,
            search.gpus_per_worker if gpus_per_worker is None else gpus_per_worker,
            address,
            apart=search.trial_timeout is not None,
        )

    @contextlib.contextmanager
    def opened(self) -> Iterator[Workers | None]:
        """Start workers, which end with the context; None where the driver trains the trials.

        Raises:
            KbnError: if they cannot be had.
        """
        if self.address is not None:
            from kbn.run._ray import Actors

            with Actors(self.address, self.workers, self.gpus_each) as workers:
                yield workers
            return
        number = automatic(cores(), len(gpus())) if self.workers == "auto" else self.workers
        if number == 1 and not (self.apart and os.name == "posix"):
            yield None
            return
        from kbn.run.processes import Processes

        if os.name != "posix":
            raise KbnError(
                "search.workers: several workers on this machine need Linux or macOS. Got "
                f"{number} instead. Use one, or a Ray cluster: --address"
            )
        with Processes(number, max(1, cores() // number), gpus(), self.gpus_each) as workers:
            yield workers
