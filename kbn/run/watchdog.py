"""Watchdog of a worker: it ends the worker's process group once the worker or its driver is gone.

    python watchdog.py PID DIRECTORY [DESCRIPTOR]

PID is the worker, which leads a process group and started the watchdog; DIRECTORY holds its files,
which are removed at the end; DESCRIPTOR reads from a pipe that the driver holds open.

A process that is killed cannot clean up behind itself, and a trial may have started processes of
its own. A thread of the worker could not do it either: native code may hold Python's lock for ever.
This file is run by itself, so it imports nothing but what Python starts with.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys

PERIOD = 0.5  # seconds between two looks at the worker


def watch(worker: int, directory: str, driver: int | None) -> None:
    """Wait for the end of the worker or the driver; then clean up."""
    while os.getppid() == worker:
        if select.select([] if driver is None else [driver], [], [], PERIOD)[0]:
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker, signal.SIGKILL)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:4]) or (None,))
