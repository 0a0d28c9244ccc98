"""Mean and variance of a batch, per channel, on any backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
from keras import KerasTensor, ops

# Largest mean, in standard deviations, that may be folded into the offset: there it costs an error
# of 1e-6 in float32.
SMALL_MEAN = 16


class Moments(NamedTuple):
    """Statistics of a batch, per channel, with length 1 along the axes that were reduced.

    The mean is `shift + residual`. Where it is large beside the standard deviation, one float is
    too coarse for it. x is therefore centred in two steps, each of them exact: by `shift`, a float
    close to the mean, then by `residual`, the rest of the mean.

    Attributes:
        shift: a float close to the mean, without gradient.
        residual: the mean minus `shift`.
        variance: the biased variance.
        count: the number of elements, or the sum of their weights; may be a scalar.
    """

    shift: KerasTensor
    residual: KerasTensor
    variance: KerasTensor
    count: KerasTensor


def moments(
    x: KerasTensor,
    axes: Sequence[int],
    weights: KerasTensor | None = None,
    all_reduce: Callable[[KerasTensor], KerasTensor] = lambda total: total,
) -> Moments:
    """Compute mean and (biased) variance of x over `axes`.

        mu  = sum(w x) / sum(w)
        var = sum(w (x - mu)^2) / sum(w)

    x is shifted before it is squared, because E[x^2] - E[x]^2 alone cancels where the mean is large
    (Chan, Golub and LeVeque, The American Statistician 37, 1983, section 3).

    Args:
        x: float tensor of any shape.
        axes: axes to reduce, counted from 0.
        weights: weight of each element, >= 0; a float tensor of x's rank that broadcasts against
            it. A channel whose weights are all 0 gets mean 0 and variance 0.
        all_reduce: sums a tensor over all replicas; by default the batch is this replica's own.
    """
    shape = ops.shape(x)
    if weights is not None:  # the square of an element that does not count may overflow
        x = ops.where(weights > 0, x, 0)

    def total(values: KerasTensor) -> KerasTensor:
        for axis in sorted(axes, reverse=True):  # one at a time: long float32 sums stay exact
            values = ops.sum(values, axis=axis, keepdims=True)
        return all_reduce(values)

    def mean(values: KerasTensor) -> KerasTensor:
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

    # relative to the first element, so that the variance of a constant channel is exactly 0
    shift = ops.stop_gradient(guess + mean(x - guess))
    centred = x - shift if weights is None else ops.where(weights > 0, x - shift, 0)
    residual = mean(centred)
    # the residual is tiny, so that subtracting its square cancels nothing
    variance = ops.relu(mean(ops.square(centred)) - ops.square(residual))
    return Moments(shift, residual, variance, count)


def standardized(
    x: KerasTensor, batch: Moments, epsilon: float, gamma: KerasTensor, beta: KerasTensor
) -> KerasTensor:
    """Return gamma * (x - mu) / sqrt(var + epsilon) + beta; all broadcast against x."""
    scale = gamma * ops.rsqrt(batch.variance + epsilon)
    return (x - batch.shift) * scale + (beta - batch.residual * scale)


def element_weights(
    x: KerasTensor, mask: KerasTensor | None, sample_weight: KerasTensor | None
) -> KerasTensor | None:
    """Combine mask and sample_weight into the weight of each element of x: their product.

    Args:
        x: float tensor (batch, ..., features).
        mask: True where an element counts; of the shape of x's leading axes, at most all but the
            last. Axes of length 1 are broadcast.
        sample_weight: float >= 0, of such a shape too.

    Returns:
        A float tensor of x's rank that broadcasts against it; None without mask and sample_weight.

    Raises:
        ValueError: if the shape of mask or sample_weight is another.
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


def float_type(dtype: object) -> str:
    """Name the type to compute in: float64 for float64, otherwise float32."""
    # `keras.backend.result_type` does not know float64 on JAX and torch
    return "float64" if keras.backend.standardize_dtype(dtype) == "float64" else "float32"


def per_channel(x: KerasTensor, axis: int, *vectors: KerasTensor) -> list[KerasTensor]:
    """Reshape vectors (channels,) to broadcast against x, whose channels are on `axis`."""
    shape = [1] * len(x.shape)
    shape[axis] = -1
    return [ops.reshape(ops.cast(vector, x.dtype), shape) for vector in vectors]
