"""Models on a network of `keras.applications`: the images' preparation, the backbone, the head.

The backbone is the network without its top. Its blocks are those that Keras names its layers after,
such as block_13_expand in MobileNetV2 or conv5_block3_2_conv in ResNet50; a layer with another name
belongs to the block before it, and the first layers of all are a block, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbn.errors import Violation, ViolationError
from kbn.recipe.applications import APPLICATIONS, HYPERPARAMETERS, IMAGENET, PIXELS
from kbn.recipe.architectures import Shape, output_layer
from kbn.recipe.code import following

if TYPE_CHECKING:
    import keras

    from kbn.recipe.models import ModelSpec

CHANNELS = (1, 3)  # grey, or red, green and blue
_BLOCK = re.compile(
    r"block_?\d+[a-z]?"  # MobileNetV2, EfficientNet, VGG, Xception
    r"|conv\d+_block\d+"  # ResNet, DenseNet
    r"|convnext_[a-z]+_stage_\d+_block_\d+"
    r"|expanded_conv(_\d+)?"  # MobileNetV3, and the first of MobileNetV2
    r"|mixed\d+"  # InceptionV3
)


def fine_tuned(
    spec: ModelSpec, home: Path, shape: Shape, outputs: int, values: Mapping[str, Any]
) -> keras.Model:
    """Return a model that takes images as the data have them; see `ModelSpec`.

    Args:
        spec: names the application.
        home: the recipe's directory.
        shape: of one image, (height, width, channels), with 1 or 3 channels.
        outputs: number of classes; 1 for a regression.
        values: hyperparameters, of which `dropout` and `norm_momentum` are used.

    Raises:
        ViolationError: if Keras cannot make the application, or if the weights cannot be had.
    """
    import keras

    known = APPLICATIONS[str(spec.application)]
    height, width = (spec.resize or max(side, known.smallest) for side in shape[:2])
    images = inputs = keras.Input(tuple(shape))
    # the preparation is computed in float32 also where the rest is not
    if (height, width) != tuple(shape[:2]):
        # no Resizing layer: Keras 3.15 has all layers behind one train where a model is called
        # without `training`
        images = keras.ops.image.resize(images, (height, width), data_format="channels_last")
    low, high = spec.value_range or PIXELS
    if (low, high) != PIXELS:
        scale = PIXELS[1] / (high - low)
        images = keras.layers.Rescaling(scale, -low * scale, dtype="float32", name="pixels")(images)
    if shape[-1] == 1:
        images = keras.layers.Concatenate(dtype="float32", name="rgb")([images] * 3)
    images = getattr(keras.applications, known.module).preprocess_input(images)
    features = _backbone(spec, home, (height, width, 3), values)(images)
    features = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    dropout = values.get("dropout", HYPERPARAMETERS["dropout"])
    if dropout:
        features = keras.layers.Dropout(dropout, name="dropout")(features)
    return keras.Model(inputs, output_layer(outputs)(features), name=spec.application)


def unfreeze(model: keras.Model, unfrozen: int, *, norms: bool) -> None:
    """Have training change the head and the last blocks of a model of `fine_tuned`, and no others.

    Args:
        model: is compiled anew after that.
        unfrozen: number of blocks, >= 0; all if there are not so many.
        norms: whether their batch norm is trained too; else it stays in inference mode.
    """
    import keras

    backbone = backbone_of(model)
    of_blocks = blocks(backbone)
    backbone.trainable = True
    for number, layers in enumerate(of_blocks):
        for layer in layers:
            is_norm = isinstance(layer, keras.layers.BatchNormalization)
            layer.trainable = number >= len(of_blocks) - unfrozen and (norms or not is_norm)


def backbone_of(model: keras.Model) -> keras.Model:
    """Return the backbone in a model of `fine_tuned`."""
    import keras

    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


def blocks(backbone: keras.Model) -> list[list[keras.layers.Layer]]:
    """Return the layers of each block that has weights, in order."""
    found: dict[str, list[keras.layers.Layer]] = {}
    current = ""
    for layer in backbone.layers:
        name = _BLOCK.match(layer.name)
        current = name.group() if name else current
        found.setdefault(current, []).append(layer)
    return [layers for layers in found.values() if any(layer.weights for layer in layers)]


def _backbone(spec: ModelSpec, home: Path, shape: Shape, values: Mapping[str, Any]) -> keras.Model:
    """Return the application without its top, with its weights.

    Raises:
        ViolationError: as `fine_tuned`.
    """
    import keras

    from kbn.norm.surgery import convert_batch_norm

    fetched = spec.weights == IMAGENET
    rule, key = f"Keras must be able to make {spec.application}", "model"
    hint = "Change the options of the model."
    if fetched:
        rule, key = (
            f"Keras must be able to load the weights of {spec.application}",
            "model.weights",
        )
        hint = "Try again with a network; or write none, or a file of weights."
    with following(rule, hint, key):
        backbone = getattr(keras.applications, str(spec.application))(
            include_top=False,
            weights=IMAGENET if fetched else None,
            input_shape=tuple(shape),
            **({} if spec.alpha is None else {"alpha": spec.alpha}),
        )
    if spec.weights_file is not None:
        file = home / spec.weights_file
        if not file.is_file():
            raise ViolationError(
                Violation("must be a file", "Fix the path.", "model.weights", str(file))
            )
        rule = f"must hold the weights of {spec.application} without its top"
        hint = "Save them with save_weights of the application, made with include_top=False."
        with following(rule, hint, "model.weights"):
            backbone.load_weights(file)
    if spec.norm is None:
        return backbone
    kind = "kbn" if spec.norm.layer == "kbn.BatchNormalization" else "keras"
    momentum = {"momentum": values["norm_momentum"]} if "norm_momentum" in values else {}
    return convert_batch_norm(backbone, to=kind, **momentum)
