"""Batch normalization in Keras' operations, for backends that compile them well.

The functions are those of `kbn.norm.kernels.Kernels`, which documents them.
"""

from __future__ import annotations

from keras import KerasTensor, ops

from kbn.norm.kernels import Step
from kbn.norm.moments import moments, per_channel, standardized


def serves(*_: KerasTensor) -> bool:
    """Return True: `normalize` works everywhere."""
    return True


def normalize(
    x: KerasTensor, gamma: KerasTensor, beta: KerasTensor, epsilon: float, axis: int
) -> tuple[KerasTensor, KerasTensor, KerasTensor, KerasTensor]:
    """Normalize by the batch's statistics."""
    z = ops.cast(x, gamma.dtype)
    rank = len(z.shape)
    batch = moments(z, [other for other in range(rank) if other != axis % rank])
    y = standardized(z, batch, epsilon, *per_channel(z, axis, gamma, beta))
    mean, variance = (
        ops.reshape(ops.stop_gradient(statistic), (-1,))
        for statistic in (batch.shift + batch.residual, batch.variance)
    )
    return ops.cast(y, x.dtype), mean, variance, batch.count


def affine(
    x: KerasTensor,
    mean: KerasTensor,
    variance: KerasTensor,
    gamma: KerasTensor,
    beta: KerasTensor,
    epsilon: float,
    axis: int,
) -> KerasTensor:
    """Normalize by given statistics."""
    scale = gamma * ops.rsqrt(variance + epsilon)
    mean, scale, beta = per_channel(x, axis, mean, scale, beta)
    # centred before it is scaled: a large mean folded into the offset would cancel
    return (x - mean) * scale + beta


def all_reduce(x: KerasTensor) -> KerasTensor:
    """Return x: Keras rejects `synchronized=True` here, so that there is one replica."""
    return x


def shared(step: Step) -> Step:
    """Return `step`: the backend caches what it compiles."""
    return step
