"""Signs of life of a thread that talks to a store, for whoever waits for it."""

from __future__ import annotations

import threading

PROMPT, PROMPT_FILE = 0.1, 0.5  # seconds within which a server, a database file should answer


class Pulse:
    """What is known of a thread that talks to a store.

    Attributes:
        asking: whether the thread waits for the store; otherwise it is busy with work of its own,
            such as imports or a new database.
        prompt: seconds within which the store should answer.
    """

    def __init__(self) -> None:
        self._beat = threading.Event()
        self.asking, self.prompt = False, PROMPT

    def beat(self) -> None:
        """Report that the store answered."""
        self._beat.set()

    def wait(self, seconds: float) -> None:
        """Wait until the next beat, but at most this long."""
        self._beat.wait(seconds)
        self._beat.clear()
