"""The arithmetic of folding: how a layer's kernel and bias take in a norm next to it.

At inference a norm is y = a z + b, with a and b of shape `(channels,)`. Kernels are
`(..., in, out)`, those of transposed convolutions `(..., out, in)`, and those of depthwise ones
`(..., in, multiplier)` with out = in * multiplier, where the input channel varies slowest.
"""

from __future__ import annotations

import keras
import numpy as np

from kbn.norm.copying import Array, float64

_LAYERS = keras.layers
TRANSPOSED = (_LAYERS.Conv1DTranspose, _LAYERS.Conv2DTranspose, _LAYERS.Conv3DTranspose)
_DEPTHWISE = (_LAYERS.DepthwiseConv1D, _LAYERS.DepthwiseConv2D)
_SEPARABLE = (_LAYERS.SeparableConv1D, _LAYERS.SeparableConv2D)
_CONVOLUTIONS = (_LAYERS.Conv1D, _LAYERS.Conv2D, _LAYERS.Conv3D)
ABSORBING = (_LAYERS.Dense, *_CONVOLUTIONS, *TRANSPOSED, *_DEPTHWISE, *_SEPARABLE)


def slope_and_offset(norm: keras.layers.BatchNormalization) -> tuple[Array, Array]:
    """Return the a and b of a norm."""
    a = 1 / np.sqrt(float64(norm.moving_variance) + norm.epsilon)
    if norm.gamma is not None:
        a *= float64(norm.gamma)
    b = -float64(norm.moving_mean) * a
    return a, b if norm.beta is None else b + float64(norm.beta)


def kernel_names(layer: keras.Layer) -> tuple[str, ...]:
    """Name the attributes that hold the kernels of a layer of `ABSORBING`, in their order."""
    if isinstance(layer, _SEPARABLE):
        return "depthwise_kernel", "pointwise_kernel"
    return ("kernel",)


def absorb_after(layer: keras.Layer, weights: dict[str, Array], a: Array, b: Array) -> None:
    """Change the weights, in place, so that the layer's output becomes a z + b."""
    name = kernel_names(layer)[-1]
    if isinstance(layer, TRANSPOSED):
        weights[name] = weights[name] * a[:, None]
    elif isinstance(layer, _DEPTHWISE):
        weights[name] = weights[name] * a.reshape(weights[name].shape[-2:])
    else:
        weights[name] = weights[name] * a
    weights["bias"] = weights["bias"] * a + b


def absorb_before(layer: keras.Layer, weights: dict[str, Array], a: Array, b: Array) -> None:
    """Change the weights, in place, so that the layer does to x what it did to a x + b.

    If b is not zero, every output of the layer must see the whole kernel, so that b adds a constant
    to each output channel.
    """
    name = kernel_names(layer)[0]
    kernel = weights[name]
    if isinstance(layer, TRANSPOSED):
        weights[name] = kernel * a  # b is zero
        return
    if isinstance(layer, _CONVOLUTIONS):  # an output channel sees only the inputs of its group
        a, b = (
            np.repeat(v.reshape(layer.groups, -1).T, kernel.shape[-1] // layer.groups, axis=1)
            for v in (a, b)
        )
    else:
        a, b = a[:, None], b[:, None]
    weights[name] = kernel * a
    shift = (kernel * b).sum(tuple(range(kernel.ndim - 2)))  # (in, out) or (in, multiplier)
    if isinstance(layer, _DEPTHWISE):
        shift = shift.reshape(-1)
    elif isinstance(layer, _SEPARABLE):
        shift = shift.reshape(-1) @ weights["pointwise_kernel"].reshape(shift.size, -1)
    else:
        shift = shift.sum(0)
    weights["bias"] = weights["bias"] + shift
