"""Batch normalization in float64, from the formulas."""

import numpy as np
import pytest

from kbn.norm.renormalization import OFFERED

needs_renorm = pytest.mark.skipif(not OFFERED, reason="renorm needs Keras 3.14 or later")


def batch_norm(z, dy, gamma, beta, axes, weights=1.0, epsilon=1e-3):
    """Output, gradients and statistics; an element of weight w counts as w elements.

    Source: Ioffe and Szegedy, arXiv:1502.03167, section 3, the chain rule step by step.
    """
    z, dy = z.astype("float64"), dy.astype("float64")
    w = np.broadcast_to(weights, z.shape).astype("float64")
    n = w.sum(axes, keepdims=True)
    mean = (w * z).sum(axes, keepdims=True) / n
    var = (w * (z - mean) ** 2).sum(axes, keepdims=True) / n
    inv = 1 / np.sqrt(var + epsilon)
    z_norm = (z - mean) * inv
    dz_norm = dy * gamma
    dvar = (dz_norm * (z - mean) * -0.5 * inv**3).sum(axes, keepdims=True)
    dmean = (-dz_norm * inv).sum(axes, keepdims=True)
    return {
        "y": gamma * z_norm + beta,
        "dz": dz_norm * inv + w * (dvar * 2 * (z - mean) + dmean) / n,
        "dgamma": (dy * z_norm).sum(axes),
        "dbeta": dy.sum(axes),
        "mean": mean.squeeze(),
        "var": var.squeeze(),
    }
