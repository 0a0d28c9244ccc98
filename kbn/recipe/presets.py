"""Networks of keras-hub that a recipe names by their preset, where keras-hub is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbn.errors import Violation, ViolationError
from kbn.recipe.applications import RANDOM
from kbn.recipe.code import following

if TYPE_CHECKING:
    import keras

    from kbn.recipe.models import ModelSpec

KEY = "model.preset"
# of the converter of images: those that `keras.ops.image.resize` takes too
RESIZING = ("interpolation", "antialias", "crop_to_aspect_ratio", "pad_to_aspect_ratio")
OUTPUTS = (3, 4)  # ranks of an output that can be pooled: of a transformer and of convolutions


def load_preset(spec: ModelSpec, home: Path) -> tuple[keras.Model, Mapping[str, Any]]:
    """Return the network of a preset without its top, and what it expects of images.

    Where all layers are Keras' own, the network is a plain functional model, so that a model on it
    can be loaded without keras-hub.

    Args:
        spec: names the preset.
        home: the recipe's directory, which the folder of a preset is relative to.

    Returns:
        The network, and the configuration of its `keras_hub.layers.ImageConverter`.

    Raises:
        ViolationError: if keras-hub is not installed, has no such preset or cannot load it, or if
            the network is not one of images with a single output.
    """
    import keras

    preset = str(spec.preset)
    if importlib.util.find_spec("keras_hub") is None:
        rule, hint = "needs keras-hub, which is not installed", "Install it: pip install keras-hub"
        raise ViolationError(Violation(rule, hint, KEY, preset))
    import keras_hub

    folder = home / preset
    place = str(folder) if folder.is_dir() else preset
    rule, hint = "keras-hub must be able to load the preset", "Fix the name, or the folder."
    with following(rule, hint, KEY):
        network = keras_hub.models.Backbone.from_preset(
            place, load_weights=spec.weights != RANDOM, dtype=keras.config.dtype_policy().name
        )
        converter = keras_hub.layers.ImageConverter.from_preset(place)
    outputs = network.outputs
    if len(network.inputs) != 1 or len(outputs) != 1 or len(outputs[0].shape) not in OUTPUTS:
        rule, hint = "must be a network of images with one output", "Name another preset."
        raise ViolationError(Violation(rule, hint, KEY, preset))
    if all(type(layer).__module__.startswith("keras.") for layer in network.layers):
        network = keras.Model(network.inputs, outputs[0], name="backbone")
    return network, converter.get_config()
