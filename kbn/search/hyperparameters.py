"""KerasTuner's hyperparameters: a float on any scale of kbn, and all of them as axes of a space."""

from __future__ import annotations

import math
from typing import Any

import keras
import keras_tuner

from kbn.search._keras_tuner import (
    Boolean,
    Choice,
    Fixed,
    Float,
    FloatMessage,
    HyperParameter,
    Int,
    conditions_in,
    declared_in,
    is_distributed,
    plain_float,
    read_floats_by,
)
from kbn.search.axes import Axis, Condition, Discrete, Grid, Numeric, Stepped
from kbn.search.scales import LINEAR, LOG, REVERSE_LOG, SCALES, Scale
from kbn.search.space import Space

FIRST_NUMBER = 100  # that stands for a scale of kbn in a message; then in the order of SCALES
SAMPLINGS = {"linear": LINEAR, "log": LOG, "reverse_log": REVERSE_LOG}


class ScaledFloat(Float):
    """Float hyperparameter that is sampled uniformly on one of kbn's scales.

    All KerasTuner oracles draw by `prob_to_value`, so scales work with any tuner.

    Raises:
        ValueError: unless min_value <= max_value, finite, the scale admits both, and the default
            lies between them.
    """

    def __init__(self, name: str, min_value: float, max_value: float, scale: str, **kwargs: Any):
        self._check(name, min_value, max_value, scale, kwargs.get("default"))
        self.scale = SCALES[scale]
        _understand_messages()  # KerasTuner's variables may be set after the import
        super().__init__(name=name, min_value=min_value, max_value=max_value, **kwargs)

    @staticmethod
    def _check(name: str, low: float, high: float, scale: str, default: float | None) -> None:
        finite = math.isfinite(low) and math.isfinite(high)
        if not (finite and low <= high and SCALES[scale].admits(low, high)):
            rule = SCALES[scale].rule.replace("low", "min_value").replace("high", "max_value")
            raise ValueError(
                f"Hyperparameter {name!r}: scale {scale} needs finite min_value <= max_value and "
                f"{rule}. Got min_value={low}, max_value={high} instead; mend the bounds."
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

    def to_proto(self) -> FloatMessage:
        message: FloatMessage = super().to_proto()
        # KerasTuner's message knows three samplings by number; ours have numbers of their own
        message.sampling = FIRST_NUMBER + list(SCALES).index(self.scale.name)
        return message

    @classmethod
    def from_proto(cls, message: FloatMessage) -> ScaledFloat:
        return cls(
            message.name,
            message.min_value,
            message.max_value,
            list(SCALES)[message.sampling - FIRST_NUMBER],
            default=message.default,
            conditions=conditions_in(message),
        )


def _read_float(_: type[Float], message: FloatMessage) -> Float:
    """Return the float in a message, KerasTuner's or ours."""
    read = plain_float if message.sampling < FIRST_NUMBER else ScaledFloat.from_proto
    return read(message)


def _understand_messages() -> None:
    """Have KerasTuner read our floats in messages, if it is to read any in this process."""
    if is_distributed():
        read_floats_by(_read_float)


# KerasTuner looks up the classes of a saved space by name among Keras' custom objects.
keras.saving.get_custom_objects()[ScaledFloat.__name__] = ScaledFloat
_understand_messages()


def declare(
    hp: keras_tuner.HyperParameters,
    name: str,
    low: float,
    high: float,
    default: float | None,
    scale: Scale,
) -> float | None:
    """Return the value of a scaled float in `hp`, declared there if it is new; None if inactive."""
    return declared_in(
        hp,
        ScaledFloat,
        name,
        min_value=low,
        max_value=high,
        scale=scale.name,
        default=default,
    )


def space_of(hyperparameters: keras_tuner.HyperParameters) -> Space:
    """Return KerasTuner's hyperparameters as axes, each on the scale it was declared with.

    Raises:
        ValueError: if a name is declared twice.
    """
    axes: dict[str, Axis] = {}
    for hp in hyperparameters.space:
        if hp.name in axes:
            raise ValueError(
                f"A hyperparameter's name must be declared once. Got {hp.name!r} under several "
                "conditions, of which KerasTuner keeps the last alone; give each its own name."
            )
        axes[hp.name] = _axis(hp)
    # in a message KerasTuner sorts them by type: put parents first again
    ordered: dict[str, Axis] = {}
    while axes:
        free = (a for a in axes.values() if not any(c.name in axes for c in a.conditions))
        name = next(free).name
        ordered[name] = axes.pop(name)
    return Space(tuple(ordered.values()))


def _axis(hp: HyperParameter) -> Axis:
    conditions = tuple(Condition(c.name, tuple(c.values)) for c in hp.conditions)
    if isinstance(hp, ScaledFloat):
        return Numeric(hp.name, hp.min_value, hp.max_value, hp.scale, False, conditions)
    if isinstance(hp, Fixed):
        return Discrete(hp.name, (hp.value,), True, conditions)
    if isinstance(hp, Boolean):
        return Discrete(hp.name, (False, True), False, conditions)
    if isinstance(hp, Choice):
        return Discrete(hp.name, tuple(hp.values), hp.ordered, conditions)
    integer = isinstance(hp, Int)
    if hp.step is None or (integer and hp.step == 1 and hp.sampling == "linear"):
        scale = SAMPLINGS[hp.sampling]
        return Numeric(hp.name, hp.min_value, hp.max_value, scale, integer, conditions)
    return Stepped(hp.name, _grid(hp, integer), conditions)


def _grid(hp: HyperParameter, integer: bool) -> Grid:
    """Return all values of a hyperparameter with a step, the last one included.

    KerasTuner counts them by a floor division of floats, which loses .5 of Float(0, .5, step=.1).
    """
    factor = hp.sampling != "linear"
    span = hp.max_value / hp.min_value if factor else hp.max_value - hp.min_value
    steps = math.log(span, hp.step) if factor else span / hp.step
    mirror = hp.min_value + hp.max_value if hp.sampling == "reverse_log" else 0.0
    return Grid(hp.min_value, hp.step, int(steps + 1e-8) + 1, factor, mirror, integer)
