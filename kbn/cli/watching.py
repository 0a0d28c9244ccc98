"""What a search prints while it runs: a line per trial, or a live display on a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kbn.cli import console
from kbn.cli.process import stdout_for_results
from kbn.cli.progress import CommandProgress
from kbn.run import progress

if TYPE_CHECKING:
    from kbn.run.project import Project


@contextlib.contextmanager
def watching(project: Project) -> Iterator[CommandProgress]:
    """Show progress in the manner that fits stderr; what else is printed goes there too."""
    with stdout_for_results():
        if console.has_terminal():
            from kbn.cli.live import Display

            display = Display(project)
            with console.live(display):
                yield display
        else:
            yield LinePerTrial(project)


class LinePerTrial(CommandProgress, progress.LinePerTrial):
    """One line per trial on stderr."""
