"""What a recipe may say."""

from __future__ import annotations

import copy
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, model_validator

from kbn.errors import NULL, Broken, Fault
from kbn.recipe import architectures
from kbn.recipe.datasets import own_test
from kbn.recipe.examples import DATASETS, FETCHED
from kbn.recipe.laws import (
    EXACT,
    Name,
    Reference,
    Strict,
    Value,
    one_of,
    only_one,
    refuse,
    suggest,
)
from kbn.recipe.reading import KeyPath, Source
from kbn.recipe.space import ChoiceSpec, FixedSpec, Hyperparameter, broken_conditions
from kbn.recipe.tables import SUFFIXES
from kbn.recipe.uses import broken_uses, broken_values, usable


def _part(given: Any) -> Any:
    """A share of the examples, or a number of them."""
    count = type(given) is int and 1 <= given <= EXACT
    if not count and not (type(given) is float and 0 < given < 1):
        law = "must be a share in (0, 1) or a number of examples"
        received = NULL if given is None else given
        raise refuse(Broken(law, "Write it like 0.2, or like 300.", received=received))
    return given


def _file(path: str) -> str:
    if not path.endswith(SUFFIXES):
        law = f"must end with {', '.join(SUFFIXES)}"
        raise refuse(Broken(law, "Save the data as one of these.", received=path))
    return str(Path(path).expanduser())


Part = Annotated[int | float, BeforeValidator(_part)]


class DatasetSpec(Strict):
    """Which data, and how much of it is held out for validation and test.

    One of: `name`, of a data set that scikit-learn ships or Keras fetches; `path`, of a CSV,
    Parquet or NPZ file, from the recipe's directory; `python`, as module:function, which returns
    (x, y), or (x, y), (x_test, y_test). The target is the column `target` of a table, the last one
    if it is not given. With `shape` each example is reshaped, as to the pixels of an image.
    """

    name: Annotated[str, one_of("data set", DATASETS)] | None = None
    path: Annotated[str, AfterValidator(_file)] | None = None
    python: Reference | None = None
    target: str | None = None
    task: Literal["classification", "regression"] | None = None
    shape: list[Annotated[int, Field(ge=1)]] | None = Field(None, min_length=1)
    validation: Part = 0.2
    test: Part | None = None
    standardize: bool = True

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        only_one(self, "name", "path", "python")
        if self.target is not None and (self.path is None or self.path.endswith(".npz")):
            law, cure = "only a table has columns", "Remove target."
            raise refuse(Broken(law, cure, "target", self.target))
        return self

    @model_validator(mode="after")
    def _parts_leave_some(self) -> Self:
        if self.test is None:
            return self
        if self.name in FETCHED:
            raise refuse(own_test(self.test))
        shares = [part for part in (self.validation, self.test) if isinstance(part, float)]
        if sum(shares) >= 1:
            law = "validation and test must leave examples to train on"
            raise refuse(Broken(law, "Lower one.", "test", self.test))
        return self

    @property
    def label(self) -> str:
        """What to call the data."""
        return self.name or self.path or str(self.python)


class NormSpec(Strict):
    """Batch normalization of the hidden layers."""

    layer: Literal["kbn.BatchNormalization", "keras.layers.BatchNormalization"] = (
        "kbn.BatchNormalization"
    )
    position: Literal["before_activation", "after_activation"] = "before_activation"


class ModelSpec(Strict):
    """Which architecture: by `name`, or `python`, as module:function.

    The function is called as build(hp, input_shape, classes), with KerasTuner's hyperparameters,
    the shape of one example and the number of classes, 1 for a regression; it returns a Keras
    model. A model that it does not compile is trained with the recipe's optimizer.
    """

    name: Annotated[str, one_of("model", list(architectures.ARCHITECTURES))] | None = None
    python: Reference | None = None
    norm: NormSpec | None = None

    @model_validator(mode="after")
    def _norm_has_a_place(self) -> Self:
        only_one(self, "name", "python")
        if self.norm and (self.name is None or not architectures.takes_norm(self.name)):
            law = f"{self.name or self.python} has no layer that kbn could normalize"
            raise refuse(Broken(law, "Remove norm.", "norm"))
        return self


# the metrics that kbn compiles a model with, and the direction that is better
METRICS = {"accuracy": "max", "loss": "min", "mae": "min"}


class ObjectiveSpec(Strict):
    """What the search improves: a metric that training reports, and which way is better."""

    metric: str = "val_accuracy"
    direction: Literal["min", "max"]

    @model_validator(mode="after")
    def _the_way_that_is_better(self) -> Self:
        better = METRICS.get(self.metric.removeprefix("val_"), self.direction)
        if self.direction != better:
            law = f"{self.metric} is better the other way round"
            raise refuse(Broken(law, f"Write direction: {better}.", "direction", self.direction))
        return self


class FinalSpec(Strict):
    """What follows the search.

    With `refit` the best trial's model is trained anew on the training and validation parts, its
    batch norm recalibrated, and its test score logged: the data set must have a test part.
    """

    refit: bool = False


class SearchSpec(Strict):
    """How long the search is and how it goes: number of trials, epochs of each, seed, tuner.

    `surrogate: null` leaves the coarse-to-fine search its random draws, without a model of the
    scores.
    """

    trials: int = Field(ge=1, le=1_000_000)
    epochs: int = Field(ge=1)
    seed: int = Field(0, ge=0, lt=2**31)
    tuner: Literal["coarse_to_fine", "random", "grid"] = "coarse_to_fine"
    surrogate: Literal["gp", None] = "gp"
    final: FinalSpec = FinalSpec()


class TrackingSpec(Strict):
    """Where in MLflow the trials go: by default to the experiment of the recipe's name.

    With `register_model` the best model becomes a version of the registered model of the recipe's
    name, with the alias best.
    """

    experiment: str | None = Field(None, min_length=1)
    uri: str | None = Field(None, min_length=1)
    enabled: bool = True
    register_model: bool = False


class DistributionSpec(Strict):
    """Trains one model a variant with these values, and watches the inputs of a late layer."""

    epochs: int = Field(ge=1)
    values: dict[str, Value] = Field(default_factory=dict)


class CompareSpec(Strict):
    """The same search in several variants, each with several seeds.

    A variant is a mapping of dotted keys of the recipe to their values in it, like the overrides of
    the command line. Searches are compared by their best score or, with a `threshold`, by the
    share of their trials that reach it.
    """

    seeds: int = Field(ge=1, le=1000)
    variants: dict[Name, dict[str, Any]] = Field(min_length=2)
    threshold: float | None = None
    distribution: DistributionSpec | None = None

    @model_validator(mode="after")
    def _variants_of_one_recipe(self) -> Self:
        laws = [
            Broken("a variant cannot set this", "Remove it.", f"variants.{name}.{dotted}", dotted)
            for name, changes in self.variants.items()
            for dotted in changes
            if not variable(dotted)
        ]
        if laws:
            raise refuse(*laws)
        return self


class Recipe(Strict):
    """What to tune, on which data, for how long.

    >>> import kbn
    >>> recipe = kbn.Recipe(
    ...     name="quick",
    ...     dataset={"name": "iris"},
    ...     model={"name": "softmax"},
    ...     objective={"metric": "val_accuracy", "direction": "max"},
    ...     search={"trials": 8, "epochs": 4},
    ...     space={
    ...         "learning_rate": {"type": "float", "low": 1e-4, "high": 1, "scale": "log"},
    ...         "batch_size": 16,
    ...     },
    ... )
    >>> recipe.space["learning_rate"].high
    1.0

    Raises:
        pydantic.ValidationError: if anything is unknown, missing or out of range.
    """

    name: Name
    dataset: DatasetSpec
    model: ModelSpec
    objective: ObjectiveSpec
    search: SearchSpec
    space: dict[Name, Hyperparameter] = Field(default_factory=dict)
    tracking: TrackingSpec = TrackingSpec()
    compare: CompareSpec | None = None
    _written: str | None = PrivateAttr(None)
    _home: Path = PrivateAttr(Path())
    _sources: Mapping[KeyPath, Source] = PrivateAttr(default_factory=dict)

    @property
    def written(self) -> str | None:
        """The file that it was read from, as it is written; None without one."""
        return self._written

    @property
    def about(self) -> str:
        """The first line of its file, if that is a comment, else ""."""
        first = (self._written or "").partition("\n")[0]
        return first.lstrip("# ") if first.startswith("#") else ""

    @property
    def home(self) -> Path:
        """The directory that its paths start from: that of its file, or the working directory."""
        return self._home

    @property
    def variants(self) -> dict[str, list[Recipe]]:
        """{variant: the recipe of each seed}; empty where nothing is compared.

        Raises:
            pydantic.ValidationError: if a variant is no sound recipe.
        """
        compare = self.compare
        if compare is None:
            return {}
        return {
            name: [self.variant(name, seed) for seed in range(compare.seeds)]
            for name in compare.variants
        }

    def variant(self, name: str, seed: int) -> Recipe:
        """The recipe of a variant with the seed-th of its seeds, in the experiment of them all.

        Raises:
            pydantic.ValidationError: if it is no sound recipe.
        """
        assert self.compare is not None  # noqa: S101  only a recipe that compares has variants
        data = changed(self.model_dump(exclude={"compare"}), self.compare.variants[name])
        recipe = type(self).model_validate(data)
        search, tracking = recipe.search, recipe.tracking
        own: dict[str, Any] = {
            "name": f"{self.name}-{name}-{seed}",
            "search": search.model_copy(update={"seed": search.seed + seed}),
            "tracking": tracking.model_copy(
                update={"experiment": tracking.experiment or self.name}
            ),
        }
        recipe = recipe.model_copy(update=own)
        recipe._home = self._home
        recipe._sources = {**self._sources, **_below(self._sources, ("compare", "variants", name))}
        return recipe

    def fault(self, key: str, broken: Broken) -> Fault:
        """A law that turned out to be broken below a key, as a fault of the recipe's file."""
        full = tuple(part for part in (*key.split("."), *broken.key.split(".")) if part)
        file, line = nearest(self._sources, full) or (self.name, None)
        return Fault(file, line, ".".join(full), broken.law, broken.shown, broken.cure)

    def broken(self, sound: Container[str]) -> Iterator[Broken]:
        """The laws between its parts that do not hold, of those parts that are sound."""
        if "model" in sound and "space" in sound:
            yield from self._broken_space()
            yield from self._broken_distribution()
        if "model" in sound and "objective" in sound:
            yield from self._broken_objective()
        if "dataset" in sound and "search" in sound:
            yield from self._broken_final()

    @model_validator(mode="after")
    def _the_parts_fit(self) -> Self:
        laws = list(self.broken(type(self).model_fields))
        if laws:
            raise refuse(*laws)
        return self

    def _broken_space(self) -> Iterator[Broken]:
        above: dict[str, ChoiceSpec] = {}
        for name, spec in self.space.items():
            yield from list(broken_conditions(name, self.space, above)) or broken_uses(
                name, self.space, self.model
            )
            if isinstance(spec, ChoiceSpec):
                above[name] = spec
        if not self.space and self.model.python is None:
            yield Broken("needs one hyperparameter at least", "Add learning_rate.", "space")

    def _broken_objective(self) -> Iterator[Broken]:
        known = [prefix + name for name in METRICS for prefix in ("val_", "")]
        if self.model.python is None and self.objective.metric not in known:
            cure = suggest(self.objective.metric, known)
            law, key = "must be a metric that training reports", "objective.metric"
            yield Broken(law, cure, key, self.objective.metric)

    def _broken_final(self) -> Iterator[Broken]:
        fetched = self.dataset.name is not None and self.dataset.name in FETCHED
        own = fetched or self.dataset.name is None  # whether files have a part is seen in them
        if self.search.final.refit and self.dataset.test is None and not own:
            law, cure = "needs a test part of the data", "Add dataset.test: 0.2."
            yield Broken(law, cure, "search.final.refit", True)

    def _broken_distribution(self) -> Iterator[Broken]:
        asked = self.compare.distribution if self.compare else None
        if asked is None or self.model.name is None:
            return
        key = "compare.distribution"
        if not architectures.takes_norm(self.model.name):
            law = f"needs a model with hidden layers, not {self.model.name}"
            yield Broken(law, "Remove distribution.", key)
        for name, value in asked.values.items():
            where = f"{key}.values.{name}"
            if name not in self.space:
                law, cure = "must name a hyperparameter of space", suggest(name, self.space)
                yield Broken(law, cure, where, name)
            elif kind := usable(self.space[name], self.space, self.model).get(name):
                yield from broken_values(where, name, FixedSpec(type="fixed", value=value), kind)


def variable(dotted: str) -> bool:
    """Whether a variant may set a key: it is part of a recipe, and is named by it."""
    return dotted.partition(".")[0] not in ("name", "compare")


def changed(data: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Data of a recipe with other values at some dotted keys."""
    data = copy.deepcopy(data)
    for dotted, value in changes.items():
        set_value(data, dotted.split("."), copy.deepcopy(value))
    return data


def _below(sources: Mapping[KeyPath, Source], path: tuple[str, ...]) -> dict[KeyPath, Source]:
    """Where the values below a path stand."""
    depth = len(path)
    return {known[depth:]: source for known, source in sources.items() if known[:depth] == path}


def set_value(data: dict[str, Any], path: Iterable[str], value: Any) -> None:
    """Sets a value in nested mappings; whatever is no mapping on its way becomes one."""
    *above, last = path
    for key in above:
        if not isinstance(data.get(key), dict):
            data[key] = {}
        data = data[key]
    data[last] = value


def nearest(sources: Mapping[KeyPath, Source], path: KeyPath) -> Source | None:
    """Where a value stands; a key that is not there is reported at what should hold it."""
    known = (path[:n] for n in range(len(path), -1, -1) if path[:n] in sources)
    return next((sources[part] for part in known), None)
