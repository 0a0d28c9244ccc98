"""The parts of TensorFlow without a public name that kbn.norm uses; no other module touches them.

tests/norm/test_adapters.py has one test for each and fails when TensorFlow changes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.ops import control_flow_util


def inside_xla() -> bool:
    """Return whether what is being traced will be compiled as a whole by XLA.

    Private because TensorFlow does not say publicly that a surrounding function has
    `jit_compile=True`; such a function can hold no hash table and choose no branch at run time.
    """
    return control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def not_inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a function into a `tf.function` that stays a function of its own wherever it is called.

    Private (`_noinline`) because no public option keeps TensorFlow from inlining a function, and
    what is inlined into a branch is not optimized.
    """
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})
