"""Sums and means over the elements of each channel on TensorFlow.

Tensors have the shapes of tensorflow_views.py.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import tensorflow as tf

from kbn.norm.tensorflow_views import MATRIX

SAMPLE = 128  # elements of a channel, at least, that the first estimate of its mean is taken from
PARTS = 8  # slices that a compiled sum adds first
GROUP = 512  # rows that a compiled sum adds one after the other


def first(x: tf.Tensor) -> tf.Tensor:
    """Return the first element of each channel, without gradient; 0 for an empty batch.

    Subtracting it makes the variance of a constant channel exactly 0.
    """
    one = x[:1] if x.shape.rank == MATRIX else x[:1, :, :1]
    return tf.stop_gradient(tf.reduce_sum(one, 0, keepdims=True))


@dataclasses.dataclass
class Mean:
    """Mean per channel, with length 1 along the other axes.

    Attributes:
        total: computes the sum per channel.
        count: the number of elements of a channel, a scalar.
    """

    total: Callable[[tf.Tensor], tf.Tensor]
    count: tf.Tensor

    @functools.cached_property
    def divisor(self) -> tf.Tensor:
        return tf.maximum(self.count, 1)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return self.total(x) / self.divisor


def plain_mean(x: tf.Tensor, dtype: tf.DType) -> Mean:
    """Make the mean with the shortest start."""
    return Mean(plain_total, count_of(x, dtype))


def matrix_mean(x: tf.Tensor, dtype: tf.DType) -> Mean:
    """Make the mean by a matrix product, the fastest for some hundred rows in a plain graph.

    Every eighth row goes into the same sum, because a float32 sum of thousands of terms, one after
    the other, is not exact.
    """
    members = tf.one_hot(tf.range(tf.shape(x)[0]) % PARTS, PARTS, axis=0, dtype=dtype)
    return Mean(lambda x: plain_total(members @ x), count_of(x, dtype))


def long_mean(x: tf.Tensor, dtype: tf.DType) -> Mean:
    """Make the mean that is fastest when XLA compiles it."""
    return Mean(_long_total, count_of(x, dtype))


def sample_mean(x: tf.Tensor, guess: tf.Tensor) -> tf.Tensor:
    """Estimate the mean of x - guess from evenly spaced elements.

    The step between them is odd because the widths of images are even: an even step would see only
    some of an image's columns.
    """
    shape, axis = tf.shape(x), 0 if x.shape.rank == MATRIX else 2
    count = shape[0] if axis == 0 else shape[0] * shape[axis]
    # not a slice, which TensorFlow copies element by element
    some = tf.gather(x, tf.range(0, shape[axis], count // SAMPLE | 1), axis=axis)
    return plain_mean(some, x.dtype)(some - guess)


def count_of(x: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Count the elements of a channel, as a scalar of the given type."""
    shape = tf.shape(x)
    return tf.cast(shape[0] if x.shape.rank == MATRIX else shape[0] * shape[2], dtype)


def plain_total(x: tf.Tensor) -> tf.Tensor:
    """Sum over each channel with TensorFlow's own operation."""
    if x.shape.rank > MATRIX:  # one axis at a time: TensorFlow is slow with two
        x = tf.reduce_sum(x, 2, keepdims=True)
    return tf.reduce_sum(x, 0, keepdims=True)


def _long_total(x: tf.Tensor) -> tf.Tensor:
    """Sum over each channel exactly: slices first, then groups of rows, then the rest.

    On a CPU, XLA turns a sum of slices into one fast loop, but not a product under a sum over rows.
    """
    rows, *rest = tf.unstack(tf.shape(x), x.shape.rank)
    height = rows // PARTS
    top, bottom = tf.split(x, tf.stack([PARTS * height, rows % PARTS]))
    left = tf.add_n(tf.unstack(tf.reshape(top, tf.stack([PARTS, height, *rest])), PARTS))
    if x.shape.rank > MATRIX:
        return plain_total(left) + plain_total(bottom)
    groups = height // GROUP
    top, middle = tf.split(left, tf.stack([GROUP * groups, height % GROUP]))
    sums = tf.reduce_sum(tf.reshape(top, (groups, GROUP, *rest)), 1)
    # XLA would merge a sum of sums into one long sum: the second is a matrix product instead
    return tf.ones((1, groups), x.dtype) @ sums + plain_total(middle) + plain_total(bottom)
