"""Losses of one-hot targets for targets that number the classes."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def one_hot(numbers: Any, classes: int, dtype: str | None = None) -> Any:
    """Return one-hot targets, shape (examples, classes), for numbers of classes."""
    return ops.one_hot(ops.cast(ops.reshape(numbers, (-1,)), "int32"), classes, dtype=dtype)


@keras.saving.register_keras_serializable("kbn")
class OneHot(keras.losses.Loss):
    """A loss of one-hot targets, given the numbers of the classes.

    Args:
        loss: of one-hot targets and outputs, each of shape (examples, classes).
        classes: number of classes.
    """

    def __init__(self, loss: keras.losses.Loss, classes: int, name: str | None = None):
        super().__init__(name=name or loss.name)
        self.loss, self.classes = loss, classes

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.loss.call(one_hot(y_true, self.classes, y_pred.dtype), y_pred)

    def get_config(self) -> dict[str, Any]:
        loss = keras.saving.serialize_keras_object(self.loss)
        return {"loss": loss, "classes": self.classes, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> OneHot:
        loss = keras.saving.deserialize_keras_object(config["loss"])
        return cls(loss, config["classes"], config["name"])
