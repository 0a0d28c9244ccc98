"""The part of Keras without a public name that kbn.cli uses; no other module of it touches it.

tests/cli/test_adapters.py fails when Keras changes it.
"""

from __future__ import annotations

import sys

from keras.src.utils import module_utils


class _WhereImported(module_utils.LazyModule):
    """Module that Keras uses only where something else has imported it."""

    @property
    def available(self) -> bool:
        return self.name in sys.modules


def leave_tensorflow_alone() -> None:
    """Keep Keras on another backend from importing TensorFlow in this process.

    Private (`module_utils.tensorflow`) because Keras asks whether TensorFlow is available where it
    seeds generators and saves models, and asks by importing it, which takes seconds.
    """
    module_utils.tensorflow.__class__ = _WhereImported
