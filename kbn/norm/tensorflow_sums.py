"""Sums over the elements of each channel, for batch normalization on TensorFlow.

x is a matrix (rows, channels), or (outer, channels, inner) where the channels are not on the last
axis. Each sum has the length one along the axes that were reduced.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

MATRIX = 2  # rank of (rows, channels)
SAMPLE = 128  # elements of a channel, at least, whose mean is the first estimate of the mean
PARTS = 8  # slices that a compiled sum adds first
GROUP = 512  # rows that a compiled sum adds one after the other


def first(x: Any) -> Any:
    """The first element of each channel: less it, a constant channel has no deviation at all."""
    one = x[:1] if x.shape.rank == MATRIX else x[:1, :, :1]
    return tf.stop_gradient(tf.reduce_sum(one, 0, keepdims=True))  # 0 of an empty batch


@dataclasses.dataclass
class Mean:
    """Mean per channel, with length one along the other axes.

    Attributes:
        total: sum per channel.
        count: number of elements of a channel.
    """

    total: Callable[[Any], Any]
    count: Any

    @functools.cached_property
    def divisor(self) -> Any:
        return tf.maximum(self.count, 1)

    def __call__(self, x: Any) -> Any:
        return self.total(x) / self.divisor


def plain_mean(x: Any, dtype: Any) -> Mean:
    """The one that begins soonest."""
    return Mean(plain_total, count_of(x, dtype))


def matrix_mean(x: Any, dtype: Any) -> Mean:
    """By a product of matrices, the fastest sum of some hundred rows in a plain graph.

    Every eighth row goes into the same sum: of thousands of terms, one after the other, float32
    sums are not exact.
    """
    members = tf.one_hot(tf.range(tf.shape(x)[0]) % PARTS, PARTS, axis=0, dtype=dtype)
    return Mean(lambda x: plain_total(members @ x), count_of(x, dtype))


def long_mean(x: Any, dtype: Any) -> Mean:
    """The fastest that XLA compiles."""
    return Mean(_long_total, count_of(x, dtype))


def sample_mean(x: Any, guess: Any) -> Any:
    """Of elements evenly spread; at an odd distance, as widths are even."""
    shape, axis = tf.shape(x), 0 if x.shape.rank == MATRIX else 2
    count = shape[0] if axis == 0 else shape[0] * shape[axis]
    # not a slice, which TensorFlow takes element by element
    some = tf.gather(x, tf.range(0, shape[axis], count // SAMPLE | 1), axis=axis)
    return plain_mean(some, x.dtype)(some - guess)


def count_of(x: Any, dtype: Any) -> Any:
    """Number of elements of a channel."""
    shape = tf.shape(x)
    return tf.cast(shape[0] if x.shape.rank == MATRIX else shape[0] * shape[2], dtype)


def plain_total(x: Any) -> Any:
    """Sum per channel, by the operation made for it."""
    if x.shape.rank > MATRIX:  # one axis at a time: TensorFlow is slow with two
        x = tf.reduce_sum(x, 2, keepdims=True)
    return tf.reduce_sum(x, 0, keepdims=True)


def _long_total(x: Any) -> Any:
    """By adding slices first, and groups of what that leaves, to be exact.

    XLA on a CPU makes one fast loop of a sum of slices, but none of a product under a sum over
    rows.
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
    # a sum of sums would be made one long sum again: the second is a product of matrices
    return tf.ones((1, groups), x.dtype) @ sums + plain_total(middle) + plain_total(bottom)
