"""Processes that make a store, and can be killed at it."""

import os
import signal
from pathlib import Path

import sqlalchemy

from kbn.tracking.stores import make

FILE = Path("mlflow.db")


def make_in(directory, barrier=None, statement=0):
    """Makes a database; is killed at its so many-th SQL statement, or before its renaming."""
    os.chdir(directory)

    def count(*_):
        nonlocal statement
        statement -= 1
        if statement == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    if statement > 0:
        sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", count)
    if statement < 0:
        Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    if barrier is not None:
        barrier.wait()
    make(FILE)
