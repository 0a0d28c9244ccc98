"""The section `training` of a recipe: what is fixed of how its models are trained."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from kbn.errors import Violation
from kbn.recipe.losses import ARGUMENTS, LOSSES, task_of
from kbn.recipe.metrics import METRICS, metric_name
from kbn.recipe.names import suggest
from kbn.recipe.rules import Named, OneOf, Reference, Strict, reject
from kbn.recipe.training import CLIPPING, DOMAINS, OPTIMIZERS, SCHEDULES

_Policy = Literal["mixed_bfloat16", "mixed_float16"]
POLICIES = typing.get_args(_Policy)


def _check_loss(given: object) -> object:
    return {"name": given} if isinstance(given, str) else given


_KNOWN = [name for name in METRICS if name != "loss"]


def _check_metric(given: str) -> str:
    name = metric_name(given)
    if name not in _KNOWN:
        hint = suggest(given, _KNOWN)
        raise reject(Violation("must name a known metric", hint, received=given))
    return name


_Metric = Annotated[str, AfterValidator(_check_metric), Field(examples=_KNOWN)]


def _check_weights(given: object) -> object:
    """Name the classes in words, as a recipe's text does."""
    if isinstance(given, dict):
        return {str(label): weight for label, weight in given.items()}
    if given not in (None, "balanced"):
        rule = "must be balanced, or a mapping of classes to weights"
        raise reject(Violation(rule, "Write balanced.", received=given))
    return given


def _weights_or_word(given: object) -> str:
    return "weights" if isinstance(given, dict) else "word"


def _check_policy(given: object) -> object:
    if given is None or given is False:
        return None
    if given is True:
        return POLICIES[0]
    if given not in POLICIES:
        rule = f"must be true, false or one of {', '.join(POLICIES)}"
        raise reject(Violation(rule, "Write true.", received=given))
    return given


def _check_callback(given: object) -> object:
    """Expand a name to a mapping; give the recipe's own callbacks the name that marks them."""
    if isinstance(given, str):
        return {"name": given}
    if isinstance(given, dict) and "python" in given:
        if given.get("name", "python") != "python":
            raise reject(Violation("needs one of name, python", "Keep one."))
        return {**given, "name": "python"}
    return given


class LossSpec(Named):
    """A loss by its name in Keras, and its arguments there.

    The targets of a classification number the classes, whichever loss is chosen. With
    `from_logits` the output of a model by name has no softmax, and the saved best model has one.
    """

    name: Annotated[str, OneOf("loss", [name for losses in LOSSES.values() for name in losses])]
    label_smoothing: float | None = None
    from_logits: bool | None = None
    alpha: float | None = None
    gamma: float | None = None
    delta: float | None = None

    @model_validator(mode="after")
    def _arguments_fit(self) -> Self:
        taken = LOSSES[task_of(self.name)][self.name]
        violations = list(self.untaken(taken))
        for key, value in self.arguments.items():
            rule, holds = ARGUMENTS[key]
            if key in taken and not holds(value):
                violations.append(Violation(f"{key} must be {rule}", "Change it.", key, value))
        if violations:
            raise reject(*violations)
        return self


_Mode = Literal["auto", "min", "max"]


class EarlyStoppingSpec(Strict):
    """Keras' EarlyStopping; by default it monitors the objective."""

    name: Literal["EarlyStopping"]
    monitor: str | None = None
    min_delta: float = Field(0.0, ge=0)
    patience: int = Field(0, ge=0)
    mode: _Mode | None = None
    baseline: float | None = None
    restore_best_weights: bool = False
    start_from_epoch: int = Field(0, ge=0)


class ReduceLROnPlateauSpec(Strict):
    """Keras' ReduceLROnPlateau; by default it monitors the objective."""

    name: Literal["ReduceLROnPlateau"]
    monitor: str | None = None
    factor: float = Field(0.1, gt=0, lt=1)
    patience: int = Field(10, ge=0)
    mode: _Mode | None = None
    min_delta: float = Field(1e-4, ge=0)
    cooldown: int = Field(0, ge=0)
    min_lr: float = Field(0.0, ge=0)


class TerminateOnNaNSpec(Strict):
    """Keras' TerminateOnNaN."""

    name: Literal["TerminateOnNaN"]


class OwnCallbackSpec(Strict):
    """A function of the recipe's own, given as module:function, that returns a Keras callback.

    It is called without arguments for every trial.
    """

    name: Literal["python"] = "python"
    python: Reference


CallbackSpec = EarlyStoppingSpec | ReduceLROnPlateauSpec | TerminateOnNaNSpec | OwnCallbackSpec
Callbacks = list[
    Annotated[
        CallbackSpec,
        Field(discriminator="name"),
        BeforeValidator(_check_callback, json_schema_input_type=CallbackSpec | str),
    ]
]


class TrainingSpec(Strict):
    """How the models are trained, as far as it is not searched; names follow Keras'.

    The optimizer's hyperparameters, from `optimizer` to `clipvalue`, may stand here, for all
    trials, or in `space`. The learning rate follows the `schedule` to `decay` times itself, after
    rising for the first share `warmup` of the steps. `metrics` are reported beside the task's own;
    the objective's is added to them. `class_weight` is {class: weight}, or `balanced`, which gives
    all classes the same share of the loss.
    """

    optimizer: Annotated[str, OneOf("optimizer", list(OPTIMIZERS))] | None = None
    learning_rate: float | None = None
    schedule: Annotated[str, OneOf("schedule", SCHEDULES)] | None = None
    decay: float | None = None
    warmup: float | None = None
    batch_size: int | None = None
    momentum: float | None = None
    beta_1: float | None = None
    beta_2: float | None = None
    adam_epsilon: float | None = None
    rho: float | None = None
    weight_decay: float | None = None
    clipnorm: float | None = None
    global_clipnorm: float | None = None
    clipvalue: float | None = None
    loss: (
        Annotated[LossSpec, BeforeValidator(_check_loss, json_schema_input_type=LossSpec | str)]
        | None
    ) = None
    metrics: list[_Metric] = Field(default_factory=list)
    class_weight: (
        Annotated[
            Annotated[dict[str, float], Tag("weights")]
            | Annotated[Literal["balanced"], Tag("word")],
            Discriminator(_weights_or_word),
            BeforeValidator(_check_weights),
        ]
        | None
    ) = None
    callbacks: Callbacks = Field(default_factory=list)
    mixed_precision: Annotated[
        str | None, BeforeValidator(_check_policy, json_schema_input_type=bool | _Policy | None)
    ] = None
    jit_compile: bool | None = None

    @property
    def values(self) -> dict[str, str | int | float]:
        """{name: value} of the hyperparameters that are fixed here."""
        return self.model_dump(include=set(DOMAINS), exclude_none=True)

    @property
    def shown(self) -> dict[str, str]:
        """{key: value in words} of all that is set here."""
        shown = {name: str(value) for name, value in self.values.items()}
        if self.loss is not None:
            arguments = [f"{key}={value}" for key, value in self.loss.arguments.items()]
            shown["loss"] = ", ".join([self.loss.name, *arguments])
        if self.metrics:
            shown["metrics"] = ", ".join(self.metrics)
        if isinstance(self.class_weight, dict):
            weights = (f"{label}: {weight:g}" for label, weight in self.class_weight.items())
            shown["class_weight"] = ", ".join(weights)
        elif self.class_weight is not None:
            shown["class_weight"] = self.class_weight
        if self.callbacks:
            named = [getattr(each, "python", each.name) for each in self.callbacks]
            shown["callbacks"] = ", ".join(named)
        if self.mixed_precision is not None:
            shown["mixed_precision"] = self.mixed_precision
        if self.jit_compile is not None:
            shown["jit_compile"] = str(self.jit_compile).lower()
        return shown

    @model_validator(mode="after")
    def _numbers_are_in_range(self) -> Self:
        violations = []
        for name, value in self.values.items():
            rule, holds = DOMAINS[name]
            if not holds(value):
                violations.append(
                    Violation(f"{name} must be {rule}", "Change the value.", name, value)
                )
        weights = self.class_weight if isinstance(self.class_weight, dict) else {}
        for label, weight in weights.items():
            if weight < 0:
                rule, key = "a weight must be >= 0", f"class_weight.{label}"
                violations.append(Violation(rule, "Change the value.", key, weight))
        if violations:
            raise reject(*violations)
        return self


def invalid_training(training: TrainingSpec, space: Mapping[str, Any]) -> Iterator[Violation]:
    """Yield the violations between the section `training` and the hyperparameters of the space."""
    for name in training.values.keys() & space.keys():
        rule = "stands in space too"
        yield Violation(rule, "Keep one of the two.", f"training.{name}")
    clipping = [name for name in CLIPPING if name in training.values or name in space]
    if len(clipping) > 1:
        key = "training" if clipping[-1] in training.values else "space"
        rule = f"Keras takes only one of {', '.join(CLIPPING)}"
        yield Violation(rule, "Keep one.", f"{key}.{clipping[-1]}")
    if "label_smoothing" in space and training.loss and training.loss.label_smoothing is not None:
        rule = "stands in space too"
        yield Violation(rule, "Keep one of the two.", "training.loss.label_smoothing")
    plateau = [c for c in training.callbacks if isinstance(c, ReduceLROnPlateauSpec)]
    if plateau and ("schedule" in space or training.schedule != "constant"):
        rule = "ReduceLROnPlateau needs a learning rate without a schedule"
        yield Violation(rule, "Add training.schedule: constant.", "training.callbacks")
    if plateau and (training.warmup or "warmup" in space):
        rule = "ReduceLROnPlateau needs a learning rate without a warm-up"
        yield Violation(rule, "Remove warmup.", "training.callbacks")
