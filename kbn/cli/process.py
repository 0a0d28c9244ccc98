"""Process-wide settings of a command, which a library must not make."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kbn.cli import console

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
CLOSED = 128 + signal.SIGPIPE  # as a shell tells of a program whose output nobody reads any more


def settle_streams() -> None:
    """Give every standard stream a place to go, and end the process quietly where one is closed.

    A stream that was closed at the start gets the null device: else the next file that is opened,
    a database perhaps, would take its place and what is printed.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            mode = "r" if descriptor == 0 else "w"
            setattr(sys, name, open(descriptor, mode, closefd=False))  # noqa: SIM115
    signal.signal(signal.SIGPIPE, _end_if_closed)


def leave_closed_streams() -> bool:
    """Redirect streams that nobody reads to the null device.

    Returns:
        Whether there is one.
    """
    closed = [descriptor for descriptor in (1, 2) if _is_closed(descriptor)]
    if closed:
        nothing = os.open(os.devnull, os.O_WRONLY)
        for descriptor in closed:
            os.dup2(nothing, descriptor)
        os.close(nothing)
    return bool(closed)


def _is_closed(descriptor: int) -> bool:
    """Return whether the other end of a pipe or a terminal is gone."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def _end_if_closed(*_: Any) -> None:
    if leave_closed_streams():  # else it was a connection to a server, which tells of itself
        sys.exit(CLOSED)


def end_on_signals() -> None:
    """Handle SIGTERM and SIGHUP as Ctrl-C: stop, and report what is saved."""
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # by nohup, that it may outlive a shell
        signal.signal(signal.SIGHUP, _terminate)


def _terminate(*_: Any) -> None:
    leave_closed_streams()  # of a terminal that was closed
    sys.exit(TERMINATED)


@contextlib.contextmanager
def stdout_for_results() -> Iterator[None]:
    """Redirect stdout to stderr, also for C code and child processes."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        ctypes.CDLL(None).fflush(None)  # what C keeps of it would come out at the process' end
        os.dup2(kept, 1)
        os.close(kept)


def quiet_environment() -> None:
    """Configure libraries that are imported later to be quiet and to give up soon."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # MLflow's own numbers take four minutes to give up a dead server, two a hanging one
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")


def settle_libraries() -> None:
    """Import Keras' backend and KerasTuner, and keep them from printing."""
    quiet_environment()
    with console.native_silence():
        import keras
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")  # it takes a search for a model traced too often
    else:
        from kbn.cli._keras import leave_tensorflow_alone

        leave_tensorflow_alone()
    warnings.filterwarnings("ignore", "All-NaN")  # KerasTuner, of a trial that diverged
    from kbn.cli._keras_tuner import print_no_tracebacks

    print_no_tracebacks()


def program(name: str) -> str:
    """Return how to call a program of this environment from the shell."""
    own = Path(sys.executable).parent / name
    found = shutil.which(name)
    if found and Path(found).resolve() == own.resolve():
        return name
    return min(str(own), os.path.relpath(own), key=len)
