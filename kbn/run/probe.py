"""What the inputs of a late layer are while a network trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kbn.recipe.dataset import Dataset
from kbn.recipe.schema import Recipe
from kbn.run.hypermodel import RecipeModel
from kbn.run.plan import hyperparameters_of
from kbn.run.preflight import prepare

PERCENTILES = (15, 50, 85)
EXAMPLES = 256  # training examples whose inputs to the layer are looked at after every step


def percentiles(recipe: Recipe, values: Mapping[str, Any], epochs: int) -> np.ndarray:
    """Train a recipe's network with some values, and look at it after every step.

    Returns:
        `PERCENTILES` of the input of the last activation's first unit, shape (steps, 3).
    """
    dataset = prepare(recipe)
    hypermodel, hp = RecipeModel(recipe, dataset), hyperparameters_of(recipe)
    hp.values.update(values)
    model = hypermodel.build(hp)
    model.steps_per_execution = 1  # the probe looks after every step
    probe = _Probe(model, dataset)
    hypermodel.fit(hp, model, epochs=epochs, callbacks=[probe])
    return np.array(probe.percentiles)


class _Probe(keras.callbacks.Callback):
    """Callback that takes the percentiles of the last activation's input after every step."""

    def __init__(self, model: keras.Model, dataset: Dataset):
        super().__init__()
        hidden = [layer for layer in model.layers if isinstance(layer, keras.layers.ReLU)]
        last = (hidden or model.layers)[-1]
        self.inputs = keras.Model(model.inputs[0], last.input)
        self.examples = dataset.first(EXAMPLES)[0]
        self.percentiles: list[np.ndarray] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if hasattr(self.model, "jax_state_sync"):  # JAX holds them elsewhere while it trains
            self.model.jax_state_sync()
        # without an effect on the moving averages
        variables = self.inputs.trainable_variables, self.inputs.non_trainable_variables
        outputs, _ = self.inputs.stateless_call(*variables, self.examples, training=True)
        unit = keras.ops.convert_to_numpy(outputs)[..., 0].ravel()
        self.percentiles.append(np.percentile(unit, PERCENTILES))
