"""What a search is for: its objectives, and the constraints that a trial must satisfy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

MOST_EXCESS = 1e6  # in multiples of a limit, so that an infinite metric stays a number


@dataclasses.dataclass(frozen=True)
class Constraint:
    """A metric must be in [low, high].

    Attributes:
        metric: its name.
        low, high: the limits; infinite where there is none.
    """

    metric: str
    low: float = -math.inf
    high: float = math.inf

    def excess(self, value: float) -> float:
        """Return how far a value is beyond the nearer limit, as a multiple of it; 0 if within."""
        limit = self.low if value < self.low else self.high
        if self.low <= value <= self.high:
            return 0.0
        if math.isnan(value):
            return MOST_EXCESS
        return min(abs(value - limit) / (abs(limit) or 1.0), MOST_EXCESS)

    def violation(self, value: float) -> str:
        """Say which limit a value breaks, as "parameters 25,000 > max 20,000"."""
        limit = f"< min {_digits(self.low)}" if value < self.low else f"> max {_digits(self.high)}"
        return f"{self.metric} {_digits(value)} {limit}"

    def __str__(self) -> str:
        limits = (("min", self.low), ("max", self.high))
        words = [f"{word} {_digits(limit)}" for word, limit in limits if math.isfinite(limit)]
        return f"{self.metric} {' '.join(words)}"


@dataclasses.dataclass(frozen=True)
class Goals:
    """Objectives and constraints of a search.

    Attributes:
        objectives: (metric, "min" or "max") of each; the first one decides a trial's score.
        constraints: on any metrics.
    """

    objectives: tuple[tuple[str, str], ...]
    constraints: tuple[Constraint, ...] = ()

    @classmethod
    def of(
        cls,
        objectives: Sequence[tuple[str, str]],
        constraints: Mapping[str, Mapping[str, float]] | None = None,
    ) -> Goals:
        """Return goals with constraints as a recipe has them: {metric: {"min": low, "max": high}}.

        Raises:
            ValueError: if a constraint has another key, no limit, or min > max.
        """
        made = []
        for metric, limits in (constraints or {}).items():
            one = Constraint(metric, limits.get("min", -math.inf), limits.get("max", math.inf))
            if not limits or not limits.keys() <= {"min", "max"} or not one.low <= one.high:
                raise ValueError(
                    "The constraints parameter of the oracle must give each metric a min, a max or "
                    f'both, as in {{"parameters": {{"max": 20_000}}}}. Got {metric!r}: {limits!r} '
                    "instead."
                )
            made.append(one)
        return cls(tuple(objectives), tuple(made))

    @property
    def several(self) -> bool:
        """Whether there is more than one objective."""
        return len(self.objectives) > 1

    @property
    def names(self) -> tuple[str, ...]:
        """All metrics that decide, each once: those of the objectives, then of the constraints."""
        named = [name for name, _ in self.objectives] + [each.metric for each in self.constraints]
        return tuple(dict.fromkeys(named))

    def losses(self, metrics: Mapping[str, float]) -> list[float]:
        """Return the objectives as losses, smaller is better; NaN where one is not a number."""
        signs = [(name, -1.0 if direction == "max" else 1.0) for name, direction in self.objectives]
        found = [sign * metrics.get(name, math.nan) for name, sign in signs]
        return [loss if math.isfinite(loss) else math.nan for loss in found]

    def excess(self, metrics: Mapping[str, float]) -> float:
        """Return by how much known metrics violate the constraints; 0 if they do not."""
        known = (each for each in self.constraints if each.metric in metrics)
        return sum(each.excess(metrics[each.metric]) for each in known)

    def violations(self, metrics: Mapping[str, float]) -> list[str]:
        """Return which constraints the known metrics violate, in words."""
        known = (
            (each, metrics[each.metric]) for each in self.constraints if each.metric in metrics
        )
        return [each.violation(value) for each, value in known if each.excess(value)]

    def shown(self) -> dict[str, str]:
        """Return the objectives, if there are several, and the constraints, in words."""
        parts: dict[str, Any] = {}
        if self.several:
            parts["objectives"] = [f"{name} {direction}" for name, direction in self.objectives]
        if self.constraints:
            parts["constraints"] = map(str, self.constraints)
        return {key: ", ".join(words) for key, words in parts.items()}


def _digits(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
