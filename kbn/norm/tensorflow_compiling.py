"""When compiling a shape with XLA pays on TensorFlow."""

from __future__ import annotations

import math

import tensorflow as tf

LARGE = 2**17  # elements from which a compiled pass is faster
USUAL = 2**7  # examples in a mini-batch, as a rule at most
# A shape is compiled after so many elements. By then its plain passes have lost about as much time
# as compiling takes, a quarter of a second, so that few trainings lose more than twice that (the
# ski-rental problem; Karlin et al., Competitive snoopy caching, Algorithmica 3, 1988). For each
# element they lose 0.2 to 2.6 ns on a CPU, most in the smallest of these shapes; measured by
# `python -m benchmarks.compiling`.
RENT = 2**28
TALL = 2**18  # rows from which plain sums are not exact, so that the shape is compiled at once


def on_cpu() -> bool:
    """Return whether TensorFlow has no device but CPUs."""
    return all(device.device_type == "CPU" for device in tf.config.list_logical_devices())


def may_be_large(shape: tf.TensorShape, large: int = LARGE) -> bool:
    """Return whether tensors of this shape may have more than `large` elements.

    Where the batch's size is unknown, it is taken for that of a usual mini-batch.
    """
    batch, rest = shape[0], shape[1:]
    if not rest.is_fully_defined():
        return True
    example = math.prod(rest)
    return example * USUAL >= large if batch is None else batch * example > large


def is_hot(x: tf.Tensor) -> tf.Tensor:
    """Return 1 if the shape of x is worth compiling, else 0, and count the elements of this x.

    The counts {shape: elements so far} are in a hash table of the process, found by its name, and
    not in a variable, which would be saved, restored, or taken for a weight.
    """
    table = tf.raw_ops.MutableHashTableV2(
        key_dtype=tf.int64, value_dtype=tf.int64, shared_name=f"kbn_elements_{x.dtype.name}"
    )
    elements = tf.size(x, tf.int64)
    key = tf.bitcast(tf.shape(x)[:2], tf.int64)  # both lengths in one number
    before = tf.raw_ops.LookupTableFindV2(
        table_handle=table, keys=key, default_value=tf.zeros((), tf.int64)
    )
    tf.raw_ops.LookupTableInsertV2(table_handle=table, keys=key, values=before + elements)
    hot = (before >= RENT) | (tf.shape(x)[0] >= TALL)
    return tf.cast((elements >= LARGE) & hot, tf.int32)
