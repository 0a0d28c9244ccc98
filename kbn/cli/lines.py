"""What a command prints of every trial that has ended."""

from __future__ import annotations

from kbn.cli.progress import CommandProgress
from kbn.run import progress


class LinePerTrial(CommandProgress, progress.LinePerTrial):
    """One line per trial on stderr."""
