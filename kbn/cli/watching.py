"""What a search prints while it runs: a line per trial, and on a terminal a live display, too."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kbn.cli.process import stdout_for_results
from kbn.cli.progress import CommandProgress

if TYPE_CHECKING:
    from kbn.run.project import Project


@contextlib.contextmanager
def watching(project: Project) -> Iterator[CommandProgress]:
    """Show progress in the manner that fits stderr; what else is printed goes there too."""
    with stdout_for_results():
        from kbn.cli.painting import has_terminal, live

        if has_terminal():
            from kbn.cli.live import Display

            display = Display(project)
            with live(display):
                yield display
        else:
            yield CommandProgress(project)
