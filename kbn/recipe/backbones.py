"""Models on a pretrained network: the images' preparation, the backbone, the head.

The backbone is the network without its top. Its blocks are those that Keras names its layers after,
such as block_13_expand in MobileNetV2 or conv5_block3_2_conv in ResNet50; a layer with another name
belongs to the block before it, and the first layers of all are a block, too.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbn.errors import Text, Violation, ViolationError
from kbn.recipe.applications import APPLICATIONS, HYPERPARAMETERS, IMAGENET, PIXELS
from kbn.recipe.architectures import Shape, output_layer
from kbn.recipe.code import following
from kbn.recipe.presets import RESIZING, load_preset

if TYPE_CHECKING:
    import keras

    from kbn.recipe.models import ModelSpec

CHANNELS = (1, 3)  # grey, or red, green and blue
TOKENS = 3  # rank of what a transformer returns: (images, tokens, features)
_BLOCK = re.compile(
    r"block_?\d+[a-z]?"  # MobileNetV2, EfficientNet, VGG, Xception
    r"|conv\d+_block\d+"  # ResNet, DenseNet
    r"|convnext_[a-z]+_stage_\d+_block_\d+"
    r"|expanded_conv(_\d+)?"  # MobileNetV3, and the first of MobileNetV2
    r"|mixed\d+"  # InceptionV3
    r"|stack\d+_block\d+"  # ResNet and DenseNet of keras-hub
)


@dataclasses.dataclass(frozen=True)
class _Pretrained:
    """A network without its top, and what it expects of images.

    Attributes:
        backbone: takes what `prepare` returns.
        size: height and width in pixels.
        prepare: turns pixels in [0, 255], red, green and blue, into what the backbone takes.
        resizing: options of `keras.ops.image.resize`.
    """

    backbone: keras.Model
    size: tuple[int, int]
    prepare: Callable[[keras.KerasTensor], keras.KerasTensor]
    resizing: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def fine_tuned(
    spec: ModelSpec, home: Path, shape: Shape, outputs: int, values: Mapping[str, Any]
) -> keras.Model:
    """Return a model that takes images as the data have them; see `ModelSpec`.

    Args:
        spec: names the application or the preset.
        home: the recipe's directory.
        shape: of one image, (height, width, channels), with 1 or 3 channels.
        outputs: number of classes; 1 for a regression.
        values: hyperparameters, of which `dropout` and `norm_momentum` are used.

    Raises:
        ViolationError: if the network cannot be made, or if the weights cannot be had.
    """
    import keras

    given = (_preset if spec.preset else _application)(spec, home, shape)
    images = inputs = keras.Input(tuple(shape))
    # the preparation is computed in float32 also where the rest is not
    if given.size != tuple(shape[:2]):
        # no Resizing layer: Keras 3.15 has all layers behind one train where a model is called
        # without `training`
        images = keras.ops.image.resize(
            images, given.size, data_format="channels_last", **given.resizing
        )
    low, high = spec.value_range or PIXELS
    if (low, high) != PIXELS:
        scale = PIXELS[1] / (high - low)
        images = keras.layers.Rescaling(scale, -low * scale, dtype="float32", name="pixels")(images)
    if shape[-1] == 1:
        images = keras.layers.Concatenate(dtype="float32", name="rgb")([images] * 3)
    features = _with_norm(given.backbone, spec, values)(given.prepare(images))
    pooling = keras.layers.GlobalAveragePooling2D
    if len(features.shape) == TOKENS:
        pooling = keras.layers.GlobalAveragePooling1D
    features = pooling(name="pool")(features)
    dropout = values.get("dropout", HYPERPARAMETERS["dropout"])
    if dropout:
        features = keras.layers.Dropout(dropout, name="dropout")(features)
    return keras.Model(
        inputs, output_layer(outputs)(features), name=spec.application or "fine_tuned"
    )


def unfreeze(model: keras.Model, unfrozen: int, *, norms: bool) -> None:
    """Have training change the head and the last blocks of a model of `fine_tuned`, and no others.

    Args:
        model: is compiled anew after that.
        unfrozen: number of blocks, >= 0; all if there are not so many.
        norms: whether their batch norm is trained too; else it stays in inference mode.
    """
    from kbn.norm.surgery import norms_in

    backbone = backbone_of(model)
    of_blocks = blocks(backbone)
    backbone.trainable = True
    for number, layers in enumerate(of_blocks):
        for layer in layers:
            layer.trainable = number >= len(of_blocks) - unfrozen
    if not norms:
        for norm in norms_in(backbone):
            norm.trainable = False


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


def _application(spec: ModelSpec, home: Path, shape: Shape) -> _Pretrained:
    """Return a network of keras.applications, with its weights.

    Raises:
        ViolationError: as `fine_tuned`.
    """
    import keras

    known = APPLICATIONS[str(spec.application)]
    height, width = (spec.resize or max(side, known.smallest) for side in shape[:2])
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
            input_shape=(height, width, 3),
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
    prepare = getattr(keras.applications, known.module).preprocess_input
    return _Pretrained(backbone, (height, width), prepare)


def _preset(spec: ModelSpec, home: Path, shape: Shape) -> _Pretrained:
    """Return the network of a preset, with its weights.

    Raises:
        ViolationError: as `fine_tuned`.
    """
    import keras

    backbone, expected = load_preset(spec, home)
    size = tuple(expected["image_size"] or shape[:2])
    if spec.resize is not None:
        size = spec.resize, spec.resize
    fixed = backbone.input_shape[1:3]
    if None not in fixed and fixed != size:
        rule = f"{spec.preset} takes images of {fixed[0]} x {fixed[1]} pixels alone"
        raise ViolationError(
            Violation(rule, "Remove it.", "model.resize", Text(f"{size[0]} x {size[1]}"))
        )
    scale = 1.0 if expected["scale"] is None else expected["scale"]
    offset = 0.0 if expected["offset"] is None else expected["offset"]
    prepare = keras.layers.Rescaling(scale, offset, dtype="float32", name="prepared")
    return _Pretrained(backbone, size, prepare, {name: expected[name] for name in RESIZING})


def _with_norm(backbone: keras.Model, spec: ModelSpec, values: Mapping[str, Any]) -> keras.Model:
    """Return a backbone with the batch norm that a recipe asks for.

    Raises:
        ViolationError: if it has none.
    """
    from kbn.norm.surgery import convert_batch_norm, norms_in

    if spec.norm is None:
        return backbone
    if not norms_in(backbone):
        rule, hint = f"{spec.backbone} has no layer that kbn could normalize", "Remove norm."
        raise ViolationError(Violation(rule, hint, "model.norm"))
    kind = "kbn" if spec.norm.layer == "kbn.BatchNormalization" else "keras"
    momentum = {"momentum": values["norm_momentum"]} if "norm_momentum" in values else {}
    rule, hint = f"kbn must be able to copy {spec.backbone} with other batch norm", "Remove norm."
    with following(rule, hint, "model.norm"):
        return convert_batch_norm(backbone, to=kind, **momentum)
