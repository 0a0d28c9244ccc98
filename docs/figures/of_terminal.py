"""Picture of a terminal on which `kbn tune` runs, as it shows the middle of a search."""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

import kbn
from kbn.cli.live import Display
from kbn.run.project import Project

RECIPE = ["search.trials=24", "search.epochs=4", "tracking.enabled=false"]
MOMENT = ("15", 3)  # trial, epoch


class Photographer(Display):
    """The display, of which a picture is taken."""

    picture = ""

    def epoch(self, trial: str, epochs: int, metrics: Mapping[str, float]) -> None:
        super().epoch(trial, epochs, metrics)
        if (trial, epochs) == MOMENT:
            console = Console(record=True, width=100, file=io.StringIO())
            console.print("[bold]$ kbn tune digits_softmax", highlight=False)
            console.print(self)
            self.picture = console.export_svg(title="", unique_id="kbn")


def live(directory: Path) -> None:
    """Write the picture of a search's live display."""
    recipe = kbn.load_recipe("digits_softmax", RECIPE)
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        display = Photographer(Project(recipe))
        kbn.tune(recipe, watch=display)
    fontless = re.sub(r"@font-face \{.*?\}", "", display.picture, flags=re.DOTALL)  # no network
    (directory / "terminal.svg").write_text(fontless, "utf-8")
