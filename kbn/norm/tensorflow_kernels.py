"""Batch normalization on TensorFlow: which pass suits which tensors.

Without XLA, TensorFlow makes one pass over memory for each operation of the formula, and its
automatic gradient some twenty more. The passes of tensorflow_training.py and
tensorflow_inference.py have their gradient written by hand. They are functions that are traced once
per process and called by every layer, since tracing is most of what a short training costs. A shape
for which enough has been computed is compiled by XLA (tensorflow_compiling.py).

The functions are those of `kbn.norm.kernels.Kernels`, which documents them.
"""

from __future__ import annotations

import tensorflow as tf

from kbn.norm._tensorflow import inside_xla
from kbn.norm.tensorflow_compiling import may_be_large, on_cpu
from kbn.norm.tensorflow_inference import infer_large, infer_small
from kbn.norm.tensorflow_sums import matrix_mean, plain_mean
from kbn.norm.tensorflow_tracing import Tensors, shared
from kbn.norm.tensorflow_training import train_compilable, train_large, train_small
from kbn.norm.tensorflow_views import MATRIX, shaped_like, viewed

__all__ = ["affine", "all_reduce", "normalize", "serves", "shared"]

HUGE = 2**19  # elements from which TensorFlow's fused kernel is the faster inference
MANY = 2**10  # examples without inner axes from which XLA's long sums are faster


def serves(*_: tf.Tensor) -> bool:
    """Return True: `normalize` works everywhere."""
    return True


def normalize(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float, axis: int
) -> Tensors:
    """Normalize by the batch's statistics."""
    view = viewed(x, axis, gamma.shape[0])
    large, compiles = may_be_large(x.shape), inside_xla()
    if large and not compiles and on_cpu():
        step = shared(train_large, epsilon)
    elif large and compiles and (x.shape.rank > MATRIX or (x.shape[0] or 0) >= MANY):
        step = shared(train_compilable, epsilon)
    else:
        # an example of several rows in a plain graph
        rows = x.shape.rank > MATRIX == view.shape.rank and not compiles
        step = shared(train_small, epsilon, matrix_mean if rows else plain_mean)
    y, mean, variance, count = step(view, gamma, beta)
    return shaped_like(y, x), mean, variance, count


def affine(
    x: tf.Tensor,
    mean: tf.Tensor,
    variance: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    epsilon: float,
    axis: int,
) -> tf.Tensor:
    """Normalize by given statistics."""
    if not may_be_large(x.shape, HUGE):
        return infer_small(x, mean, variance, gamma, beta, epsilon, axis)
    view = viewed(x, axis, gamma.shape[0])
    return shaped_like(shared(infer_large, epsilon)(view, mean, variance, gamma, beta), x)


def all_reduce(x: tf.Tensor) -> tf.Tensor:
    """Sum a tensor over all replicas of the `tf.distribute` strategy that runs."""
    replica = tf.distribute.get_replica_context()
    return x if replica is None else replica.all_reduce(tf.distribute.ReduceOp.SUM, x)
