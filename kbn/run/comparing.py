"""A recipe's comparison: the same search in several variants, each with several seeds."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kbn.recipe.schema import Recipe
from kbn.report.results import Results
from kbn.run import local
from kbn.run.local import SAFE, Watch
from kbn.run.machine import writing
from kbn.run.projects import (
    SEARCHES,
    alone,
    check_all_unchanged,
    project_of,
    reject_links,
    remove,
    searches_of,
)

if TYPE_CHECKING:
    from kbn.report.comparison import Comparison


@dataclasses.dataclass(frozen=True)
class Compared:
    """What the searches of a comparison left behind.

    Attributes:
        recipe: what was compared.
        comparison: the measure of every search, and what it says of the variants.
        report: HTML page; its figures lie beside it.
    """

    recipe: Recipe
    comparison: Comparison
    report: Path

    @property
    def searches(self) -> Mapping[str, Sequence[Results]]:
        """{variant: the results of each seed}."""
        return self.comparison.searches


def tune(
    recipe: Recipe,
    *,
    directory: str | os.PathLike[str] = SEARCHES,
    fresh: bool = False,
    watch: Watch | None = None,
) -> Compared:
    """Runs all searches of a comparison, or goes on where they stopped; as `kbn.tune`."""
    compare = recipe.compare
    assert compare is not None  # noqa: S101  the caller's recipe compares
    watch = watch or Watch()
    project, found = project_of(recipe.name, directory), dict[str, Results]()
    with alone(project):
        if not fresh:
            check_all_unchanged(recipe, directory)
            reject_links(project)
        watch.opened()
        from kbn.run.distribution import watch_distribution
        from kbn.run.preflight import prepare
        from kbn.run.reuse import Reuse

        reuse = Reuse()
        prepare(recipe)  # all variants, before the first is run
        if fresh:
            remove(project)
        for each, _ in searches_of(recipe, directory):
            with local.searched(each, project, False, watch, reuse) as (*_, results):
                found[each.name] = results  # only its trials are wanted
            if compare.threshold is None:  # else that no trial finished is a result too
                local.best_of(each, results)
        with writing(project, SAFE):
            watch_distribution(recipe, project)
        return draw(recipe, project, found)


def draw(recipe: Recipe, project: Path, found: Mapping[str, Results]) -> Compared:
    """The comparison of some searches, and its report.

    Args:
        recipe: that compares.
        project: its directory.
        found: {name of a search: its results}.

    Raises:
        MachineError: if the report cannot be written.
    """
    from kbn.report.comparison_page import write_comparison

    comparison = as_comparison(recipe, project, found)
    with writing(project, "Every trial is saved; kbn report writes it."):
        return Compared(recipe, comparison, write_comparison(comparison, project))


def as_comparison(recipe: Recipe, project: Path, found: Mapping[str, Results]) -> Comparison:
    """The searches of a comparison as its report sees them.

    Raises:
        KbnError: if the first of them was not begun.
    """
    from kbn.report.comparison import Comparison
    from kbn.run.distribution import distribution
    from kbn.run.saved import load_oracle, searched_space

    assert recipe.compare is not None  # noqa: S101  the caller's recipe compares
    direction, threshold = recipe.objective.direction, recipe.compare.threshold
    measure = f"best {recipe.objective.metric} of a search"
    if threshold is not None:
        sign = ">=" if direction == "max" else "<="
        measure = f"share of trials with {recipe.objective.metric} {sign} {threshold:g}"
    searches = {
        name: [found.get(each.name, Results((), direction)) for each in recipes]
        for name, recipes in recipe.variants.items()
    }
    first = next(iter(recipe.variants.values()))[0]
    oracle = load_oracle(first, project_of(first.name, project))
    return Comparison(
        recipe.title,
        recipe.objective.metric,
        direction,
        measure,
        searches,
        searched_space(oracle),
        threshold,
        distribution(recipe, project),
    )
