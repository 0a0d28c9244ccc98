"""The sections `tracking` and `compare` of a recipe."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from kbn.errors import Text, Violation, ViolationError
from kbn.recipe.reading import MAX_DEPTH
from kbn.recipe.rules import (
    Name,
    Strict,
    Value,
    reject,
)
from kbn.uris import check_uri

MAX_SEARCHES = 1000  # in a comparison


def _check_store(uri: str) -> str:
    try:
        check_uri(uri)
    except ViolationError as error:  # pydantic adds the key itself
        raise reject(
            *(dataclasses.replace(violation, key="") for violation in error.violations)
        ) from None
    return uri


class TrackingSpec(Strict):
    """Where in MLflow the trials are logged: by default in an experiment named after the recipe.

    With `register_model` the best model becomes a version of the registered model that is named
    after the recipe, with the alias `best`. With `system_metrics` the search's run has what MLflow
    measures of the machine every ten seconds: processors, memory, disk, network and GPUs.
    """

    experiment: str | None = Field(None, min_length=1)
    uri: Annotated[str, AfterValidator(_check_store)] | None = Field(None, min_length=1, repr=False)
    enabled: bool = True
    register_model: bool = False
    system_metrics: bool = False


class DistributionSpec(Strict):
    """Train one model per variant with these values, and record the inputs of a late layer."""

    epochs: int = Field(ge=1)
    values: dict[str, Value] = Field(default_factory=dict)


class CompareSpec(Strict):
    """The same search in several variants, each with several seeds.

    A variant maps dotted keys of the recipe to other values, like the overrides on the command
    line. Searches are compared by their best score or, with a `threshold`, by the share of their
    trials that reach it.
    """

    seeds: int = Field(ge=1, le=1000)
    variants: dict[Name, dict[str, Any]] = Field(min_length=2, max_length=100)
    threshold: float | None = None
    distribution: DistributionSpec | None = None

    @model_validator(mode="after")
    def _few_enough_searches(self) -> Self:
        if len(self.variants) * self.seeds > MAX_SEARCHES:
            rule = f"variants times seeds must be at most {MAX_SEARCHES}"
            received = Text(f"{len(self.variants)} variants with {self.seeds} seeds")
            hint = "Lower the seeds, or remove variants."
            raise reject(Violation(rule, hint, "seeds", received))
        return self

    @model_validator(mode="after")
    def _variants_set_what_they_may(self) -> Self:
        violations = [
            Violation(
                "a variant cannot set this", "Remove it.", f"variants.{name}.{dotted}", dotted
            )
            for name, changes in self.variants.items()
            for dotted in changes
            if not may_vary(dotted)
        ]
        if violations:
            raise reject(*violations)
        return self


def may_vary(dotted: str) -> bool:
    """Whether a variant may set a key.

    It may not set its name, which follows from the variant's, nor learn from other searches.
    """
    above, *below = dotted.split(".")
    if dotted == "search.from":
        return False
    return above not in ("name", "compare") and len(below) < MAX_DEPTH
