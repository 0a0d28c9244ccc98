"""Stops: Ctrl-C, or another signal whose handler raises, which a library may lose.

Python raises the handler's exception in whatever code runs. In a library's native code, another
exception may take its place (pybind11's "MISMATCH of original and normalized active exception
types"), which KerasTuner counts as a failed trial. In a callback of the interpreter's own (of a
weak reference, or `__del__`), the exception is printed and nothing else happens.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    Hook: TypeAlias = Callable[[sys.UnraisableHookArgs], object]

Handler: TypeAlias = Callable[[int, FrameType | None], object]

# signals by which people end a process: Windows has no SIGHUP, and SIGBREAK for a closed window
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
STOPS = (KeyboardInterrupt, SystemExit)


class Stops:
    """Remembers the last stop, to distinguish what became of it from other exceptions."""

    def __init__(self) -> None:
        self._last: BaseException | None = None
        self._swallowed: BaseException | None = None
        self._handlers: dict[int, Handler] = {}

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Ensure that a stop leaves the block as the exception that its handler raised.

        Handlers do what they did without it. SIGTERM and SIGHUP without a handler, which would end
        the process there and then, raise SystemExit.
        """
        # Signal handlers are the only place where a stop can be seen before a library loses it, so
        # they are wrapped; only inside the block, after which handlers and hook are as before.
        with contextlib.ExitStack() as restored:
            if (
                threading.current_thread() is threading.main_thread()
            ):  # Python allows handlers in no other
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
        """Raise the stop, if there was one."""
        if self._last is not None:
            raise self._last

    def check_swallowed(self) -> None:
        """Raise the stop if the interpreter swallowed it, but not if the user's code caught it."""
        if self._swallowed is not None:
            raise self._swallowed

    def forget(self) -> None:
        """Forget a stop that the user's code caught, in order to go on."""
        self.check_swallowed()
        self._last = None

    def may_have_come(self) -> bool:
        """Return whether a signal may have raised: one did, or other code replaced a handler."""
        watched = all(signal.getsignal(number) is h for number, h in self._handlers.items())
        return self._last is not None or not watched

    def _remembering(self, number: int, handler: Handler) -> Handler:
        process = os.getpid()

        def handle(received: int, frame: FrameType | None) -> object:
            # a forked child ends as it would without kbn
            if handler is _exit and os.getpid() != process:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            try:
                return handler(received, frame)
            except BaseException as stop:
                if number in SIGNALS or isinstance(stop, STOPS):
                    self._last = stop
                raise

        return handle

    def _noticing(self, hook: Hook) -> Hook:
        def notice(unraisable: sys.UnraisableHookArgs) -> None:
            if self._last is not None and unraisable.exc_value is self._last:
                self._swallowed = self._last
            else:
                hook(unraisable)

        return notice


def _exit(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def own_stop(stop: BaseException) -> RuntimeError:
    """Return the error of a trial whose own code raised what looks like a stop."""
    return RuntimeError(
        f"The trial's own code raised {stop!r}, which no signal did: the trial has failed."
    )
