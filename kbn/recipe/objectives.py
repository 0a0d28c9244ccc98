"""What a recipe optimizes: one objective or several, and constraints on what is measured."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ValidationError, model_validator

from kbn.errors import Violation
from kbn.recipe import metrics
from kbn.recipe.metrics import METRICS, metric_name
from kbn.recipe.names import suggest
from kbn.recipe.rules import Strict, reject

# Quantities that kbn measures of a trial's model itself; of each, less is better.
BUILT = ("parameters", "model_bytes")  # known before training
MEASURES = (*BUILT, "inference_ms")
LEAST_OBJECTIVES = 2  # of a search for a front


def better(metric: str) -> Literal["min", "max"] | None:
    """Return the direction in which a metric or measure is better; None if it is unknown."""
    return "min" if metric in MEASURES else metrics.better(metric)


class ObjectiveSpec(Strict):
    """What the search optimizes: a metric that training reports, and the better direction.

    The direction of a metric of Keras' follows from its name. Among several objectives may be
    `parameters` (weights of the model), `model_bytes` (their size) and `inference_ms` (time of
    predicting 32 examples).
    """

    metric: Annotated[str, AfterValidator(metric_name)] = "val_accuracy"
    direction: Literal["min", "max"]

    @model_validator(mode="before")
    @classmethod
    def _known_direction(cls, given: Any) -> Any:
        if isinstance(given, dict) and "direction" not in given:
            metric = given.get("metric", "val_accuracy")
            known = better(metric) if isinstance(metric, str) else "max"  # else reported by itself
            return {**given, "direction": known} if known else given
        return given

    @model_validator(mode="after")
    def _direction_is_the_better_one(self) -> Self:
        right = better(self.metric) or self.direction
        if self.direction != right:
            rule = f"{'lower' if right == 'min' else 'higher'} {self.metric} is better"
            raise reject(Violation(rule, f"Write direction: {right}.", "direction", self.direction))
        return self


class ConstraintSpec(Strict):
    """Limits of a metric or measure: a trial outside of them is infeasible, and never the best."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _limits_leave_some(self) -> Self:
        if self.min is None and self.max is None:
            rule, hint = "needs min, max or both", "Write it like {max: 20000}."
            raise reject(Violation(rule, hint))
        if self.min is not None and self.max is not None and self.min > self.max:
            raise reject(Violation("min <= max must hold", "Swap or widen them.", "min", self.min))
        return self


Constraints = dict[Annotated[str, AfterValidator(metric_name)], ConstraintSpec]


def with_objective(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a recipe's data in which the first of several objectives is its `objective`, too.

    Where the first one is invalid, any valid one stands in its place: what is wrong is reported of
    `objectives`.
    """
    several = data.get("objectives")
    if several is None or data.get("objective") is not None:
        return data
    first: Any = {"direction": "max"}
    with contextlib.suppress(ValidationError, LookupError, TypeError):
        first = ObjectiveSpec.model_validate(several[0]).model_dump()
    return {**data, "objective": first}


def either_objective(schema: dict[str, Any]) -> None:
    """Have a recipe's JSON schema ask for `objective` or for `objectives`."""
    schema["required"].remove("objective")
    schema["anyOf"] = [{"required": ["objective"]}, {"required": ["objectives"]}]


def invalid_objectives(
    objective: ObjectiveSpec,
    several: Sequence[ObjectiveSpec] | None,
    constraints: Mapping[str, ConstraintSpec],
    *,
    own_model: bool,
) -> Iterator[Violation]:
    """Yield what is wrong with the objectives and constraints together.

    Args:
        objective: the only one, or the first of several.
        several: all of them; None for one.
        constraints: by metric.
        own_model: whether the recipe's own function builds the model, which may report any metric.
    """
    reported = [prefix + name for name in METRICS for prefix in ("val_", "")]
    known = [*reported, *MEASURES]
    keyed = {"objective": objective}
    if several is not None:
        yield from _invalid_list(objective, several)
        keyed = {f"objectives.{number}": each for number, each in enumerate(several)}
    for number, (key, each) in enumerate(keyed.items()):
        if each.metric in MEASURES and number == 0:
            rule = "the first objective decides a trial's best epoch: it must be reported by epoch"
            hint = "Write it below objectives, after a metric such as val_accuracy."
            yield Violation(rule, hint, f"{key}.metric", each.metric)
        elif not own_model and each.metric not in known:
            hint = suggest(each.metric, known if number else reported)
            rule = "must be a metric that training reports"
            yield Violation(rule, hint, f"{key}.metric", each.metric)
    directions = {each.metric: each.direction for each in keyed.values()}
    for metric, limits in constraints.items():
        key = f"constraints.{metric}"
        if not own_model and metric not in known:
            rule, hint = "must be a metric that training reports", suggest(metric, known)
            yield Violation(rule, hint, key, metric)
        side = directions.get(metric)
        if side is not None and getattr(limits, side) is not None:
            other = "max" if side == "min" else "min"
            rule = f"{metric} is an objective, of which {side} would exclude the best"
            yield Violation(rule, f"Write {other}.", f"{key}.{side}", getattr(limits, side))


def _invalid_list(
    objective: ObjectiveSpec, several: Sequence[ObjectiveSpec]
) -> Iterator[Violation]:
    if several and objective != several[0]:
        rule, hint = "stands beside objectives, and is not the first of them", "Remove it."
        yield Violation(rule, hint, "objective", objective.metric)
    seen = set[str]()
    for number, each in enumerate(several):
        if each.metric in seen:
            rule, key = "stands in objectives twice", f"objectives.{number}.metric"
            yield Violation(rule, "Remove one.", key, each.metric)
        seen.add(each.metric)
