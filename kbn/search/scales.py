"""How the values of a hyperparameter spread over the unit interval.

A scale is an increasing function f of the value; a value x of [low, high] has the coordinate
u = (f(x) - f(low)) / (f(high) - f(low)), and equal distances of u count as equal. Sampling u
uniformly therefore samples x on that scale.

    linear          f(x) = x
    log             f(x) = log x               learning rates: .001 to .01 as much as .01 to .1
    complement_log  f(x) = -log(1 - x)         momentum, beta: .9 to .99 as much as .99 to .999
    per_decade      f(x) = k + (x/10^k - 1)/9  with 10^k <= x < 10^(k+1): every power of ten gets
                                               an equal share, uniform within it

`complement_log` and `per_decade` of this module declare such a hyperparameter inside any
KerasTuner `build_model(hp)`; linear and log ones are KerasTuner's own `hp.Float(..., sampling=)`.

Source for scales: Bergstra and Bengio, Random Search for Hyper-Parameter Optimization, JMLR 13
(2012), section 2 (log-uniform ranges).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Scale:
    """An increasing function of a value and its inverse.

    Attributes:
        name: as written in a recipe.
        forward: f above, of a float.
        inverse: its inverse.
        law: what bounds must satisfy beyond low < high, as text; "" where anything does.
        admits: whether (low, high) satisfy `law`.
    """

    name: str
    forward: Callable[[float], float]
    inverse: Callable[[float], float]
    law: str = ""
    admits: Callable[[float, float], bool] = lambda low, high: True

    def to_unit(self, value: float, low: float, high: float) -> float:
        """Coordinate in [0, 1] of a value in [low, high]; .5 where low == high."""
        start, end = self.forward(low), self.forward(high)
        if start == end:
            return 0.5
        return min(max((self.forward(value) - start) / (end - start), 0.0), 1.0)

    def from_unit(self, u: float, low: float, high: float) -> float:
        """Value in [low, high] of a coordinate in [0, 1]; the inverse of `to_unit`."""
        start, end = self.forward(low), self.forward(high)
        return min(max(self.inverse(start + u * (end - start)), low), high)


class _Mirrored(Scale):
    """The scale, with the fine end at `high` instead of `low`."""

    def to_unit(self, value: float, low: float, high: float) -> float:
        return 1.0 - super().to_unit(low + high - value, low, high)

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
# KerasTuner's: a log scale of low + high - x, which is not a log scale of 1 - x.
REVERSE_LOG = _Mirrored("reverse_log", math.log, math.exp, "low > 0", _positive)

# By the name a recipe uses.
SCALES = {scale.name: scale for scale in (LINEAR, LOG, COMPLEMENT_LOG, PER_DECADE)}


def complement_log(
    hp: Any, name: str, min_value: float, max_value: float, default: float | None = None
) -> float | None:
    """A float hyperparameter on a log scale of 1 - x, for momentum and Adam's betas.

    Used like `hp.Float` inside `build_model(hp)`; conditions come from `hp.conditional_scope`.

    Args:
        hp: KerasTuner's `HyperParameters`.
        name: its name in the trial.
        min_value: smallest value.
        max_value: largest value, below 1.
        default: value outside a search; `min_value` if None.

    Returns:
        The value in its natural unit (momentum .99 is .99); None while its scope is inactive.

    Raises:
        ValueError: unless min_value <= default <= max_value < 1.
    """
    return _declare(hp, name, min_value, max_value, default, COMPLEMENT_LOG)


def per_decade(
    hp: Any, name: str, min_value: float, max_value: float, default: float | None = None
) -> float | None:
    """A float hyperparameter of which every power of ten gets an equal share of the samples.

    Within a power of ten the samples are uniform. Arguments and result as `complement_log`'s.

    Raises:
        ValueError: unless 0 < min_value <= default <= max_value.
    """
    return _declare(hp, name, min_value, max_value, default, PER_DECADE)


def _declare(
    hp: Any, name: str, low: float, high: float, default: float | None, scale: Scale
) -> float | None:
    # hp is KerasTuner's, so KerasTuner is loaded by now; this module itself needs numpy alone
    from kbn.search.hyperparameters import declare

    return declare(hp, name, low, high, default, scale)
