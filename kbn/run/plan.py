"""From a recipe to the tuner that runs it."""

from __future__ import annotations

import contextlib
import io
import math
from pathlib import Path
from typing import Any

import keras
import keras_tuner

from kbn.recipe.architectures import ARCHITECTURES, Norm, hyperparameters
from kbn.recipe.datasets import Dataset
from kbn.recipe.schema import ChoiceSpec, Hyperparameter, IntSpec, Recipe
from kbn.recipe.training import DEFAULTS, make_optimizer
from kbn.search.hyperparameters import declare
from kbn.search.scales import SCALES
from kbn.search.tuner import CoarseToFine

VALIDATION_BATCH = 1024  # examples; does not change the metrics, only the time they take


class RecipeModel(keras_tuner.HyperModel):
    """Builds and trains the models of a recipe's search."""

    def __init__(self, recipe: Recipe, dataset: Dataset):
        super().__init__(name=recipe.name)
        self.recipe, self.dataset = recipe, dataset

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        values = self._values(hp)
        # the same first weights in every trial: what differs is what was chosen
        keras.utils.set_random_seed(self.recipe.search.seed)
        name, norm = self.recipe.model.name, self.recipe.model.norm
        arguments = {key: values[key] for key in hyperparameters(name) if key in values}
        if norm is not None:
            arguments["norm"] = Norm(norm.layer, norm.position)
        features = self.dataset.x_train.shape[1]
        model = ARCHITECTURES[name](features, self.dataset.classes, **arguments)
        steps = math.ceil(len(self.dataset.y_train) / self._batch_size(values))
        model.compile(
            optimizer=make_optimizer(values, steps * self.recipe.search.epochs),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        model.optimizer.build(model.trainable_variables)  # so that saved state finds its place
        return model

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, **kwargs: Any) -> Any:
        data = self.dataset
        # Keras' fit would create the metrics' variables while it traces the training step, and
        # TensorFlow then traces it a second time, which is half the time of a short trial
        model._symbolic_build(data_batch=(data.x_train[:1], data.y_train[:1]))
        return model.fit(
            data.x_train,
            data.y_train,
            batch_size=self._batch_size(self._values(hp)),
            epochs=self.recipe.search.epochs,
            validation_data=(data.x_val, data.y_val),
            validation_batch_size=VALIDATION_BATCH,
            verbose=0,
            **kwargs,
        )

    def _values(self, hp: keras_tuner.HyperParameters) -> dict[str, Any]:
        """The recipe's active hyperparameters; declares those that are new to `hp`."""
        values = {name: _declare(hp, name, spec) for name, spec in self.recipe.space.items()}
        return {name: value for name, value in values.items() if value is not None}

    @staticmethod
    def _batch_size(values: dict[str, Any]) -> int:
        return int(values.get("batch_size", DEFAULTS["batch_size"]))


class RecipeTuner(CoarseToFine):
    """The coarse-to-fine tuner of a recipe, in the directory of its search.

    Args:
        recipe: what to tune.
        dataset: the recipe's data.
        project: the search's directory; goes on with the search that it holds.
    """

    def __init__(self, recipe: Recipe, dataset: Dataset, project: Path):
        with contextlib.redirect_stdout(io.StringIO()):  # KerasTuner prints that it reloads
            super().__init__(
                RecipeModel(recipe, dataset),
                keras_tuner.Objective(recipe.objective.metric, recipe.objective.direction),
                max_trials=recipe.search.trials,
                seed=recipe.search.seed,
                max_consecutive_failed_trials=None,  # a failed trial never ends the search
                directory=project.parent,
                project_name=project.name,
            )
        self.oracle.verbose = 0


def _declare(hp: keras_tuner.HyperParameters, name: str, spec: Hyperparameter) -> Any:
    """The value of a hyperparameter; None where its conditions do not hold."""
    with contextlib.ExitStack() as scopes:
        for parent, values in spec.conditions():
            scopes.enter_context(hp.conditional_scope(parent, values))
        if isinstance(spec, ChoiceSpec):
            return hp.Choice(name, spec.values)
        if isinstance(spec, IntSpec):
            return hp.Int(name, spec.low, spec.high, sampling=spec.scale)
        if spec.scale in ("linear", "log"):
            return hp.Float(name, spec.low, spec.high, sampling=spec.scale)
        return declare(hp, name, spec.low, spec.high, None, SCALES[spec.scale])
