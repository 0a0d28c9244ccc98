"""The search space: one axis a hyperparameter, boxes as ranges in natural units.

Glossary:
    value   of a hyperparameter, in its natural unit (a learning rate of .01)
    u       a coordinate in [0, 1)
    range   the part of an axis that a box leaves: (low, high) of a numeric axis, the list of
            remaining values of a discrete one; always in natural units
    box     {name: range}, a range for every axis
    side    width of a range as a share of the axis, in (0, 1]
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from kbn.search.scales import LINEAR, Scale

Values = dict[str, Any]
Range = Sequence[Any]
Box = Mapping[str, Range]


@dataclasses.dataclass(frozen=True)
class Condition:
    """Holds where the hyperparameter `name` is active and has one of `values`."""

    name: str
    values: tuple[Any, ...]

    def holds(self, values: Mapping[str, Any]) -> bool:
        return self.name in values and values[self.name] in self.values


@dataclasses.dataclass(frozen=True)
class Numeric:
    """A float or integer hyperparameter in [low, high], both included."""

    name: str
    low: float
    high: float
    scale: Scale = LINEAR
    integer: bool = False
    conditions: tuple[Condition, ...] = ()

    @property
    def whole(self) -> Range:
        return [self.low, self.high]

    def sample(self, part: Range, u: float) -> float:
        """The value at u of a range, on the axis' scale."""
        start, end = self.edges(part)
        cells = self._cells(self.low, self.high)
        value = self.scale.from_unit(start + u * (end - start), *cells)
        return self._clip(round(value) if self.integer else value, *part)

    def narrow(self, value: float, side: float) -> Range:
        """The range of width `side` round `value`, moved where it would leave the axis."""
        value = self._clip(value, self.low, self.high)
        start = min(max(self.to_unit(value) - side / 2, 0.0), 1.0 - side)
        cells = self._cells(self.low, self.high)
        low, high = (self.scale.from_unit(u, *cells) for u in (start, start + side))
        if self.integer:  # those with the middle of their cell inside
            low, high = math.ceil(low), math.floor(high)
        return [min(low, value), max(high, value)]  # rounding must not lose the centre

    def edges(self, part: Range) -> tuple[float, float]:
        """The coordinates between which a range lies; an integer's cell belongs to it."""
        whole = self._cells(self.low, self.high)
        low, high = (self.scale.to_unit(end, *whole) for end in self._cells(*part))
        return low, high

    def contains(self, part: Range, value: float) -> bool:
        return bool(part[0] <= value <= part[1])

    def distance(self, a: float, b: float) -> float:
        """Between two values, as a share of the axis, in [0, 1]."""
        return abs(self.to_unit(a) - self.to_unit(b))

    def to_unit(self, value: float) -> float:
        """The coordinate of a value on the whole axis; that of its end for one outside."""
        cells = self._cells(self.low, self.high)
        return self.scale.to_unit(self._clip(value, *cells), *cells)

    @staticmethod
    def _clip(value: float, low: float, high: float) -> float:
        return min(max(value, low), high)

    def _cells(self, low: float, high: float) -> tuple[float, float]:
        return (low - 0.5, high + 0.5) if self.integer else (low, high)


@dataclasses.dataclass(frozen=True)
class Discrete:
    """A hyperparameter with a few values; `ordered` where neighbours are alike."""

    name: str
    values: tuple[Any, ...]
    ordered: bool = False
    conditions: tuple[Condition, ...] = ()

    @property
    def whole(self) -> Range:
        return list(self.values)

    def sample(self, part: Range, u: float) -> Any:
        """The value at u of a range; each value has an equal share."""
        return part[min(int(u * len(part)), len(part) - 1)]

    def narrow(self, value: Any, side: float, liked: Sequence[Any] = ()) -> Range:
        """A share `side` of the values, at least one: `value` and its neighbours.

        Neighbours of an unordered value are the other `liked` ones, best first.
        """
        count = max(1, round(side * len(self.values)))
        if self.ordered:
            start = self._index(value) - (count - 1) // 2
            start = min(max(start, 0), len(self.values) - count)
            return list(self.values[start : start + count])
        # dict: keeps the order, drops repeats
        ranked = [v for v in dict.fromkeys([value, *liked, *self.values]) if v in self.values][
            :count
        ]
        return [v for v in self.values if v in ranked]

    def contains(self, part: Range, value: Any) -> bool:
        return value in part

    def distance(self, a: Any, b: Any) -> float:
        """Between two values, as a share of the axis, in [0, 1]."""
        return abs(self.to_unit(a) - self.to_unit(b)) if self.ordered else float(a != b)

    def to_unit(self, value: Any) -> float:
        """The coordinate of a value on the whole axis: the middle of its share."""
        return (self._index(value) + 0.5) / len(self.values)

    def _index(self, value: Any) -> int:
        """That of the value; of the nearest one for a default that is off the grid."""
        if value in self.values:
            return self.values.index(value)
        return min(range(len(self.values)), key=lambda i: abs(self.values[i] - value))


Axis = Numeric | Discrete


@dataclasses.dataclass(frozen=True)
class Space:
    """All axes, a conditional one always after those it depends on."""

    axes: tuple[Axis, ...]

    @property
    def whole(self) -> Box:
        """The box that leaves out nothing."""
        return {axis.name: axis.whole for axis in self.axes}

    def sample(self, box: Box, u: Sequence[float]) -> Values:
        """The values at the coordinates u of a box.

        Args:
            box: {name: range}; an axis that it does not name is whole.
            u: shape (axes,), each in [0, 1).

        Returns:
            {name: value} of the hyperparameters whose conditions hold.
        """
        values: Values = {}
        for axis, coordinate in zip(self.axes, u, strict=True):
            if all(condition.holds(values) for condition in axis.conditions):
                values[axis.name] = axis.sample(box.get(axis.name, axis.whole), coordinate)
        return values

    def contains(self, box: Box, values: Mapping[str, Any]) -> bool:
        """Whether all active values lie in the box."""
        return all(
            axis.contains(box.get(axis.name, axis.whole), values[axis.name])
            for axis in self.axes
            if axis.name in values
        )

    def distance(self, a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
        """Largest distance of two points along any axis, in [0, 1]; active in one only is 1."""
        return max((self._apart(axis, a, b) for axis in self.axes), default=0.0)

    @staticmethod
    def _apart(axis: Axis, a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
        if axis.name in a and axis.name in b:
            return axis.distance(a[axis.name], b[axis.name])
        return float((axis.name in a) != (axis.name in b))
