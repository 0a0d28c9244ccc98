"""Draw the figures of the explanations into docs/images: make figures.

python docs/figures/draw.py [DIRECTORY]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import of_norm
import of_pages
import of_search
import of_terminal
import of_tracking
from style import IMAGES, save

FIGURES = {**of_search.FIGURES, **of_norm.FIGURES, **of_tracking.FIGURES}


def draw(directory: Path = IMAGES) -> None:
    """Write all of them into a directory."""
    for name, figure in FIGURES.items():
        save(figure(), name, directory)


SCREENS = {of_terminal.live: ("terminal.svg",), of_pages.pages: of_pages.FILES}

if __name__ == "__main__":
    directory = Path(*sys.argv[1:] or [IMAGES]).resolve()
    draw(directory)
    for screen in SCREENS:
        screen(directory)
