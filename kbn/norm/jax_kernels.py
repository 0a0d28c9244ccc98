"""Batch normalization on JAX, where XLA compiles all of a network's operations together.

The functions are those of `kbn.norm.kernels.Kernels`, which documents them.
"""

from __future__ import annotations

import functools

import jax

from kbn.norm import portable_kernels
from kbn.norm.kernels import Step
from kbn.norm.portable_kernels import all_reduce, serves

__all__ = ["affine", "all_reduce", "normalize", "serves", "shared"]


@functools.cache
def shared(step: Step) -> Step:
    """Return `step` compiled by itself: JAX traces it once for each shape, not in every layer."""
    return jax.jit(step)


normalize = jax.jit(portable_kernels.normalize, static_argnums=(3, 4))  # epsilon and axis


def affine(
    x: jax.Array,
    mean: jax.Array,
    variance: jax.Array,
    gamma: jax.Array,
    beta: jax.Array,
    epsilon: float,
    axis: int,
) -> jax.Array:
    """Normalize by given statistics.

    On a GPU, XLA would move the subtraction of an input such as the mean into the matrix product
    before it, and the addition of beta into the one after it. Each product would differ from those
    of the training step, and XLA takes up to a second to find the fastest kernel for it.
    """
    mean, beta = jax.lax.optimization_barrier((mean, beta))
    return portable_kernels.affine(x, mean, variance, gamma, beta, epsilon, axis)
