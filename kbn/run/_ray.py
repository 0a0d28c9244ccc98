"""Workers on a Ray cluster: the only module that imports Ray, which is an optional extra.

Each worker is an actor, which Ray places where its cores and GPUs are free. All names are public.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from kbn.errors import KbnError, MachineError
from kbn.run.hardware import automatic, environment
from kbn.run.serving import guarded, started
from kbn.run.workers import Broken, Deaths, Died, Job, Report, Study, Workers

try:
    import ray
except ImportError:
    raise KbnError(
        "--address: a search on a Ray cluster needs Ray, which is not installed. Install it on "
        "every machine: pip install 'kbn[ray]'"
    ) from None

PATIENCE = 120.0  # seconds; Ray takes up to 60 to notice that a machine is gone


class Actor:
    """A worker; `reports` is called while it trains.

    Args:
        threads: that it may compute with.
    """

    def __init__(self, threads: int):
        os.environ.update(environment(threads, None))  # Ray has chosen the GPUs
        self._tasks = queue.SimpleQueue[Study | Job]()
        self._reports = queue.SimpleQueue[Report]()
        self._context = contextlib.ExitStack()
        home = self._context.enter_context(guarded())
        threading.Thread(target=self._work, args=[home], daemon=True).start()

    def _work(self, home: Path) -> None:
        worker = started(home, self._reports.put)
        while True:
            worker.do(self._tasks.get())

    def do(self, task: bytes | Job) -> None:
        """Take over a job, or a study as pickle writes it."""
        self._tasks.put(pickle.loads(task) if isinstance(task, bytes) else task)  # noqa: S301

    def reports(self) -> list[Report]:
        """Wait for a report, and return all that there are."""
        found = [self._reports.get()]
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._reports.get_nowait())
        return found


class Actors(Workers):
    """Workers on a Ray cluster.

    Args:
        address: of the cluster, as `ray.init` takes it; "local" starts one on this machine. A
            process that is connected already stays so.
        number: of workers; "auto" is one for each GPU or, without any, one for every two cores.
        gpus_each: GPUs of a worker, or a share of one; None for an equal share of all.

    Raises:
        MachineError: if the cluster cannot be reached.
    """

    def __init__(self, address: str, number: int | Literal["auto"], gpus_each: float | None):
        self._session = None if ray.is_initialized() else connected(address)
        resources: dict[str, float] = ray.cluster_resources()
        cores, gpus = resources.get("CPU", 1.0), resources.get("GPU", 0.0)
        self.slots = automatic(cores, gpus) if number == "auto" else number
        self._threads = max(1, int(cores // self.slots))
        share = gpus / self.slots if gpus_each is None else gpus_each
        self._options = {
            "num_cpus": self._threads,
            "num_gpus": share if share < 1 else int(share),  # Ray takes no 1.5
            "max_concurrency": 2,  # a job comes while it waits for reports
        }
        self._study: Any = None
        self._deaths = Deaths(self.slots, PATIENCE)
        self._actors = [self._launched() for _ in range(self.slots)]
        self._pending: dict[Any, int] = {}  # call of `reports` -> slot

    def _launched(self) -> Any:
        return ray.remote(Actor).options(**self._options).remote(self._threads)

    def begin(self, study: Study) -> None:
        self._study = ray.put(pickle.dumps(study))
        for slot in range(self.slots):
            self._prepare(slot)

    def _prepare(self, slot: int) -> None:
        self._actors[slot].do.remote(self._study)
        if slot not in self._pending.values():
            self._listen(slot)

    def _listen(self, slot: int) -> None:
        self._pending[self._actors[slot].reports.remote()] = slot

    def start(self, slot: int, job: Job) -> None:
        self._actors[slot].do.remote(job)

    def replace(self, slot: int) -> None:
        ray.kill(self._actors[slot])
        self._pending = {call: of for call, of in self._pending.items() if of != slot}
        self._actors[slot] = self._launched()
        self._prepare(slot)

    def wait(self, seconds: float) -> list[tuple[int, Report]]:
        ready, _ = ray.wait(list(self._pending), num_returns=1, timeout=seconds)
        found: list[tuple[int, Report]] = []
        for call in ready:
            slot = self._pending.pop(call)
            try:
                reports: Sequence[Report] = ray.get(call)
            except ray.exceptions.RayActorError as error:
                found.append((slot, self._died(slot, error)))
            else:
                if not isinstance(reports[-1], Broken):
                    self._deaths.end(slot)
                found += [(slot, report) for report in reports]
                self._listen(slot)
        return found

    def _died(self, slot: int, error: Exception) -> Died:
        """Replace a worker that died.

        Raises:
            MachineError: if no worker gets ready there.
        """
        why = str(error).strip().splitlines()[0]
        self._deaths.add(slot, why)
        self.replace(slot)
        return Died(why)

    def close(self) -> None:
        for actor in self._actors:
            ray.kill(actor)
        if self._session is not None:
            self._session.disconnect()


def connected(address: str) -> Any:
    """Connect this process to a Ray cluster, and return its connection.

    Raises:
        MachineError: if the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own = {"include_dashboard": False} if address == "local" else {}
    try:
        return ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        why = str(error).strip().splitlines()[-1]  # after the traceback of a server, its reason
        raise MachineError(
            f"--address: it must be that of a Ray cluster that runs. Got {address!r}: {why} "
            "Start one: ray start --head"
        ) from error
