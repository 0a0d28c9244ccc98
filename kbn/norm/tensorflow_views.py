"""The shapes in which the passes on TensorFlow see their tensors.

x is a matrix `(rows, channels)` or, where the channels are not on the last axis, of shape
`(outer, channels, inner)`. Statistics have length 1 along the axes that were reduced.
"""

from __future__ import annotations

import tensorflow as tf

MATRIX = 2  # the rank of (rows, channels)


def viewed(x: tf.Tensor, axis: int, channels: int) -> tf.Tensor:
    """Reshape x (..., channels, ...) to (rows, channels) or (outer, channels, inner)."""
    rank, axis = x.shape.rank, axis % x.shape.rank
    if axis == rank - 1:
        return x if rank == MATRIX else tf.reshape(x, (-1, channels))
    shape = tf.shape(x)
    outer, inner = (tf.reduce_prod(lengths) for lengths in (shape[:axis], shape[axis + 1 :]))
    return tf.reshape(x, (outer, channels, inner))


def shaped_like(y: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Reshape a viewed y back to the shape of x (..., channels, ...)."""
    if x.shape.rank == MATRIX == y.shape.rank:
        y.set_shape(x.shape)
        return y
    return tf.reshape(y, tf.shape(x))


def flat(*statistics: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Reshape statistics with axes of length 1 to (channels,)."""
    return tuple(tf.reshape(statistic, (-1,)) for statistic in statistics)


def broadcastable(vector: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Reshape a vector (channels,) to broadcast against a viewed x."""
    return vector if x.shape.rank == MATRIX else vector[:, None]


def image(x: tf.Tensor) -> tf.Tensor:
    """Reshape (rows, channels) to the (1, 1, rows, channels) of TensorFlow's fused kernels."""
    return x[None, None]
