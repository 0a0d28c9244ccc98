"""Batch normalization on TensorFlow by a forward and a backward pass of our own.

Without XLA TensorFlow makes a pass over memory of every operation in the formula, and its automatic
gradient some twenty more. Here the gradient is written out. Both passes are functions that are
traced once per process and called by every layer, since tracing is most of what a short training
takes. For a shape that has been computed so often that it pays, XLA compiles them.

The passes see x as a matrix (rows, channels) or, where the channels are not on the last axis, as
(outer, channels, inner). Means have the length one along the axes that were reduced.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import control_flow_util

from kbn.norm.moments import SMALL_MEAN, per_channel
from kbn.norm.tensorflow_sums import (
    MATRIX,
    Mean,
    count_of,
    first,
    long_mean,
    matrix_mean,
    plain_mean,
    plain_total,
    sample_mean,
)

LARGE = 2**17  # elements from which a compiled pass is faster
HUGE = 2**19  # elements from which TensorFlow's own kernel is the faster inference
MANY = 2**10  # examples without inner axes from which XLA's long sums are faster
USUAL = 2**7  # examples of a mini-batch, at most as a rule
# Elements of a shape after which it is compiled: by then its plain passes have lost about as much
# time as compiling takes, .25 s, so that no training loses more than twice that (ski rental;
# Karlin et al., Competitive snoopy caching, Algorithmica 3, 1988). They lose .5 ns for each element
# on a CPU for which TensorFlow uses oneDNN, 3 ns on others.
RENT = 2**27
TALL = 2**18  # rows whose plain sums are not exact, so that they are compiled at once

Tensors = tuple[Any, ...]
Step = Callable[..., Any]
MeanOf = Callable[[Any, Any], Mean]


def serves() -> bool:
    """Whether `normalize` can do it: always."""
    return True


def normalize(x: Any, gamma: Any, beta: Any, epsilon: float, axis: int) -> Tensors:
    """The training: gamma * (x - mu) / sqrt(var + epsilon) + beta.

    Args:
        x: float tensor of any rank; half precision is computed in float32.
        gamma: (channels,), of float32 at least.
        beta: (channels,), of gamma's type.
        epsilon: >= 0.
        axis: of the channels.

    Returns:
        The normalized tensor, of x's shape and type; mu and (biased) var, of gamma's, without a
        gradient, 0 for an empty batch; the number of elements of a channel, a scalar of gamma's
        type.

    Source: Ioffe and Szegedy, Batch Normalization, ICML 2015 (arXiv:1502.03167), section 3.
    """
    view = _viewed(x, axis, gamma.shape[0])
    large, compiles = _may_be_large(x.shape), _inside_xla()
    if large and not compiles and _on_cpu():
        step = shared(_train_large, epsilon)
    elif large and compiles and (x.shape.rank > MATRIX or (x.shape[0] or 0) >= MANY):
        step = shared(_train, epsilon)
    else:
        rows = x.shape.rank > MATRIX == view.shape.rank and not compiles  # several an example
        step = shared(_train_small, epsilon, matrix_mean if rows else plain_mean)
    y, mean, variance, count = step(view, gamma, beta)
    return _like(y, x), mean, variance, count


def affine(
    x: Any, mean: Any, variance: Any, gamma: Any, beta: Any, epsilon: float, axis: int
) -> Any:
    """The inference: gamma * (x - mean) / sqrt(variance + epsilon) + beta.

    The vectors are of shape (channels,), all tensors of one type.
    """
    if not _may_be_large(x.shape, HUGE):
        inverse = tf.math.rsqrt(variance + epsilon)
        vectors = [mean, gamma * inverse, beta]
        if axis % x.shape.rank != x.shape.rank - 1:
            vectors = per_channel(x, axis, *vectors)
        if tf.executing_eagerly() and _is_small(mean.numpy(), inverse.numpy()):
            return _folded(x, *vectors)
        return _centred(x, *vectors)
    view = _viewed(x, axis, gamma.shape[0])
    return _like(shared(_affine, epsilon)(view, mean, variance, gamma, beta), x)


def all_reduce(x: Any) -> Any:
    """The sum of x over all replicas of the strategy that runs."""
    replica = tf.distribute.get_replica_context()
    return x if replica is None else replica.all_reduce(tf.distribute.ReduceOp.SUM, x)


def shared(step: Step, *options: Any) -> Step:
    """step(*options, *tensors), traced once for all tensors of the same types and ranks."""

    def run(*tensors: Any) -> Any:
        if _inside_xla():  # which compiles all in one
            return step(*options, *tensors)
        types = tuple((tensor.dtype, tensor.shape.rank) for tensor in tensors)
        return _traced(step, options, types)(*tensors)

    return run


@functools.cache
def _traced(step: Step, options: Tensors, types: tuple[tuple[Any, int], ...]) -> Any:
    specs = [tf.TensorSpec([None] * rank, dtype) for dtype, rank in types]
    with tf.init_scope():
        call = functools.partial(step, *options)
        return tf.function(call, input_signature=specs, autograph=False).get_concrete_function()


def _inside_xla() -> bool:
    # private: TensorFlow does not say that `jit_compile=True` compiles what is traced, where a
    # table of counts cannot be compiled and a branch cannot be chosen later
    return control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def _on_cpu() -> bool:
    return all(device.device_type == "CPU" for device in tf.config.list_logical_devices())


def _may_be_large(shape: tf.TensorShape, large: int = LARGE) -> bool:
    """Whether tensors of this shape may have as many elements, in a mini-batch of a usual size."""
    batch, rest = shape[0], shape[1:]
    if not rest.is_fully_defined():
        return True
    example = math.prod(rest)
    return example * USUAL >= large if batch is None else batch * example > large


def _viewed(x: Any, axis: int, channels: int) -> Any:
    """View x as the passes see it."""
    rank, axis = x.shape.rank, axis % x.shape.rank
    if axis == rank - 1:
        return x if rank == MATRIX else tf.reshape(x, (-1, channels))
    shape = tf.shape(x)
    outer, inner = (tf.reduce_prod(lengths) for lengths in (shape[:axis], shape[axis + 1 :]))
    return tf.reshape(x, (outer, channels, inner))


def _like(y: Any, x: Any) -> Any:
    """Give y the shape of x."""
    if x.shape.rank == MATRIX == y.shape.rank:
        y.set_shape(x.shape)
        return y
    return tf.reshape(y, tf.shape(x))


def _train_small(epsilon: float, mean_of: MeanOf, x: Any, gamma: Any, beta: Any) -> Tensors:
    """y, mean, variance and count, by as few operations as are exact."""
    mean = mean_of(x, gamma.dtype)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def normalized(x: Any, gamma: Any, beta: Any) -> tuple[Tensors, Step]:
        z = tf.cast(x, gamma.dtype)
        guess = first(z)
        centred = z - guess
        residual = mean(centred)
        centred -= residual
        variance = mean(tf.square(centred))
        inverse = tf.math.rsqrt(variance + epsilon)
        scale = _vector(gamma, z) * inverse
        y = centred * scale + _vector(beta, z)

        def gradient(dy: Any, *_: Any) -> Tensors:
            g = tf.cast(dy, gamma.dtype)
            offset, slope = mean(g), mean(g * centred) * inverse
            dx = (g - offset) * scale - centred * (scale * slope * inverse)
            return tf.cast(dx, x.dtype), *_by_channel(slope * mean.count, offset * mean.count)

        whole = guess + (residual + mean(centred))  # which has what rounding left out
        return (tf.cast(y, x.dtype), *_by_channel(whole, variance)), gradient

    return *normalized(x, gamma, beta), mean.count


def _train(epsilon: float, x: Any, gamma: Any, beta: Any) -> Tensors:
    """The same by the sums that suit XLA."""
    mean = long_mean(x, gamma.dtype)
    forward = functools.partial(_forward, mean, epsilon)
    backward = functools.partial(_backward, mean, epsilon)
    return *_differentiable(forward, backward, x, gamma, beta), mean.count


def _train_large(epsilon: float, x: Any, gamma: Any, beta: Any) -> Tensors:
    """The same for tensors that may be large: by compiled passes where that pays."""
    hot = _is_hot(x)

    def compiled(step: Step) -> Step:
        @tf.function(autograph=False, jit_compile=True)  # type: ignore[untyped-decorator]
        def run(x: Any, *rest: Any) -> Tensors:
            return step(long_mean(x, gamma.dtype), epsilon, x, *rest)

        return lambda *tensors: run(*tensors)  # noqa: PLW0108  `tf.function` would take it apart

    def plain(step: Step, fused: Step) -> Step:
        def formula(x: Any, *rest: Any) -> Tensors:
            return step(plain_mean(x, gamma.dtype), epsilon, x, *rest)

        if x.shape.rank != MATRIX or gamma.dtype != tf.float32:
            return formula
        run = functools.partial(_differentiated_as, formula, functools.partial(fused, epsilon))
        # a function of its own, or TensorFlow would not optimize it within the branch
        call = tf.function(run, autograph=False, experimental_attributes={"_noinline": True})
        return lambda *tensors: call(*tensors)  # noqa: PLW0108  as above

    forward = functools.partial(_case, hot, (plain(_forward, _fused_forward), compiled(_forward)))
    backward = functools.partial(
        _case, hot, (plain(_backward, _fused_backward), compiled(_backward))
    )
    return *_differentiable(forward, backward, x, gamma, beta), count_of(x, gamma.dtype)


def _case(index: Any, branches: Sequence[Step], *tensors: Any) -> Tensors:
    """branches[index](*tensors), without a gradient of its own.

    `tf.switch_case` would be rewritten in the graph of every layer that comes to it, which then
    takes longer to begin.
    """
    types = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors]
    traced = [
        tf.function(branch, input_signature=types, autograph=False).get_concrete_function()
        for branch in branches
    ]
    return tf.raw_ops.StatelessCase(
        branch_index=index,
        input=tensors,
        Tout=[tensor.dtype for tensor in traced[0].outputs],
        branches=traced,
        output_shapes=[tensor.shape for tensor in traced[0].outputs],
    )


def _differentiable(forward: Step, backward: Step, x: Any, gamma: Any, beta: Any) -> Tensors:
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def normalized(x: Any, gamma: Any, beta: Any) -> tuple[Tensors, Step]:
        y, shift, residual, variance = forward(x, gamma, beta)

        def gradient(dy: Any, *_: Any) -> Tensors:
            return tuple(backward(x, dy, gamma, shift, residual, variance))

        return (y, *_by_channel(shift + residual, variance)), gradient

    return normalized(x, gamma, beta)


def _forward(mean: Mean, epsilon: float, x: Any, gamma: Any, beta: Any) -> Tensors:
    """The normalized x, the mean in two parts (as in moments.py) and the variance."""
    z = tf.cast(x, gamma.dtype)
    guess = first(z)
    shift = tf.stop_gradient(guess + sample_mean(z, guess))
    centred = z - shift
    residual = mean(centred)
    # the residual is some deviations at most: here its square cancels little
    variance = tf.nn.relu(mean(tf.square(centred)) - tf.square(residual))
    scale = _vector(gamma, z) * tf.math.rsqrt(variance + epsilon)
    y = centred * scale + (_vector(beta, z) - residual * scale)
    return tf.cast(y, x.dtype), shift, residual, variance


def _backward(
    mean: Mean,
    epsilon: float,
    x: Any,
    dy: Any,
    gamma: Any,
    shift: Any,
    residual: Any,
    variance: Any,
) -> Tensors:
    """Gradients for x, gamma and beta.

    dx = gamma / sigma * (dy - mean(dy) - z_norm * mean(dy * z_norm)): the chain rule of section 3.
    """
    g = tf.cast(dy, gamma.dtype)
    inverse = tf.math.rsqrt(variance + epsilon)
    centred = tf.cast(x, gamma.dtype) - shift
    offset = mean(g)
    slope = (mean(g * centred) - residual * offset) * inverse
    scale = _vector(gamma, g) * inverse
    steep = scale * slope * inverse
    dx = g * scale - centred * steep + (residual * steep - offset * scale)
    return tf.cast(dx, x.dtype), *_by_channel(slope * mean.count, offset * mean.count)


def _differentiated_as(formula: Step, fused: Step, *tensors: Any) -> Tensors:
    """fused(*tensors), with the gradients of the formula, which reach the statistics too."""

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def run(*tensors: Any) -> tuple[Tensors, Step]:
        def gradient(*upstream: Any) -> list[Any]:
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                outputs = formula(*tensors)
            return tape.gradient(outputs, tensors, upstream)

        return fused(*tensors), gradient

    return run(*tensors)


def _fused_forward(epsilon: float, x: Any, gamma: Any, beta: Any) -> Tensors:
    """As `_forward`, by TensorFlow's own kernel, which is exact near a mean of zero."""
    z = tf.cast(x, gamma.dtype)
    guess = first(z)
    shift = guess + sample_mean(z, guess)
    y, residual, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=_image(z - shift), scale=gamma, offset=beta, mean=[], variance=[], epsilon=epsilon
    )
    count = count_of(x, gamma.dtype)
    variance *= (count - 1) / count  # the kernel's is the population's
    return tf.cast(tf.reshape(y, tf.shape(x)), x.dtype), shift, residual[None], variance[None]


def _fused_backward(
    epsilon: float,
    x: Any,
    dy: Any,
    gamma: Any,
    shift: Any,
    residual: Any,
    variance: Any,
) -> Tensors:
    dx, dgamma, dbeta, *_ = tf.raw_ops.FusedBatchNormGradV3(
        y_backprop=_image(tf.cast(dy, gamma.dtype)),
        x=_image(tf.cast(x, gamma.dtype) - shift),
        scale=gamma,
        reserve_space_1=residual[0],
        reserve_space_2=variance[0],
        reserve_space_3=[0.0],
        epsilon=epsilon,
    )
    return tf.cast(tf.reshape(dx, tf.shape(x)), x.dtype), dgamma, dbeta


def _affine(epsilon: float, x: Any, average: Any, variance: Any, gamma: Any, beta: Any) -> Any:
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def scaled(x: Any, average: Any, variance: Any, gamma: Any, beta: Any) -> tuple[Any, Step]:
        inverse = tf.math.rsqrt(variance + epsilon)
        centre, scale, offset = (_vector(v, x) for v in (average, gamma * inverse, beta))
        fused = x.shape.rank == MATRIX and x.dtype == tf.float32 and not _inside_xla()
        if _inside_xla():
            y = _centred(x, centre, scale, offset)
        elif fused:
            # one pass over memory, exact however large the mean is
            y, *_ = tf.raw_ops.FusedBatchNormV3(
                x=_image(x),
                scale=gamma,
                offset=beta,
                mean=average,
                variance=variance,
                epsilon=epsilon,
                is_training=False,
            )
            y = tf.reshape(y, tf.shape(x))
        else:
            small = tf.cast(_is_small(average, inverse), tf.int32)
            (y,) = _case(small, (_centred, _folded), x, centre, scale, offset)

        def gradient(dy: Any) -> Tensors:
            slopes = functools.partial(_plain_slopes, epsilon)
            if fused:
                quick = functools.partial(_fused_slopes, epsilon)
                # a function of its own, so that its gradient finds what it needs
                run = functools.partial(_differentiated_as, slopes, quick)
                slopes = tf.function(run, autograph=False)
            dx, dgamma, dbeta = slopes(x, dy, average, variance, gamma)
            steep = gamma * inverse
            return dx, -dbeta * steep, dgamma * steep * inverse * -0.5, dgamma, dbeta

        return y, gradient

    return scaled(x, average, variance, gamma, beta)


def _plain_slopes(
    epsilon: float, x: Any, dy: Any, average: Any, variance: Any, gamma: Any
) -> Tensors:
    """The inference's gradients for x, gamma and beta."""
    inverse = tf.math.rsqrt(variance + epsilon)
    centre, scale = (_vector(v, x) for v in (average, gamma * inverse))
    slope = plain_total(dy * (x - centre)) * _vector(inverse, x)
    return dy * scale, *_by_channel(slope, plain_total(dy))


def _fused_slopes(
    epsilon: float, x: Any, dy: Any, average: Any, variance: Any, gamma: Any
) -> Tensors:
    dx, dgamma, dbeta, *_ = tf.raw_ops.FusedBatchNormGradV3(
        y_backprop=_image(dy),
        x=_image(x),
        scale=gamma,
        reserve_space_1=average,
        reserve_space_2=variance,
        reserve_space_3=[0.0],
        epsilon=epsilon,
        is_training=False,
    )
    return tf.reshape(dx, tf.shape(x)), dgamma, dbeta


def _is_small(mean: Any, inverse: Any) -> Any:
    """Whether the mean may go into the offset, which is a pass over memory less.

    Where the mean is large beside the deviation, the sum would cancel.
    """
    small = abs(mean * inverse) < SMALL_MEAN
    return small.all() if isinstance(small, np.ndarray) else tf.reduce_all(small)


def _folded(x: Any, mean: Any, scale: Any, beta: Any) -> Any:
    return x * scale + (beta - mean * scale)


def _centred(x: Any, mean: Any, scale: Any, beta: Any) -> Any:
    return (x - mean) * scale + beta


def _is_hot(x: Any) -> Any:
    """Return 1 where the shape of x is worth compiling, else 0; count this x.

    A table of the process, found by its name, holds {shape: elements so far}: no variable, which
    would be saved, restored, or seen as a weight.
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


def _by_channel(*means: Any) -> Tensors:
    return tuple(tf.reshape(mean, (-1,)) for mean in means)


def _vector(vector: Any, x: Any) -> Any:
    """(channels,), shaped to broadcast against x."""
    return vector if x.shape.rank == MATRIX else vector[:, None]


def _image(x: Any) -> Any:
    """A matrix as TensorFlow's own kernels take it."""
    return x[None, None]
