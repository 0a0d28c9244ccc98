"""Sends a journal to its tracking store beside the search, which never waits for it.

A thread does all that the store is asked for. While the store is slow, hangs or is down, the
journal grows; as soon as it answers again, all that is missing is sent. Only at the end of a search
is the thread waited for: while the store answers promptly on the whole, else for a second.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kbn.errors import JournalError, KbnError, TrackingError
from kbn.tracking.journal import Journal
from kbn.uris import reason_of, with_credentials, without_credentials

if TYPE_CHECKING:
    from kbn.tracking.mlflow import Projection

log = logging.getLogger(__name__)

PATIENCE = 1.0  # seconds that a search's end waits for answers that are not prompt
PROMPT, PROMPT_FILE = 0.1, 0.5  # seconds: what a server, what a database file should take
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds before a store that failed is asked again


# they write of each failure, some in pages of SQL, on stderr; we tell it once, in a line
NOISY = (
    "alembic.runtime.migration",
    "mlflow.store.db.utils",
    "mlflow.utils.validation",
    "urllib3.connectionpool",
)
_thread = threading.local()  # `quiet`: whether a thread does what we tell of ourselves


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps what this thread asks of a store out of the logs of the libraries that ask it."""
    for name in NOISY:
        logging.getLogger(name).addFilter(_is_from_elsewhere)
    before, _thread.quiet = getattr(_thread, "quiet", False), True
    try:
        yield
    finally:
        _thread.quiet = before


def _is_from_elsewhere(_: logging.LogRecord) -> bool:
    return not getattr(_thread, "quiet", False)  # a filter runs in the thread that logs


def in_background(ask: Callable[[], None]) -> threading.Thread:
    """Runs what may wait long for a store, quietly; it ends with the process."""

    def run() -> None:
        with quiet():
            ask()

    thread = threading.Thread(target=run, name="kbn tracking", daemon=True)
    thread.start()
    return thread


class Pulse:
    """What is heard of a thread that talks to a store."""

    def __init__(self) -> None:
        self._beat = threading.Event()
        self.asking = False  # else what takes time is its own work: imports, a new database
        self.prompt = PROMPT

    def beat(self) -> None:
        """The store answered."""
        self._beat.set()

    def wait(self, seconds: float) -> None:
        """Until the next beat, at most so long."""
        self._beat.wait(seconds)
        self._beat.clear()


@dataclasses.dataclass(frozen=True)
class Target:
    """Where a search is tracked.

    Attributes:
        experiment: MLflow's.
        tracking_uri: MLflow's; None for its own choice.
        directory: that a relative path in it starts from, wherever the process goes meanwhile.
    """

    experiment: str
    tracking_uri: str | None = None
    directory: Path = dataclasses.field(default_factory=Path.cwd)

    def open(self, journal: Journal, pulse: Pulse) -> Projection:
        """The projection of a journal there.

        Raises:
            TrackingError: if that cannot be had; says of which store, and why.
            JournalError: if the journal cannot be read.
        """
        from kbn.tracking.mlflow import Projection  # takes seconds: the thread's, not the search's
        from kbn.tracking.stores import store_uri

        uri = store_uri(with_credentials(self.tracking_uri), self.directory)
        try:
            return Projection(journal, self.experiment, uri, pulse)
        except KbnError:
            raise
        except Exception as error:
            log.debug("opening the store failed", exc_info=True)
            raise TrackingError(f"{without_credentials(uri)}: {reason_of(error)}") from error


def counted(lines: list[str]) -> str:
    """The first of several lines, and how many more there are."""
    return lines[0] if len(lines) == 1 else f"{lines[0]} (and {len(lines) - 1} more)"


def send_all(journal: Journal, projection: Projection) -> list[str]:
    """Sends what a journal holds and the store lacks.

    Returns:
        What is wrong with the journal, a line each.
    """
    attempts, faults = journal.readable()
    for attempt in attempts:
        projection.push(attempt)
    projection.push_search()
    return faults


class Sender:
    """Sends one search's journal as it grows.

    Args:
        journal: of the search.
        target: opened in the sender's thread, and anew after every failure.

    Attributes:
        tried: whether the store was ever asked: what that takes of MLflow is in memory.
    """

    _by_directory: dict[Path, Sender] = {}  # noqa: RUF012  two would make the same run twice

    def __init__(self, journal: Journal, target: Target):
        self._journal, self._target = journal, target
        self._changed: dict[tuple[str, int], None] = {}  # attempts that have something new
        self._lock = threading.Lock()
        self._news, self._hurry = threading.Event(), threading.Event()
        self._settled, self._pulse = threading.Event(), Pulse()
        self._warned, self._told = False, False  # of failures, of refusals
        self._stopped, self.tried = threading.Event(), False
        self._waited = 0.0  # seconds for answers that were not prompt
        self._name = uuid.uuid4().hex
        directory = journal.directory.resolve()
        if directory in self._by_directory:
            self._by_directory[directory].stop()
        self._by_directory[directory] = self
        self._thread = in_background(self._run)

    def notify(self, *attempt: tuple[str, int]) -> None:
        """There is something new: of an attempt, or of the search as a whole."""
        with self._lock:
            self._changed |= dict.fromkeys(attempt)
            self._settled.clear()
            self._news.set()

    def finish(self) -> None:
        """Waits until all is sent, but never long for a store that does not answer promptly.

        Prompt answers restore what others took of its patience. Called again, it has only as much
        as is left; all of it once all was sent.
        """
        self._hurry.set()
        while not self._settled.is_set() and self._waited < PATIENCE:
            start, asking = time.monotonic(), self._pulse.asking
            self._pulse.wait(PATIENCE - self._waited)
            took = time.monotonic() - start
            if asking:
                late = took > self._pulse.prompt
                self._waited = max(0.0, self._waited + (took if late else -took))
        if self._settled.is_set():
            self._waited = 0.0
        else:
            self._warn("no answer for a second")

    def stop(self) -> None:
        """Ends the thread after its present call."""
        self._stopped.set()
        self._news.set()
        self._hurry.set()

    def _run(self) -> None:
        projection, pause = None, FIRST_PAUSE
        while True:
            self._news.wait()
            with self._lock:
                self._news.clear()
                changed, self._changed = list(self._changed), {}
            try:
                self._pulse.asking = True  # another sender's store may hang
                with self._journal.sending(self._name, waits=True) as alone:
                    if self._stopped.is_set():
                        return
                    if projection is None or not alone:
                        self._pulse.asking = False
                        projection = self._target.open(self._journal, self._pulse)
                        if self._stopped.is_set():
                            return
                        self._tell(send_all(self._journal, projection))
                    else:
                        for key in changed:
                            projection.push(self._journal.attempt(*key))
                        projection.push_search()
                self._tell_refusals(projection.refusals)
                pause = FIRST_PAUSE
            except JournalError as error:
                projection = None  # next time all but what cannot be read
                self._tell([str(error)])
            except Exception as error:
                log.debug("sending failed", exc_info=True)
                self._warn(projection.why(error) if projection else reason_of(error))
                projection = None
                self._pulse.asking = True
                self._news.set()
                self._hurry.wait(pause)
                self._hurry.clear()
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            finally:
                self.tried = True
            with self._lock:
                if not self._news.is_set():
                    self._settled.set()
                    self._pulse.beat()

    def _tell(self, faults: list[str]) -> None:
        for fault in faults:
            log.warning("%s", fault)

    def _tell_refusals(self, refusals: list[str]) -> None:
        if refusals and not self._told:
            self._told = True
            log.warning(
                "The tracking store takes all of the search in %s but %s. The search goes on; what "
                "was not taken is tried again, and told in full, by: kbn push",
                self._journal.directory.parent,
                counted(refusals),
            )

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                "The tracking store failed: %s. The search goes on, its journal in %s keeps every "
                "trial; what the store lacks is sent as soon as it answers, at the next start of "
                "this search, or by: kbn push",
                reason,
                self._journal.directory,
            )
