"""The section `search` of a recipe: how long the search is, and how its trials are trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from kbn.errors import NULL, Text, Violation
from kbn.recipe.rules import Strict, Value, reject

if TYPE_CHECKING:
    from kbn.recipe.data import DatasetSpec


AUTO, NONE = "auto", "none"  # of `from`: the searches in the same directory, and no search


def _as_list(given: object) -> object:
    return [given] if isinstance(given, str) and given not in (AUTO, NONE) else given


From = Annotated[
    Annotated[list[Annotated[str, Field(min_length=1)]], Tag("names")]
    | Annotated[Literal["auto", "none"], Tag("word")],
    Discriminator(lambda given: "word" if isinstance(given, str) else "names"),
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
]


Epochs = Annotated[
    Annotated[int, Field(ge=1), Tag("number")] | Annotated[Literal["coarse_to_fine"], Tag("word")],
    Discriminator(lambda given: "word" if isinstance(given, str) else "number"),
]


class FinalSpec(Strict):
    """What happens after the search.

    With `refit`, the best trial's model is retrained on the training and validation parts, its
    batch norm is recalibrated, and its test score is logged; the data set must have a test part.
    """

    refit: bool = False


class SearchSpec(Strict):
    """How to search: number of trials, epochs per trial, seed, tuner and surrogate.

    With `surrogate: null` the coarse-to-fine search draws at random inside its boxes, without a
    model of the scores. `first` are the values of the first trials, as of the configuration in use
    so far; what one lacks is drawn. Only the checkpoints of the `keep` best trials stay on the
    disk; if another one becomes the best, it is trained again. The search ends between two trials
    once they have taken `hours` in all, or once the objective is as good as `until` says, as in
    {val_accuracy: 0.99}. Each trial is trained `executions` times, from other weights each time,
    and has the mean of their scores. A training that takes more than `trial_timeout` seconds ends,
    and is scored as it is by then; one that does not even end then is killed, and has failed.

    With `folds`, each trial is trained once for each fold of a cross-validation, stratified for a
    classification, over all examples but the test part. No fold's model is the best model: that is
    trained with the best trial's values on all of these examples.

    With `epochs: coarse_to_fine`, early trials train for a share of `max_epochs`, and the best
    third of them go on from their weights. With `prune`, a training ends early where it is hopeless
    beside the trials before it. Both spend the epochs of `trials` whole trainings on more trials.

    `workers` is how many trials run at a time, each in a process of its own with an equal share of
    the cores and GPUs (or `gpus_per_worker`); `auto` is one for each GPU or, without any, one for
    every two cores. A trial whose process dies is run again at most `max_retries` times.

    `from` names earlier searches, or their directories: values that did well there are tried first,
    and the search learns how far that holds here. They must have the same objective and some of
    the same hyperparameters. Where data, model and training are the same too, their trials count as
    its own. With `auto` it is up to ten searches in the same directory and, where the search is
    tracked, in the same MLflow store; with `none` it is no search.
    """

    trials: int = Field(ge=1, le=1_000_000)
    epochs: Epochs
    max_epochs: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0, lt=2**31)
    executions: int = Field(1, ge=1, le=1000)
    folds: int | None = Field(None, ge=2, le=1000)
    prune: bool = False
    tuner: Literal["coarse_to_fine", "random", "grid"] = "coarse_to_fine"
    surrogate: Literal["gp", None] = "gp"
    first: list[dict[str, Value]] = Field(default_factory=list)
    from_: From = Field("auto", alias="from")
    keep: int = Field(3, ge=1)
    hours: float | None = Field(None, gt=0)
    trial_timeout: float | None = Field(None, gt=0)
    max_retries: int = Field(1, ge=0, le=1000)
    workers: Annotated[int, Field(ge=1, le=1000)] | Literal["auto"] = 1
    gpus_per_worker: float | None = Field(None, ge=0)
    until: dict[str, float] | None = Field(None, min_length=1, max_length=1)
    final: FinalSpec = FinalSpec()

    @property
    def whole(self) -> int:
        """Number of epochs of a whole training."""
        return self.epochs if isinstance(self.epochs, int) else self.max_epochs or 1

    @property
    def names(self) -> list[str]:
        """The earlier searches that are named."""
        return self.from_ if isinstance(self.from_, list) else []

    @property
    def shares_epochs(self) -> bool:
        """Whether `trials` counts whole trainings, whose epochs more trials than that share."""
        return self.prune or self.epochs == "coarse_to_fine"

    @property
    def extent(self) -> str:
        """How many trials of how many epochs there are, in words."""
        if self.shares_epochs:
            each = f"the epochs of {self.trials} whole trainings, each {self.whole}"
            return f"{each}, {'coarse to fine' if self.epochs != self.whole else 'pruned'}"
        folds = f" in {self.folds} folds" if self.folds else ""
        return f"{self.trials} trials of {self.whole} epochs{folds}"

    @property
    def shown(self) -> dict[str, str]:
        """{key: value in words} of how trials are trained and scored, as far as it is special."""
        shown = {
            "folds": self.folds,
            "max_epochs": self.max_epochs,
            "prune": "true" if self.prune else None,
            "from": ", ".join(self.names) or None,
        }
        return {key: str(value) for key, value in shown.items() if value is not None}

    @model_validator(mode="after")
    def _first_trials_are_some(self) -> Self:
        if len(self.first) > self.trials:
            rule = f"may have at most as many values as there are trials, {self.trials}"
            received = Text(f"{len(self.first)} of them")
            raise reject(Violation(rule, "Remove some.", "first", received))
        return self

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        violations = list(_invalid_keys(self))
        if violations:
            raise reject(*violations)
        return self


def _invalid_keys(search: SearchSpec) -> Iterator[Violation]:
    """Yield the violations between the keys of the section."""
    if search.epochs == "coarse_to_fine" and search.max_epochs is None:
        rule = "epochs: coarse_to_fine needs the epochs of a whole training"
        yield Violation(rule, "Add it, as in max_epochs: 27.", "max_epochs")
    if search.epochs != "coarse_to_fine" and search.max_epochs is not None:
        rule, hint = "is for epochs: coarse_to_fine alone", "Remove it."
        yield Violation(rule, hint, "max_epochs", search.max_epochs)
    yield from _excluded(search, [name for name, on in _special(search).items() if on])


def invalid_beside(search: SearchSpec, others: Sequence[str]) -> Iterator[Violation]:
    """Yield the violations between the section and other keys of the recipe that are given."""
    yield from (
        dataclasses.replace(each, key=f"search.{each.key}") for each in _excluded(search, others)
    )


def _special(search: SearchSpec) -> dict[str, bool]:
    """Return {key, or key and value: whether it is given} of what some others exclude."""
    return {
        "epochs: coarse_to_fine": search.epochs == "coarse_to_fine",
        "prune: true": search.prune,
        "folds": search.folds is not None,
        "executions": search.executions > 1,
        "from": bool(search.names),
        "tuner: grid": search.tuner == "grid",
        "tuner: random": search.tuner == "random",
    }


def _excluded(search: SearchSpec, others: Sequence[str]) -> Iterator[Violation]:
    special = _special(search)
    for (one, other), hint in EXCLUSIVE.items():
        if special[one] and other in others:
            key = one.partition(":")[0]
            received = getattr(search, {"from": "from_"}.get(key, key))
            yield Violation(f"does not go together with {other}", hint, key, received)


_MEAN = "Remove one of the two: the score would be a mean of unlike trainings."
_TWICE = "Remove one of the two: both end the training of bad trials."
_PHASES = "Write a number of epochs: the phases of fine-tuning are shares of them."
# pairs of keys that cannot be given together -> hint
EXCLUSIVE = {
    ("epochs: coarse_to_fine", "folds"): _MEAN,
    ("epochs: coarse_to_fine", "executions"): _MEAN,
    ("prune: true", "folds"): _MEAN,
    ("prune: true", "executions"): _MEAN,
    ("prune: true", "epochs: coarse_to_fine"): _TWICE,
    ("epochs: coarse_to_fine", "tuner: grid"): "Use tuner: random, or a number of epochs.",
    ("prune: true", "tuner: grid"): "Use tuner: random: a grid has no further trials.",
    ("folds", "executions"): "Remove executions: there is one for each fold.",
    ("from", "tuner: grid"): "Remove from: only coarse_to_fine learns from trials.",
    ("from", "tuner: random"): "Remove from: only coarse_to_fine learns from trials.",
    ("from", "compare"): "Remove it: all variants begin alike.",
    ("from", "objectives"): "Remove it: only a single score is taken over.",
    ("epochs: coarse_to_fine", "objectives"): "Write a number of epochs.",
    ("prune: true", "objectives"): "Remove it: a trial is judged by one objective alone.",
    ("epochs: coarse_to_fine", "model.application"): _PHASES,
    ("epochs: coarse_to_fine", "model.preset"): _PHASES,
}


def without_validation(data: Any) -> Any:
    """Return a recipe's data in which a data set that is split into folds has `validation: null`.

    It is there unless the recipe says otherwise, which `invalid_validation` then reports.
    """
    if isinstance(data, Mapping):
        search, dataset = data.get("search"), data.get("dataset")
        folds = search.get("folds") if isinstance(search, Mapping) else None
        if folds is not None and isinstance(dataset, Mapping) and "validation" not in dataset:
            return {**data, "dataset": {**dataset, "validation": None}}
    return data


def invalid_validation(dataset: DatasetSpec, search: SearchSpec) -> Iterator[Violation]:
    """Yield the violation if there is a validation part beside folds, or neither of them."""
    key, part = "dataset.validation", dataset.validation
    if search.folds is not None and part is not None:
        rule = "search.folds takes the place of a validation part"
        yield Violation(rule, "Remove it, or write validation: null.", key, part)
    if search.folds is None and part is None:
        rule = "must be a share in (0, 1), a number of examples, or a file"
        yield Violation(rule, "Write it like 0.2, or like 300.", key, NULL)
