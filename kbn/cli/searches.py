"""The searches of a recipe, as their directories tell without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kbn.errors import NoResultError

if TYPE_CHECKING:
    from kbn.recipe.schema import Recipe
    from kbn.report.results import Results
    from kbn.tracking.journal import Attempt

Search = tuple["Recipe", Path]  # of one search, and its directory


def searches_of(recipe: Recipe) -> list[Search]:
    """Those in the working directory."""
    from kbn.run import projects

    return projects.searches_of(recipe)


def results_of(search: Search) -> Results:
    """Every trial so far."""
    from kbn.report.results import Results

    recipe, project = search
    return Results.read(project, recipe.objective.direction)


def failed(results: Results) -> list[Attempt]:
    """The trials that failed. One that was stopped did not: it will be run again."""
    return [trial for trial in results.failed if trial.status != "KILLED"]


def count_ended(results: Results) -> int:
    """How many trials finished or failed."""
    return len(results.finished) + len(failed(results))


def begun(recipe: Recipe) -> list[tuple[Search, Results]]:
    """The recipe's search and its trials, or those that it compares.

    Raises:
        RecipeError: if the recipe is not that of the searches.
        NoResultError: if a search was not begun, or if no trial of any finished.
    """
    from kbn.run.projects import check_all_unchanged

    check_all_unchanged(recipe)
    found = [(search, results_of(search)) for search in searches_of(recipe)]
    for (_, project), results in found:
        if not results.trials:
            raise NoResultError(f"{project}: there is no such search. First: kbn tune RECIPE")
    if not any(results.finished for _, results in found):
        (_, project), results = found[0]
        raise NoResultError(
            f"{project}: none of {len(results.trials)} trials finished; the commonest reason: "
            f"{results.commonest_failure()}. Mend the recipe, then: kbn tune RECIPE --fresh"
        )
    return found
