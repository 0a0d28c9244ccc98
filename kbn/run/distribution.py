"""How the inputs of a late layer are distributed while a network trains, variant by variant.

Source: Ioffe and Szegedy, Batch Normalization (ICML 2015), section 4.1 and figure 1.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kbn.files import write
from kbn.recipe.dataset import Dataset
from kbn.recipe.schema import Recipe
from kbn.run.hypermodel import RecipeModel
from kbn.run.plan import hyperparameters_of
from kbn.run.preflight import prepare

PERCENTILES = (15, 50, 85)
EXAMPLES = 256  # training examples whose inputs to the layer are looked at after every step


def distribution(recipe: Recipe, project: Path) -> Mapping[str, np.ndarray] | None:
    """Return {variant: PERCENTILES of the input of the last activation's first unit}.

    Each array has the shape (steps, 3). None where `watch_distribution` has not made them, or where
    their file is not as it was written.
    """
    try:
        content = io.BytesIO(_file(recipe, project).read_bytes())  # NumPy leaves a bad file open
        with np.load(content, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in recipe.variants}
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error):
        return None


def watch_distribution(recipe: Recipe, project: Path) -> None:
    """Train one network per variant with the recipe's values, where it asks for that.

    What is seen is kept in the project, for `distribution`.
    """
    assert recipe.compare is not None  # noqa: S101  the caller's recipe compares
    asked = recipe.compare.distribution
    if asked is None or distribution(recipe, project) is not None:
        return
    watched: dict[str, Any] = {
        name: _watch(recipes[0], asked.values, asked.epochs)
        for name, recipes in recipe.variants.items()
    }
    content = io.BytesIO()
    np.savez(content, **watched)
    write(_file(recipe, project), content.getvalue())


def _file(recipe: Recipe, project: Path) -> Path:
    """Return the file, whose name depends on the recipe."""
    told = recipe.model_dump_json(exclude={"tracking": True, "compare": {"seeds", "threshold"}})
    return project / f"distribution-{hashlib.sha256(told.encode()).hexdigest()[:12]}.npz"


def _watch(recipe: Recipe, values: Mapping[str, Any], epochs: int) -> np.ndarray:
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
