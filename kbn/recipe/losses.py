"""Losses by name, with their arguments, for a recipe's models and targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kbn.recipe.metrics import Task

if TYPE_CHECKING:
    import keras

_POSITIVE: tuple[str, Callable[[Any], bool]] = ("> 0", lambda x: x > 0)
# argument of a loss -> rule for its values, and whether a value follows it
ARGUMENTS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "from_logits": ("true or false", lambda _: True),
    "label_smoothing": ("in [0, 1)", lambda x: 0 <= x < 1),
    **dict.fromkeys(("alpha", "gamma", "delta"), _POSITIVE),
}
_SMOOTHED = ("from_logits", "label_smoothing")
# task -> {loss: its arguments}
LOSSES: dict[Task, dict[str, tuple[str, ...]]] = {
    "classification": {
        "sparse_categorical_crossentropy": _SMOOTHED,
        "categorical_crossentropy": _SMOOTHED,
        "categorical_focal_crossentropy": (*_SMOOTHED, "alpha", "gamma"),
    },
    "regression": {
        "mse": (),
        "mae": (),
        "mape": (),
        "msle": (),
        "huber": ("delta",),
        "log_cosh": (),
        "mean_squared_error": (),
        "mean_absolute_error": (),
        "mean_absolute_percentage_error": (),
        "mean_squared_logarithmic_error": (),
    },
}
DEFAULT_LOSS: dict[Task, str] = {
    "classification": "sparse_categorical_crossentropy",
    "regression": "mse",
}


def task_of(loss: str) -> Task:
    """Return the task that a loss is for.

    Raises:
        KeyError: if the loss is unknown.
    """
    return next(task for task, losses in LOSSES.items() if loss in losses)


def make_loss(name: str, arguments: Mapping[str, Any], classes: int) -> str | keras.losses.Loss:
    """Return a loss for `compile`.

    Args:
        name: a loss of `LOSSES`.
        arguments: of the loss.
        classes: number of classes; 1 for a regression.
    """
    import keras

    given = {key: value for key, value in arguments.items() if value}
    if name == "sparse_categorical_crossentropy" and "label_smoothing" not in given:
        return keras.losses.SparseCategoricalCrossentropy(**given) if given else name
    if name in LOSSES["regression"]:
        return keras.losses.Huber(**given) if given else name
    from kbn.recipe.class_losses import OneHot

    focal = name == "categorical_focal_crossentropy"
    of_classes = keras.losses.CategoricalFocalCrossentropy
    return OneHot((of_classes if focal else keras.losses.CategoricalCrossentropy)(**given), classes)
