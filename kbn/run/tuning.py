"""What `kbn tune` runs: a recipe's one search, or all those that it compares."""

from __future__ import annotations

import os

from kbn.recipe.schema import Recipe
from kbn.run import comparing, local
from kbn.run.comparing import Compared
from kbn.run.local import Tuned, Watch
from kbn.run.projects import SEARCHES


def tune(
    recipe: Recipe,
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
        recipe: what to tune.
        directory: holds a directory for each search, named after its recipe.
        fresh: removes what an earlier search of this name left, and starts anew.
        watch: is told what happens.

    Returns:
        The best trial and all others; of a recipe that compares, the comparison.

    Raises:
        RecipeError: if the data or the model are not fit for the recipe, or if it is not the recipe
            of the search that it would go on with.
        NoResultError: if no trial finished.
        KbnError: if another process runs this search.
    """
    run = local.tune if recipe.compare is None else comparing.tune
    return run(recipe, directory=directory, fresh=fresh, watch=watch)
