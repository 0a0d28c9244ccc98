"""One recipe, from start to finish, in this process."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kbn.errors import Fault, NoResultError, RecipeError
from kbn.recipe.datasets import load_dataset
from kbn.recipe.schema import Recipe
from kbn.report.results import Results
from kbn.tracking.journal import Attempt

SEARCHES = "searches"  # directory of all searches, in the working directory


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What a search left behind.

    Attributes:
        recipe: what was tuned.
        results: every trial.
        best: the best of them.
        model: Keras file of the best trial's model, at its best epoch.
        figure: PNG of the search.
    """

    recipe: Recipe
    results: Results
    best: Attempt
    model: Path
    figure: Path


def project_of(name: str, directory: str | os.PathLike[str] = SEARCHES) -> Path:
    """The directory of a recipe's search."""
    return Path(directory) / name


def tune(
    recipe: Recipe,
    *,
    directory: str | os.PathLike[str] = SEARCHES,
    fresh: bool = False,
    on_trial: Callable[[Results], None] | None = None,
) -> Tuned:
    """Runs a recipe's search, or goes on with it where it stopped.

    Args:
        recipe: what to tune.
        directory: holds a directory for each search, named after its recipe.
        fresh: removes what an earlier search of this name left, and starts anew.
        on_trial: called after each trial with the results so far.

    Raises:
        RecipeError: if the recipe is not that of the search it would go on with; more or fewer
            trials, and another tracking, are no difference.
        NoResultError: if no trial finished.
    """
    project = project_of(recipe.name, directory)
    if fresh:
        shutil.rmtree(project, ignore_errors=True)
    _check_unchanged(recipe, project)

    # after the checks: these take seconds to import
    from kbn.report.plots import save_figure
    from kbn.run.plan import RecipeTuner
    from kbn.search.oracle import space_of
    from kbn.tracking.mlflow import Store
    from kbn.tracking.track import record

    data = load_dataset(recipe.dataset.name, recipe.dataset.validation, recipe.search.seed)
    tuner = RecipeTuner(recipe, data, project)
    _remember(recipe, project)
    experiment, uri = recipe.tracking.experiment or recipe.name, recipe.tracking.uri
    record(tuner, (lambda: Store(experiment, uri)) if recipe.tracking.enabled else None)

    direction = recipe.objective.direction
    end_trial = tuner.on_trial_end

    def end_and_tell(trial: Any) -> None:
        end_trial(trial)
        if on_trial is not None:
            on_trial(Results.read(project, direction))

    tuner.on_trial_end = end_and_tell
    tuner.search()

    results = Results.read(project, direction)
    if results.best is None:
        raise NoResultError(
            f"{recipe.name}: none of {len(results.trials)} trials finished; the commonest reason: "
            f"{results.commonest_failure()}. Mend the recipe, then: --fresh"
        )
    model, figure = project / "best.keras", project / "report.png"
    tuner.get_best_models(1)[0].save(model)
    title = f"{recipe.name}: {len(results.trials)} trials, best {results.best.score:.4g}"
    save_figure(
        figure, results, space_of(tuner.oracle.hyperparameters), tuner.oracle.rounds, title,
        recipe.objective.metric,
    )  # fmt: skip
    return Tuned(recipe, results, results.best, model, figure)


def _recipe_file(project: Path) -> Path:
    return project / "recipe.json"


def _identity(recipe: Recipe) -> dict[str, Any]:
    """What must not change while a search goes on."""
    return recipe.model_dump(mode="json", exclude={"search": {"trials"}, "tracking": True})


def _remember(recipe: Recipe, project: Path) -> None:
    _recipe_file(project).write_text(json.dumps(_identity(recipe), indent=2))


def _check_unchanged(recipe: Recipe, project: Path) -> None:
    file = _recipe_file(project)
    if not file.exists():
        return
    before, now = (dict(_flat(x)) for x in (json.loads(file.read_text()), _identity(recipe)))
    cure = "Undo the change, or start the search anew: --fresh"
    faults = [
        Fault(str(file), None, key, f"must stay {before.get(key)!r}", repr(now.get(key)), cure)
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if faults:
        raise RecipeError(faults)


def _flat(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of every leaf."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield path + key, value
