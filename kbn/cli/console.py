"""Everything kbn prints: results to stdout, progress and errors to stderr."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kbn.report.words import number, visible

if TYPE_CHECKING:  # a shell that completes a word waits for no more than it needs
    from rich.console import Console

NARROWEST = 20  # letters of a column that is worth wrapping
_painters: list[Console] = []  # that of the live display, if there is one


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

    console = _painters[-1] if stderr and _painters else Console(stderr=stderr)
    seen = visible(text).encode(console.encoding, "backslashreplace").decode(console.encoding)
    console.print(Text(seen, style), soft_wrap=True)


def show_columns(rows: Sequence[Sequence[str]], indent: str = "", *, prose: bool = False) -> None:
    """Print rows of cells with aligned columns.

    Args:
        rows: with equal numbers of cells; each is a line.
        indent: before each line.
        prose: whether a terminal may wrap the last column, below its beginning.
    """
    cells = [[visible(cell).replace("\n", r"\n") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    start = len(indent) + sum(width + 2 for width in widths[:-1])
    room = shutil.get_terminal_size().columns - start if prose and sys.stdout.isatty() else 0
    for row in cells:
        lines = textwrap.wrap(row[-1], room) if room >= NARROWEST else []
        row[-1] = lines[0] if lines else row[-1]
        show(indent + "  ".join(map(str.ljust, row, widths)).rstrip())
        for line in lines[1:]:
            show(" " * start + line)


def show_values(given: Mapping[str, Any]) -> None:
    """Print {name: value}, one per line, indented."""
    show_columns([(name, number(value)) for name, value in given.items()], indent="  ")


def score(value: float | None) -> str:
    """Format a score with four significant digits."""
    return "none" if value is None else f"{value:#.4g}"


@contextlib.contextmanager
def above(painter: Console) -> Iterator[None]:
    """Print what is told above the live display that a console paints."""
    _painters.append(painter)
    try:
        yield
    finally:
        _painters.pop()


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
