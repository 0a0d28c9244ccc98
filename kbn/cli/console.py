"""All that kbn prints: results to stdout, progress and errors to stderr."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text


def show(text: str = "", style: str = "") -> None:
    """A line of a result."""
    Console().print(Text(text, style), soft_wrap=True)


def tell(text: str, style: str = "dim") -> None:
    """A line of progress."""
    Console(stderr=True).print(Text(text, style), soft_wrap=True)


def complain(text: str) -> None:
    """A line of an error."""
    tell(text, style="red")


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of equal length as lines, their cells in line."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def number(value: Any) -> str:
    """A hyperparameter's value, short."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def score(value: float | None) -> str:
    """A score, always of four digits."""
    return "none" if value is None else f"{value:#.4g}"


def values(given: Mapping[str, Any]) -> list[str]:
    """{name: value}, a line each."""
    return columns([(name, number(value)) for name, value in given.items()])


@contextlib.contextmanager
def native_silence() -> Iterator[None]:
    """Drops what libraries in C++ write to stderr; Python's own exceptions pass.

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
