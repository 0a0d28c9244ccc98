"""What the process of a worker runs.

    python -m kbn.run.serving CONNECTION DRIVER

CONNECTION is the descriptor of a connection to the driver, over which jobs come and reports go;
DRIVER that of a pipe that ends with the driver.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from kbn.run import watchdog
from kbn.tracking.collecting import collect_seldom

if TYPE_CHECKING:
    from kbn.run.trainer import Worker
    from kbn.run.workers import Report


@contextlib.contextmanager
def guarded(driver: int | None = None) -> Iterator[Path]:
    """Make this process the leader of a group that ends with it, and yield a directory for it.

    Args:
        driver: descriptor of a pipe with whose end the group ends too; None for this process alone.
    """
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    with tempfile.TemporaryDirectory(prefix="kbn-worker-", ignore_cleanup_errors=True) as home:
        kept = () if driver is None else (driver,)
        command = [sys.executable, "-I", "-S", watchdog.__file__, str(os.getpid()), home]
        subprocess.Popen(  # noqa: S603  it ends by itself, soon after this process
            [*command, *map(str, kept)],
            stdin=subprocess.DEVNULL,
            pass_fds=kept,
            start_new_session=True,
        )
        yield Path(home)


def started(home: Path, report: Callable[[Report], None]) -> Worker:
    """Make this process a worker's: import what it needs, which takes seconds, and return it.

    Args:
        home: an empty directory for what its trainings write.
        report: is called with each of its reports.
    """
    collect_seldom()
    import keras

    if keras.backend.backend() != "tensorflow":
        from kbn.run._keras import leave_tensorflow_alone

        leave_tensorflow_alone()
    from kbn.run.trainer import Worker

    return Worker(home, report)


def serve(connection: Connection, home: Path) -> None:
    """Do what comes over a connection until it ends."""
    worker = started(home, connection.send)
    with contextlib.suppress(EOFError):
        while True:
            task = connection.recv()
            if isinstance(task, Path):
                task = pickle.loads(task.read_bytes())  # noqa: S301  the driver's
            worker.do(task)


if __name__ == "__main__":
    with guarded(int(sys.argv[2])) as directory:
        serve(Connection(int(sys.argv[1])), directory)
