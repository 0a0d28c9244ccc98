"""A live display on a terminal, which survives a resized window, Ctrl-Z and `fg`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment

from kbn.cli import console

PAINTS = 2  # a second, of a live display: each takes training 10 ms


@contextlib.contextmanager
def live(shown: RenderableType) -> Iterator[None]:
    """Repaint a display on the terminal of stderr, and erase it at the end.

    What is told meanwhile stands above it. It has a stream of its own to the terminal: neither
    `native_silence` nor a redirection hides it.
    """
    stream, encoding = os.dup(sys.stderr.fileno()), sys.stderr.encoding
    with open(stream, "w", encoding=encoding, errors="backslashreplace") as terminal:  # noqa: PTH123
        given: dict[str, Any] = {"refresh_per_second": PAINTS, "transient": True}
        with Live(Frame(shown), console=painter(terminal), **given) as painting:
            try:
                with console.above(painting.console), _hidden_while_suspended(painting, shown):
                    yield
            finally:  # rich ends with a whole frame, too tall to be erased from a low terminal
                painting.update("", refresh=True)


def painter(terminal: IO[str]) -> Console:
    """Return a console that paints a live display without interpreting markup."""
    return Console(file=terminal, markup=False, emoji=False)


def has_terminal() -> bool:
    """Return whether stderr is a terminal that can be repainted."""
    return sys.stderr.isatty() and not Console(stderr=True).is_dumb_terminal


class Frame:
    """A display that erases all of its last frame, also where a narrower window wrapped its lines.

    rich goes up by as many lines as it painted. Terminals break a line that has become too long.

    Args:
        shown: what is displayed.
    """

    def __init__(self, shown: RenderableType):
        self.shown = shown
        self._lengths: list[int] = []  # letters of each line of the last frame

    def __rich_console__(
        self, painting: Console, options: ConsoleOptions
    ) -> Iterator[Segment | Control]:
        broken = sum(max(0, length - 1) // options.max_width for length in self._lengths)
        yield Control(*[(ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)] * broken)
        lines = painting.render_lines(self.shown, options, pad=False)
        self._lengths = [Segment.get_line_length(line) for line in lines]
        for line in lines:
            yield from (*line, Segment.line())


@contextlib.contextmanager
def _hidden_while_suspended(painting: Live, shown: RenderableType) -> Iterator[None]:
    """Erase a display when Ctrl-Z stops the process, and paint it again when it goes on."""
    suspend = getattr(signal, "SIGTSTP", None)  # Windows has none
    if suspend is None or signal.getsignal(suspend) != signal.SIG_DFL:
        yield
        return

    def hide(number: int, _: FrameType | None) -> None:
        painting.update("", refresh=True)  # else rich would go up by its lines once more
        painting.stop()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # returns when the process goes on
        signal.signal(number, hide)
        painting.start()
        painting.update(Frame(shown), refresh=True)

    signal.signal(suspend, hide)
    try:
        yield
    finally:
        signal.signal(suspend, signal.SIG_DFL)
