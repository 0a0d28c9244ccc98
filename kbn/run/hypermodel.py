"""Models of a recipe's search: built, compiled and trained with a trial's hyperparameters."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any, cast

import keras
import keras_tuner

from kbn.recipe.architectures import ARCHITECTURES, Norm, hyperparameters
from kbn.recipe.backbones import fine_tuned, unfreeze
from kbn.recipe.code import load_function
from kbn.recipe.dataset import Dataset
from kbn.recipe.inputs import Shape
from kbn.recipe.schema import Recipe
from kbn.recipe.training import DEFAULTS, make_optimizer
from kbn.run._keras import build_metrics, reduce_nothing, run_steps_together
from kbn.run.fitting import (
    callbacks_of,
    class_weight_of,
    from_logits,
    loss_of,
    metrics_of,
    precision_of,
    weighted,
)
from kbn.run.measures import PREDICTED, inference_ms, require_feasible, sizes
from kbn.run.phases import Phase, forget_best, is_over, joined, phases_of
from kbn.run.plan import declared
from kbn.run.reuse import NUMBERS, Reuse, serves

STEPS_WORK = 2**30  # parameters times examples that a CPU takes about a second for
SEEDS = 1_000_003  # between two executions; the seeds of a comparison are neighbours

Build = Callable[[keras_tuner.HyperParameters, Mapping[str, Any]], keras.Model]


class RecipeModel(keras_tuner.HyperModel):
    """Hypermodel that builds and trains the models of a recipe's search.

    Args:
        recipe: what to tune.
        dataset: the recipe's data.
        reuse: has `build` return a model compiled before where the two differ in numbers alone;
            None builds a new one for every trial.

    Attributes:
        execution: number of trainings of the trial so far; each has a seed of its own and, where
            the data are split into folds, a fold.
    """

    def __init__(self, recipe: Recipe, dataset: Dataset, reuse: Reuse | None = None):
        super().__init__(name=recipe.name)
        self.recipe, self.dataset, self.reuse = recipe, dataset, reuse
        self.execution = 0
        self.make: Build = self._known
        if recipe.model.backbone is not None:
            self.make = self._fine_tuned
        elif recipe.model.python is not None:
            self.make = self._own

    @property
    def data(self) -> Dataset:
        """The data of the next training: those of a fold, if there are any."""
        folds = self.dataset.folds
        return folds[self.execution % len(folds)] if folds else self.dataset

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        values, seed = self._values(hp), self.recipe.search.seed + self.execution * SEEDS
        # the same first weights in every trial: what differs is what was chosen
        keras.utils.set_random_seed(seed)
        optimizer = self._optimizer(values, self._phases(values)[-1])
        if self.reuse is None or self.recipe.model.name is None or not serves(optimizer):
            return self._built(hp, values)
        alike, momentum = self._alike(values), values.get("norm_momentum")
        model = self.reuse.renew(alike, seed, optimizer, momentum)
        return model or self.reuse.keep(self._built(hp, values), alike, seed)

    def _built(self, hp: keras_tuner.HyperParameters, values: Mapping[str, Any]) -> keras.Model:
        with precision_of(self.recipe.training):
            model = self.make(hp, values)
        if from_logits(self.recipe.training) and self.recipe.model.python is None:
            model.layers[-1].activation = keras.activations.linear
        self._enter(model, values, self._phases(values)[-1])
        return model

    def _enter(self, model: keras.Model, values: Mapping[str, Any], phase: Phase) -> None:
        """Make a model ready for a phase of its training."""
        if phase.unfrozen is not None:
            unfreeze(model, phase.unfrozen, norms=self.recipe.model.norm is not None)
        if not model.compiled or phase.unfrozen is not None:
            self.compile(model, values, phase)
        reduce_nothing(model.optimizer)
        if model.built:  # so that saved state finds its place
            model.optimizer.build(model.trainable_variables)

    def compile(self, model: keras.Model, values: Mapping[str, Any], phase: Phase) -> None:
        """Compile a model with the recipe's optimizer, loss and metrics, or the task's own."""
        training, steps = self.recipe.training, self._steps(values)
        metrics = "weighted_metrics" if self.data.weighted else "metrics"
        model.compile(
            optimizer=self._optimizer(values, phase),
            loss=loss_of(training, values, self.data),
            **{metrics: metrics_of(self.recipe, self.data)},
            steps_per_execution=_steps_at_a_time(model, steps, batch_size(values)),
            jit_compile="auto" if training.jit_compile is None else training.jit_compile,
        )
        if model.steps_per_execution > 1:
            run_steps_together(model)

    def _optimizer(self, values: Mapping[str, Any], phase: Phase) -> keras.Optimizer:
        return make_optimizer({**values, **phase.values}, self._steps(values) * phase.epochs)

    def _phases(self, values: Mapping[str, Any], epochs: int | None = None) -> list[Phase]:
        return phases_of(self.recipe.model, values, epochs or self.recipe.search.whole)

    def _steps(self, values: Mapping[str, Any]) -> int:
        """Return the number of mini-batches in an epoch."""
        return self.data.steps(batch_size(values))

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, **kwargs: Any) -> Any:
        values = self._values(hp)
        try:
            return self._train(model, values, **kwargs)
        except BaseException:
            if self.reuse is not None:
                self.reuse.drop(self._alike(values))
            raise
        finally:
            self.execution += 1

    def _alike(self, values: Mapping[str, Any]) -> Hashable:
        """Return a key that is equal for two trials whose models differ in numbers alone."""
        others = {name: value for name, value in values.items() if name not in NUMBERS}
        data = self.data
        # without momentum SGD has no state, and without steps a warm-up is no schedule
        steps = round(values.get("warmup", 0.0) * self._steps(values) * self.recipe.search.whole)
        some = steps > 0, *(bool(values.get(name)) for name in ("momentum", "weight_decay"))
        task = str(data.shape), data.outputs, data.classification, data.sizes.train
        kind = data.vocabulary, data.weighted
        fixed = (part.model_dump_json() for part in (self.recipe.model, self.recipe.training))
        decisive = self.recipe.goals.names  # are compiled into the model
        return *fixed, decisive, task, kind, *some, *sorted(others.items())

    def _train(
        self,
        model: keras.Model,
        values: Mapping[str, Any],
        epochs: int | None = None,
        initial_epoch: int = 0,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        data, span = self.data, (initial_epoch, epochs)
        own = callbacks_of(self.recipe, validates=data.sizes.validation > 0)
        kwargs["callbacks"] = [*kwargs.get("callbacks", ()), *own]
        if not data.sizes.validation:  # it is trained anew, after the search
            return self._fitted(model, values, *span, **kwargs)
        goals = self.recipe.goals
        measured = sizes(model, goals.names)
        require_feasible(goals, measured)
        history = self._fitted(model, values, *span, **kwargs)
        if "inference_ms" in goals.names:
            measured["inference_ms"] = inference_ms(model, data.first(PREDICTED)[0])
        for name, value in measured.items():
            history.history[name] = [value] * len(history.epoch)
        return history

    def _fitted(
        self,
        model: keras.Model,
        values: Mapping[str, Any],
        epoch: int,
        epochs: int | None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Train a model in one phase, from an epoch on, or in several."""
        class_weight = class_weight_of(self.recipe.training, self.data)
        kwargs |= weighted(self.data.fitting(batch_size(values)), class_weight)
        phases = self._phases(values, epochs)
        parts: list[keras.callbacks.History] = []
        for phase in phases:
            if len(phases) > 1:
                self._enter(model, values, phase)
            forget_best(kwargs["callbacks"])
            build_metrics(model, *self.data.first(1))
            last = (epoch if parts else 0) + phase.epochs
            parts.append(model.fit(initial_epoch=epoch, epochs=last, verbose=0, **kwargs))
            epoch += len(parts[-1].epoch)
            if is_over(model, kwargs["callbacks"]):
                break
        if len(parts) < len(phases):
            self._enter(model, values, phases[-1])  # as a checkpoint is read
        return joined(parts)

    def _known(self, _: keras_tuner.HyperParameters, values: Mapping[str, Any]) -> keras.Model:
        name, norm = str(self.recipe.model.name), self.recipe.model.norm
        arguments = {key: values[key] for key in hyperparameters(name) if key in values}
        if self.data.vocabulary is not None:
            arguments["vocabulary"] = self.data.vocabulary
        if norm is not None:
            arguments["norm"] = Norm(norm.layer, norm.position)
        return ARCHITECTURES[name](self.data.shape, self.data.outputs, **arguments)

    def _fine_tuned(self, _: keras_tuner.HyperParameters, values: Mapping[str, Any]) -> keras.Model:
        recipe, data = self.recipe, self.data
        shape = cast("Shape", data.shape)  # of images, as preflight checks
        return fine_tuned(recipe.model, recipe.home, shape, data.outputs, values)

    def _own(self, hp: keras_tuner.HyperParameters, _: Mapping[str, Any]) -> keras.Model:
        return self._function(hp, self.data.shape, self.data.outputs)

    @functools.cached_property
    def _function(self) -> Callable[..., keras.Model]:
        """Return the recipe's own function as it was when the search began."""
        return load_function(str(self.recipe.model.python), self.recipe.home)

    def _values(self, hp: keras_tuner.HyperParameters) -> dict[str, Any]:
        return {**self.recipe.training.values, **declared(hp, self.recipe)}


def batch_size(values: Mapping[str, Any]) -> int:
    """Return the number of examples in a mini-batch."""
    return int(values.get("batch_size", DEFAULTS["batch_size"]))


def _steps_at_a_time(model: keras.Model, steps: int, batch: int) -> int:
    """Return how many of an epoch's steps the backend takes before it returns to Python.

    Of small models, Python would take a quarter of the time. Of large ones it is one at a time:
    until the backend returns, Ctrl-C has to wait. PyTorch can only take one at a time.
    """
    if keras.backend.backend() == "torch":
        return 1
    work = batch * max(model.count_params(), 1) if model.built else STEPS_WORK
    return max(1, min(steps, STEPS_WORK // work))
