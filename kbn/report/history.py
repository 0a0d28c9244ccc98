"""The scores of a search in the order of its trials."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kbn.report.panels import (
    BEST,
    FAILED,
    TRIAL,
    dot_size,
    indices,
    legend,
    score_label,
    single,
)
from kbn.report.results import Search, scores_of
from kbn.report.span import Span
from kbn.tracking.journal import Attempt

GREY = "0.92"  # of every other round


def history(search: Search) -> Figure:
    """The score of every trial in the order of start, the best so far, the failed ones."""
    figure, panel = single()
    draw_history(panel, search)
    panel.set_xlabel("trial")
    panel.set_ylabel(score_label(search))
    legend(figure, [panel])
    return figure


def draw_history(panel: Axes, search: Search) -> None:
    """The history in a panel of any figure."""
    results, span = search.results, Span.of_results(search.results)
    for current in search.rounds[::2]:
        ends = current.first - 0.5, current.end - 0.5
        panel.axvspan(*ends, color=GREY, linewidth=0, zorder=0, label="every other round")
    shown = [trial for trial in results.finished if not span.hides(trial.score or 0.0)]
    size = dot_size(results.trials)
    panel.scatter(indices(shown), scores_of(shown), s=size, color=TRIAL, label="trial")

    def draw_at_edge(trials: Sequence[Attempt], marker: str, color: str, label: str) -> None:
        if trials:
            dots = indices(trials), span.heights(trials)
            panel.scatter(*dots, s=20, marker=marker, color=color, label=label)

    hidden = [trial for trial in results.finished if span.hides(trial.score or 0.0)]
    draw_at_edge(hidden, "v" if span.best > span.worst else "^", TRIAL, "worse than shown")
    draw_at_edge(results.failed, "x", FAILED, "failed")
    steps = indices(results.finished), span.clip(results.best_so_far())
    panel.step(*steps, where="post", color=BEST, label="best so far")
    best = results.ranked[:1]
    panel.scatter(indices(best), scores_of(best), s=80, color="none", edgecolors=BEST, label="best")
    frame_trials(panel, search)
    span.frame(panel)


def frame_trials(panel: Axes, search: Search) -> None:
    """Sets the horizontal axis: the trials in the order of start."""
    last = indices(search.results.trials).max()
    panel.set_xlim(-0.5 - 0.01 * last, last + 0.5 + 0.01 * last)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
