"""Mean and variance of a batch, per channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops


def moments(x: Any, axes: Sequence[int], mask: Any = None) -> tuple[Any, Any]:
    """Mean and (biased) variance over `axes`, kept as axes of length one.

    mu = sum(w x) / sum(w) and var = sum(w (x - mu)^2) / sum(w), with w = 1 or the mask. The mean is
    subtracted before squaring: E[x^2] - E[x]^2 cancels where the mean is large (Chan, Golub and
    LeVeque, The American Statistician 37, 1983).

    Args:
        x: float tensor of any rank.
        axes: axes to reduce.
        mask: boolean tensor that broadcasts against x; False elements do not count, whatever
            they hold. A channel without any True element gets mean 0 and variance 0.
    """
    if mask is None:
        mean = ops.mean(x, axis=axes, keepdims=True)
        return mean, ops.mean(ops.square(x - mean), axis=axes, keepdims=True)
    mask = ops.broadcast_to(ops.cast(mask, "bool"), ops.shape(x))
    count = ops.sum(ops.cast(mask, x.dtype), axis=axes, keepdims=True)
    count = ops.maximum(count, 1)

    def masked_mean(values: Any) -> Any:
        return ops.sum(ops.where(mask, values, 0), axis=axes, keepdims=True) / count

    mean = masked_mean(x)
    # masked before squaring too: a masked NaN or infinity must not reach the gradient of either
    return mean, masked_mean(ops.square(ops.where(mask, x - mean, 0)))
