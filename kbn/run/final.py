"""The final model: trained anew where that is asked for, and made to take the data as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kbn.norm.surgery import norms_in, recalibrate
from kbn.recipe.dataset import Dataset
from kbn.recipe.inputs import Shape, each
from kbn.recipe.preprocessing import TableModel
from kbn.recipe.schema import Recipe
from kbn.run.hypermodel import RecipeModel


def complete(model: keras.Model, dataset: Dataset, *, logits: bool = False) -> keras.Model:
    """Return a model that takes examples, and gives targets, as the data set has them.

    Args:
        model: takes and gives what is standardized.
        dataset: says how.
        logits: whether the model gives logits, of which the whole one is to give probabilities.
    """
    layers = model.layers if isinstance(model, keras.Sequential) else [model]
    out = []
    if logits:
        out = [keras.layers.Softmax(name="probabilities")]
    if not dataset.classification:
        out = [_normalization("natural_units", *dataset.y_scaling, invert=True)]
    if dataset.preprocessing is not None:
        whole = keras.Sequential([_input(dataset), *layers, *out], name="network")
        return TableModel(dataset.preprocessing, whole, name=model.name)
    if isinstance(dataset.shape, dict):
        return _of_inputs(model, dataset.shape, dataset.x_scaling, out)
    into = _normalization("standardize", *dataset.x_scaling)
    return keras.Sequential([_input(dataset), into, *layers, *out], name=model.name)


def _of_inputs(
    model: keras.Model,
    shapes: Mapping[str, Shape],
    scalings: object,
    out: list[keras.layers.Layer],
) -> keras.Model:
    """Return the whole model of several inputs, which it takes as a dict."""
    given = {name: keras.Input(shape, name=name) for name, shape in shapes.items()}
    y = model(each(lambda x, scaling: _normalization(None, *scaling)(x), given, scalings))
    for layer in out:
        y = layer(y)
    return keras.Model(given, y, name=model.name)


def _input(dataset: Dataset) -> keras.KerasTensor:
    return keras.Input(dataset.shape, dtype="int32" if dataset.vocabulary else None)


def without_optimizer(model: keras.Model) -> keras.Model:
    """Return a functional model uncompiled: a saved optimizer may be larger than its model."""
    return keras.Model(model.input, model.output, name=model.name)


def _normalization(
    name: str | None, mean: Any, deviation: Any, **options: Any
) -> keras.layers.Layer:
    variance = np.square(deviation).tolist()
    return keras.layers.Normalization(
        mean=np.asarray(mean).tolist(), variance=variance, name=name, **options
    )


def refit(recipe: Recipe, dataset: Dataset, hp: Any) -> tuple[keras.Model, dict[str, float]]:
    """Train the model of some hyperparameters anew, on the training and validation parts.

    Its batch norm, unless it is frozen, is recalibrated: it gets the statistics of all these
    examples under the final weights.

    Args:
        recipe: of the search.
        dataset: its test part, if there is one, is used for nothing else.
        hp: KerasTuner's hyperparameters of the trial.

    Returns:
        The model, and {"test_" + metric: value} on the test part; empty without one.
    """
    whole = dataset.joined()
    hypermodel = RecipeModel(recipe, whole)
    model = hypermodel.build(hp)
    hypermodel.fit(hp, model)
    recalibrate_trained(model, whole)
    scores = whole.test_scores(model) if whole.sizes.test else {}
    return model, {f"test_{name}": float(value) for name, value in scores.items()}


def recalibrate_trained(model: keras.Model, dataset: Dataset) -> None:
    """Give the batch norm that was trained, if any, the statistics of all training examples."""
    if any(norm.trainable for norm in norms_in(model)):
        recalibrate(model, dataset.inputs(), frozen=False)
