"""Trials of earlier searches that a search learns from as if they were its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kbn.search.space import Space, Values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kbn.search.axes import Value

# Key in a trial's values for the trial of an earlier search whose values it was given.
FROM = "tuner/from"


@dataclasses.dataclass(frozen=True)
class PastTrial:
    """A trial of an earlier search, trained in full.

    Attributes:
        values: {hyperparameter: value} in natural units.
        score: of the search's own objective, on the same data; finite.
        source: names the trial and its search, in words.
    """

    values: Values
    score: float
    source: str

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> PastTrial:
        return cls(**config)


def fits(space: Space, values: Mapping[str, Value]) -> bool:
    """Return whether values are a point of a space: one of every active hyperparameter, no other.

    A trial that lacks a new hyperparameter, or has a removed one, does not fit. A hyperparameter
    that was fixed and is searched now fits, as does one that is now fixed at the trial's value.
    """
    active = space.sample(space.whole, [0.5] * len(space.axes), values)
    return active.keys() == values.keys() and space.contains(space.whole, values)


def best_of(past: Sequence[PastTrial], direction: str) -> PastTrial | None:
    """Return the best trial; of equal ones the first, and None where there is none."""
    choose = max if direction == "max" else min
    return choose(past, key=lambda trial: trial.score, default=None)
