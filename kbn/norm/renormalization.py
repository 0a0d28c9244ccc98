"""Batch renormalization: a batch's output corrected towards that of inference."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping

import keras
from keras import KerasTensor, ops

# Keras' layer has `renorm`, and the weights behind it, since Keras 3.14.
OFFERED = "renorm" in inspect.signature(keras.layers.BatchNormalization).parameters


def renormalized(
    gamma: KerasTensor,
    beta: KerasTensor,
    mean: KerasTensor,
    deviation: KerasTensor,
    average_mean: KerasTensor,
    average_deviation: KerasTensor,
    clipping: Mapping[str, float | None],
) -> tuple[KerasTensor, KerasTensor]:
    """Return the gamma and beta that turn z_norm into z_norm * r + d.

        r = deviation / average_deviation, clipped to [rmin, rmax]
        d = (mean - average_mean) / average_deviation, clipped to [-dmax, dmax]

    No gradient flows through r and d. All tensors have the shape (channels,).

    Args:
        gamma: the layer's gamma.
        beta: the layer's beta.
        mean: the batch's mean.
        deviation: the batch's sqrt(var + epsilon).
        average_mean: the moving average of the mean.
        average_deviation: the moving average of the deviation, > 0.
        clipping: bounds "rmin", "rmax" and "dmax"; one that is missing or None does not clip.

    Source: Ioffe, Batch Renormalization, NeurIPS 2017 (arXiv:1702.03275), algorithm 1.
    """
    bounds = {"rmin": 0.0, "rmax": math.inf, "dmax": math.inf}
    bounds |= {name: bound for name, bound in clipping.items() if bound is not None}
    r = ops.clip(deviation / average_deviation, bounds["rmin"], bounds["rmax"])
    d = ops.clip((mean - average_mean) / average_deviation, -bounds["dmax"], bounds["dmax"])
    r, d = ops.stop_gradient(r), ops.stop_gradient(d)
    return gamma * r, beta + gamma * d
