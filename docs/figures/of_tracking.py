"""Figure of exactly-once tracking: who writes what, and in which order."""

from __future__ import annotations

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from style import BLUE, GREEN, GREY, ORANGE

PARTS = {"training": BLUE, "journal, on disk": GREEN, "sending thread": ORANGE, "MLflow": GREY}
MESSAGES = (
    ("training", "journal, on disk", "trial 7 ended, with its score"),
    ("journal, on disk", "training", "it is on the disk"),
    ("journal, on disk", "sending thread", "what is new of trial 7"),
    ("sending thread", "MLflow", "is there a run of trial 7?"),
    ("MLflow", "sending thread", "no"),
    ("sending thread", "MLflow", "create it; params, metrics, tags"),
    ("sending thread", "MLflow", "last of all: the run has ended"),
)


def exactly_once() -> Figure:
    """The way of one trial from its training to MLflow."""
    figure, axes = plt.subplots(figsize=(7.5, 3.2), layout="constrained")
    places = {name: 3.0 * n for n, name in enumerate(PARTS)}
    for name, color in PARTS.items():
        axes.text(places[name], 0.9, name, ha="center", weight="bold", color=color)
        axes.plot([places[name]] * 2, [0.6, -len(MESSAGES)], color=color, lw=1)
    for row, (source, target, text) in enumerate(MESSAGES):
        start, end = places[source], places[target]
        axes.annotate(
            "", (end, -row), (start, -row), arrowprops={"arrowstyle": "->", "color": PARTS[source]}
        )
        axes.text((start + end) / 2, 0.12 - row, text, ha="center", fontsize=8)
    axes.set(xlim=(-1.3, 10.3), ylim=(-len(MESSAGES), 1.4))
    axes.axis("off")
    return figure


FIGURES = {"exactly_once": exactly_once}
