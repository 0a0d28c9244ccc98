"""Figure of the scores of a search by trial."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kbn.report.grids import ALONE, arrange
from kbn.report.panels import (
    BEST_COLOUR,
    FAILED_COLOUR,
    INFEASIBLE_STYLE,
    TRIAL_COLOUR,
    dot_size,
    indices,
    score_label,
    single_panel,
)
from kbn.report.results import SearchSummary, scores_of
from kbn.report.span import Span
from kbn.tracking.attempts import Attempt

ROUND_COLOUR = "0.92"  # background of every other round


def history(search: SearchSummary) -> Figure:
    """Draw the score of every trial in the order of their start, and the best score so far."""
    figure, panel = single_panel()
    draw_history(panel, search)
    panel.set_xlabel("trial")
    panel.set_ylabel(score_label(search))
    arrange(figure, [panel], ALONE)
    return figure


def draw_history(panel: Axes, search: SearchSummary) -> None:
    """Draw the history in a panel."""
    results, span = search.results, Span.of_results(search.results)
    for current in search.rounds[::2]:
        ends = current.first - 0.5, current.end - 0.5
        panel.axvspan(*ends, color=ROUND_COLOUR, linewidth=0, zorder=0, label="every other round")
    shown = [trial for trial in results.finished if not span.hides(trial.score or 0.0)]
    size = dot_size(results.trials)
    panel.scatter(indices(shown), scores_of(shown), s=size, color=TRIAL_COLOUR, label="trial")

    def draw_at_edge(trials: Sequence[Attempt], marker: str, color: str, label: str) -> None:
        if trials:
            dots = indices(trials), span.heights(trials)
            panel.scatter(*dots, s=20, marker=marker, color=color, label=label)

    hidden = [trial for trial in results.finished if span.hides(trial.score or 0.0)]
    draw_at_edge(hidden, "v" if span.best > span.worst else "^", TRIAL_COLOUR, "worse than shown")
    draw_at_edge(results.failed, "x", FAILED_COLOUR, "failed")
    if results.infeasible:
        dots = indices(results.infeasible), span.heights(results.infeasible)
        panel.scatter(*dots, **INFEASIBLE_STYLE)
    steps = indices(results.finished), span.clip(results.best_so_far())
    panel.step(*steps, where="post", color=BEST_COLOUR, label="best so far")
    best = results.ranked[:1]
    panel.scatter(
        indices(best), scores_of(best), s=80, color="none", edgecolors=BEST_COLOUR, label="best"
    )
    frame_trials(panel, search)
    span.frame(panel)


def frame_trials(panel: Axes, search: SearchSummary) -> None:
    """Set the limits and ticks of a horizontal axis of trials."""
    last = indices(search.results.trials).max()
    panel.set_xlim(-0.5 - 0.01 * last, last + 0.5 + 0.01 * last)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
