"""Batch normalization on TensorFlow by a forward and a backward pass of our own.

Without XLA TensorFlow makes a pass over memory of every operation in the formula, and its automatic
gradient some twenty more. Here the gradient is written out, and where the batch is large enough to
pay for it XLA compiles either pass, also inside a graph that is not compiled itself.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kbn.norm.moments import SMALL_MEAN, per_channel

LARGE = 2**17  # elements from which compiling pays
FLAT = 2  # rank of rows that are no images or sequences
NARROW = 256  # columns up to which sums pay in more slices
GROUP = 512  # rows that are summed one after the other


def serves(x: Any, axis: int) -> bool:
    """Whether `normalize` can do it: the channels of x are on its last axis."""
    return axis in {-1, len(x.shape) - 1}


def normalize(x: Any, gamma: Any, beta: Any, epsilon: float, axis: int) -> tuple[Any, Any, Any]:
    """The training: gamma * (x - mu) / sqrt(var + epsilon) + beta.

    Args:
        x: float tensor (..., channels); half precision is computed in float32.
        gamma: (channels,), of float32 at least.
        beta: (channels,), of gamma's type.
        epsilon: >= 0.
        axis: of the channels.

    Returns:
        The normalized tensor, of x's shape and type; mu and (biased) var, of gamma's, without a
        gradient. An empty batch has mu = var = 0.

    Source: Ioffe and Szegedy, Batch Normalization, ICML 2015 (arXiv:1502.03167), section 3.
    """
    channels = gamma.shape[0]
    on_cpu = all(device.device_type == "CPU" for device in tf.config.list_logical_devices())
    # lengths that vary would be compiled again and again
    compiles = x.shape[1:].is_fully_defined() and not tf.executing_eagerly()
    varies = x.shape[0] is None and x.shape.rank == FLAT

    def run(step: Callable[..., Any], rows: Any, *rest: Any) -> Any:
        def small() -> Any:
            return step(_column_sum, rows, *rest)

        def large() -> Any:
            return step(_long_sum, rows, *rest)

        compiled = functools.partial(_compiled[step], rows, *rest)
        traced = functools.partial(_traced[step], rows, *rest)

        def compiled_if_even() -> Any:
            # the rows of packed sequences vary; those of chosen batches are round numbers
            return tf.cond(tf.shape(rows)[0] % 64 == 0, compiled, traced) if varies else compiled()

        fast = compiled_if_even if compiles else large
        height = LARGE // max(channels, 16)  # of few channels, long sums are the danger
        if not on_cpu:
            return small()
        if rows.shape[0] is None:
            return tf.cond(tf.shape(rows)[0] >= height, fast, small)
        return fast() if rows.shape[0] >= height else small()

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def normalized(rows: Any, gamma: Any, beta: Any) -> Any:
        y, shift, residual, variance = run(_forward, rows, gamma, beta, epsilon)

        def gradient(dy: Any, *_: Any) -> Any:
            dy = tf.ensure_shape(dy, rows.shape)
            return run(_backward, rows, dy, gamma, shift, residual, variance, epsilon)

        return (y, shift + residual, variance), gradient

    y, mean, variance = normalized(tf.reshape(x, (-1, channels)), gamma, beta)
    return tf.reshape(y, tf.shape(x)), mean, variance


def affine(x: Any, mean: Any, inverse: Any, gamma: Any, beta: Any, axis: int) -> Any:
    """The inference: gamma * (x - mean) * inverse + beta, the vectors of shape (channels,).

    With the mean in the offset it is a pass over memory less, but the sum cancels where the mean is
    large beside the deviation: there, the mean is subtracted first.
    """
    small = tf.reduce_all(tf.abs(mean * inverse) < SMALL_MEAN)
    if tf.executing_eagerly():
        small = bool(small)  # a cond costs more than a look
    mean, scale, beta = per_channel(x, axis, mean, gamma * inverse, beta)
    return tf.cond(
        small,
        lambda: x * scale + (beta - mean * scale),
        lambda: (x - mean) * scale + beta,
    )


def all_reduce(x: Any) -> Any:
    """The sum of x over all replicas of the strategy that runs."""
    replica = tf.distribute.get_replica_context()
    return x if replica is None else replica.all_reduce(tf.distribute.ReduceOp.SUM, x)


def _forward(
    column_sum: Callable[..., Any], x: Any, gamma: Any, beta: Any, epsilon: float
) -> tuple[Any, Any, Any, Any]:
    """The normalized rows, their mean in two parts (as in moments.py) and their variance."""
    z = tf.cast(x, gamma.dtype)
    count = _count(z)
    guess = tf.reduce_sum(z[:1], 0)  # a constant channel has no deviation at all
    shift = tf.stop_gradient(guess + column_sum(z - guess) / count)
    centred = z - shift
    residual = column_sum(centred) / count
    variance = tf.nn.relu(column_sum(centred, centred) / count - tf.square(residual))
    scale = gamma * tf.math.rsqrt(variance + epsilon)
    y = centred * scale + (beta - residual * scale)
    return tf.cast(y, x.dtype), shift, residual, variance


def _backward(
    column_sum: Callable[..., Any],
    x: Any,
    dy: Any,
    gamma: Any,
    shift: Any,
    residual: Any,
    variance: Any,
    epsilon: float,
) -> tuple[Any, Any, Any]:
    """Gradients for x, gamma and beta.

    dx = gamma / sigma * (dy - mean(dy) - z_norm * mean(dy * z_norm)): the chain rule of section 3.
    """
    g = tf.cast(dy, gamma.dtype)
    count = _count(g)
    inverse = tf.math.rsqrt(variance + epsilon)
    centred = tf.cast(x, gamma.dtype) - shift - residual
    dbeta = column_sum(g)
    dgamma = column_sum(g, centred) * inverse
    scale = gamma * inverse
    dx = g * scale - (centred * (scale * inverse * dgamma / count) + scale * dbeta / count)
    return tf.cast(dx, x.dtype), dgamma, dbeta


def _count(x: Any) -> Any:
    return tf.cast(tf.maximum(tf.shape(x)[0], 1), x.dtype)


def _column_sum(*factors: Any) -> Any:
    """Sum over the rows of the product of the factors, each of shape (rows, columns)."""
    return tf.reduce_sum(functools.reduce(operator.mul, factors), 0)


def _long_sum(*factors: Any) -> Any:
    """The same for many rows.

    XLA on a CPU makes one fast loop of a sum of slices, but none of a product under a sum over
    rows: so slices are added first. A float32 sum of a million terms, one after the other, is wrong
    in its fifth digit: so what that leaves is summed in groups.
    """
    rows, columns = tf.shape(factors[0])[0], factors[0].shape[1]
    parts = 8 if columns <= NARROW else 4
    height = rows // parts
    slices = (
        functools.reduce(operator.mul, [f[i * height : (i + 1) * height] for f in factors])
        for i in range(parts)
    )
    left = functools.reduce(operator.add, slices)
    groups = height // GROUP
    grouped = tf.reshape(left[: groups * GROUP], (groups, GROUP, columns))
    # a sum of sums would be made one long sum again: the second is a matrix product
    total = tf.ones((1, groups), left.dtype) @ tf.reduce_sum(grouped, 1)
    rest = _column_sum(left[groups * GROUP :]) + _column_sum(
        *(f[parts * height :] for f in factors)
    )
    return total[0] + rest


def _functions(**options: Any) -> dict[Callable[..., Any], Callable[..., Any]]:
    """The passes with long sums as functions of the graph.

    Each is traced once for all layers of as many channels, and not copied into the graph of every
    one: that would be most of the time that a deep network takes to begin to train.
    """
    return {
        step: tf.function(
            functools.partial(step, _long_sum),
            autograph=False,
            experimental_attributes={"_noinline": True},
            **options,
        )
        for step in (_forward, _backward)
    }


_compiled, _traced = _functions(jit_compile=True), _functions()
