"""Everything kbn prints: results to stdout, progress and errors to stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from kbn.report.words import number, visible

if TYPE_CHECKING:  # a shell that completes a word waits for no more than it needs
    from rich.console import Console, RenderableType

PAINTS = 2  # a second, of a live display: each takes training 10 ms


def show(text: str = "", style: str = "") -> None:
    """Print a line of a result."""
    _print(text, style)


def show_json(data: Any) -> None:
    """Print a result as JSON in ASCII; strings keep their characters, with JSON's escapes."""
    click.echo(json.dumps(data, indent=2))


def tell(text: str, style: str = "dim") -> None:
    """Print a line of progress."""
    _print(text, style, stderr=True)


def complain(text: str) -> None:
    """Print a line of an error."""
    tell(text, style="red")


def _print(text: str, style: str, *, stderr: bool = False) -> None:
    """Print text without markup or control codes, in characters that the stream can encode."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=stderr)
    seen = visible(text).encode(console.encoding, "backslashreplace").decode(console.encoding)
    console.print(Text(seen, style), soft_wrap=True)


def show_columns(rows: Sequence[Sequence[str]], indent: str = "") -> None:
    """Print rows of cells, one per line, with aligned columns."""
    cells = [[visible(cell).replace("\n", r"\n") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        show(indent + "  ".join(map(str.ljust, row, widths)).rstrip())


def show_values(given: Mapping[str, Any]) -> None:
    """Print {name: value}, one per line, indented."""
    show_columns([(name, number(value)) for name, value in given.items()], indent="  ")


def score(value: float | None) -> str:
    """Format a score with four significant digits."""
    return "none" if value is None else f"{value:#.4g}"


@contextlib.contextmanager
def live(shown: RenderableType) -> Iterator[None]:
    """Repaint a display on the terminal of stderr, and erase it at the end.

    What is printed meanwhile stands above it. It has a stream of its own to the terminal: neither
    `native_silence` nor a redirection hides it.
    """
    from rich.live import Live

    stream, encoding = os.dup(sys.stderr.fileno()), sys.stderr.encoding
    with open(stream, "w", encoding=encoding, errors="backslashreplace") as terminal:  # noqa: PTH123
        given: dict[str, Any] = {"refresh_per_second": PAINTS, "transient": True}
        with Live(shown, console=painter(terminal), **given) as painting:
            try:
                yield
            finally:  # rich ends with a whole frame, too tall to be erased from a low terminal
                painting.update("", refresh=True)


def painter(terminal: IO[str]) -> Console:
    """Return a console that paints a live display without interpreting markup."""
    from rich.console import Console

    return Console(file=terminal, markup=False, emoji=False)


def has_terminal() -> bool:
    """Return whether stderr is a terminal that can be repainted."""
    from rich.console import Console

    return sys.stderr.isatty() and not Console(stderr=True).is_dumb_terminal


@contextlib.contextmanager
def native_silence() -> Iterator[None]:
    """Drop what C++ libraries write to stderr; Python's exceptions pass.

    TensorFlow announces itself there when it is imported, whatever its settings.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
