"""The parts of Keras without a public name that kbn.run uses; no other module of it touches them.

tests/run/test_adapters.py has one test for each and fails when Keras changes it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras.src.utils import module_utils

from kbn.recipe.inputs import Inputs

if TYPE_CHECKING:
    import tensorflow as tf


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


def run_steps_together(model: keras.Model) -> None:
    """Have `fit` and `evaluate` take the steps of one execution in a plain loop.

    It leaves alone a model with training steps of its own, one that is compiled with `run_eagerly`
    or `jit_compile`, several devices, and backends other than TensorFlow.

    Private (`train_function`, `test_function`, and what Keras calls them with) because Keras has no
    option for it. With `steps_per_execution` it traces the step within two conditionals, which for
    a small model takes as long as several epochs.

    Args:
        model: compiled, with `steps_per_execution` above 1.
    """
    kind, plain = type(model), keras.Model
    own = kind.train_step is not plain.train_step or kind.test_step is not plain.test_step
    if own or keras.backend.backend() != "tensorflow" or model.run_eagerly or model.jit_compile:
        return
    import tensorflow as tf

    if not tf.distribute.has_strategy():
        model.train_function = _together(model, model.train_step)
        model.test_function = _together(model, model.test_step)


def _together(model: keras.Model, step: Callable[[Any], object]) -> Callable[[Iterator[Any]], Any]:
    """Return what takes up to `steps_per_execution` steps and returns the metrics after them."""
    import tensorflow as tf

    # not a function of its own for each model: TensorFlow would count the traces of all of them as
    # those of one, and warn of retracing
    take = functools.partial(_take, model, step)
    traced = tf.function(take, reduce_retracing=True, autograph=False)

    def function(iterator: Iterator[Any]) -> Any:
        if not isinstance(iterator, tf.data.Iterator):  # `train_on_batch` gives a single batch
            return step(next(iterator))
        number, logs = traced(iterator)
        if number == 0:
            raise StopIteration
        return logs

    return function


def _take(
    model: keras.Model, step: Callable[[Any], object], iterator: tf.data.Iterator
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Take the steps of one execution, and return their number and the metrics after them."""
    import tensorflow as tf

    def body(number: tf.Tensor, batch: tf.experimental.Optional) -> tuple[Any, Any]:
        step(batch.get_value())
        following = tf.cond(
            number + 1 < model.steps_per_execution,
            iterator.get_next_as_optional,
            lambda: tf.experimental.Optional.empty(iterator.element_spec),
        )
        return number + 1, following

    number, _ = tf.while_loop(
        lambda _, batch: batch.has_value(), body, (0, iterator.get_next_as_optional())
    )
    return number, model.get_metrics_result()


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
