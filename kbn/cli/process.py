"""Process-wide settings of a command, which a library must not make."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from kbn.cli import console
from kbn.files import WINDOWS
from kbn.tracking.stops import SIGNALS

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
CLOSED = 128 + 13  # as after SIGPIPE, which Windows lacks: nobody reads the output any more
C_LIBRARY = "ucrtbase" if WINDOWS else None  # None: what the process itself has loaded


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
    if hasattr(signal, "SIGPIPE"):
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
    """Return whether the other end of a pipe or a terminal is gone; False where none can say."""
    if not hasattr(select, "poll"):  # on Windows
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def _end_if_closed(*_: Any) -> None:
    if leave_closed_streams():  # else it was a connection to a server, which tells of itself
        sys.exit(CLOSED)


def end_on_signals() -> None:
    """Handle the signals from outside as Ctrl-C: stop, and report what is saved."""
    for number in SIGNALS:
        # nohup ignores SIGHUP, so that a program may outlive its shell
        kept = number.name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN
        if number != signal.SIGINT and not kept:
            signal.signal(number, _terminate)


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
        ctypes.CDLL(C_LIBRARY).fflush(None)  # what C keeps of it would come out at the process' end
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
        from kbn.run._keras import leave_tensorflow_alone

        leave_tensorflow_alone()
    warnings.filterwarnings("ignore", "All-NaN")  # KerasTuner, of a trial that diverged
    from kbn.cli._keras_tuner import print_no_tracebacks

    print_no_tracebacks()


def program(name: str) -> str:
    """Return how to call a program of this environment from the shell."""
    folder = Path(sys.executable).parent
    own = Path(shutil.which(name, path=folder) or folder / name)
    found = shutil.which(name)
    if found and Path(found).resolve() == own.resolve():
        return name
    if own.drive != Path.cwd().drive:  # from one disk of Windows no path leads to another
        return str(own)
    return min(str(own), os.path.relpath(own), key=len)


def shell_line(arguments: Sequence[str]) -> str:
    """Return the line that calls a program from this system's shell."""
    return subprocess.list2cmdline(arguments) if WINDOWS else shlex.join(arguments)


def become(command: list[str], environment: Mapping[str, str]) -> NoReturn:
    """Run a program in place of this one."""
    if WINDOWS:  # where the shell would go on at once, beside the program
        sys.exit(subprocess.run(command, env=environment, check=False).returncode)  # noqa: S603
    os.execve(command[0], command, environment)  # noqa: S606
