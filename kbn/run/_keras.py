"""The parts of Keras without a public name that kbn.run uses; no other module of it touches them.

tests/run/test_adapters.py has one test for each and fails when Keras changes it.
"""

from __future__ import annotations

import sys

import keras
import numpy as np
from keras.src.utils import module_utils

from kbn.recipe.inputs import Inputs


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


def build_metrics(model: keras.Model, x: Inputs, y: np.ndarray) -> None:
    """Create the metrics' variables of a compiled model.

    Private (`_symbolic_build`) because Keras creates them publicly only while `fit` traces the
    training step, which TensorFlow then traces a second time: half the time of a short trial.

    Args:
        model: compiled.
        x: some examples, of shape (n, ...), or a dict of such inputs.
        y: their targets, of shape (n,).
    """
    model._symbolic_build(data_batch=(x, y))


def reduce_nothing(optimizer: keras.Optimizer) -> None:
    """Keep an optimizer from adding up gradients over replicas where there is a single one.

    Private (`_all_reduce_sum_gradients`, `_distribution_strategy`) because Keras has no option for
    it. On TensorFlow it adds up through `tf.custom_gradient`, which keeps the graph of every
    training step that was ever traced until the process ends: 7 MB for each model of a search.
    """
    for each in (optimizer, getattr(optimizer, "inner_optimizer", None)):
        strategy = getattr(each, "_distribution_strategy", None)  # of TensorFlow's alone
        if each is not None and strategy is not None and strategy.num_replicas_in_sync == 1:
            each._all_reduce_sum_gradients = list


def schedule_of(optimizer: keras.Optimizer) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return the learning-rate schedule that an optimizer was constructed with.

    Private (`_learning_rate`) because `learning_rate` is its present value.
    """
    return optimizer._learning_rate
