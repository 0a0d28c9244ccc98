"""What a recipe's section `training` means for Keras: loss, metrics, callbacks, class weights."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from kbn.errors import Text, Violation, ViolationError
from kbn.recipe.code import following, load_function
from kbn.recipe.dataset import Dataset
from kbn.recipe.fitting import CallbackSpec, OwnCallbackSpec, TrainingSpec
from kbn.recipe.losses import DEFAULT_LOSS, make_loss, task_of
from kbn.recipe.metrics import METRICS, Task, better, make_metric
from kbn.recipe.names import suggest
from kbn.recipe.schema import Recipe


def loss_of(
    training: TrainingSpec, values: Mapping[str, Any], dataset: Dataset
) -> str | keras.losses.Loss:
    """Return the loss to compile a model with.

    Args:
        training: names the loss; the default is that of the task.
        values: hyperparameters, of which `label_smoothing` is an argument of the loss.
        dataset: says the task.
    """
    spec, arguments = training.loss, {}
    if spec is not None:
        arguments = spec.arguments
    if "label_smoothing" in values:
        arguments = {**arguments, "label_smoothing": values["label_smoothing"]}
    name = spec.name if spec else DEFAULT_LOSS[task(dataset)]
    return make_loss(name, arguments, dataset.outputs)


def metrics_of(recipe: Recipe, dataset: Dataset) -> list[str | keras.metrics.Metric]:
    """Return the metrics to compile a model with: the task's, the recipe's and the decisive ones.

    Decisive are those of the objectives and constraints.
    """
    names = ["accuracy" if dataset.classification else "mae", *recipe.training.metrics]
    decisive = [name.removeprefix("val_") for name in recipe.goals.names]
    known = [name for name in decisive if name in METRICS and name != "loss"]
    names += [name for name in known if not invalid_metric(name, dataset)]
    logits = from_logits(recipe.training)
    return [make_metric(name, dataset.outputs, logits=logits) for name in dict.fromkeys(names)]


def from_logits(training: TrainingSpec) -> bool:
    """Return whether the outputs of the models are logits."""
    return bool(training.loss and training.loss.from_logits)


def callbacks_of(recipe: Recipe, *, validates: bool) -> list[keras.callbacks.Callback]:
    """Return new callbacks for one training.

    Args:
        recipe: of the search.
        validates: whether there is a validation part; without it, as in a training after the
            search, callbacks that monitor a metric on it are left out, and no time is too long.
    """
    made = []
    for spec in recipe.training.callbacks:
        monitor = getattr(spec, "monitor", "") or recipe.objective.metric
        if validates or isinstance(spec, OwnCallbackSpec) or not monitor.startswith("val_"):
            made.append(_callback(spec, recipe, monitor))
    if validates and recipe.search.trial_timeout is not None:
        made.append(Timeout(recipe.search.trial_timeout))
    return made


class Timeout(keras.callbacks.Callback):
    """Callback that ends a training after some time; its last epoch is validated all the same.

    Args:
        seconds: that the training may take.
    """

    def __init__(self, seconds: float):
        super().__init__()
        self._seconds, self._began = seconds, 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        self._began = self._began or time.monotonic()  # of the first of several phases

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if time.monotonic() - self._began > self._seconds:
            self.model.stop_training = True


def _callback(spec: CallbackSpec, recipe: Recipe, monitor: str) -> keras.callbacks.Callback:
    if isinstance(spec, OwnCallbackSpec):
        return load_function(spec.python, recipe.home)()
    arguments = spec.model_dump(exclude={"name"})
    if "monitor" in arguments:
        own = recipe.objective.direction if monitor == recipe.objective.metric else None
        mode = arguments["mode"] or own or better(monitor) or "auto"
        arguments.update(monitor=monitor, mode=mode)
    return getattr(keras.callbacks, spec.name)(**arguments)


def class_weight_of(training: TrainingSpec, dataset: Dataset) -> dict[int, float] | None:
    """Return {number of a class: weight of its examples}, as Keras takes it; None for no weights.

    Balanced weights are examples / (classes * examples of the class), as in King and Zeng, Logistic
    Regression in Rare Events Data (2001), so that their mean over the examples is 1. Examples with
    weights count by these.
    """
    chosen, classes = training.class_weight, range(dataset.outputs)
    if chosen is None:
        return None
    if isinstance(chosen, str):  # balanced
        counts = dataset.class_counts()
        weights = counts.sum() / (dataset.outputs * np.where(counts > 0, counts, 1))
        return dict(zip(classes, weights.tolist(), strict=True))
    return {number: chosen.get(str(dataset.labels[number]), 1.0) for number in classes}


def weighted(
    arguments: Mapping[str, Any], class_weight: Mapping[int, float] | None
) -> dict[str, Any]:
    """Return arguments of `fit` with class weights, which Keras takes no second weights beside.

    Args:
        arguments: of which `sample_weight`, shape (examples,), may be one.
        class_weight: {number of a class: weight}; None for none.
    """
    if class_weight is None or "sample_weight" not in arguments:
        return {**arguments, "class_weight": class_weight}
    of_class = np.array([class_weight[number] for number in range(len(class_weight))], "float32")
    return {**arguments, "sample_weight": arguments["sample_weight"] * of_class[arguments["y"]]}


@contextlib.contextmanager
def precision_of(training: TrainingSpec) -> Iterator[None]:
    """Have the layers that are made in the block compute in the recipe's mixed precision."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(training.mixed_precision or before)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def task(dataset: Dataset) -> Task:
    """Return the task of a data set."""
    return "classification" if dataset.classification else "regression"


def invalid_metric(name: str, dataset: Dataset) -> bool:
    """Return whether a metric is for the other task."""
    return METRICS[name].task not in (None, task(dataset))


def invalid_for(recipe: Recipe, dataset: Dataset) -> Iterator[Violation]:
    """Yield what of the section `training` does not fit the data."""
    training, own = recipe.training, task(dataset)
    hint = f"The data are a {own}; to change that: dataset.task."
    if training.loss is not None and task_of(training.loss.name) != own:
        rule, key = f"is a loss for a {task_of(training.loss.name)}", "training.loss"
        yield Violation(rule, hint, key, training.loss.name)
    for number, name in enumerate(training.metrics):
        if invalid_metric(name, dataset):
            rule, key = f"is a metric for a {METRICS[name].task}", f"training.metrics.{number}"
            yield Violation(rule, hint, key, name)
    if not dataset.classification:
        if training.class_weight is not None:
            rule, key = "only a classification has classes", "training.class_weight"
            yield Violation(rule, "Remove it.", key)
        if "label_smoothing" in recipe.space:
            rule, key = "only a classification has labels", "space.label_smoothing"
            yield Violation(rule, "Remove it.", key)
    elif isinstance(training.class_weight, dict):
        labels = [str(label) for label in dataset.labels]
        for label in training.class_weight:
            if label not in labels:
                rule, key = "must name a class of the data", f"training.class_weight.{label}"
                yield Violation(rule, suggest(label, labels), key, label)


def check_callbacks(recipe: Recipe) -> None:
    """Make the recipe's own callbacks once.

    Raises:
        ViolationError: if a function cannot be loaded, fails, or returns no callback.
    """
    for number, spec in enumerate(recipe.training.callbacks):
        if isinstance(spec, OwnCallbackSpec):
            _check_own(spec, recipe, f"training.callbacks.{number}.python")


def _check_own(spec: OwnCallbackSpec, recipe: Recipe, key: str) -> None:
    try:
        function = load_function(spec.python, recipe.home)
    except ViolationError as error:
        raise ViolationError(*(dataclasses.replace(v, key=key) for v in error.violations)) from None
    with following("must return a Keras callback without arguments", "Fix the function.", key):
        made = function()
    if not isinstance(made, keras.callbacks.Callback):
        rule, hint = "must return a Keras callback", "Fix the function."
        raise ViolationError(Violation(rule, hint, key, Text(type(made).__name__)))
