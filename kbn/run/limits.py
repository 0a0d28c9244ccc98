"""What ends a search before its last trial: its hours, or a score that is good enough."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kbn.recipe.schema import Recipe
from kbn.report.words import number

if TYPE_CHECKING:
    from kbn.search.durable import DurableOracle

HOUR = 3600  # seconds


class Limits:
    """The limits of a recipe's search.

    Args:
        recipe: of the search.
        oracle: knows its scores.
        before: seconds that the trials of earlier sessions took.

    Attributes:
        ended: which limit ended the search, in words; None if none has.
    """

    def __init__(self, recipe: Recipe, oracle: DurableOracle, before: float = 0.0):
        self._recipe, self._oracle, self._before = recipe, oracle, before
        self._began = time.monotonic()
        self.ended: str | None = None

    def __call__(self) -> bool:
        """Return whether a limit is reached, which ends the search."""
        self.ended = self._reached()
        return self.ended is not None

    def _reached(self) -> str | None:
        """Return which limit is reached, in words; None if none is."""
        search, objective = self._recipe.search, self._recipe.objective
        for wanted in (search.until or {}).values():
            best = next(iter(self._oracle.get_best_trials()), None)
            if best is not None and best.score is not None:
                gap = best.score - wanted
                if (gap if objective.direction == "max" else -gap) >= 0:
                    return f"{objective.metric} is as good as {number(wanted)}"
        spent = self._before + time.monotonic() - self._began
        if search.hours is not None and spent >= search.hours * HOUR:
            return f"its trials have taken {number(search.hours)} hours"
        return None
