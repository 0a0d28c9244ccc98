"""Figures of a search.

Each function takes a `SearchSummary` with at least one finished trial and one hyperparameter, and
draws a new figure. `importance` needs a measured importance, `learning_curves` a search that
`has_curves`, `front` several objectives. The colour-blind can tell all colours apart; where colours
show scores, darker is better.
"""

from kbn.report.boxes import boxes
from kbn.report.curves import MAX_CURVES, has_curves, learning_curves
from kbn.report.front import front
from kbn.report.history import history
from kbn.report.importances import importance
from kbn.report.parallel import MAX_LINES, parallel_coordinates
from kbn.report.slices import slices

__all__ = [
    "MAX_CURVES",
    "MAX_LINES",
    "boxes",
    "front",
    "has_curves",
    "history",
    "importance",
    "learning_curves",
    "parallel_coordinates",
    "slices",
]
