"""A thread that sends a journal to its tracking store, so that the search never waits for it.

While the store is slow, hangs or is down, the journal grows; as soon as the store answers again,
all that is missing is sent. Only the end of a search waits for the thread: as long as the store
answers promptly on the whole, else for a second.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from kbn.errors import JournalError
from kbn.tracking.attempts import Attempt
from kbn.tracking.journal import Journal
from kbn.tracking.pulse import Pulse
from kbn.tracking.quiet import in_background
from kbn.uris import reason_of

log = logging.getLogger(__name__)

PATIENCE = 1.0  # seconds that a search's end waits for answers that are not prompt
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds before a store that failed is asked again


class Store(Protocol):
    """A store that takes a search's journal; may be sent the same thing again and again."""

    @property
    def refusals(self) -> Sequence[str]:
        """What the store did not take, a line each."""

    def push(self, attempt: Attempt) -> None:
        """Send what is new of an attempt."""

    def push_search(self) -> None:
        """Send what is new of the search as a whole."""

    def why(self, error: Exception) -> str:
        """Return why the store failed, in one line."""


def send_all(journal: Journal, store: Store) -> list[str]:
    """Send what a journal holds and the store lacks.

    Returns:
        What is wrong with the journal, a line each.
    """
    attempts, faults = journal.readable()
    for attempt in attempts:
        store.push(attempt)
    store.push_search()
    return faults


class Sender:
    """Sends one search's journal as it grows.

    Args:
        journal: of the search.
        connect: opens the store and reports to the pulse; is called in the sender's thread, and
            again after every failure.

    Attributes:
        tried: whether the store was ever asked, so that the libraries this takes are in memory.
    """

    _by_directory: dict[Path, Sender] = {}  # noqa: RUF012  two would make the same run twice

    def __init__(self, journal: Journal, connect: Callable[[Pulse], Store]):
        self._journal, self._connect = journal, connect
        self._changed: dict[tuple[str, int], None] = {}  # attempts that have something new
        self._lock = threading.Lock()
        self._news, self._hurry = threading.Event(), threading.Event()
        self._settled, self._pulse = threading.Event(), Pulse()
        self._failure_logged, self._refusals_logged = False, False
        self._stopped, self.tried = threading.Event(), False
        self._waited = 0.0  # seconds for answers that were not prompt
        self._name = uuid.uuid4().hex
        directory = journal.directory.resolve()
        if directory in self._by_directory:
            self._by_directory[directory].stop()
        self._by_directory[directory] = self
        self._thread = in_background(self._run)

    def notify(self, *attempt: tuple[str, int]) -> None:
        """Announce something new: of an attempt, or of the search as a whole."""
        with self._lock:
            self._changed |= dict.fromkeys(attempt)
            self._settled.clear()
            self._news.set()

    def finish(self) -> None:
        """Wait until all is sent, but never long for a store that does not answer promptly.

        Every slow answer uses up some of the patience, and every prompt one restores some. The next
        call begins with what is left of it; with all of it if everything was sent.
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
            self._log_failure("no answer for a second")

    def stop(self) -> None:
        """End the thread after its present call."""
        self._stopped.set()
        self._news.set()
        self._hurry.set()

    def _run(self) -> None:
        store, pause = None, FIRST_PAUSE
        while True:
            self._news.wait()
            with self._lock:
                self._news.clear()
                changed, self._changed = list(self._changed), {}
            try:
                self._pulse.asking = True  # the store of another sender, waited for here, may hang
                with self._journal.locks.sending(self._name, waits=True) as alone:
                    if self._stopped.is_set():
                        return
                    if store is None or not alone:
                        self._pulse.asking = False
                        store = self._connect(self._pulse)
                        if self._stopped.is_set():
                            return
                        self._log_faults(send_all(self._journal, store))
                    else:
                        for key in changed:
                            store.push(self._journal.attempt(*key))
                        store.push_search()
                self._log_refusals(store.refusals)
                pause = FIRST_PAUSE
            except JournalError as error:
                store = None  # next time all is sent but what cannot be read
                self._log_faults([str(error)])
            except Exception as error:
                log.debug("sending failed", exc_info=True)
                self._log_failure(store.why(error) if store else reason_of(error))
                store = None
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

    def _log_faults(self, faults: Sequence[str]) -> None:
        for fault in faults:
            log.warning("%s", fault)

    def _log_refusals(self, refusals: Sequence[str]) -> None:
        if refusals and not self._refusals_logged:
            self._refusals_logged = True
            more = f" (and {len(refusals) - 1} more)" if refusals[1:] else ""
            log.warning(
                "The tracking store takes all of the search in %s but %s. The search goes on; what "
                "was not taken is tried again, and listed in full, by: kbn push",
                self._journal.directory.parent,
                refusals[0] + more,
            )

    def _log_failure(self, reason: str) -> None:
        if not self._failure_logged:
            self._failure_logged = True
            log.warning(
                "The tracking store failed: %s. The search goes on, its journal in %s keeps every "
                "trial; what the store lacks is sent as soon as it answers, at the next start of "
                "this search, or by: kbn push",
                reason,
                self._journal.directory,
            )
