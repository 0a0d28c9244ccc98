"""Axes of a search space: each hyperparameter's values, scale and ranges.

Glossary:
    value   a hyperparameter's value in its natural unit (a learning rate of .01)
    u       a coordinate in [0, 1]. A discrete value owns a part of [0, 1], its cell, and lies in
            the middle of it
    range   the part of an axis inside a box: [low, high] for a numeric axis, the list of remaining
            values for a discrete one; always in natural units
    side    width of a range as a share of the axis, in (0, 1]
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from kbn.search.scales import LINEAR, Scale

Value: TypeAlias = Any  # of a hyperparameter: a bool, an int, a float or a str
Range = Sequence[Value]  # of a numeric axis two numbers, of a discrete one its values

# An integer axis with more values than these is treated as continuous, so that its table of cells
# stays small (32 kB); its values are rounded all the same.
MOST_CELLS = 4096
ELSEWHERE = -1.0  # coordinate of a choice that an unordered axis lacks


@dataclasses.dataclass(frozen=True)
class Condition:
    """Condition that the hyperparameter `name` is active and has one of `values`."""

    name: str
    values: tuple[Value, ...]

    def holds(self, values: Mapping[str, Value]) -> bool:
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

    @functools.cached_property
    def cells(self) -> np.ndarray | None:
        """Ends of the values' cells, shape (values + 1,); None if the axis is continuous."""
        if self.low == self.high:
            return np.array([0.0, 1.0])
        if not self.integer or self.high - self.low > MOST_CELLS:
            return None
        ends = range(int(self.low), int(self.high) + 2)
        return np.array([self.to_unit(end - 0.5) for end in ends])

    def sample(self, part: Range, u: float) -> float:
        """Return the value at u of a range, on the axis's scale."""
        start, end = self.edges(part)
        cells = self._cells(self.low, self.high)
        value = self.scale.from_unit(start + u * (end - start), *cells)
        return self._clip(round(value) if self.integer else value, *part)

    def narrow(self, value: float, side: float) -> Range:
        """Return the range of width `side` round `value`, moved if it would leave the axis."""
        value = self._clip(value, self.low, self.high)
        start = min(max(self.to_unit(value) - side / 2, 0.0), 1.0 - side)
        cells = self._cells(self.low, self.high)
        low, high = (self.scale.from_unit(u, *cells) for u in (start, start + side))
        if self.integer:  # only integers with the middle of their cell inside
            low, high = math.ceil(low), math.floor(high)
        return [min(low, value), max(high, value)]  # rounding must not lose the centre

    def edges(self, part: Range) -> tuple[float, float]:
        """Return the coordinates of a range's ends; an integer's whole cell belongs to it."""
        whole = self._cells(self.low, self.high)
        low, high = (self.scale.to_unit(end, *whole) for end in self._cells(*part))
        return low, high

    def contains(self, part: Range, value: float) -> bool:
        return bool(part[0] <= value <= part[1])

    def to_unit(self, value: float) -> float:
        """Return a value's coordinate on the whole axis; a value outside gets that of the end."""
        cells = self._cells(self.low, self.high)
        return self.scale.to_unit(self._clip(value, *cells), *cells)

    def place(self, value: float) -> float:
        """Return the coordinate of a value that may lie outside, at most one width of the axis.

        One that the scale does not admit gets that of the nearest end.
        """
        try:
            u = self.scale.position(value, *self._cells(self.low, self.high))
        except ValueError:
            return self.to_unit(value)
        return self._clip(u, -1.0, 2.0)

    @staticmethod
    def _clip(value: float, low: float, high: float) -> float:
        return min(max(value, low), high)

    def _cells(self, low: float, high: float) -> tuple[float, float]:
        return (low - 0.5, high + 0.5) if self.integer else (low, high)


@dataclasses.dataclass(frozen=True)
class Grid:
    """Values first, first + step, ...; or first * step ** i if `factor`.

    Attributes:
        first: the first value.
        step: difference between neighbours, > 0; their ratio, > 1, if `factor`.
        length: number of values.
        factor: whether the grid is geometric.
        mirror: if not 0, the values are mirror minus those, in rising order.
        integer: whether the values are integers.
    """

    first: float
    step: float
    length: int
    factor: bool = False
    mirror: float = 0.0
    integer: bool = False

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> float:
        if self.mirror:
            index = self.length - 1 - index
        value = self.first * self.step**index if self.factor else self.first + self.step * index
        value = self.mirror - value if self.mirror else value
        # 12 digits: 3 * .1 is .3, not .30000000000000004
        return round(value) if self.integer else float(f"{value:.12g}")

    def nearest(self, value: float) -> int:
        """Return the index of the grid's value nearest to `value`."""
        value = self.mirror - value if self.mirror else value
        if self.factor:
            steps = math.log(max(value / self.first, self.step**-1), self.step)
        else:
            steps = (value - self.first) / self.step
        index = min(max(round(steps), 0), self.length - 1)
        return self.length - 1 - index if self.mirror else index


@dataclasses.dataclass(frozen=True)
class Stepped:
    """A numeric hyperparameter that takes the values of a grid, each with an equal cell."""

    name: str
    grid: Grid
    conditions: tuple[Condition, ...] = ()

    @property
    def whole(self) -> Range:
        return [self.grid[0], self.grid[len(self.grid) - 1]]

    @functools.cached_property
    def _indices(self) -> Numeric:
        return Numeric(self.name, 0, len(self.grid) - 1, integer=True)

    @functools.cached_property
    def cells(self) -> np.ndarray | None:
        """As `Numeric.cells`."""
        return self._indices.cells

    def sample(self, part: Range, u: float) -> float:
        """Return the value at u of a range."""
        return self.grid[int(self._indices.sample(self._of(part), u))]

    def narrow(self, value: float, side: float) -> Range:
        """As `Numeric.narrow`."""
        return [self.grid[int(i)] for i in self._indices.narrow(self.grid.nearest(value), side)]

    def edges(self, part: Range) -> tuple[float, float]:
        """As `Numeric.edges`."""
        return self._indices.edges(self._of(part))

    def contains(self, part: Range, value: float) -> bool:
        return bool(part[0] <= value <= part[1])

    def to_unit(self, value: float) -> float:
        """Return the coordinate of the grid's nearest value."""
        return self._indices.to_unit(self.grid.nearest(value))

    def place(self, value: float) -> float:
        """As `to_unit`."""
        return self.to_unit(value)

    def _of(self, part: Range) -> Range:
        return [self.grid.nearest(value) for value in part]


@dataclasses.dataclass(frozen=True)
class Discrete:
    """A hyperparameter with a few values; `ordered` if neighbouring values are alike."""

    name: str
    values: tuple[Value, ...]
    ordered: bool = False
    conditions: tuple[Condition, ...] = ()

    @property
    def whole(self) -> Range:
        return list(self.values)

    @functools.cached_property
    def cells(self) -> np.ndarray:
        """As `Numeric.cells`; all cells are equally wide."""
        return np.linspace(0.0, 1.0, len(self.values) + 1)

    def sample(self, part: Range, u: float) -> Value:
        """Return the value at u of a range; all its values have equal shares."""
        return part[min(int(u * len(part)), len(part) - 1)]

    def narrow(self, value: Value, side: float) -> Range:
        """Return a share `side` of the values, at least one: `value` and its neighbours."""
        count = min(max(1, round(side * len(self.values))), len(self.values))
        start = self._index(value) - (count - 1) // 2
        start = min(max(start, 0), len(self.values) - count)
        return list(self.values[start : start + count])

    def edges(self, part: Range) -> tuple[float, float]:
        """Return the coordinates between which the values of a range lie."""
        indices = [self.values.index(value) for value in part]
        return float(self.cells[min(indices)]), float(self.cells[max(indices) + 1])

    def contains(self, part: Range, value: Value) -> bool:
        return value in part

    def to_unit(self, value: Value) -> float:
        """Return a value's coordinate on the whole axis: the middle of its cell."""
        return (self._index(value) + 0.5) / len(self.values)

    def place(self, value: Value) -> float:
        """Return the coordinate of a value, also of one that the axis lacks."""
        known = self.ordered or value in self.values
        return self.to_unit(value) if known else ELSEWHERE

    def _index(self, value: Value) -> int:
        """Return the value's index; of the nearest one for a default that is none."""
        if value in self.values:
            return self.values.index(value)
        return min(range(len(self.values)), key=lambda i: abs(self.values[i] - value))


Axis = Numeric | Stepped | Discrete
