"""A comparison: the same search in several variants, each with several seeds."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kbn.errors import RecipeError, Violation
from kbn.recipe.schema import Recipe
from kbn.recipe.sections import CompareSpec
from kbn.report.results import Results
from kbn.run.best import RESUMABLE
from kbn.run.machine import writing
from kbn.run.placement import Placement
from kbn.run.progress import default_watch
from kbn.run.project import REPORTS, SEARCHES, Project, recipe_of
from kbn.run.search import Search
from kbn.run.watch import Watch

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

    def __repr__(self) -> str:
        return f"<Compared {self._headline}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the variants' means, and the searches' as a figure."""
        from kbn.report.comparison_page import means_table
        from kbn.report.notebook import as_html

        return as_html(self._headline, means_table(self.comparison), self.report, "measures")

    @property
    def _headline(self) -> str:
        outcome = " ".join(self.comparison.sentences())
        return f"{self.recipe.name}: {outcome}" if outcome else self.recipe.name


def compare(
    recipe: Recipe | str | os.PathLike[str] | Mapping[str, object],
    *,
    directory: str | os.PathLike[str] = SEARCHES,
    fresh: bool = False,
    watch: Watch | None = None,
    workers: int | Literal["auto"] | None = None,
    gpus_per_worker: float | None = None,
    address: str | None = None,
) -> Compared:
    """Run all searches that a recipe compares, or go on where they stopped.

    Args:
        recipe: with the section `compare`: a recipe, its file, or what such a file says.
        directory: holds a directory for each comparison, named after its recipe.
        fresh: removes what kbn wrote of an earlier comparison of this name, and starts anew.
        watch: is informed of what happens, as in `kbn.tune`.
        workers: how many trials run at a time, as in `kbn.tune`.
        gpus_per_worker: as in `kbn.tune`.
        address: of a Ray cluster, as in `kbn.tune`.

    Returns:
        The measure of every variant, and the searches that it comes from.

    Raises:
        RecipeError: if the recipe is wrong or compares nothing (see `kbn.tune`), if the data or a
            variant's model do not fit it, or if it is not the recipe of the searches to go on with.
        NoResultError: if no trial of a search finished, where the best of them is compared.
        DamagedError: if a file of the searches to go on with is not as kbn wrote it.
        MachineError: if the directory cannot be written to.
        KbnError: if another process runs this comparison, or if its directory is not kbn's.
    """
    project = Project(recipe_of(recipe), directory)
    asked, found = compared_by(project.recipe), dict[str, Results]()
    watch = watch or default_watch(project)
    with project.opened(fresh=fresh):
        watch.opened(project, fresh=fresh)
        from kbn.run.distribution import watch_distribution
        from kbn.run.preflight import load_data, prepare
        from kbn.run.reuse import Reuse

        prepare(project.recipe)  # every variant, before the first one is run
        if fresh:
            project.remove()
        reuse, named = Reuse(), project.recipe.variants.items()
        variants = {recipe.name: variant for variant, recipes in named for recipe in recipes}
        place = Placement.of(project.recipe, workers, gpus_per_worker, address)
        with place.opened() as pool:
            for each in project.searches:
                with each.locked():
                    tags = {"variant": variants[each.recipe.name]}
                    data = load_data(each.recipe)
                    search = Search(each, data, reuse, keeps_models=False, tags=tags)
                    results = found[each.recipe.name] = search.run(watch, pool)
                if asked.threshold is None:  # else it is a result too that no trial finished
                    each.best(results)
        with writing(project.path, RESUMABLE):
            watch_distribution(project.recipe, project.path)
        return report_comparison(project, found)


def compared_by(recipe: Recipe) -> CompareSpec:
    """Return what a recipe says about its comparison.

    Raises:
        RecipeError: if it compares nothing.
    """
    if recipe.compare is None:
        rule, hint = "kbn.compare needs the variants to compare", "Call kbn.tune, or add them."
        raise RecipeError([recipe.fault("compare", Violation(rule, hint))])
    return recipe.compare


def report_comparison(project: Project, found: Mapping[str, Results]) -> Compared:
    """Write the report of a comparison.

    Args:
        project: of the comparison.
        found: {name of a search: its results}.

    Raises:
        MachineError: if the report cannot be written.
    """
    from kbn.report.comparison_page import write_comparison

    comparison = comparison_of(project, found)
    with writing(project.path, REPORTS):
        return Compared(project.recipe, comparison, write_comparison(comparison, project.path))


def comparison_of(project: Project, found: Mapping[str, Results]) -> Comparison:
    """Return the searches of a comparison as its report sees them.

    Raises:
        KbnError: if the first of them was not begun.
    """
    from kbn.report.comparison import Comparison
    from kbn.run.distribution import distribution

    recipe, first = project.recipe, project.searches[0]
    asked, objective = compared_by(recipe), recipe.objective
    measure = f"best {objective.metric} of a search"
    if asked.threshold is not None:
        sign = ">=" if objective.direction == "max" else "<="
        measure = f"share of trials with {objective.metric} {sign} {asked.threshold:g}"
    searches = {
        name: [found.get(each.name, Results((), objective.direction)) for each in recipes]
        for name, recipes in recipe.variants.items()
    }
    return Comparison(
        recipe.title,
        objective.metric,
        objective.direction,
        measure,
        searches,
        first.known(found.get(first.recipe.name, Results((), objective.direction))).space,
        asked.threshold,
        distribution(recipe, project.path),
    )
