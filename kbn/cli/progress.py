"""Progress of a search as a command shows it."""

from __future__ import annotations

from kbn.cli import console
from kbn.cli.process import settle_libraries
from kbn.run.progress import LinePerTrial
from kbn.run.project import Project
from kbn.tracking.collecting import Collecting


class CommandProgress(LinePerTrial):
    """A line per trial on stderr, in a process that is the command's own."""

    def __init__(self, project: Project):
        super().__init__(project)
        self.collecting = Collecting()

    def opened(self, project: Project, *, fresh: bool) -> None:
        super().opened(project, fresh=fresh)
        settle_libraries()

    def tell(self, text: str, style: str = "dim") -> None:
        console.tell(text, style)
