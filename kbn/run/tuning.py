"""What `kbn tune` runs: a recipe's one search, or all those that it compares."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from kbn.recipe.loading import load_recipe, make_recipe
from kbn.recipe.schema import Recipe
from kbn.run import comparing, local
from kbn.run.comparing import Compared
from kbn.run.local import Tuned, Watch
from kbn.run.projects import SEARCHES


def tune(
    recipe: Recipe | str | os.PathLike[str] | Mapping[str, Any],
    *,
    directory: str | os.PathLike[str] = SEARCHES,
    fresh: bool = False,
    watch: Watch | None = None,
) -> Tuned | Compared:
    """Runs a recipe, or goes on with it where it stopped.

    >>> import kbn, numpy as np
    >>> recipe = kbn.Recipe(
    ...     name="quick",
    ...     dataset={"name": "iris"},
    ...     model={"name": "softmax"},
    ...     objective={"metric": "val_accuracy", "direction": "max"},
    ...     search={"trials": 2, "epochs": 2},
    ...     space={"learning_rate": {"type": "float", "low": 1e-2, "high": 1, "scale": "log"}},
    ...     tracking={"enabled": False},
    ... )
    >>> tuned = kbn.tune(recipe)
    >>> 0.01 <= tuned.values["learning_rate"] <= 1
    True
    >>> list(tuned.trials["status"])
    ['COMPLETED', 'COMPLETED']
    >>> tuned.best_model().predict(np.array([[5.1, 3.5, 1.4, 0.2]]), verbose=0).shape
    (1, 3)

    It seeds Keras' global random generators with the recipe's seed before every trial.

    Args:
        recipe: what to tune: a recipe, its file, or what such a file says as a mapping.
        directory: holds a directory for each search, named after its recipe.
        fresh: removes what kbn wrote of an earlier search of this name, and starts anew.
        watch: is told what happens.

    Returns:
        The best trial and all others; of a recipe that compares, the comparison.

    Raises:
        RecipeError: if the recipe is wrong, if the data or the model are not fit for it, or if it
            is not the recipe of the search that it would go on with.
        NoResultError: if no trial finished.
        DamagedError: if a file of the search that it would go on with is not as kbn wrote it.
        MachineError: if the search's directory cannot be written to.
        KbnError: if another process runs this search, or if its directory is not kbn's.
    """
    recipe = _recipe_of(recipe)
    run = local.tune if recipe.compare is None else comparing.tune
    return run(recipe, directory=directory, fresh=fresh, watch=watch)


def _recipe_of(given: Recipe | str | os.PathLike[str] | Mapping[str, Any]) -> Recipe:
    if isinstance(given, Recipe):
        return given
    if isinstance(given, str | os.PathLike):
        return load_recipe(given)
    if isinstance(given, Mapping):
        return make_recipe(given)
    raise TypeError(
        "kbn.tune takes a recipe: a kbn.Recipe, the path of its file, or a mapping. Got "
        f"{type(given).__name__}."
    )
