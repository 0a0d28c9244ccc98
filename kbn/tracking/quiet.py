"""Work with a store that stays out of the logs of the libraries that do it."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

# They report every failure on stderr, some in pages of SQL; kbn reports it once, in a line.
NOISY = (
    "alembic.runtime.migration",
    "alembic.runtime.plugins",  # lists what it imports, which MLflow before 3.16 shows
    "mlflow.keras.save",  # asks for a signature, which a table's model gets afterwards
    "mlflow.store.db.utils",
    "mlflow.utils.environment",  # misses pip, which an environment made by uv lacks
    "mlflow.utils.validation",
    "urllib3.connectionpool",
)
_lock = threading.Lock()  # of the loggers' lists of filters


@contextlib.contextmanager
def quiet(*others: str) -> Iterator[None]:
    """Drop what this thread logs by the `NOISY` loggers; they are as before when the block ends.

    Args:
        *others: names of more loggers.
    """
    thread = threading.get_ident()

    def is_elsewhere(_: logging.LogRecord) -> bool:
        return threading.get_ident() != thread  # a filter runs in the thread that logs

    loggers = [logging.getLogger(name) for name in (*NOISY, *others)]
    with _lock:
        for logger in loggers:
            logger.addFilter(is_elsewhere)
    try:
        yield
    finally:
        with _lock:
            for logger in loggers:  # a new list: another thread may be iterating over the old one
                logger.filters = [each for each in logger.filters if each is not is_elsewhere]


def in_background(ask: Callable[[], None]) -> threading.Thread:
    """Start a quiet thread for what may wait long for a store; it ends with the process."""

    def run() -> None:
        with quiet():
            ask()

    thread = threading.Thread(target=run, name="kbn tracking", daemon=True)
    thread.start()
    return thread
