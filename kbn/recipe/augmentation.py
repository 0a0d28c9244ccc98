"""Random changes of training images, by the names of Keras' layers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BeforeValidator, model_validator

from kbn.errors import NULL, Violation, ViolationError
from kbn.recipe.architectures import IMAGE
from kbn.recipe.rules import Named, OneOf, reject

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from kbn.recipe.dataset import Scaling
    from kbn.recipe.inputs import Shapes

_FILL = ("fill_mode", "fill_value")
# layer -> arguments that it needs, and others that it takes
LAYERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "RandomFlip": ((), ("mode",)),
    "RandomRotation": (("factor",), _FILL),
    "RandomZoom": (("height_factor",), ("width_factor", *_FILL)),
    "RandomTranslation": (("height_factor", "width_factor"), _FILL),
    "RandomShear": ((), ("x_factor", "y_factor", *_FILL)),
    "RandomBrightness": (("factor",), ()),
    "RandomContrast": (("factor",), ()),
    "RandomSaturation": (("factor",), ()),
    "RandomHue": (("factor",), ()),
}
# these take the range of the pixels, and the last two colours
RANGED = ("RandomBrightness", "RandomContrast", "RandomSaturation", "RandomHue")
COLOURED = ("RandomSaturation", "RandomHue")
# layers of which a factor below 0 means nothing
POSITIVE = ("RandomContrast", "RandomSaturation", "RandomHue", "RandomShear")
RGB = 3  # channels


def _check_factor(given: object) -> float | list[float]:
    """Reject what is neither a number nor a range of numbers."""
    ends = given if isinstance(given, list) else [given]
    if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends) or (
        isinstance(given, list) and len(given) != 2  # noqa: PLR2004
    ):
        rule, hint = "must be a number, or a range of two", "Write it like 0.1, or [-0.1, 0.2]."
        raise reject(Violation(rule, hint, received=NULL if given is None else given))
    return given  # type: ignore[return-value]


_Factor = Annotated[
    float | list[float] | None,
    BeforeValidator(_check_factor, json_schema_input_type=float | list[float]),
]


class AugmentationSpec(Named):
    """A random change of training images: a layer of Keras' by its name, and its arguments there.

    Only training images are changed, before they are standardized, each time in another way. The
    saved model has no such layers. `factor`, `height_factor`, `width_factor`, `x_factor` and
    `y_factor` are numbers or ranges [low, high], of what Keras' layer says.
    """

    name: Annotated[str, OneOf("augmentation", list(LAYERS))]
    mode: Literal["horizontal", "vertical", "horizontal_and_vertical"] | None = None
    factor: _Factor = None
    height_factor: _Factor = None
    width_factor: _Factor = None
    x_factor: _Factor = None
    y_factor: _Factor = None
    fill_mode: Literal["constant", "nearest", "reflect", "wrap"] | None = None
    fill_value: float | None = None

    @model_validator(mode="after")
    def _arguments_fit(self) -> Self:
        needed, others = LAYERS[self.name]
        taken = (*needed, *others)
        violations = list(self.untaken(taken))
        for key, value in self.arguments.items():
            if key in taken and key.endswith("factor"):
                low = 0 if self.name in POSITIVE else -1
                ends = value if isinstance(value, list) else [value]
                if not all(low <= end <= 1 for end in ends) or ends != sorted(ends):
                    rule = f"{key} must be in [{low}, 1], and a range rise"
                    violations.append(Violation(rule, "Write it like 0.1.", key, value))
        for key in needed:
            if getattr(self, key) is None:
                rule = f"{self.name} needs this key"
                violations.append(Violation(rule, "Add it, like 0.1.", key))
        if violations:
            raise reject(*violations)
        return self


def _check_augmentation(given: object) -> object:
    return {"name": given} if isinstance(given, str) else given


Augmentation = list[
    Annotated[
        AugmentationSpec,
        BeforeValidator(_check_augmentation, json_schema_input_type=AugmentationSpec | str),
    ]
]


def check_images(specs: Sequence[AugmentationSpec], shape: Shapes) -> None:
    """Check that examples can be changed as images are.

    Args:
        specs: the changes.
        shape: of one example.

    Raises:
        ViolationError: if they are no images, or have no colours to change.
    """
    if not specs:
        return
    if isinstance(shape, dict) or len(shape) != IMAGE:
        rule = "only images, of the shape (height, width, channels), can be augmented"
        hint = "Add shape, as in shape: [8, 8, 1], or remove augmentation."
        raise ViolationError(Violation(rule, hint, "augmentation", str(shape)))
    for number, spec in enumerate(specs):
        if spec.name in COLOURED and shape[-1] != RGB:
            rule, hint = f"{spec.name} needs images of three channels", "Remove it."
            raise ViolationError(Violation(rule, hint, f"augmentation.{number}.name", spec.name))


def augmented(
    batches: tf.data.Dataset,
    specs: Sequence[AugmentationSpec],
    pixels: tuple[float, float],
    scaling: Scaling = (0.0, 1.0),
) -> tf.data.Dataset:
    """Change the images of batches at random, each time in another way.

    The changes follow Python's global generator, as the seeds of Keras' layers do.

    Args:
        batches: of (x, y) or (x, y, sample_weight), where x has the shape (batch, height, width,
            channels) and floats.
        specs: the changes, in their order.
        pixels: the lowest and the highest value of a pixel.
        scaling: (mean, standard deviation) that x was standardized with; the changes are those of
            the images before.
    """
    layers = [_layer(spec, pixels) for spec in specs]
    mean, deviation = scaling

    def change(x: tf.Tensor, *others: tf.Tensor) -> tuple[tf.Tensor, ...]:
        image = x * deviation + mean
        for layer in layers:
            image = layer(image, training=True)
        return ((image - mean) / deviation, *others)

    # one batch after the other, since each takes its seed from what the layers keep
    return batches.map(change) if layers else batches


def _layer(spec: AugmentationSpec, pixels: tuple[float, float]) -> keras.layers.Layer:
    import keras

    arguments = spec.arguments
    if spec.name in RANGED:
        arguments["value_range"] = pixels
    return getattr(keras.layers, spec.name)(**arguments, seed=next_seed(), dtype="float32")


def next_seed() -> int:
    """Draw a seed from Python's global generator, which every training begins with a seed of."""
    return random.randrange(2**31)  # noqa: S311
