"""The file of a search's best model: written at once or not at all, and whose model it holds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kbn.errors import DamagedError, NoResultError
from kbn.files import checksum, read_json, replace, sync, write_json
from kbn.run.machine import writing
from kbn.run.project import Project

if TYPE_CHECKING:
    import keras

    from kbn.recipe.dataset import Dataset
    from kbn.run.tuner import RecipeTuner

OWNER = "best.json"  # says which trial's model the file beside it holds
DRAFT = "new.best.keras"  # Keras wants its own ending
RESUMABLE = "Every trial is saved; the next start of this search writes it."


def build_best(
    project: Project, trial: str, dataset: Dataset, tuner: RecipeTuner
) -> tuple[keras.Model, dict[str, float]]:
    """Return the best trial's model, and its metrics on the test part.

    It is the model of the trial's best epoch, recalibrated where the recipe asks for it, without
    such metrics; or, where the recipe asks for it or has folds, one trained anew on the training
    and validation parts. It takes examples, and gives targets, as the data set has them.

    Raises:
        DamagedError: if the trial's checkpoint cannot be read.
    """
    from kbn.run.final import complete, recalibrate_trained, refit, without_optimizer
    from kbn.run.fitting import from_logits

    if project.recipe.search.final.refit or project.recipe.search.folds:
        hp = tuner.oracle.get_trial(trial).hyperparameters
        model, test = refit(project.recipe, dataset, hp)
    else:
        model, test = tuner.load_model(tuner.oracle.get_trial(trial)), {}
        norm = project.recipe.model.norm
        if norm is not None and norm.recalibrate:
            recalibrate_trained(model, dataset)
    if project.recipe.model.backbone is not None:
        model = without_optimizer(model)
    logits = from_logits(project.recipe.training) and project.recipe.model.python is None
    return complete(model, dataset, logits=logits), test


def save_best_model(project: Project, trial: str, model: keras.Model) -> None:
    """Replace the best model's file, then record which trial's it is.

    Raises:
        MachineError: if it cannot be written; the file is as it was.
    """
    with writing(project.model, RESUMABLE):
        draft = project.path / DRAFT
        model.save(draft)
        with draft.open("rb+") as stream:
            os.fsync(stream.fileno())
        replace(draft, project.model)
        sync(project.path)
        owner = {"trial": trial, "sum": checksum(project.model)}
        write_json(project.path / OWNER, owner)


def has_best(project: Project, trial: str) -> bool:
    """Return whether the best model's file is whole, and a certain trial's."""
    try:
        owner = read_json(project.path / OWNER)
        return owner == {"trial": trial, "sum": checksum(project.model)}
    except (OSError, DamagedError):
        return False


def make_best(project: Project, trial: str) -> keras.Model:
    """Make the best trial's model again from its checkpoint; write nothing.

    Raises:
        RecipeError: if the data or the model no longer fit the recipe.
        NoResultError: if the search does not hold the trial.
        DamagedError: if its checkpoint cannot be read.
    """
    from kbn.run.preflight import prepare
    from kbn.run.tuner import RecipeTuner

    dataset = prepare(project.recipe)
    tuner = RecipeTuner(project.recipe, dataset, project.path)
    if trial not in tuner.oracle.trials:
        raise NoResultError(
            f"{project.path}: must hold trial {trial}, the best one, to make its model from; it "
            f"holds {len(tuner.oracle.trials)} others. Go on with the search: kbn tune RECIPE"
        )
    return build_best(project, trial, dataset, tuner)[0]
