"""The moving averages of a batch-normalization layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
from keras import KerasTensor, ops

from kbn.norm.backend import kernels


def move(
    averages: Sequence[keras.Variable],
    values: Sequence[KerasTensor],
    share: KerasTensor | float,
    finite: KerasTensor,
    count: KerasTensor | int,
) -> KerasTensor:
    """Move averages towards values, in place, and return the first of the new averages.

        average <- (1 - share) * average + share * value

    A channel stays as it is where `finite` is not finite or `count` is 0.

    Args:
        averages: variables (channels,).
        values: one tensor (channels,) for each.
        share: how far to go, in [0, 1]; (channels,) or a scalar.
        finite: (channels,).
        count: the number or weight of the elements behind the values; (channels,) or a scalar.
    """
    old = map(ops.convert_to_tensor, averages)
    step = kernels.shared(_moved)
    new = step(finite, count, share, *values, *old)
    for average, value in zip(averages, new, strict=True):
        average.assign(value)
    return new[0]


def _moved(
    finite: KerasTensor,
    count: KerasTensor | int,
    share: KerasTensor | float,
    *values_and_averages: KerasTensor,
) -> list[KerasTensor]:
    valid = (ops.abs(finite) < math.inf) & (count > 0)  # False for NaN too
    half = len(values_and_averages) // 2
    pairs = zip(values_and_averages[:half], values_and_averages[half:], strict=True)
    return [
        ops.where(valid, (1.0 - share) * old + share * ops.cast(value, old.dtype), old)
        for value, old in pairs
    ]
