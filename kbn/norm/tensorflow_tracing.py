"""Functions on TensorFlow that are traced once, chosen at run time, or given another's gradient."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kbn.norm._tensorflow import inside_xla
from kbn.norm.kernels import Step

Tensors = tuple[tf.Tensor, ...]


def shared(step: Step, *options: Any) -> Step:
    """Return `step(*options, *tensors)`, traced once for all tensors of the same types and ranks.

    Tracing is most of what a short training costs; layers of any width share one trace. A number
    counts as a tensor of the first one's type.
    """

    def run(first: tf.Tensor, *others: tf.Tensor | float) -> Any:
        numbers_cast = (tf.cast(o, first.dtype) if isinstance(o, float) else o for o in others)
        tensors = (first, *numbers_cast)
        if inside_xla():  # which compiles everything at once
            return step(*options, *tensors)
        types = tuple((tensor.dtype, tensor.shape.rank) for tensor in tensors)
        return traced(step, options, types)(*tensors)

    return run


@functools.cache
def traced(step: Step, options: tuple[Any, ...], types: tuple[tuple[tf.DType, int], ...]) -> Step:
    """Trace `step(*options, *tensors)` for tensors of the given types and ranks."""
    specs = [tf.TensorSpec([None] * rank, dtype) for dtype, rank in types]
    with tf.init_scope():
        call = functools.partial(step, *options)
        return tf.function(call, input_signature=specs, autograph=False).get_concrete_function()


def case(index: tf.Tensor, branches: Sequence[Step], *tensors: tf.Tensor) -> Tensors:
    """Return `branches[index](*tensors)`, without a gradient of its own.

    `tf.switch_case` would be rewritten in the graph of every layer that calls it, which makes the
    first step slower.
    """
    types = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors]
    functions = [
        tf.function(branch, input_signature=types, autograph=False).get_concrete_function()
        for branch in branches
    ]
    return tf.raw_ops.StatelessCase(
        branch_index=index,
        input=tensors,
        Tout=[tensor.dtype for tensor in functions[0].outputs],
        branches=functions,
        output_shapes=[tensor.shape for tensor in functions[0].outputs],
    )


def differentiated_as(formula: Step, fused: Step, *tensors: tf.Tensor) -> Tensors:
    """Return `fused(*tensors)` with the gradients of `formula`.

    TensorFlow's fused kernels define no gradient for the statistics that they return; the formula
    that computes the same does.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def run(*tensors: tf.Tensor) -> tuple[Tensors, Step]:
        def gradient(*upstream: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                outputs = formula(*tensors)
            return tape.gradient(outputs, tensors, upstream)

        return fused(*tensors), gradient

    return run(*tensors)
