"""Hyperparameters on kbn's own scales: `kbn.scales` inside any KerasTuner `build_model(hp)`.

`kbn.scales.complement_log(hp, "momentum", 0.5, 0.999)` is used like `hp.Float`. Linear and log
scales are KerasTuner's own, `hp.Float(..., sampling=)`. What a scale is stands in
`kbn.search.scales`.
"""

from __future__ import annotations

import keras_tuner

from kbn.search.hyperparameters import declare
from kbn.search.scales import COMPLEMENT_LOG, PER_DECADE

__all__ = ["complement_log", "per_decade"]


def complement_log(
    hp: keras_tuner.HyperParameters,
    name: str,
    min_value: float,
    max_value: float,
    default: float | None = None,
) -> float | None:
    """Declare a float on a log scale of 1 - x, as momentum and Adam's betas need.

    Used like `hp.Float` inside `build_model(hp)`; conditions come from `hp.conditional_scope`.

    Args:
        hp: the `hp` of `build_model`.
        name: its name in the trial.
        min_value: smallest value.
        max_value: largest value, below 1.
        default: value outside a search; `min_value` if None.

    Returns:
        The value in its natural unit (momentum .99 is .99); None while its scope is inactive.

    Raises:
        ValueError: unless min_value <= default <= max_value < 1.
    """
    return declare(hp, name, min_value, max_value, default, COMPLEMENT_LOG)


def per_decade(
    hp: keras_tuner.HyperParameters,
    name: str,
    min_value: float,
    max_value: float,
    default: float | None = None,
) -> float | None:
    """Declare a float of which every power of ten gets an equal share of the samples.

    Within a power of ten the samples are uniform. Arguments and result are `complement_log`'s.

    Raises:
        ValueError: unless 0 < min_value <= default <= max_value.
    """
    return declare(hp, name, min_value, max_value, default, PER_DECADE)
