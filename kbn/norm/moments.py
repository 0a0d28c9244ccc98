"""Mean and variance of a batch, per channel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

SMALL_MEAN = 16  # deviations; with the mean folded into the offset, so large a one costs 1e-6


class Moments(NamedTuple):
    """Statistics of a batch, per channel, with length one along the axes that were reduced.

    The mean is `shift + residual`. One float cannot hold it exactly enough where it is large beside
    the deviation, so x is centred in two steps, each of them exact: by `shift`, a float close to
    the mean, then by what is left of the mean after that.
    """

    shift: Any
    residual: Any
    variance: Any  # biased
    count: Any  # number of elements, or sum of their weights; may be a scalar


def moments(
    x: Any,
    axes: Sequence[int],
    weights: Any = None,
    all_reduce: Callable[[Any], Any] = lambda total: total,
) -> Moments:
    """Mean and (biased) variance of x over `axes`.

    mu = sum(w x) / sum(w) and var = sum(w (x - mu)^2) / sum(w), where x is shifted before it is
    squared: E[x^2] - E[x]^2 alone cancels where the mean is large (Chan, Golub and LeVeque, The
    American Statistician 37, 1983, section 3).

    Args:
        x: float tensor of any rank.
        axes: axes to reduce, counted from 0.
        weights: weight of each element, >= 0; a float tensor of x's rank that broadcasts against
            it. A channel without any weight gets mean 0 and variance 0.
        all_reduce: sums a tensor over all replicas; without it, the batch is this replica's own.
    """
    shape = ops.shape(x)
    if weights is not None:  # the square of what does not count may overflow
        x = ops.where(weights > 0, x, 0)

    def total(values: Any) -> Any:
        for axis in sorted(axes, reverse=True):  # one at a time: long float32 sums stay exact
            values = ops.sum(values, axis=axis, keepdims=True)
        return all_reduce(values)

    def mean(values: Any) -> Any:
        return total(values if weights is None else values * weights) / divisor

    first = tuple(slice(1) if axis in axes else slice(None) for axis in range(len(shape)))
    if weights is None:
        length = [ops.cast(shape[axis], x.dtype) for axis in axes]
        count = all_reduce(ops.prod(ops.stack(length)))
        guess = total(x[first])
    else:
        count = total(ops.broadcast_to(weights, shape))
        guess = total(ops.where(weights[first] > 0, x[first], 0))
    divisor = ops.where(count > 0, count, 1)

    # from the first element: a constant channel has no deviation at all
    shift = ops.stop_gradient(guess + mean(x - guess))
    centred = x - shift if weights is None else ops.where(weights > 0, x - shift, 0)
    residual = mean(centred)
    # the residual is next to nothing: here its square cancels nothing
    variance = ops.relu(mean(ops.square(centred)) - ops.square(residual))
    return Moments(shift, residual, variance, count)


def element_weights(x: Any, mask: Any, sample_weight: Any) -> Any:
    """How often each element of x counts: the product of mask and sample_weight.

    Args:
        x: float tensor.
        mask: None, or True where an element counts; of the shape of x's leading axes, at most all
            but the last, with lengths of one repeated.
        sample_weight: None, or a float >= 0, likewise.

    Returns:
        A tensor of x's rank that broadcasts against it; None without mask and sample_weight.

    Raises:
        ValueError: for another shape.
    """
    dtype = float_type(x.dtype)
    rank, product = len(x.shape), None
    for name, given in (("mask", mask), ("sample_weight", sample_weight)):
        if given is None:
            continue
        weights = ops.cast(given, "bool" if name == "mask" else dtype)
        leading = zip(weights.shape, x.shape, strict=False)
        if not 0 < len(weights.shape) < rank or not all(
            length in {None, 1, of} or of is None for length, of in leading
        ):
            raise ValueError(
                f"BatchNormalization: {name} must be of the shape of the leading axes of the "
                f"inputs {tuple(x.shape)}. Got {tuple(weights.shape)} instead."
            )
        missing = [1] * (rank - len(weights.shape))
        weights = ops.reshape(ops.cast(weights, dtype), (*ops.shape(weights), *missing))
        product = weights if product is None else product * weights
    return product


def float_type(dtype: Any) -> str:
    """The type to compute in: float64 for float64, else float32."""
    # on JAX and torch, `keras.backend.result_type` knows no float64
    return "float64" if keras.backend.standardize_dtype(dtype) == "float64" else "float32"


def per_channel(x: Any, axis: int, *vectors: Any) -> list[Any]:
    """Vectors (channels,), shaped to broadcast against x, whose channels are on `axis`."""
    shape = [1] * len(x.shape)
    shape[axis] = -1
    return [ops.reshape(ops.cast(vector, x.dtype), shape) for vector in vectors]
