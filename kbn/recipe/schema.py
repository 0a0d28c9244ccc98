"""What a recipe may say."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from kbn.errors import Fault
from kbn.recipe import architectures, training
from kbn.recipe.datasets import DATASETS
from kbn.search.scales import SCALES

Scalar = bool | int | float | str


@dataclasses.dataclass(frozen=True)
class Broken:
    """A law that a recipe breaks, and the cure.

    `key` is the dotted path below the place that raises it; `received` None where nothing was.
    """

    law: str
    cure: str
    key: str = ""
    received: Any = None

    @property
    def shown(self) -> str | None:
        """What was received, as text."""
        return None if self.received is None else repr(self.received)


def refuse(*laws: Broken) -> PydanticCustomError:
    """The error that carries broken laws through pydantic to `loading`."""
    text = "\n".join(
        str(Fault("recipe", None, law.key, law.law, law.shown, law.cure)) for law in laws
    )
    return PydanticCustomError("kbn", "{text}", {"text": text, "laws": laws})


def suggest(word: Any, known: Iterable[str]) -> str:
    """A cure for a misspelt word."""
    known = sorted(known)
    near = difflib.get_close_matches(str(word), known, n=1)
    return f"Did you mean {near[0]}?" if near else f"Use one of: {', '.join(known)}."


def _one_of(kind: str, known: Sequence[str]) -> AfterValidator:
    def check(name: str) -> str:
        if name not in known:
            raise refuse(Broken(f"must name a known {kind}", suggest(name, known), received=name))
        return name

    return AfterValidator(check)


def _plain(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        law = "must be of letters, digits, _ and - alone"
        raise refuse(Broken(law, "Choose another name.", received=name))
    return name


Name = Annotated[str, AfterValidator(_plain)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class DatasetSpec(_Strict):
    """Which data, and the share of it that is held out for validation."""

    name: Annotated[str, _one_of("data set", list(DATASETS))]
    validation: float = Field(0.2, gt=0, lt=1)


class NormSpec(_Strict):
    """Batch normalization of the hidden layers."""

    layer: Literal["kbn.BatchNormalization", "keras.layers.BatchNormalization"] = (
        "kbn.BatchNormalization"
    )
    position: Literal["before_activation", "after_activation"] = "before_activation"


class ModelSpec(_Strict):
    """Which architecture."""

    name: Annotated[str, _one_of("model", list(architectures.ARCHITECTURES))]
    norm: NormSpec | None = None

    @model_validator(mode="after")
    def _norm_has_a_place(self) -> Self:
        if self.norm and not architectures.takes_norm(self.name):
            raise refuse(Broken(f"{self.name} has no layer to normalize", "Remove norm.", "norm"))
        return self


class ObjectiveSpec(_Strict):
    """What the search improves."""

    metric: Literal["val_accuracy", "val_loss", "accuracy", "loss"] = "val_accuracy"
    direction: Literal["min", "max"]

    @model_validator(mode="after")
    def _the_way_that_is_better(self) -> Self:
        better = "min" if self.metric.endswith("loss") else "max"
        if self.direction != better:
            law, cure = (
                f"{self.metric} is better the other way round",
                f"Write direction: {better}.",
            )
            raise refuse(Broken(law, cure, "direction", self.direction))
        return self


class SearchSpec(_Strict):
    """How long the search is: number of trials, epochs of each, seed."""

    trials: int = Field(ge=1, le=1_000_000)
    epochs: int = Field(ge=1)
    seed: int = Field(0, ge=0, lt=2**32)


class TrackingSpec(_Strict):
    """Where in MLflow the trials go: by default to the experiment of the recipe's name.

    With `register_model` the best model becomes a version of the registered model of the recipe's
    name, with the alias best.
    """

    experiment: str | None = Field(None, min_length=1)
    uri: str | None = Field(None, min_length=1)
    enabled: bool = True
    register_model: bool = False


class _Hyperparameter(_Strict):
    when: dict[str, Scalar | list[Scalar]] = Field(default_factory=dict)

    def conditions(self) -> Iterator[tuple[str, list[Scalar]]]:
        """(name, values that activate this hyperparameter)."""
        for name, values in self.when.items():
            yield name, values if isinstance(values, list) else [values]


class _Numeric(_Hyperparameter):
    low: float
    high: float

    def extremes(self) -> list[tuple[str, Any]]:
        """(key, value) of the values that must all be admitted."""
        return [("low", self.low), ("high", self.high)]

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if not self.low < self.high:
            raise refuse(Broken("low < high must hold", "Swap or widen them.", "low", self.low))
        scale = SCALES[self.scale]  # type: ignore[attr-defined]
        if not scale.admits(self.low, self.high):
            key = scale.law.split()[0]
            law, cure = f"scale {scale.name} needs {scale.law}", f"Move {key} or use another scale."
            raise refuse(Broken(law, cure, key, getattr(self, key)))
        return self


class FloatSpec(_Numeric):
    """A float in [low, high]."""

    type: Literal["float"]
    scale: Literal["linear", "log", "complement_log", "per_decade"] = "linear"


class IntSpec(_Numeric):
    """An integer in [low, high]."""

    type: Literal["int"]
    low: int
    high: int
    scale: Literal["linear", "log"] = "linear"


class ChoiceSpec(_Hyperparameter):
    """One of a few values."""

    type: Literal["choice"]
    values: list[Scalar] = Field(min_length=1)

    def extremes(self) -> list[tuple[str, Any]]:
        """(key, value) of the values that must all be admitted."""
        return [("values", value) for value in self.values]

    @model_validator(mode="after")
    def _distinct_and_alike(self) -> Self:
        if len({type(value) for value in self.values}) > 1:
            cure = "Write 1.0 for 1 among floats."
            raise refuse(Broken("values must be of one type", cure, "values", self.values))
        if len(set(self.values)) < len(self.values):
            cure = "Remove the repeated ones."
            raise refuse(Broken("values must differ", cure, "values", self.values))
        return self


Hyperparameter = Annotated[FloatSpec | IntSpec | ChoiceSpec, Field(discriminator="type")]


class Recipe(_Strict):
    """What to tune, on which data, for how long.

        kbn.Recipe(
            name="quick",
            dataset={"name": "digits"},
            model={"name": "softmax"},
            objective={"metric": "val_accuracy", "direction": "max"},
            search={"trials": 8, "epochs": 4},
            space={"learning_rate": {"type": "float", "low": 1e-4, "high": 1, "scale": "log"}},
        )

    Raises:
        pydantic.ValidationError: if anything is unknown, missing or out of range.
    """

    name: Name
    dataset: DatasetSpec
    model: ModelSpec
    objective: ObjectiveSpec
    search: SearchSpec
    space: dict[Name, Hyperparameter] = Field(min_length=1)
    tracking: TrackingSpec = TrackingSpec()
    _written: str | None = PrivateAttr(None)

    @property
    def written(self) -> str | None:
        """The file that it was read from, as it is written; None without one."""
        return self._written

    @model_validator(mode="after")
    def _space_is_sound(self) -> Self:
        laws: list[Broken] = []
        above: dict[str, ChoiceSpec] = {}
        for name, spec in self.space.items():
            laws += list(_broken_conditions(name, spec, above)) or self._broken_uses(name, spec)
            if isinstance(spec, ChoiceSpec):
                above[name] = spec
        if laws:
            raise refuse(*laws)
        return self

    def _broken_uses(self, name: str, spec: Hyperparameter) -> Iterator[Broken]:
        """Every hyperparameter reaches the model, the optimizer or the training."""
        key, usable = f"space.{name}", self._usable(spec)
        if name not in usable:
            yield Broken("nothing uses this name", suggest(name, usable), key, name)
            return
        kind = usable[name]
        kinds = (float, int) if kind is float else (kind,)
        if any(type(value) not in kinds for _, value in spec.extremes()):
            cure = f"Use {'a choice of words' if kind is str else f'type: {kind.__name__}'}."
            yield Broken(f"must be {kind.__name__}", cure, key, spec.type)
            return
        law, holds = training.DOMAINS[name]
        for where, value in spec.extremes():
            if not holds(value):
                cure = suggest(value, training.OPTIMIZERS) if kind is str else f"Move {where}."
                yield Broken(f"{name} must be {law}", cure, f"{key}.{where}", value)

    def _usable(self, spec: Hyperparameter) -> dict[str, type]:
        """{name: type} of what model, optimizers and training take where `spec` is active."""
        defaults = training.DEFAULTS | architectures.hyperparameters(self.model.name)
        if self.model.norm is None:
            defaults.pop("norm_momentum", None)
        choice = self.space.get("optimizer")
        optimizers = getattr(choice, "values", [training.DEFAULTS["optimizer"]])
        for optimizer in dict(spec.conditions()).get("optimizer", optimizers):
            defaults |= dict.fromkeys(training.OPTIMIZERS.get(str(optimizer), {}), 0.0)
        return {name: type(default) for name, default in defaults.items()}


def _broken_conditions(
    name: str, spec: Hyperparameter, above: Mapping[str, ChoiceSpec]
) -> Iterator[Broken]:
    """A condition names a choice above it, so that none can be circular."""
    for parent, values in spec.conditions():
        key = f"space.{name}.when.{parent}"
        if parent not in above:
            cure = suggest(parent, above) if above else "Declare it first."
            yield Broken("must name a choice declared above", cure, key, parent)
            continue
        for value in set(values).difference(above[parent].values):
            cure = suggest(value, map(str, above[parent].values))
            yield Broken(f"must be a value of {parent}", cure, key, value)
