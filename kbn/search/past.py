"""Trials of earlier searches: as if they were a search's own, or as a hint where to look.

A score is comparable within its search. Where data, model and training are the same too, an earlier
trial is worth as much as one's own (`PastTrial`); where they are not, only which values did well
beside others says something (`PastSearch`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from kbn.search.axes import Discrete
from kbn.search.space import Space, Values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kbn.search.axes import Axis, Value

# Key in a trial's values for the trial of an earlier search whose values it was given.
FROM = "tuner/from"
Scored: TypeAlias = "tuple[Mapping[str, Value], float]"  # values and score of a trial


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


@dataclasses.dataclass(frozen=True)
class PastSearch:
    """An earlier search of something similar, whose scores say only which of its trials were good.

    Attributes:
        name: of the search, or what else it is known by.
        trials: those trained in full; their scores are better in the same direction as those of
            the search that learns from them.
    """

    name: str
    trials: tuple[PastTrial, ...]

    @classmethod
    def of(cls, given: PastSearch | Sequence[Scored], number: int) -> PastSearch:
        """Return a search from (values, score) of its trials; its name then follows from `number`.

        Raises:
            ValueError: if a trial is anything else, or its score is not finite.
        """
        if isinstance(given, PastSearch):
            return given
        name, trials = f"prior {number}", []
        for trial, pair in enumerate(given):
            values, score = pair if isinstance(pair, tuple) and len(pair) == 2 else (None, None)  # noqa: PLR2004
            if not isinstance(values, dict) or not _is_number(score):
                raise ValueError(
                    "The prior parameter of CoarseToFineOracle must be a list of searches, each a "
                    "list of trials (values, score) of a dict and a finite number. Got "
                    f"{pair!r} as trial {trial} of search {number} instead."
                )
            trials.append(PastTrial(dict(values), float(score), f"{name} trial {trial}"))
        return cls(name, tuple(trials))

    def as_config(self) -> dict[str, Any]:
        """Return what `from_config` takes, made of JSON values."""
        return {"name": self.name, "trials": [vars(trial) for trial in self.trials]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> PastSearch:
        return cls(config["name"], tuple(map(PastTrial.from_config, config["trials"])))


@dataclasses.dataclass(frozen=True)
class Past:
    """What earlier searches have shown.

    Attributes:
        trials: that count like a search's own.
        searches: of which it only counts which values did well.
    """

    trials: tuple[PastTrial, ...] = ()
    searches: tuple[PastSearch, ...] = ()

    @classmethod
    def of(cls, parts: Sequence[Past]) -> Past:
        """Return several pasts as one, in their order."""
        trials = tuple(trial for part in parts for trial in part.trials)
        return cls(trials, tuple(search for part in parts for search in part.searches))

    def __str__(self) -> str:
        """Name the searches with their numbers of trials; empty if there is none."""
        names = [trial.source.rpartition(" trial ")[0] for trial in self.trials]
        own = [f"{names.count(name)} trials of {name}" for name in dict.fromkeys(names)]
        others = [f"{len(search.trials)} trials of {search.name}" for search in self.searches]
        return ", ".join(own + others)


NOTHING = Past()


def fits(space: Space, values: Mapping[str, Value]) -> bool:
    """Return whether values are a point of a space: one of every active hyperparameter, no other.

    A trial that lacks a new hyperparameter, or has a removed one, does not fit. A hyperparameter
    that was fixed and is searched now fits, as does one that is now fixed at the trial's value.
    """
    active = space.sample(space.whole, [0.5] * len(space.axes), values)
    return active.keys() == values.keys() and space.contains(space.whole, values)


def related(space: Space, values: Mapping[str, Value]) -> Values | None:
    """Return the values of the hyperparameters that a space knows, whether they lie in it or not.

    None if it searches none of them, if more than half lie outside, or if one is of another kind,
    such as a text where the space has numbers.
    """
    found = [axis for axis in space.axes if axis.name in values]
    outside = [axis for axis in found if not _holds(axis, values[axis.name])]
    searched = any(len(axis.whole) > 1 for axis in found)
    if not searched or 2 * len(outside) > len(found):
        return None
    alike = all(_is_like(axis, values[axis.name]) for axis in outside)
    return {axis.name: values[axis.name] for axis in found} if alike else None


def shared(space: Space, values: Mapping[str, Value]) -> Values | None:
    """Return what `related` does, if all of it lies in the space; else None."""
    found = related(space, values)
    return found if found and space.contains(space.whole, found) else None


def best_of(past: Sequence[PastTrial], direction: str) -> PastTrial | None:
    """Return the best trial; of equal ones the first, and None where there is none."""
    choose = max if direction == "max" else min
    return choose(past, key=lambda trial: trial.score, default=None)


def _holds(axis: Axis, value: Value) -> bool:
    if isinstance(axis, Discrete):
        return value in axis.values
    return _is_number(value) and axis.contains(axis.whole, value)


def _is_like(axis: Axis, value: Value) -> bool:
    """Return whether a value that an axis lacks can be compared with those that it has."""
    if isinstance(axis, Discrete):
        return not axis.ordered or all(map(_is_number, [value, *axis.values]))
    return _is_number(value)


def _is_number(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]
