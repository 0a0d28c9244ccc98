"""The recipe: its sections, and the rules between them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from kbn.errors import Fault, Violation
from kbn.recipe import architectures
from kbn.recipe.catalog import FETCHED
from kbn.recipe.data import TARGETS, DatasetSpec
from kbn.recipe.fitting import TrainingSpec, invalid_training
from kbn.recipe.keys import below, changed, nearest
from kbn.recipe.metrics import METRICS, metric_name
from kbn.recipe.models import ModelSpec
from kbn.recipe.names import suggest
from kbn.recipe.objectives import (
    LEAST_OBJECTIVES,
    Constraints,
    ObjectiveSpec,
    either_objective,
    invalid_objectives,
    with_objective,
)
from kbn.recipe.reading import KeyPath, Source
from kbn.recipe.rules import Name, RecipeName, Strict, reject
from kbn.recipe.searching import (
    NONE,
    SearchSpec,
    invalid_beside,
    invalid_validation,
    without_validation,
)
from kbn.recipe.sections import CompareSpec, TrackingSpec
from kbn.recipe.space import (
    ChoiceSpec,
    FixedSpec,
    Hyperparameter,
    invalid_conditions,
    invalid_first,
)
from kbn.recipe.uses import invalid_fixed, invalid_uses, invalid_values, usable
from kbn.search.goals import Goals
from kbn.uris import masked


class Recipe(Strict):
    """What to tune, on which data, and for how long.

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

    model_config = ConfigDict(json_schema_extra=either_objective)

    name: RecipeName
    dataset: DatasetSpec
    model: ModelSpec
    objective: ObjectiveSpec
    objectives: list[ObjectiveSpec] | None = Field(None, min_length=LEAST_OBJECTIVES)
    constraints: Constraints = Field(default_factory=dict)
    training: TrainingSpec = TrainingSpec()
    search: SearchSpec
    space: dict[Name, Hyperparameter] = Field(default_factory=dict)
    tracking: TrackingSpec = TrackingSpec()
    compare: CompareSpec | None = None
    _written: str | None = PrivateAttr(None)
    _arguments: tuple[str, ...] = PrivateAttr(())
    _home: Path = PrivateAttr(Path())
    _sources: Mapping[KeyPath, Source] = PrivateAttr(default_factory=dict)

    @property
    def written(self) -> str | None:
        """Text of the file that the recipe was read from; None if there is none."""
        return self._written

    @property
    def arguments(self) -> tuple[str, ...]:
        """What names it to a command: its path or name, and the overrides; () without a file."""
        return self._arguments

    @property
    def shown(self) -> dict[str, Any]:
        """The recipe as JSON values that others may see, without passwords."""
        return dict(masked(self.model_dump(mode="json")))

    @property
    def shown_of_trainings(self) -> dict[str, str]:
        """{dotted key: value in words} of what holds for every trial, where it is no default."""
        sections = {"training": self.training.shown, "search": self.search.shown}
        return {f"{name}.{key}": text for name, of in sections.items() for key, text in of.items()}

    @property
    def texts(self) -> dict[str, str]:
        """{file name: text}: the recipe as understood and, if read from a file, as written.

        Both are without passwords.
        """
        resolved = {"recipe.resolved.json": json.dumps(self.shown, indent=2, ensure_ascii=False)}
        return (
            resolved if self.written is None else {"recipe.yaml": masked(self.written), **resolved}
        )

    @property
    def about(self) -> str:
        """First line of the file, if that is a comment; else ""."""
        first = (self._written or "").partition("\n")[0]
        return first.lstrip("# ") if first.startswith("#") else ""

    @property
    def title(self) -> str:
        """Name of the recipe, and what it is about."""
        return f"{self.name}: {self.about}" if self.about else self.name

    @property
    def goals(self) -> Goals:
        """The objectives, of which the first decides a trial's score, and the constraints."""
        objectives = self.objectives or [self.objective]
        return Goals.of([(each.metric, each.direction) for each in objectives], self.limits)

    @property
    def limits(self) -> dict[str, dict[str, float]]:
        """The constraints as {metric: {"min": low, "max": high}}, without what is not given."""
        return {name: each.model_dump(exclude_none=True) for name, each in self.constraints.items()}

    @property
    def home(self) -> Path:
        """Directory that relative paths start from: that of the file, or the working directory."""
        return self._home

    def for_elsewhere(self) -> Recipe:
        """Return the recipe as a process in another working directory reads it."""
        recipe = self.model_copy()
        recipe._home = self._home.absolute()
        return recipe

    @property
    def functions(self) -> dict[str, str]:
        """{key: module:function} of every function that the recipe names."""
        named = {"dataset.python": self.dataset.python, "model.python": self.model.python}
        for number, callback in enumerate(self.training.callbacks):
            named[f"training.callbacks.{number}.python"] = getattr(callback, "python", None)
        return {key: reference for key, reference in named.items() if reference is not None}

    @property
    def variants(self) -> dict[str, list[Recipe]]:
        """{variant: one recipe per seed}; empty if the recipe compares nothing.

        Raises:
            pydantic.ValidationError: if a variant is no valid recipe.
        """
        variants = {}
        if self.compare is not None:
            for name, changes in self.compare.variants.items():
                variant = self._changed(name, changes)
                variants[name] = [variant._seeded(seed) for seed in range(self.compare.seeds)]
        return variants

    @property
    def learns(self) -> bool:
        """Whether its search can learn from earlier ones."""
        several = self.compare is not None or self.objectives is not None
        return self.search.tuner == "coarse_to_fine" and not several

    def variant(self, name: str, seed: int) -> Recipe:
        """Return the recipe of a variant with one of its seeds, counted from 0.

        All variants share an experiment.

        Raises:
            KeyError: if the recipe has no such variant.
            pydantic.ValidationError: if the variant is no valid recipe.
        """
        variants = self.compare.variants if self.compare else {}
        return self._changed(name, variants[name])._seeded(seed)

    def _changed(self, name: str, changes: Mapping[str, Any]) -> Recipe:
        """Return the recipe of a variant."""
        data = changed(self.model_dump(exclude={"compare"}, exclude_unset=True), changes)
        recipe = type(self).model_validate(data)
        experiment = recipe.tracking.experiment or self.name
        tracking = recipe.tracking.model_copy(update={"experiment": experiment})
        own: dict[str, Any] = {"name": f"{self.name}-{name}", "tracking": tracking}
        own["search"] = recipe.search.model_copy(update={"from_": NONE})  # all begin alike
        recipe = recipe.model_copy(update=own)
        recipe._home = self._home
        recipe._sources = {**self._sources, **below(self._sources, ("compare", "variants", name))}
        return recipe

    def _seeded(self, seed: int) -> Recipe:
        """Return this recipe with another seed, counted from 0."""
        search = self.search.model_copy(update={"seed": self.search.seed + seed})
        return self.model_copy(update={"name": f"{self.name}-{seed}", "search": search})

    def fault(self, key: str, violation: Violation) -> Fault:
        """Return a violation found below a key as a fault of the recipe's file."""
        full = tuple(part for part in (*key.split("."), *violation.key.split(".")) if part)
        file, line = nearest(self._sources, full) or (self.name, None)
        return Fault(file, line, ".".join(full), violation.rule, violation.shown, violation.hint)

    def violations(self, valid: Collection[str]) -> Iterator[Violation]:
        """Yield the violations between parts, as far as these parts are among the `valid` ones."""
        if {"model", "space", "training"} <= set(valid):
            yield from self._invalid_space()
            yield from self._invalid_distribution()
            yield from invalid_training(self.training, self.space)
            yield from invalid_fixed(self.space, self.model, self.training)
        if {"model", "objective", "objectives", "constraints"} <= set(valid):
            own = self.model.python is not None
            goals = self.objective, self.objectives, self.constraints
            yield from invalid_objectives(*goals, own_model=own)
        if "model" in valid and "dataset" in valid:
            yield from self._invalid_standardize()
            yield from self._invalid_tokens()
        if "dataset" in valid and "search" in valid:
            yield from self._invalid_final()
            yield from invalid_validation(self.dataset, self.search)
        if "search" in valid and "space" in valid:
            yield from invalid_first(self.search.first, self.space)
        if "search" in valid and "objective" in valid:
            yield from self._invalid_until()
        if {"search", "compare", "model", "objectives"} <= set(valid):
            others = {
                "compare": self.compare is not None,
                "objectives": self.objectives is not None,
                "model.application": self.model.application is not None,
                "model.preset": self.model.preset is not None,
            }
            yield from invalid_beside(self.search, [name for name, on in others.items() if on])

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, given: Any) -> Any:
        """Set what follows from other sections."""
        if not isinstance(given, dict):
            return given
        given = without_validation(with_objective(given))
        match given.get("model"), given.get("dataset"):
            case {"application": str()} | {"preset": str()}, dict(dataset):
                # prepares its inputs itself
                return {**given, "dataset": {"standardize": TARGETS, **dataset}}
        return given

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        violations = list(self.violations(type(self).model_fields))
        if violations:
            raise reject(*violations)
        return self

    def _invalid_space(self) -> Iterator[Violation]:
        above: dict[str, ChoiceSpec] = {}
        for name, spec in self.space.items():
            yield from list(invalid_conditions(name, self.space, above)) or invalid_uses(
                name, self.space, self.model, self.training
            )
            if isinstance(spec, ChoiceSpec):
                above[name] = spec
        if not self.space and self.model.python is None:
            yield Violation("needs at least one hyperparameter", "Add learning_rate.", "space")

    def _invalid_until(self) -> Iterator[Violation]:
        metric = self.objective.metric
        kind = METRICS.get(metric.removeprefix("val_"))
        for name, value in (self.search.until or {}).items():
            key = f"search.until.{name}"
            if metric_name(name) != metric:
                yield Violation(f"must name the objective, {metric}", "Change the name.", key, name)
            elif kind and kind.best is not None and _beats(value, kind.best, kind.better):
                rule = f"must be reachable: {metric} is at best {kind.best:g}"
                yield Violation(rule, "Change the value.", key, value)

    def _invalid_standardize(self) -> Iterator[Violation]:
        given = "standardize" in self.dataset.model_fields_set and self.dataset.standardize
        if self.model.backbone is not None and given is True:
            rule = f"{self.model.backbone} takes pixels as they are"
            yield Violation(rule, "Remove it.", "dataset.standardize", True)

    def _invalid_final(self) -> Iterator[Violation]:
        fetched = self.dataset.name is not None and self.dataset.name in FETCHED
        own = fetched or self.dataset.name is None  # files may have a test part: known when loaded
        if self.search.final.refit and self.dataset.test is None and not own:
            rule, hint = "needs a test part of the data", "Add dataset.test: 0.2."
            yield Violation(rule, hint, "search.final.refit", True)

    def _invalid_tokens(self) -> Iterator[Violation]:
        kinds = self.dataset.columns or {}
        tokens = [name for name, kind in kinds.items() if kind == "tokens"]
        if self.model.name == architectures.TEXT and not tokens:
            rule, hint = "a text model needs a column of tokens", "Add dataset.columns."
            yield Violation(rule, hint, "model.name", self.model.name)
        elif tokens and self.model.name not in (None, architectures.TEXT):
            rule, hint = "only a text model takes tokens", "Write text, or model: {name: text}."
            yield Violation(rule, hint, f"dataset.columns.{tokens[0]}", "tokens")

    def _invalid_distribution(self) -> Iterator[Violation]:
        asked = self.compare.distribution if self.compare else None
        if asked is None or self.model.python is not None:
            return
        name, key = self.model.name, "compare.distribution"
        if name is None:
            yield Violation("needs a model by name", "Remove distribution.", key)
        elif not architectures.takes_norm(name):
            rule = f"needs a model with hidden layers, not {name}"
            yield Violation(rule, "Remove distribution.", key)
        for name, value in asked.values.items():
            where = f"{key}.values.{name}"
            if name not in self.space:
                rule, hint = "must name a hyperparameter of space", suggest(name, self.space)
                yield Violation(rule, hint, where, name)
            elif kind := usable(self.space[name], self.space, self.model, self.training).get(name):
                yield from invalid_values(where, name, FixedSpec(type="fixed", value=value), kind)


def _beats(value: float, other: float, better: str) -> bool:
    return value > other if better == "max" else value < other
