"""Workers in processes of this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import IO

from kbn.files import write
from kbn.run.hardware import environment
from kbn.run.workers import Broken, Deaths, Died, Job, Report, Study, Workers

PERIOD = 0.25  # seconds at most until the death of a worker is noticed
QUOTED = 20  # last lines of what a worker printed


@dataclasses.dataclass
class Process:
    """The process of a worker.

    Attributes:
        popen: the process, which leads a process group.
        connection: to it.
        output: what it prints.
    """

    popen: subprocess.Popen[bytes]
    connection: Connection
    output: IO[bytes]

    def send(self, task: Path | Job) -> None:
        """Send a job, or the file of a study; a dead worker does not mind."""
        with contextlib.suppress(OSError):
            self.connection.send(task)

    def received(self) -> Report | None:
        """Return the next report; None if the connection has ended."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def stop(self, patience: float = 0.0) -> None:
        """Kill it with all processes that it started.

        Args:
            patience: seconds that it has to end by itself.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(patience)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()

    def end(self) -> None:
        """Kill it with all processes that it started, and let go of what belongs to it."""
        self.stop()
        self.connection.close()
        self.output.close()

    def last_lines(self) -> str:
        """Return the end of what it printed."""
        self.output.seek(0)
        return "\n".join(self.output.read().decode(errors="replace").splitlines()[-QUOTED:])


class Processes(Workers):
    """Workers in processes of this machine, each with an equal share of its cores and GPUs.

    Args:
        number: of workers.
        threads: that each may compute with.
        gpus: ids of the machine's GPUs.
        gpus_each: GPUs of a worker, or a share of one; None for an equal share of all.
    """

    def __init__(self, number: int, threads: int, gpus: Sequence[str], gpus_each: float | None):
        self.slots, self._threads = number, threads
        self._gpus = [gpus_of(slot, number, gpus, gpus_each) for slot in range(number)]
        self._home = tempfile.TemporaryDirectory(prefix="kbn-")
        self._study = Path(self._home.name) / "study"  # of the search that runs
        self._ends_with_me, self._mine = os.pipe()  # the second end closes with this process
        self._deaths = Deaths(number, patience=0.0)
        self._processes = [self._launched(slot) for slot in range(number)]

    def _launched(self, slot: int) -> Process:
        ours, theirs = multiprocessing.Pipe()
        inherited = theirs.fileno(), self._ends_with_me
        output = tempfile.TemporaryFile()  # noqa: SIM115  it is closed with the process
        popen = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "kbn.run.serving", *map(str, inherited)],
            env={**os.environ, **environment(self._threads, self._gpus[slot])},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=inherited,
            start_new_session=True,  # out of reach of the terminal's Ctrl-C
        )
        theirs.close()
        return Process(popen, ours, output)

    def begin(self, study: Study) -> None:
        write(self._study, pickle.dumps(study))  # a worker may still import its libraries
        for process in self._processes:
            process.send(self._study)

    def start(self, slot: int, job: Job) -> None:
        self._processes[slot].send(job)

    def replace(self, slot: int) -> None:
        self._processes[slot].end()
        self._processes[slot] = self._launched(slot)
        self._processes[slot].send(self._study)

    def wait(self, seconds: float) -> list[tuple[int, Report]]:
        waiting = [process.connection for process in self._processes]
        wait(waiting, min(seconds, PERIOD))
        found: list[tuple[int, Report]] = []
        for slot, process in enumerate(self._processes):
            over = process.popen.poll() is not None  # before the look at what it sent last
            if not (process.connection.poll() or over):
                continue
            report = process.received() or self._died(slot)
            if not isinstance(report, Broken | Died):
                self._deaths.end(slot)
            found.append((slot, report))
        return found

    def _died(self, slot: int) -> Died:
        """Replace a worker that died.

        Raises:
            MachineError: if no worker gets ready there.
        """
        process = self._processes[slot]
        process.stop(PERIOD)  # whose connection may end before it
        why = _why(process.popen.returncode)
        self._deaths.add(slot, f"{why}. It printed:\n{process.last_lines()}")
        self.replace(slot)
        return Died(why)

    def close(self) -> None:
        for process in self._processes:
            process.end()
        os.close(self._mine)
        os.close(self._ends_with_me)
        self._home.cleanup()


def gpus_of(slot: int, slots: int, gpus: Sequence[str], each: float | None) -> Sequence[str] | None:
    """Return the GPUs of a worker; None where the machine has none.

    Args:
        slot: number of the worker, from 0.
        slots: number of workers.
        gpus: ids of the machine's GPUs.
        each: GPUs of a worker, or a share of one; None for an equal share of all.
    """
    if not gpus:
        return None
    share = len(gpus) / slots if each is None else each
    first = slot * share
    numbers = range(int(first), max(int(first) + 1, int(first + share))) if share else ()
    return [gpus[number % len(gpus)] for number in numbers]


def _why(code: int) -> str:
    """Return how a process ended, in words."""
    if code >= 0:
        return f"its process ended with exit code {code}"
    return f"its process was ended by {signal.Signals(-code).name}"
