"""The outcome of a search."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kbn.recipe.schema import Recipe
from kbn.report.results import Results
from kbn.report.words import number
from kbn.tracking.attempts import Attempt

if TYPE_CHECKING:
    import keras
    import pandas as pd

    from kbn.recipe.rules import Scalar


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What a search left behind.

    Attributes:
        recipe: what was tuned.
        results: every trial.
        best: the best of them; of several objectives, the feasible one best in the first.
        model: Keras file of the best trial's model at its best epoch, or of that trained anew where
            the recipe asks for it. It takes examples, and gives targets, as the data set has them.
        report: HTML page of the search; its figures lie beside it.
        figure: PNG of the search.
        test: {metric: value} of the model on the test part; empty where it was not trained anew.
    """

    recipe: Recipe
    results: Results
    best: Attempt
    model: Path
    report: Path
    figure: Path
    test: Mapping[str, float]

    @property
    def values(self) -> Mapping[str, Scalar]:
        """The best trial's hyperparameters."""
        return self.best.values

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial: its status, score, seconds, reason of failure, and its values."""
        return self.results.as_frame()

    @property
    def front(self) -> pd.DataFrame:
        """The rows of `trials` that no other one dominates; with one objective, the best one."""
        return self.results.of(self.results.front).as_frame()

    def __repr__(self) -> str:
        return f"<Tuned {self._headline}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the best trials, and their scores as a figure."""
        from kbn.report.notebook import as_html, best_trials  # imports matplotlib

        table = best_trials(self.results, self.recipe.objective.metric)
        return as_html(self._headline, table, self.report, "history")

    @property
    def _headline(self) -> str:
        best, results = self.best, self.results
        return (
            f"{self.recipe.name}: {self.recipe.objective.metric} {number(best.score)} in trial "
            f"{best.trial}; {len(results.finished)} of {len(results.trials)} trials finished"
        )

    def best_model(self) -> keras.Model:
        """Load the model from its file."""
        from kbn.tracking.models import load_model

        return load_model(self.model)
