"""Choose the kernels of the backend that Keras runs on."""

from __future__ import annotations

import keras

from kbn.norm.kernels import Kernels


def _chosen() -> Kernels:
    if keras.backend.backend() == "tensorflow":
        from kbn.norm import tensorflow_kernels

        return tensorflow_kernels
    if keras.backend.backend() == "torch":
        from kbn.norm import torch_kernels

        return torch_kernels
    if keras.backend.backend() == "jax":
        from kbn.norm import jax_kernels

        return jax_kernels
    from kbn.norm import portable_kernels

    return portable_kernels


kernels = _chosen()
