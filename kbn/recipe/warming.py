"""Warm-up of a learning rate."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("kbn")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Schedule that rises linearly to another one, from its first step on.

    Source: Goyal et al., Accurate, Large Minibatch SGD (2017), section 2.2.

    Args:
        schedule: to follow after the warm-up, and to be multiplied with before.
        steps: of the warm-up, at least 1: step i, counted from 0, has (i + 1) / steps of the rate.
    """

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule, steps: int):
        self.schedule, self.steps = schedule, steps

    def __call__(self, step: Any) -> Any:
        rate = self.schedule(step)
        share = (ops.cast(step, rate.dtype) + 1) / self.steps
        return rate * ops.minimum(share, 1)

    def get_config(self) -> dict[str, Any]:
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {"schedule": schedule, "steps": self.steps}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WarmUp:
        return cls(keras.saving.deserialize_keras_object(config["schedule"]), config["steps"])
