"""How all figures look, and where they are written."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

IMAGES = Path(__file__).parents[1] / "images"
BLUE, ORANGE, GREY, GREEN = "#2166ac", "#d95f0e", "#8c8c8c", "#1b7837"

mpl.use("Agg")
mpl.rcParams.update(
    {
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": "medium",
        "font.size": 9,
        "legend.frameon": False,
        "savefig.facecolor": "white",  # readable on a dark page, too
        "svg.fonttype": "none",  # text stays text: small, and found by a search
        "svg.hashsalt": "kbn",  # the same figure gives the same file
    }
)


def save(figure: Figure, name: str, directory: Path = IMAGES) -> None:
    """Write a figure as NAME.svg."""
    figure.savefig(directory / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
