"""The figures of a search: what a person looks at after it.

Every function takes a `Search` of which at least one trial finished, and that has at least one
hyperparameter, and draws a new figure. `importance` takes one whose importance was measured,
`learning_curves` one that `has_curves`. Colours can be told apart by the colour-blind; where a
colour tells the score, darker is better.
"""

from kbn.report.boxes import boxes, summary
from kbn.report.curves import MOST as MOST_CURVES
from kbn.report.curves import has_curves, learning_curves
from kbn.report.history import history
from kbn.report.importances import importance
from kbn.report.parallel import MOST_LINES, parallel_coordinates
from kbn.report.slices import slices

__all__ = [
    "MOST_CURVES",
    "MOST_LINES",
    "boxes",
    "has_curves",
    "history",
    "importance",
    "learning_curves",
    "parallel_coordinates",
    "slices",
    "summary",
]
