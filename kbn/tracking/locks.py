"""Locks on a journal: who runs trials of the search, and who sends it.

A lock ends with its process: so another process knows which attempts nobody will go on with.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from kbn import files
from kbn.errors import JournalError, KbnError

SESSION_LOCK, BEGIN_LOCK, SENDER_LOCK, LAST_SENDER = "lock", "begin.lock", "sender.lock", "sender"


class Locks:
    """The locks of one journal.

    Args:
        directory: of the journal, which is created with the first lock.
    """

    def __init__(self, directory: Path):
        self._directory = directory

    @contextlib.contextmanager
    def session(self, *, shared: bool = False) -> Iterator[None]:
        """Show other processes that this one runs trials of the search.

        Args:
            shared: with other processes that share the search too.

        Raises:
            KbnError: if another process runs it, and one of the two does not share.
        """
        with contextlib.ExitStack() as lock:
            try:
                lock.enter_context(self._locked(SESSION_LOCK, shared=shared))
            except BlockingIOError:
                owner = files.holder(self._directory / SESSION_LOCK)
                raise KbnError(
                    f"{self._directory.parent}: one process at a time may run a search, or send "
                    f"it. Got another one that does: {owner}. Wait for it, or give this search "
                    "another name."
                ) from None
            yield

    @contextlib.contextmanager
    def beginning(self) -> Iterator[None]:
        """Let only one process at a time begin a session: the first one draws the search's id."""
        with self._locked(BEGIN_LOCK, waits=True):
            yield

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Keep sessions from opening, and yield whether none was open anywhere."""
        with contextlib.ExitStack() as lock:
            try:
                lock.enter_context(self._locked(SESSION_LOCK))
                alone = True
            except BlockingIOError:
                alone = False
            yield alone

    @contextlib.contextmanager
    def sending(self, sender: str, *, waits: bool) -> Iterator[bool]:
        """Let only one sender at a time create runs of the search's attempts.

        Args:
            sender: who sends.
            waits: for another sender to finish.

        Yields:
            Whether nobody else has sent since this sender last did.

        Raises:
            BlockingIOError: if another one is sending, and `waits` is false.
        """
        with self._locked(SENDER_LOCK, waits=waits):
            file = self._directory / LAST_SENDER
            last = file.read_text("utf-8") if file.is_file() and not file.is_symlink() else ""
            if last != sender:
                files.write(file, sender.encode())
            yield last == sender

    @contextlib.contextmanager
    def _locked(self, name: str, **how: bool) -> Iterator[None]:
        file = self._directory / name
        with contextlib.ExitStack() as lock:
            try:
                self._directory.mkdir(parents=True, exist_ok=True)
                lock.enter_context(files.locked(file, **how))
            except BlockingIOError:
                raise
            except OSError as error:
                raise JournalError(
                    f"{file}: a search's directory must be writable. Got: {error.strerror}. Make "
                    "it so, or work in another directory."
                ) from error
            yield
