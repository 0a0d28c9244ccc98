"""Batch normalization on torch by a forward and a backward pass of our own.

Eager torch makes a pass over memory of every operation, and its automatic gradient some twenty
more. Here the gradient is written out, sums go over two axes at most, and results are written where
memory is already in use: new memory costs as much as a pass over old.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.autograd import forward_ad

from kbn.norm.moments import SMALL_MEAN


def serves() -> bool:
    """Whether `normalize` can do it: not in torch.compile, torch.func or forward mode."""
    transformed = torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
    return not (torch.compiler.is_compiling() or transformed)


def normalize(x: Any, gamma: Any, beta: Any, epsilon: float, axis: int) -> tuple[Any, ...]:
    """The training: gamma * (x - mu) / sqrt(var + epsilon) + beta.

    Arguments and results are those of tensorflow_kernels.py, the axis being any.
    """
    axis %= x.ndim
    shape = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
    y, mean, variance = _Normalize.apply(
        x.reshape(shape), gamma.reshape(1, -1, 1), beta.reshape(1, -1, 1), epsilon
    )
    count = x.numel() // gamma.numel()
    return y.reshape(x.shape), mean.reshape(-1), variance.reshape(-1), count


def affine(
    x: Any, mean: Any, variance: Any, gamma: Any, beta: Any, epsilon: float, axis: int
) -> Any:
    """The inference; arguments and result are those of tensorflow_kernels.py."""
    inverse = torch.rsqrt(variance + epsilon)
    scale = gamma * inverse
    shape = (-1,) + (1,) * (x.ndim - 1 - axis % x.ndim)
    # a GPU would have to be waited for, and the others know no values
    if x.device.type == "cpu" and serves() and (mean * inverse).abs().max() < SMALL_MEAN:
        offset = torch.addcmul(beta, mean, scale, value=-1)
        if len(shape) == 1:
            return torch.addcmul(offset, x, scale)
        return (x * scale.reshape(shape)).add_(offset.reshape(shape))
    return (x - mean.reshape(shape)).mul_(scale.reshape(shape)).add_(beta.reshape(shape))


class _Normalize(torch.autograd.Function):
    """x (n, channels, m), gamma, beta (1, channels, 1), epsilon -> y, mean, variance."""

    @staticmethod
    def forward(ctx: Any, x: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
        count = max(x.numel() // gamma.numel(), 1)
        guess = _total(x[:1, :, :1], gamma.dtype)
        centred = x - guess
        shift = torch.add(guess, _total(centred), alpha=1 / count)
        torch.sub(x, shift, out=centred)
        residual, variance, squares = _moments(centred, count)
        scale = gamma * torch.rsqrt(variance + epsilon)
        y = torch.mul(centred, scale, out=squares).add_(
            torch.addcmul(beta, residual, scale, value=-1)
        )
        mean = shift + residual
        ctx.save_for_backward(x, gamma, shift, residual, variance, centred)
        ctx.mark_non_differentiable(mean, variance)
        ctx.epsilon = epsilon
        return y.to(x.dtype), mean, variance

    @staticmethod
    def backward(ctx: Any, dy: Any, *_: Any) -> tuple[Any, ...]:
        """For x: gamma / sigma * (dy - mean(dy) - z_norm * mean(dy * z_norm))."""
        x, gamma, shift, residual, variance, centred = ctx.saved_tensors
        count = max(x.numel() // gamma.numel(), 1)
        if torch.is_grad_enabled():  # this gradient is differentiated, and so through the moments
            centred = x - shift
            residual, variance, _ = _moments(centred, count)
        inverse = torch.rsqrt(variance + ctx.epsilon)
        scale = gamma * inverse
        dbeta = _total(dy, gamma.dtype)
        dgamma = (_total(dy * centred) - residual * dbeta) * inverse
        slope = scale * inverse * dgamma / count
        offset = residual * slope - scale * dbeta / count
        dx = (dy * scale).sub_(centred * slope).add_(offset)
        return dx.to(x.dtype), dgamma, dbeta, None


def _total(x: Any, dtype: Any = None) -> Any:
    """Sum per channel, with length one along the axes that were reduced."""
    return x.sum((0, 2), keepdim=True, dtype=dtype)


def _moments(centred: Any, count: int) -> tuple[Any, Any, Any]:
    """Mean and variance of what is nearly centred, and its squares."""
    residual = _total(centred) / count
    squares = centred * centred
    variance = torch.addcmul(_total(squares) / count, residual, residual, value=-1)
    return residual, torch.relu(variance), squares
