"""Checks before the first trial that the data and the model fit the recipe."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import keras_tuner

from kbn.errors import Fault, RecipeError, Text, Violation, ViolationError
from kbn.recipe.applications import PIXELS
from kbn.recipe.architectures import IMAGE
from kbn.recipe.arrays import Arrays
from kbn.recipe.backbones import CHANNELS
from kbn.recipe.code import following, load_function
from kbn.recipe.dataset import Dataset
from kbn.recipe.datasets import load_dataset
from kbn.recipe.fitting import TrainingSpec
from kbn.recipe.inputs import each, named
from kbn.recipe.models import ModelSpec
from kbn.recipe.names import suggest
from kbn.recipe.objectives import MEASURES
from kbn.recipe.schema import Recipe
from kbn.recipe.space import ChoiceSpec, FloatSpec, IntSpec
from kbn.recipe.uses import invalid_values, usable
from kbn.run._keras import build_metrics
from kbn.run._keras_tuner import Read, Watched
from kbn.run.fitting import check_callbacks, invalid_for
from kbn.run.hypermodel import RecipeModel
from kbn.run.plan import declared

# of the section training: what does not matter to a model that compiles itself
COMPILED = {*TrainingSpec.model_fields} - {
    *("batch_size", "class_weight", "callbacks", "mixed_precision"),
}

LOOKED_AT = 256  # images whose pixels are compared with the value range
FAINTEST = 100  # a smaller share of the value range than one part in so many is no contrast


def prepare(recipe: Recipe) -> Dataset:
    """Return the recipe's data, after building its model with them once.

    Of a recipe that compares, every variant's are tried; the data are those of the first.

    Raises:
        RecipeError: with all that is wrong with the data and the modules of the recipe's own, or
            else with the model.
    """
    if recipe.compare is None:
        return _prepare(recipe)
    prepared: list[Dataset] = []
    faults: list[Fault] = []
    for name in recipe.compare.variants:
        try:
            prepared.append(_prepare(recipe.variant(name, 0)))
        except RecipeError as error:
            faults += error.faults
    if faults:
        raise RecipeError(dict.fromkeys(faults))
    return prepared[0]


def load_data(recipe: Recipe) -> Dataset:
    """Load the recipe's data without a look at its model.

    Raises:
        RecipeError: with all that is wrong with the data.
    """
    violations: list[Violation] = []
    with _noted(violations, "dataset."):
        return _loaded(recipe)
    raise RecipeError(recipe.fault("", violation) for violation in violations)


def _loaded(recipe: Recipe) -> Dataset:
    search = recipe.search
    return load_dataset(recipe.dataset, search.seed, recipe.home, search.folds)


def _prepare(recipe: Recipe) -> Dataset:
    violations: list[Violation] = []
    with _noted(violations, "dataset."):
        dataset = _loaded(recipe)
    with _noted(violations, "model."):
        if recipe.model.python is not None:
            load_function(recipe.model.python, recipe.home)
    if not violations:
        with _noted(violations):
            _reject(_invalid_data(recipe, dataset))
            if recipe.model.python is not None:
                _check_own_model(recipe, dataset)
            _check_objective(recipe, dataset)
            check_callbacks(recipe)
    if violations:
        raise RecipeError(recipe.fault("", violation) for violation in violations)
    return dataset


@contextlib.contextmanager
def _noted(violations: list[Violation], prefix: str = "") -> Iterator[None]:
    """Collect the violations that the block raises, with `prefix` before their keys."""
    try:
        yield
    except ViolationError as error:
        violations += [
            dataclasses.replace(violation, key=f"{prefix}{violation.key}")
            for violation in error.violations
        ]


def _reject(violations: Iterator[Violation]) -> None:
    found = list(violations)
    if found:
        raise ViolationError(*found)


def _invalid_data(recipe: Recipe, dataset: Dataset) -> Iterator[Violation]:
    if isinstance(dataset.shape, dict) and recipe.model.name is not None:
        rule, hint = f"{recipe.model.name} takes a single array", "Write model.python."
        yield Violation(rule, hint, "model.name", Text(f"the inputs {', '.join(dataset.shape)}"))
    elif recipe.model.name == "cnn" and len(dataset.shape) != IMAGE:
        rule = "a cnn needs examples of the shape (height, width, channels)"
        hint = "Add dataset.shape, as in shape: [8, 8, 1]."
        yield Violation(rule, hint, "dataset", Text(dataset.shape))
    if recipe.model.backbone is not None:
        yield from _invalid_images(recipe.model, dataset)
    if recipe.search.final.refit and not dataset.sizes.test:
        rule, hint = "needs a test part of the data", "Add dataset.test: 0.2."
        yield Violation(rule, hint, "search.final.refit", True)
    if dataset.batched and "batch_size" in recipe.space:
        rule = "the data come in batches of their own"
        hint = "Remove it; their size is that of the PyDataset."
        yield Violation(rule, hint, "space.batch_size")
    if not isinstance(dataset, Arrays) and dataset.weighted and recipe.training.class_weight:
        rule = "the data have weights of their own, and Keras takes only one kind"
        yield Violation(rule, "Remove it.", "training.class_weight")
    yield from invalid_for(recipe, dataset)


def _invalid_images(model: ModelSpec, dataset: Dataset) -> Iterator[Violation]:
    """Yield what fine-tuning cannot take of the data; of the pixels, some are looked at."""
    shape = dataset.shape
    if isinstance(shape, dict) or len(shape) != IMAGE or shape[-1] not in CHANNELS:
        kind = "an application" if model.application else "a preset"
        rule = f"{kind} needs images of the shape (height, width, channels), of 1 or 3 channels"
        hint = "Add dataset.shape, as in shape: [28, 28, 1]."
        yield Violation(rule, hint, "dataset", Text(shape))
        return
    (pixels,) = named(dataset.first(LOOKED_AT)[0]).values()
    least, most = float(pixels.min()), float(pixels.max())
    low, high = model.value_range or PIXELS
    # a range that is not used at all is another one, as 0 to 1 where 0 to 255 is expected
    if least < low or most > high or most - least < (high - low) / FAINTEST:
        rule = f"the pixels must be in the value range, [{low:g}, {high:g}], and use it"
        hint = "Write their range, as in value_range: [0, 1]."
        received = Text(f"pixels from {least:g} to {most:g}")
        yield Violation(rule, hint, "model.value_range", received)


def _check_own_model(recipe: Recipe, dataset: Dataset) -> None:
    """Build the model of the recipe's own function with every hyperparameter's default.

    Raises:
        ViolationError: with what is wrong with the function, or else with its model.
    """
    hp, key = Watched(), "model.python"
    rule = "must build a model with every hyperparameter's default"
    with following(rule, "Fix the function: build(hp, input_shape, classes).", key):
        model = _built(recipe, dataset, hp, {})
    if not isinstance(model, keras.Model):
        rule, hint = "must return a Keras model", "Fix the function."
        raise ViolationError(Violation(rule, hint, key, Text(type(model).__name__)))
    _reject(_invalid_names(recipe, dataset, hp, own_training=model.compiled))
    with following(f"its model must take examples of the shape {dataset.shape}", "Fix it.", key):
        output = model(each(lambda shape: keras.KerasTensor((None, *shape)), dataset.shape))
    _reject(_invalid_output(dataset, model, output))


def _built(recipe: Recipe, dataset: Dataset, hp: Watched, values: Mapping[str, Any]) -> keras.Model:
    """Call the recipe's own function with these values, and defaults for all others."""
    hp.values.update(values)
    active = declared(hp, recipe)
    hp.values = hp.read = Read(hp.values)
    return RecipeModel(recipe, dataset).make(hp, active)


def _invalid_names(
    recipe: Recipe, dataset: Dataset, hp: Watched, *, own_training: bool
) -> Iterator[Violation]:
    """Yield what is wrong with how the recipe's own function used the hyperparameters."""
    for name in sorted(hp.redeclared & recipe.space.keys()):
        rule = "the function declares it too, with other values"
        hint = f'Read it there with hp.get("{name}"), or remove it here.'
        yield Violation(rule, hint, f"space.{name}")
    if own_training:
        for name in sorted(recipe.training.model_fields_set & COMPILED):
            rule, hint = "the model compiles itself, so nothing uses this", "Remove it."
            yield Violation(rule, hint, f"training.{name}")
    used = {"batch_size", *hp.read.names}
    for name, spec in recipe.space.items():
        kind = usable(spec, recipe.space, recipe.model, recipe.training).get(name)
        if kind is not None and not own_training:
            yield from invalid_values(f"space.{name}", name, spec, kind)
            used.add(name)
    for name in sorted(_unread(recipe, dataset, recipe.space.keys() - used)):
        hint = f'Read it in the function with hp.get("{name}"), or remove it.'
        yield Violation("nothing uses this name", hint, f"space.{name}")


def _unread(recipe: Recipe, dataset: Dataset, names: set[str]) -> set[str]:
    """Return the names that the function reads for no value of a choice and no highest number."""
    for values in _corners(recipe):
        if not names:
            break
        hp = Watched()
        with contextlib.suppress(
            Exception, SystemExit
        ):  # what no default model shows is the trials' affair
            _built(recipe, dataset, hp, values)
        names = names - hp.read.names
    return names


def _corners(recipe: Recipe) -> Iterator[dict[str, Any]]:
    choices = {n: s for n, s in recipe.space.items() if isinstance(s, ChoiceSpec)}
    high = {n: s.high for n, s in recipe.space.items() if isinstance(s, FloatSpec | IntSpec)}
    others = [{n: value} for n, s in choices.items() for value in s.values[1:]]
    yield from others
    yield high
    yield from ({**high, **other} for other in others)


def _invalid_output(dataset: Dataset, model: keras.Model, output: Any) -> Iterator[Violation]:
    """Check that there is one output per class, unless the model's own loss wants others."""
    shape = getattr(output, "shape", None)
    if shape is None:
        if not model.compiled:
            rule, hint = (
                "a model that kbn compiles must have one output",
                "Compile it, or keep one.",
            )
            yield Violation(rule, hint, "model.python", Text("several"))
        return
    own, loss, outputs = model.compiled, model.loss, dataset.outputs
    if dataset.classification:
        rule = f"its model must give {outputs} numbers for an example, one a class"
        name = getattr(loss, "name", getattr(loss, "__name__", loss))
        by_class = not own or name == "sparse_categorical_crossentropy"
        fits = shape == (None, outputs) or (own and (not by_class or (shape[-1] or 0) >= outputs))
    else:
        rule = "its model must give one number for an example"
        by_number = loss is not None and getattr(loss, "__module__", "keras").startswith("keras")
        fits = shape in ((None,), (None, 1)) or (own and not by_number)
    if not fits:
        hint = "End it with keras.layers.Dense(classes)."
        yield Violation(rule, hint, "model.python", Text(f"outputs of the shape {shape}"))


def _check_objective(recipe: Recipe, dataset: Dataset) -> None:
    """Check that training reports the objectives, and what is constrained.

    Raises:
        ViolationError: if it does not, or if the model's own loss and metrics cannot be computed.
    """
    key = "model" if recipe.model.python is None else "model.python"
    with following("training must take its model's outputs and the targets", "Fix it.", key):
        hypermodel = RecipeModel(recipe, dataset)
        model = hypermodel.build(keras_tuner.HyperParameters())
        build_metrics(model, *hypermodel.data.first(1))
        names = list(model.get_metrics_result())
    reported = [prefix + name for name in names for prefix in ("val_", "")]
    _reject(_unreported(recipe, dataset, reported))
    for number, callback in enumerate(recipe.training.callbacks):
        monitor = getattr(callback, "monitor", None) or recipe.objective.metric
        if monitor not in reported:
            rule, key = "must be a metric that training reports", f"training.callbacks.{number}"
            hint = suggest(monitor, reported)
            raise ViolationError(Violation(rule, hint, f"{key}.monitor", monitor))


def _unreported(recipe: Recipe, dataset: Dataset, reported: Sequence[str]) -> Iterator[Violation]:
    several = recipe.objectives is not None
    keys = {
        f"objectives.{number}.metric" if several else "objective.metric": name
        for number, (name, _) in enumerate(recipe.goals.objectives)
    }
    for key, metric in (keys | {f"constraints.{name}": name for name in recipe.limits}).items():
        if metric in (*reported, *MEASURES):
            continue
        rule, hint = "must be a metric that training reports", suggest(metric, reported)
        if not dataset.classification and "accuracy" in metric:
            hint += " Or, if the target is a class, write dataset.task: classification."
        if dataset.classification and metric.endswith("mae"):
            hint += " Or, if the target is a quantity, write dataset.task: regression."
        yield Violation(rule, hint, key, metric)
