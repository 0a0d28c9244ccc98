"""How the inputs of a late layer are distributed while a network trains, variant by variant.

Source: Ioffe and Szegedy, Batch Normalization (ICML 2015), section 4.1 and figure 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np

from kbn.recipe.datasets import Dataset
from kbn.recipe.schema import Recipe
from kbn.run.plan import RecipeModel, declared
from kbn.run.preflight import prepare

PERCENTILES = (15, 50, 85)
PROBE = 256  # training examples whose inputs to the layer are looked at after every step


def distribution(recipe: Recipe, project: Path) -> Mapping[str, np.ndarray] | None:
    """{variant: PERCENTILES of what reaches the last activation's first unit}.

    One network a variant is trained with the recipe's values, and kept in the project. Each array
    has the shape (steps, 3). None where the recipe does not ask for it.
    """
    assert recipe.compare is not None  # noqa: S101  the caller's recipe compares
    asked = recipe.compare.distribution
    if asked is None:
        return None
    # another recipe has another file
    told = recipe.model_dump_json(exclude={"tracking": True, "compare": {"seeds", "threshold"}})
    file = project / f"distribution-{hashlib.sha256(told.encode()).hexdigest()[:12]}.npz"
    if not file.exists():
        watched: dict[str, Any] = {
            name: _watch(recipes[0], asked.values, asked.epochs)
            for name, recipes in recipe.variants.items()
        }
        np.savez(file, **watched)
    with np.load(file) as arrays:
        return {name: arrays[name] for name in recipe.variants}


def _watch(recipe: Recipe, values: Mapping[str, Any], epochs: int) -> np.ndarray:
    dataset = prepare(recipe)
    hypermodel, hp = RecipeModel(recipe, dataset), keras_tuner.HyperParameters()
    declared(hp, recipe)
    hp.values.update(values)
    model = hypermodel.build(hp)
    model.steps_per_execution = 1  # the probe looks after every step
    probe = _Probe(model, dataset)
    hypermodel.fit(hp, model, epochs=epochs, callbacks=[probe])
    return np.array(probe.percentiles)


class _Probe(keras.callbacks.Callback):
    """After every step, the percentiles of the last activation's input in training."""

    def __init__(self, model: keras.Model, dataset: Dataset):
        super().__init__()
        hidden = [layer for layer in model.layers if isinstance(layer, keras.layers.ReLU)]
        last = (hidden or model.layers)[-1]
        self.inputs = keras.Model(model.inputs[0], last.input)
        self.examples = dataset.x_train[:PROBE]
        self.percentiles: list[np.ndarray] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        # without an effect on the moving averages
        variables = self.inputs.trainable_variables, self.inputs.non_trainable_variables
        outputs, _ = self.inputs.stateless_call(*variables, self.examples, training=True)
        unit = np.asarray(outputs)[..., 0].ravel()
        self.percentiles.append(np.percentile(unit, PERCENTILES))
