"""A KerasTuner hyperparameter on any scale of kbn, understood by every KerasTuner oracle."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras_tuner.engine import hyperparameters as kt

from kbn.search.scales import SCALES, Scale


class ScaledFloat(kt.Float):
    """A float whose samples spread on one of kbn's scales.

    All KerasTuner oracles draw through `prob_to_value`, so that scales serve any tuner.

    Raises:
        ValueError: unless min_value <= max_value, finite, the scale admits both, and the default
            lies between them.
    """

    def __init__(self, name: str, min_value: float, max_value: float, scale: str, **kwargs: Any):
        self._check(name, min_value, max_value, scale, kwargs.get("default"))
        self.scale = SCALES[scale]
        super().__init__(name=name, min_value=min_value, max_value=max_value, **kwargs)

    @staticmethod
    def _check(name: str, low: float, high: float, scale: str, default: float | None) -> None:
        finite = math.isfinite(low) and math.isfinite(high)
        if not (finite and low <= high and SCALES[scale].admits(low, high)):
            law = SCALES[scale].law.replace("low", "min_value").replace("high", "max_value")
            raise ValueError(
                f"Hyperparameter {name!r}: scale {scale} needs finite min_value <= max_value and "
                f"{law}. Got min_value={low}, max_value={high} instead; mend the bounds."
            )
        if default is not None and not low <= default <= high:
            raise ValueError(
                f"Hyperparameter {name!r}: its default must lie in [{low}, {high}]. "
                f"Got {default} instead; mend it, or leave it out for the smallest value."
            )

    def __repr__(self) -> str:
        return (
            f"ScaledFloat(name: '{self.name}', min_value: {self.min_value}, "
            f"max_value: {self.max_value}, scale: '{self.scale.name}', default: {self.default})"
        )

    def prob_to_value(self, prob: float) -> float:
        return self.scale.from_unit(prob, self.min_value, self.max_value)

    def value_to_prob(self, value: float) -> float:
        return self.scale.to_unit(value, self.min_value, self.max_value)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["step"], config["sampling"]  # `scale` says it all
        return {**config, "scale": self.scale.name}


# KerasTuner finds the classes of a saved space by their bare names.
keras.saving.get_custom_objects()[ScaledFloat.__name__] = ScaledFloat


def declare(
    hp: Any, name: str, low: float, high: float, default: float | None, scale: Scale
) -> float | None:
    """The value of a scaled float in `hp`, registered there if it is new."""
    # hp.Float does just this for its own class; KerasTuner has no public way for another one
    return hp._retrieve(
        ScaledFloat(
            name=hp._get_name(name),
            min_value=low,
            max_value=high,
            scale=scale.name,
            default=default,
            conditions=hp._conditions,
        )
    )
