"""The forward and backward passes of training on TensorFlow, with the gradient written by hand.

Tensors have the shapes of tensorflow_views.py; gamma and beta are `(channels,)`.
`train_small`, `train_compilable` and `train_large` return y, of x's shape and type, the mean and
(biased) variance, `(channels,)` each, and the number of elements of a channel, a scalar.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from kbn.norm._tensorflow import not_inlined
from kbn.norm.kernels import Step
from kbn.norm.tensorflow_compiling import is_hot
from kbn.norm.tensorflow_sums import Mean, count_of, first, long_mean, plain_mean, sample_mean
from kbn.norm.tensorflow_tracing import Tensors, case, differentiated_as
from kbn.norm.tensorflow_views import MATRIX, broadcastable, flat, image

MeanOf = Callable[[tf.Tensor, tf.DType], Mean]


def train_small(
    epsilon: float, mean_of: MeanOf, x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor
) -> Tensors:
    """Normalize with as few operations as are exact."""
    mean = mean_of(x, gamma.dtype)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def normalized(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tuple[Tensors, Step]:
        z = tf.cast(x, gamma.dtype)
        guess = first(z)
        centred = z - guess
        residual = mean(centred)
        centred -= residual
        variance = mean(tf.square(centred))
        inverse = tf.math.rsqrt(variance + epsilon)
        scale = broadcastable(gamma, z) * inverse
        y = centred * scale + broadcastable(beta, z)

        def gradient(dy: tf.Tensor, *_: tf.Tensor) -> Tensors:
            g = tf.cast(dy, gamma.dtype)
            offset, slope = mean(g), mean(g * centred) * inverse
            dx = (g - offset) * scale - centred * (scale * slope * inverse)
            return tf.cast(dx, x.dtype), *flat(slope * mean.count, offset * mean.count)

        whole = guess + (residual + mean(centred))  # the last term is what rounding left out
        return (tf.cast(y, x.dtype), *flat(whole, variance)), gradient

    return *normalized(x, gamma, beta), mean.count


def train_compilable(epsilon: float, x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> Tensors:
    """Normalize with the sums that suit XLA."""
    mean = long_mean(x, gamma.dtype)
    forward = functools.partial(_forward, mean, epsilon)
    backward = functools.partial(_backward, mean, epsilon)
    return *_differentiable(forward, backward, x, gamma, beta), mean.count


def train_large(epsilon: float, x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> Tensors:
    """Normalize tensors that may be large: with compiled passes where that pays."""
    hot = is_hot(x)

    def compiled(step: Step) -> Step:
        @tf.function(autograph=False, jit_compile=True)  # type: ignore[untyped-decorator]
        def run(x: tf.Tensor, *rest: tf.Tensor) -> Tensors:
            return step(long_mean(x, gamma.dtype), epsilon, x, *rest)

        return lambda *tensors: run(*tensors)  # noqa: PLW0108  `tf.function` would unwrap `run`

    def plain(step: Step, fused: Step) -> Step:
        def formula(x: tf.Tensor, *rest: tf.Tensor) -> Tensors:
            return step(plain_mean(x, gamma.dtype), epsilon, x, *rest)

        if x.shape.rank != MATRIX or gamma.dtype != tf.float32:
            return formula
        run = functools.partial(differentiated_as, formula, functools.partial(fused, epsilon))
        call = not_inlined(run)  # or TensorFlow would not optimize it within the branch
        return lambda *tensors: call(*tensors)  # noqa: PLW0108  as above

    forward = functools.partial(case, hot, (plain(_forward, _fused_forward), compiled(_forward)))
    backward = functools.partial(
        case, hot, (plain(_backward, _fused_backward), compiled(_backward))
    )
    return *_differentiable(forward, backward, x, gamma, beta), count_of(x, gamma.dtype)


def _differentiable(
    forward: Step, backward: Step, x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor
) -> Tensors:
    """Return y, mean and variance of the forward pass, with the backward pass as gradient."""

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def normalized(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tuple[Tensors, Step]:
        y, shift, residual, variance = forward(x, gamma, beta)

        def gradient(dy: tf.Tensor, *_: tf.Tensor) -> Tensors:
            return tuple(backward(x, dy, gamma, shift, residual, variance))

        return (y, *flat(shift + residual, variance)), gradient

    return normalized(x, gamma, beta)


def _forward(
    mean: Mean, epsilon: float, x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor
) -> Tensors:
    """Return y, the mean in two parts (see `kbn.norm.moments.Moments`) and the variance."""
    z = tf.cast(x, gamma.dtype)
    guess = first(z)
    shift = tf.stop_gradient(guess + sample_mean(z, guess))
    centred = z - shift
    residual = mean(centred)
    # the residual is a few deviations at most, so that subtracting its square cancels little
    variance = tf.nn.relu(mean(tf.square(centred)) - tf.square(residual))
    scale = broadcastable(gamma, z) * tf.math.rsqrt(variance + epsilon)
    y = centred * scale + (broadcastable(beta, z) - residual * scale)
    return tf.cast(y, x.dtype), shift, residual, variance


def _backward(
    mean: Mean,
    epsilon: float,
    x: tf.Tensor,
    dy: tf.Tensor,
    gamma: tf.Tensor,
    shift: tf.Tensor,
    residual: tf.Tensor,
    variance: tf.Tensor,
) -> Tensors:
    """Return the gradients for x, gamma and beta.

    dx = gamma / sigma * (dy - mean(dy) - z_norm * mean(dy * z_norm))

    Source: the chain rule of Ioffe and Szegedy (arXiv:1502.03167), section 3.
    """
    g = tf.cast(dy, gamma.dtype)
    inverse = tf.math.rsqrt(variance + epsilon)
    centred = tf.cast(x, gamma.dtype) - shift
    offset = mean(g)
    slope = (mean(g * centred) - residual * offset) * inverse
    scale = broadcastable(gamma, g) * inverse
    steep = scale * slope * inverse
    dx = g * scale - centred * steep + (residual * steep - offset * scale)
    return tf.cast(dx, x.dtype), *flat(slope * mean.count, offset * mean.count)


def _fused_forward(epsilon: float, x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> Tensors:
    """Compute what `_forward` does with TensorFlow's fused kernel, for x (rows, channels).

    The kernel is exact near a mean of zero only, hence the shift.
    """
    z = tf.cast(x, gamma.dtype)
    guess = first(z)
    shift = guess + sample_mean(z, guess)
    y, residual, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=image(z - shift), scale=gamma, offset=beta, mean=[], variance=[], epsilon=epsilon
    )
    count = count_of(x, gamma.dtype)
    variance *= (count - 1) / count  # the kernel returns the unbiased one
    return tf.cast(tf.reshape(y, tf.shape(x)), x.dtype), shift, residual[None], variance[None]


def _fused_backward(
    epsilon: float,
    x: tf.Tensor,
    dy: tf.Tensor,
    gamma: tf.Tensor,
    shift: tf.Tensor,
    residual: tf.Tensor,
    variance: tf.Tensor,
) -> Tensors:
    """Compute what `_backward` does with TensorFlow's fused kernel, for x (rows, channels)."""
    dx, dgamma, dbeta, *_ = tf.raw_ops.FusedBatchNormGradV3(
        y_backprop=image(tf.cast(dy, gamma.dtype)),
        x=image(tf.cast(x, gamma.dtype) - shift),
        scale=gamma,
        reserve_space_1=residual[0],
        reserve_space_2=variance[0],
        reserve_space_3=[0.0],
        epsilon=epsilon,
    )
    return tf.cast(tf.reshape(dx, tf.shape(x)), x.dtype), dgamma, dbeta
