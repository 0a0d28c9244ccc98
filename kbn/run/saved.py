"""A search as it was left in its directory, and its report."""

from __future__ import annotations

from pathlib import Path

import keras_tuner

from kbn.files import write
from kbn.recipe.schema import Recipe
from kbn.report.document import PAGE, as_png
from kbn.report.page import write_report
from kbn.report.plots import summary
from kbn.report.results import Results, SearchSummary
from kbn.run.machine import writing
from kbn.run.plan import declared, make_oracle
from kbn.search.axes import Discrete
from kbn.search.hyperparameters import space_of
from kbn.search.oracle import CoarseToFineOracle
from kbn.search.space import Space

FIGURE, DPI = "report.png", 100


def load_oracle(recipe: Recipe, project: Path) -> CoarseToFineOracle:
    """The oracle of a search that was begun."""
    hp = keras_tuner.HyperParameters()
    declared(hp, recipe)
    oracle = make_oracle(recipe, hp)
    oracle._set_project_dir(project.parent, project.name)
    oracle.reload()
    return oracle


def draw(
    recipe: Recipe, oracle: CoarseToFineOracle, project: Path, results: Results
) -> tuple[Path, Path]:
    """Writes the report of a search: the page, and the picture of it all.

    Raises:
        MachineError: if it cannot be written.
    """
    search = as_search(recipe, oracle, results)
    picture = project / FIGURE
    with writing(project / PAGE, "Every trial is saved; kbn report writes it."):
        write(picture, as_png(summary(search), DPI))
        return write_report(search, project), picture


def as_search(recipe: Recipe, oracle: CoarseToFineOracle, results: Results) -> SearchSummary:
    """A search as its report sees it."""
    space = searched_space(oracle)
    names = {axis.name for axis in space.axes}
    tiers = {name: spec.tier for name, spec in recipe.space.items() if spec.tier is not None}
    importance = oracle.importance() if oracle.end_order else ()
    return SearchSummary(
        recipe.title,
        results,
        recipe.objective.metric,
        space,
        oracle.rounds,
        tiers,
        [each for each in importance if each.name in names],
    )


def searched_space(oracle: CoarseToFineOracle) -> Space:
    """The axes that have more than one value."""
    axes = space_of(oracle.hyperparameters).axes
    return Space(tuple(a for a in axes if not isinstance(a, Discrete) or len(a.values) > 1))
