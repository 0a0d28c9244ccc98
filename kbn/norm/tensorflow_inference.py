"""The passes of inference on TensorFlow: gamma * (x - mean) / sqrt(variance + epsilon) + beta.

The vectors mean, variance, gamma and beta are `(channels,)`.
"""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf

from kbn.norm._tensorflow import inside_xla
from kbn.norm.kernels import Step
from kbn.norm.moments import SMALL_MEAN, per_channel
from kbn.norm.tensorflow_sums import plain_total
from kbn.norm.tensorflow_tracing import Tensors, case, differentiated_as
from kbn.norm.tensorflow_views import MATRIX, broadcastable, flat, image


def infer_small(
    x: tf.Tensor,
    mean: tf.Tensor,
    variance: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    epsilon: float,
    axis: int,
) -> tf.Tensor:
    """Normalize x (..., channels, ...) with as few operations as are exact."""
    inverse = tf.math.rsqrt(variance + epsilon)
    vectors = [mean, gamma * inverse, beta]
    if axis % x.shape.rank != x.shape.rank - 1:
        vectors = per_channel(x, axis, *vectors)
    if tf.executing_eagerly() and _is_small(mean.numpy(), inverse.numpy()):
        return _folded(x, *vectors)
    return _centred(x, *vectors)


def infer_large(
    epsilon: float,
    x: tf.Tensor,
    mean: tf.Tensor,
    variance: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
) -> tf.Tensor:
    """Normalize a viewed x that may be large, with as few passes over memory as are exact."""

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def scaled(
        x: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor
    ) -> tuple[tf.Tensor, Step]:
        inverse = tf.math.rsqrt(variance + epsilon)
        centre, scale, offset = (broadcastable(v, x) for v in (mean, gamma * inverse, beta))
        fused = x.shape.rank == MATRIX and x.dtype == tf.float32 and not inside_xla()
        if inside_xla():
            y = _centred(x, centre, scale, offset)
        elif fused:
            # one pass over memory, exact however large the mean is
            y, *_ = tf.raw_ops.FusedBatchNormV3(
                x=image(x),
                scale=gamma,
                offset=beta,
                mean=mean,
                variance=variance,
                epsilon=epsilon,
                is_training=False,
            )
            y = tf.reshape(y, tf.shape(x))
        else:
            index = tf.cast(_is_small(mean, inverse), tf.int32)
            (y,) = case(index, (_centred, _folded), x, centre, scale, offset)

        def gradient(dy: tf.Tensor) -> Tensors:
            slopes = functools.partial(_plain_slopes, epsilon)
            if fused:
                quick = functools.partial(_fused_slopes, epsilon)
                # a function of its own, so that its gradient finds the tensors that it needs
                run = functools.partial(differentiated_as, slopes, quick)
                slopes = tf.function(run, autograph=False)
            dgamma, dbeta = slopes(x, dy, mean, variance)
            steep = gamma * inverse
            # apart from the others, so that a layer whose weights are frozen computes nothing else
            return dy * scale, -dbeta * steep, dgamma * steep * inverse * -0.5, dgamma, dbeta

        return y, gradient

    return scaled(x, mean, variance, gamma, beta)


def _plain_slopes(
    epsilon: float,
    x: tf.Tensor,
    dy: tf.Tensor,
    mean: tf.Tensor,
    variance: tf.Tensor,
) -> Tensors:
    """Return the gradients for gamma and beta."""
    inverse = tf.math.rsqrt(variance + epsilon)
    slope = plain_total(dy * (x - broadcastable(mean, x))) * broadcastable(inverse, x)
    return flat(slope, plain_total(dy))


def _fused_slopes(
    epsilon: float,
    x: tf.Tensor,
    dy: tf.Tensor,
    mean: tf.Tensor,
    variance: tf.Tensor,
) -> Tensors:
    """Compute what `_plain_slopes` does with TensorFlow's fused kernel, for x (rows, channels)."""
    _, dgamma, dbeta, *_ = tf.raw_ops.FusedBatchNormGradV3(
        y_backprop=image(dy),
        x=image(x),
        scale=tf.ones_like(mean),  # the two do not depend on it
        reserve_space_1=mean,
        reserve_space_2=variance,
        reserve_space_3=[0.0],
        epsilon=epsilon,
        is_training=False,
    )
    return dgamma, dbeta


def _is_small(mean: tf.Tensor | np.ndarray, inverse: tf.Tensor | np.ndarray) -> tf.Tensor | bool:
    """Return whether the mean may be folded into the offset, which saves a pass over memory.

    Where the mean is large beside the standard deviation 1 / inverse, the sum would cancel.
    """
    small = abs(mean * inverse) < SMALL_MEAN
    return small.all() if isinstance(small, np.ndarray) else tf.reduce_all(small)


def _folded(x: tf.Tensor, mean: tf.Tensor, scale: tf.Tensor, beta: tf.Tensor) -> tf.Tensor:
    return x * scale + (beta - mean * scale)


def _centred(x: tf.Tensor, mean: tf.Tensor, scale: tf.Tensor, beta: tf.Tensor) -> tf.Tensor:
    return (x - mean) * scale + beta
