"""The computations of the layer that each backend does in its own way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from keras import KerasTensor

Step = Callable[..., Any]  # from tensors to tensors


class Kernels(Protocol):
    """What a backend offers the layer; each `*_kernels.py` is one implementation.

    Tensors are of the backend, vectors of shape `(channels,)`.
    """

    def serves(self, *tensors: KerasTensor) -> bool:
        """Return whether `normalize` can process these tensors where it is called."""

    def normalize(
        self, x: KerasTensor, gamma: KerasTensor, beta: KerasTensor, epsilon: float, axis: int
    ) -> tuple[KerasTensor, KerasTensor, KerasTensor, KerasTensor | int]:
        """Normalize by the batch's statistics: gamma * (x - mu) / sqrt(var + epsilon) + beta.

        Args:
            x: float tensor (..., channels, ...) of rank >= 2; half precision is computed in
                float32.
            gamma: (channels,), float32 or float64.
            beta: (channels,), of gamma's type.
            epsilon: >= 0.
            axis: the axis of the channels, in [-rank, rank).

        Returns:
            y: the normalized tensor, of x's shape and type, differentiable any number of times.
            mu: (channels,), of gamma's type, without gradient; 0 for an empty batch.
            var: (channels,), likewise; the biased variance.
            count: the number of elements of a channel, a scalar.

        Source: Ioffe and Szegedy, Batch Normalization, ICML 2015 (arXiv:1502.03167), section 3.
        """

    def affine(
        self,
        x: KerasTensor,
        mean: KerasTensor,
        variance: KerasTensor,
        gamma: KerasTensor,
        beta: KerasTensor,
        epsilon: float,
        axis: int,
    ) -> KerasTensor:
        """Normalize by given statistics: gamma * (x - mean) / sqrt(variance + epsilon) + beta.

        Args:
            x: float tensor (..., channels, ...) of rank >= 2.
            mean: (channels,), of x's type, as are the other vectors.
            variance: (channels,), >= 0.
            gamma: (channels,).
            beta: (channels,).
            epsilon: >= 0.
            axis: the axis of the channels, in [-rank, rank).
        """

    def all_reduce(self, x: KerasTensor) -> KerasTensor:
        """Sum a tensor over all replicas that train together."""

    def shared(self, step: Step) -> Step:
        """Return `step`, made so that all layers together trace it only once."""
