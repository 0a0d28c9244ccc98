"""Batch normalization on torch with forward and backward passes written by hand.

Eager torch makes one pass over memory for each operation, and its automatic gradient some twenty
more. Here the gradient is written out, sums run over at most two axes, and results are written to
memory that is already in use, since fresh memory costs as much as another pass. On a GPU, where
starting a kernel costs more than a pass, torch's own kernel does all of it at once.

The functions are those of `kbn.norm.kernels.Kernels`, which documents them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.nn import functional

from kbn.norm._torch import inside_transform
from kbn.norm.kernels import Step
from kbn.norm.moments import SMALL_MEAN


def serves(*tensors: torch.Tensor) -> bool:
    """Return whether torch runs eagerly: not in torch.compile, torch.func or forward mode."""
    if torch.compiler.is_compiling() or inside_transform():
        return False
    return all(forward_ad.unpack_dual(tensor).tangent is None for tensor in tensors)


def normalize(
    x: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor, epsilon: float, axis: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Normalize by the batch's statistics."""
    axis %= x.ndim
    shape = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
    count = x.numel() // gamma.numel()
    if x.is_cuda and count > 1 and epsilon > 0:
        y, mean, variance = _normalize_on_gpu(x.reshape(shape), gamma, beta, epsilon)
    else:
        y, mean, variance = _Normalize.apply(
            x.reshape(shape), gamma.reshape(1, -1, 1), beta.reshape(1, -1, 1), epsilon
        )
    return y.reshape(x.shape), mean.reshape(-1), variance.reshape(-1), count


def affine(
    x: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    gamma: torch.Tensor,
    beta: torch.Tensor,
    epsilon: float,
    axis: int,
) -> torch.Tensor:
    """Normalize by given statistics."""
    inverse = torch.rsqrt(variance + epsilon)
    scale = gamma * inverse
    shape = (-1,) + (1,) * (x.ndim - 1 - axis % x.ndim)
    # only an eager CPU knows the values at once; reading them from a GPU would make it wait
    eager = x.device.type == "cpu" and serves(x, mean, variance, gamma, beta)
    if eager and (mean * inverse).abs().max() < SMALL_MEAN:
        offset = torch.addcmul(beta, mean, scale, value=-1)
        if len(shape) == 1:
            return torch.addcmul(offset, x, scale)
        return (x * scale.reshape(shape)).add_(offset.reshape(shape))
    return torch.addcmul(beta.reshape(shape), x - mean.reshape(shape), scale.reshape(shape))


def all_reduce(x: torch.Tensor) -> torch.Tensor:
    """Return x: Keras rejects `synchronized=True` here, so that there is one replica."""
    return x


def shared(step: Step) -> Step:
    """Return `step`: eager torch traces nothing."""
    return step


def _normalize_on_gpu(
    x: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normalize x (n, channels, m); return y, of as many elements, mean and variance (channels,).

    torch's kernel sums up without a shift: a large mean would cost it the digits of the variance.
    """
    count = x.numel() // gamma.numel()
    mean, variance = gamma.new_zeros((2, len(gamma)))
    shift = None
    if x.dtype == gamma.dtype:  # half precision has no digits that a large mean would hide
        guess = x.detach()[:1, :, :1]
        x = x - guess
        residual = _total(x.detach()) / count
        x = x - residual
        shift = (guess + residual).reshape(-1)
    y = functional.batch_norm(  # channels that come last are its fast case only as a matrix
        x.squeeze(2), mean, variance, gamma, beta, training=True, momentum=1.0, eps=epsilon
    )
    if shift is not None:
        mean = mean + shift  # not in place: the backward pass holds it
    return y, mean, variance * ((count - 1) / count)  # torch's is the unbiased one


class _Normalize(torch.autograd.Function):
    """x (n, channels, m), gamma and beta (1, channels, 1), epsilon -> y, mean, variance."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor, epsilon: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
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
    def backward(ctx: Any, dy: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients for x, gamma and beta.

        dx = gamma / sigma * (dy - mean(dy) - z_norm * mean(dy * z_norm))
        """
        x, gamma, shift, residual, variance, centred = ctx.saved_tensors
        count = max(x.numel() // gamma.numel(), 1)
        if torch.is_grad_enabled():  # for a second derivative, which goes through the moments too
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


def _total(x: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Sum over each channel: (n, channels, m) -> (1, channels, 1)."""
    return x.sum((0, 2), keepdim=True, dtype=dtype)


def _moments(centred: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return mean and variance (1, channels, 1) of nearly centred values, and their squares."""
    residual = _total(centred) / count
    squares = centred * centred
    variance = torch.addcmul(_total(squares) / count, residual, residual, value=-1)
    return residual, torch.relu(variance), squares
