"""A stop, Ctrl-C or another signal whose handler raises, that gets lost in a library.

Python raises it in whatever runs. Where that is a library's native code, another exception may come
out in its place (pybind11's "MISMATCH of original and normalized active exception types"), which
KerasTuner takes for a failed trial.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stops:
    """Remembers the last stop, so that what came in its place can be told from a fault."""

    def __init__(self) -> None:
        self._last: BaseException | None = None

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Has a stop leave the block as itself; the handlers do what they did without it."""
        with contextlib.ExitStack() as handlers:
            if threading.current_thread() is threading.main_thread():  # else Python allows none
                for number in SIGNALS:
                    handler = signal.getsignal(number)
                    if callable(handler):
                        handlers.callback(signal.signal, number, handler)
                        signal.signal(number, self._remembering(handler))
            self.forget()
            try:
                yield
            except Exception:
                self.check()
                raise

    def check(self) -> None:
        """Raises the stop, if there was one."""
        if self._last is not None:
            raise self._last

    def forget(self) -> None:
        """Begins anew: whoever caught the stop may have meant to go on."""
        self._last = None

    def _remembering(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        def handle(*arguments: Any) -> Any:
            try:
                return handler(*arguments)
            except BaseException as stop:
                self._last = stop
                raise

        return handle
