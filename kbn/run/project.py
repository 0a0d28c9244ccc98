"""A recipe's search on disk, from its lock to its report."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbn.errors import DamagedError, JournalError, NoResultError, RecipeError
from kbn.files import read_json, write, write_json
from kbn.recipe.loading import load_recipe, make_recipe
from kbn.recipe.schema import Recipe
from kbn.report.results import Results
from kbn.run import directory as files
from kbn.run.identity import changes, identity_of
from kbn.run.machine import writing
from kbn.tracking.journal import Journal

if TYPE_CHECKING:
    from kbn.report.results import SearchSummary
    from kbn.run.known import Known
    from kbn.search.durable import DurableOracle
    from kbn.tracking.attempts import Attempt

SEARCHES = "searches"  # directory of all searches, in the working directory
ORACLE, BEST_MODEL, FIGURE = "oracle.json", "best.keras", "report.png"
TARGET_DEVIATION = "target.deviation"  # parameter of a search whose target is standardized
REPORTS = "Every trial is saved; kbn report writes it."


class Project:
    """A recipe's search, or comparison of searches, in its directory.

    Args:
        recipe: of the search.
        directory: that holds a directory for each search.

    Attributes:
        path: directory of this search, named after its recipe.
    """

    def __init__(self, recipe: Recipe, directory: str | os.PathLike[str] = SEARCHES):
        self.recipe, self.path = recipe, Path(directory) / recipe.name

    @functools.cached_property
    def searches(self) -> tuple[Project, ...]:
        """The search alone, or all searches of the comparison in the order in which they run.

        That is seed by seed: a comparison that was stopped has compared all variants with some
        seeds.
        """
        if self.recipe.compare is None:
            return (self,)
        seeds = zip(*self.recipe.variants.values(), strict=True)
        return tuple(Project(each, self.path) for recipes in seeds for each in recipes)

    @property
    def model(self) -> Path:
        """Keras file of the best trial's model."""
        return self.path / BEST_MODEL

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Hold the lock of the search while the context lasts.

        Raises:
            KbnError: if another process holds it, or if the directory is not kbn's.
            MachineError: if the directory cannot be written to.
        """
        return files.alone(self.path)

    @contextlib.contextmanager
    def opened(self, *, fresh: bool) -> Iterator[None]:
        """Hold the lock, and check that the search can go on, or start anew if `fresh`.

        Raises:
            KbnError: if another process holds it, or if the directory is not kbn's.
            RecipeError: if the recipe is not that of the search.
            DamagedError: if the file that says so is not as kbn wrote it.
            MachineError: if the directory cannot be written to.
        """
        with self.locked():
            if not fresh:
                self.check_unchanged()
                files.require_no_links(self.path)
            yield

    def remove(self) -> None:
        """Remove what kbn wrote of the search; its lock must be held.

        Raises:
            MachineError: if something cannot be removed.
        """
        files.remove(self.path)

    def begin(self) -> None:
        """Record that the search is this recipe's.

        Raises:
            MachineError: if that cannot be written.
        """
        with writing(self.path, "No trial was begun."):
            write_json(self.path / files.RECIPE, identity_of(self.recipe))

    def is_begun(self) -> bool:
        """Return whether there is such a search, or one of the comparison."""
        if files.is_removed(self.path):
            return False
        return any((each.path / files.RECIPE).exists() for each in self.searches)

    def check_unchanged(self) -> None:
        """Compare the recipe with that of the search so far, or of every search of a comparison.

        Raises:
            RecipeError: with every key that differs; more or fewer trials, another tracking,
                believed importance and what follows the search are no difference.
            DamagedError: if the file that says it is missing or not as kbn wrote it.
        """
        if files.is_removed(self.path):
            return
        for each in self.searches:
            begun = each._identity()
            if begun is not None and (faults := changes(each.recipe, begun)):
                raise RecipeError(faults)

    def _identity(self) -> Mapping[str, Any] | None:
        """Return what the recipe of the search was when it began; None where there is no search."""
        file = self.path / files.RECIPE
        if not file.exists():
            if (self.path / ORACLE).exists():
                raise DamagedError(
                    f"{file}: must say which recipe the search beside it is of; it is missing. "
                    "Restore it from a copy, or start the search anew: --fresh"
                )
            return None
        try:
            return read_json(file)
        except DamagedError as error:
            raise DamagedError(f"{error} Or start the search anew: --fresh") from error

    def results(self) -> Results:
        """Read every trial from the journal; empty where no search was begun."""
        goals = self.recipe.goals
        several = goals.objectives if goals.several else ()
        return Results.read(self.path, self.recipe.objective.direction, several)

    def best(self, results: Results) -> Attempt:
        """Return the best trial.

        Args:
            results: of this search.

        Raises:
            NoResultError: if no trial finished.
        """
        if results.best is not None:
            return results.best
        if not results.trials:
            raise NoResultError(f"{self.path}: there is no such search. First: kbn tune RECIPE")
        if results.infeasible:
            common = results.infeasible[-1].violations[0]
            raise NoResultError(
                f"{self.recipe.name}: {len(results.infeasible)} of {len(results.trials)} trials "
                f"violated a constraint, the last: {common}; {len(results.failed)} failed. Widen "
                "the constraints or the space, then: kbn tune RECIPE --fresh"
            )
        raise NoResultError(
            f"{self.recipe.name}: none of {len(results.trials)} trials finished; the commonest "
            f"reason: {results.commonest_failure()}. Fix the recipe, then: kbn tune RECIPE --fresh"
        )

    def finished(self) -> list[tuple[Project, Results]]:
        """Return all searches with their results.

        Raises:
            RecipeError: if the recipe is not that of the searches.
            NoResultError: if a search was not begun, or if no trial of any finished.
        """
        self.check_unchanged()
        found = [(each, each.results()) for each in self.searches]
        for each, results in found:
            if not results.trials:
                each.best(results)
        if not any(results.finished for _, results in found):
            each, results = found[0]
            each.best(results)
        return found

    def oracle(self) -> DurableOracle:
        """Load the oracle of a search that was begun.

        Raises:
            DamagedError: if its file is not as it was written.
        """
        from kbn.run.plan import hyperparameters_of, make_oracle

        oracle = make_oracle(self.recipe, hyperparameters_of(self.recipe))
        oracle.use_directory(self.path)
        oracle.reload()
        return oracle

    def write_report(self, search: SearchSummary) -> tuple[Path, Path]:
        """Write the report of a search; return its HTML page and its figure.

        Raises:
            MachineError: if it cannot be written.
        """
        from kbn.report.document import FIGURES, PAGE
        from kbn.report.page import write_report

        figure = self.path / FIGURE
        with writing(self.path / PAGE, REPORTS):
            page = write_report(search, self.path)
            name = "boxes" if search.space.axes else "history"
            write(figure, (self.path / FIGURES / f"{name}.png").read_bytes())
            return page, figure

    def summary(self, results: Results, oracle: DurableOracle | None = None) -> SearchSummary:
        """Return the search as its report sees it.

        Args:
            results: of this search.
            oracle: of this search; None to load it, unless what it knows is kept beside the report.
        """
        from kbn.report.results import SearchSummary

        recipe, known = self.recipe, self.known(results, oracle)
        tiers = {name: spec.tier for name, spec in recipe.space.items() if spec.tier is not None}
        return SearchSummary(
            recipe.title,
            results,
            recipe.objective.metric,
            known.space,
            known.rounds,
            tiers,
            known.importance,
            given=len(recipe.search.first),
            training=recipe.training.shown,
            folds=recipe.search.folds,
            past=known.past,
            epochs=recipe.search.whole if recipe.search.shares_epochs else None,
            **self._noted(results),
        )

    def _noted(self, results: Results) -> dict[str, Any]:
        """Return the test scores, and the deviation of a standardized target, as noted at the end.

        A journal that cannot be read costs the report no more than these.
        """
        with contextlib.suppress(JournalError, LookupError, TypeError, ValueError):
            begun = [e for e in Journal(self.path / "journal").events() if e["event"] == "begin"]
            deviation = begun[-1]["params"].get(TARGET_DEVIATION) if begun else None
            best = results.best
            return {
                "test": {} if best is None else results.test_scores(self.path, best.trial),
                "deviation": None if deviation is None else float(deviation),
            }
        return {}

    def known(self, results: Results, oracle: DurableOracle | None = None) -> Known:
        """Return what the oracle knows of the search; the arguments are those of `summary`."""
        from kbn.run.known import Known, keep, kept

        known = kept(self.path, results) if oracle is None else None
        if known is None:
            known = Known.of(oracle or self.oracle())
            with writing(self.path, REPORTS):
                keep(known, self.path, results)
        return known


def recipe_of(given: Recipe | str | os.PathLike[str] | Mapping[str, Any]) -> Recipe:
    """Return a recipe, loaded from its file or made from a mapping where it is none yet.

    Raises:
        RecipeError: if the file or the mapping is no valid recipe.
        TypeError: if it is none of these.
    """
    if isinstance(given, Recipe):
        return given
    if isinstance(given, str | os.PathLike):
        return load_recipe(given)
    if isinstance(given, Mapping):
        return make_recipe(given)
    raise TypeError(
        "A recipe must be a kbn.Recipe, its name, the path of its file, or a mapping. Got "
        f"{type(given).__name__}."
    )
