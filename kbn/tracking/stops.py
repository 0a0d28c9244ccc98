"""A stop: Ctrl-C, or another signal whose handler raises; which may get lost in a library.

Python raises it in whatever runs. Where that is a library's native code, another exception may come
out in its place (pybind11's "MISMATCH of original and normalized active exception types"), which
KerasTuner takes for a failed trial. Where it is a callback of the interpreter's own (of a weak
reference, a `__del__`), the exception is printed and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPS = (KeyboardInterrupt, SystemExit)


class Stops:
    """Remembers the last stop, so that what became of it can be told from other exceptions."""

    def __init__(self) -> None:
        self._last: BaseException | None = None
        self._swallowed: BaseException | None = None
        self._handlers: dict[int, Any] = {}

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Has a stop leave the block as itself.

        Handlers do what they did without it. SIGTERM and SIGHUP without one, which would end the
        process there and then, raise SystemExit.
        """
        with contextlib.ExitStack() as restored:
            if threading.current_thread() is threading.main_thread():  # else Python allows none
                restored.callback(self._handlers.clear)
                for number in signal.valid_signals():
                    self._watch(number, restored)
                restored.callback(setattr, sys, "unraisablehook", sys.unraisablehook)
                sys.unraisablehook = self._noticing(sys.unraisablehook)
            self._last = self._swallowed = None
            try:
                yield
            except Exception:
                self.check()
                raise
            self.check_swallowed()

    def _watch(self, number: int, restored: contextlib.ExitStack) -> None:
        before = signal.getsignal(number)
        handler = before
        if before is signal.SIG_DFL and number in SIGNALS:
            handler = _exit
        if callable(handler):
            self._handlers[number] = self._remembering(number, handler)
            restored.callback(signal.signal, number, before)
            signal.signal(number, self._handlers[number])

    def check(self) -> None:
        """Raises the stop, if there was one."""
        if self._last is not None:
            raise self._last

    def check_swallowed(self) -> None:
        """Raises the stop, if the interpreter swallowed it; who catches one himself may go on."""
        if self._swallowed is not None:
            raise self._swallowed

    def forget(self) -> None:
        """Begins anew: whoever caught the stop may have meant to go on."""
        self.check_swallowed()
        self._last = None

    def may_have_come(self) -> bool:
        """Whether a signal may have raised what was raised: one did, or not all are watched."""
        watched = all(signal.getsignal(number) is h for number, h in self._handlers.items())
        return self._last is not None or not watched

    def _remembering(self, number: int, handler: Callable[..., Any]) -> Callable[..., Any]:
        process = os.getpid()

        def handle(*arguments: Any) -> Any:
            if handler is _exit and os.getpid() != process:  # a child ends as it did without us
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            try:
                return handler(*arguments)
            except BaseException as stop:
                if number in SIGNALS or isinstance(stop, STOPS):
                    self._last = stop
                raise

        return handle

    def _noticing(self, hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def notice(unraisable: Any) -> None:
            if self._last is not None and unraisable.exc_value is self._last:
                self._swallowed = self._last
            else:
                hook(unraisable)

        return notice


def _exit(number: int, _: Any) -> None:
    sys.exit(128 + number)
