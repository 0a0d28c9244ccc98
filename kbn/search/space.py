"""Search space: its axes, points of the unit cube, and boxes in natural units.

Glossary, beside that of `axes`:
    point   one coordinate per axis, shape (axes,); several points have shape (points, axes)
    box     {name: range}, one range per axis
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from kbn.search.axes import Axis, Condition, Discrete, Range, Value

Values = dict[str, Value]
Box = Mapping[str, Range]
NOTHING: Mapping[str, Value] = {}

# Coordinate of a hyperparameter whose conditions do not hold: near the middle of the axis, and
# never that of a discrete value.
INACTIVE = 0.5 + 2.0**-30


@dataclasses.dataclass(frozen=True)
class Space:
    """All axes of a search; a conditional one follows those that it depends on."""

    axes: tuple[Axis, ...]

    @property
    def whole(self) -> Box:
        """The box that contains every point."""
        return {axis.name: axis.whole for axis in self.axes}

    @functools.cached_property
    def unordered(self) -> np.ndarray:
        """Whether an axis has no order, so that two values are only equal or not, shape (axes,)."""
        return np.array([isinstance(a, Discrete) and not a.ordered for a in self.axes], bool)

    @functools.cached_property
    def _cells(self) -> dict[int, np.ndarray]:
        """Cells of each discrete axis, by index."""
        cells = {j: axis.cells for j, axis in enumerate(self.axes)}
        return {j: ends for j, ends in cells.items() if ends is not None}

    @functools.cached_property
    def middles(self) -> dict[int, np.ndarray]:
        """Coordinates of the values of each discrete axis, by index, shape (values,)."""
        return {j: (ends[1:] + ends[:-1]) / 2 for j, ends in self._cells.items()}

    def sample(self, box: Box, u: Sequence[float], given: Mapping[str, Value] = NOTHING) -> Values:
        """Return the values at the coordinates u of a box.

        Args:
            box: {name: range}; an axis that it does not name is whole.
            u: shape (axes,), each in [0, 1).
            given: {name: value} to take instead, where the hyperparameter is active.

        Returns:
            {name: value} for the hyperparameters whose conditions hold.
        """
        values: Values = {}
        for axis, coordinate in zip(self.axes, u, strict=True):
            if all(condition.holds(values) for condition in axis.conditions):
                drawn = axis.sample(box.get(axis.name, axis.whole), coordinate)
                values[axis.name] = given.get(axis.name, drawn)
        return values

    def contains(self, box: Box, values: Mapping[str, Value]) -> bool:
        """Whether all active values lie in the box; an axis that it does not name is whole."""
        return all(
            axis.contains(box.get(axis.name, axis.whole), values[axis.name])
            for axis in self.axes
            if axis.name in values
        )

    def encode(self, values: Mapping[str, Value]) -> np.ndarray:
        """Return the point of the values, shape (axes,); INACTIVE where a condition fails."""
        point = [a.to_unit(values[a.name]) if a.name in values else INACTIVE for a in self.axes]
        return self.snap(np.array([point]))[0]

    def decode(self, point: np.ndarray) -> Values:
        """Return the values of the hyperparameters active at a point of shape (axes,)."""
        return self.sample(self.whole, self.snap(point[None])[0].tolist())

    def snap(self, points: np.ndarray) -> np.ndarray:
        """Move points to the coordinates at which their values are encoded.

        Args:
            points: shape (points, axes), each coordinate in [0, 1]; left unchanged.

        Returns:
            The moved points, of the same shape.
        """
        points = np.array(points, order="F")  # each axis is contiguous
        levels: dict[int, np.ndarray] = {}  # by discrete axis: index of each point's value
        active: dict[
            int, np.ndarray
        ] = {}  # by conditional axis: whether it is active at each point
        for j, axis in enumerate(self.axes):
            if j in self._cells:
                levels[j] = np.searchsorted(self._cells[j][1:-1], points[:, j], side="right")
                points[:, j] = self.middles[j][levels[j]]
            if axis.conditions:
                holds = np.ones(len(points), bool)
                for parent, allowed in self._gates[j]:
                    holds &= active.get(parent, True) & allowed[levels.get(parent, 0)]
                active[j] = holds
                points[~holds, j] = INACTIVE
        return points

    @functools.cached_property
    def _gates(self) -> list[list[tuple[int, np.ndarray]]]:
        """Conditions of each axis: the deciding axis, and which of its values satisfy them."""
        index = {axis.name: j for j, axis in enumerate(self.axes)}
        gates = []
        for axis in self.axes:
            parents = [(index[c.name], c) for c in axis.conditions if c.name in index]
            gates.append([(j, self._allowed(j, condition)) for j, condition in parents])
        return gates

    def _allowed(self, j: int, condition: Condition) -> np.ndarray:
        """Which values of axis j satisfy a condition, shape (values,); [False] if continuous."""
        axis = self.axes[j]
        if j not in self.middles:
            return np.array([False])
        return np.array([axis.sample(axis.whole, u) in condition.values for u in self.middles[j]])
