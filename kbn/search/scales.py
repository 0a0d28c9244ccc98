"""Scales: how a hyperparameter's values spread over the unit interval.

A scale is an increasing function f of the value. A value x in [low, high] has the coordinate
u = (f(x) - f(low)) / (f(high) - f(low)), so that sampling u uniformly samples x on that scale.

    linear          f(x) = x
    log             f(x) = log x               learning rates: .001 to .01 as much as .01 to .1
    complement_log  f(x) = -log(1 - x)         momentum, beta: .9 to .99 as much as .99 to .999
    per_decade      f(x) = k + (x/10^k - 1)/9  with 10^k <= x < 10^(k+1): every power of ten gets
                                               an equal share, uniform within it

Source for scales: Bergstra and Bengio, Random Search for Hyper-Parameter Optimization, JMLR 13
(2012), section 2 (log-uniform ranges).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Scale:
    """An increasing function of a value, and its inverse.

    Attributes:
        name: its name in a recipe.
        forward: f above, of a float.
        inverse: the inverse of f.
        rule: what bounds must satisfy beyond low < high, as text; "" if anything is valid.
        admits: whether (low, high) satisfy that rule.
    """

    name: str
    forward: Callable[[float], float]
    inverse: Callable[[float], float]
    rule: str = ""
    admits: Callable[[float, float], bool] = lambda low, high: True

    def position(self, value: float, low: float, high: float) -> float:
        """Coordinate of any value that the scale admits: 0 of low, 1 of high; .5 where low == high.

        Raises:
            ValueError: if the scale does not admit the value.
        """
        start, end = self.forward(low), self.forward(high)
        return 0.5 if start == end else (self.forward(value) - start) / (end - start)

    def to_unit(self, value: float, low: float, high: float) -> float:
        """Coordinate in [0, 1] of a value in [low, high]; .5 where low == high."""
        return min(max(self.position(value, low, high), 0.0), 1.0)

    def from_unit(self, u: float, low: float, high: float) -> float:
        """Value in [low, high] of a coordinate in [0, 1]; the inverse of `to_unit`."""
        start, end = self.forward(low), self.forward(high)
        return min(max(self.inverse(start + u * (end - start)), low), high)


class _Mirrored(Scale):
    """A scale with its fine end at `high` instead of `low`."""

    def position(self, value: float, low: float, high: float) -> float:
        return 1.0 - super().position(low + high - value, low, high)

    def from_unit(self, u: float, low: float, high: float) -> float:
        return low + high - super().from_unit(1.0 - u, low, high)


def _decades(value: float) -> float:
    power = math.floor(math.log10(value))
    return power + (value / 10.0**power - 1) / 9


def _from_decades(t: float) -> float:
    power = math.floor(t)
    return 10.0**power * (1 + 9 * (t - power))


def _positive(low: float, high: float) -> bool:
    return low > 0


LINEAR = Scale("linear", float, float)
LOG = Scale("log", math.log, math.exp, "low > 0", _positive)
COMPLEMENT_LOG = Scale(
    "complement_log",
    lambda x: -math.log1p(-x),
    lambda t: -math.expm1(-t),
    "high < 1",
    lambda low, high: high < 1,
)
PER_DECADE = Scale("per_decade", _decades, _from_decades, "low > 0", _positive)
# KerasTuner's own: a log scale of low + high - x, which is not a log scale of 1 - x.
REVERSE_LOG = _Mirrored("reverse_log", math.log, math.exp, "low > 0", _positive)

# The scales by their names in a recipe.
SCALES = {scale.name: scale for scale in (LINEAR, LOG, COMPLEMENT_LOG, PER_DECADE)}
