"""Ticks of a hyperparameter's axis, on its own scale.

All panels draw a hyperparameter in the coordinates of its axis, u in [0, 1], so that equal
distances on paper are equal steps of the search. The ticks bring back the natural unit: round
values of the scale, as powers of ten, or .9, .99, .999 on a log scale of 1 - x.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from kbn.report.words import number
from kbn.search.axes import Axis, Discrete, Numeric, Stepped

FEWEST, MOST = 3, 6  # labelled ticks of a numeric axis, beside those of its ends
APART = 0.1  # distance of ticks whose labels do not touch
MINOR = 60  # ticks without a label; more would be a black bar
CHOICES = 8  # labelled values of a choice
MULTIPLES = ((1,), (1, 2, 5), (1, 2, 3, 4, 5, 6, 7, 8, 9))  # of the powers of ten
SCALES = {
    "log": "log scale",
    "complement_log": "log scale of 1 − x",  # noqa: RUF001  a minus sign
    "per_decade": "equal decades",
    "reverse_log": "reversed log scale",
}


@dataclasses.dataclass(frozen=True)
class Ticks:
    """Where an axis has ticks.

    Attributes:
        places: coordinates in [0, 1] of the labelled ones, rising.
        labels: of each, a natural value.
        minor: coordinates of those without a label.
    """

    places: tuple[float, ...]
    labels: tuple[str, ...]
    minor: tuple[float, ...]


def ticks(axis: Axis) -> Ticks:
    """The ticks of an axis, both of its ends among them where their labels have room."""
    if isinstance(axis, Discrete):
        values: Sequence[Any] = axis.values[:: math.ceil(len(axis.values) / CHOICES)]
    else:
        values = _round_values(axis)
    places = [axis.to_unit(value) for value in values]
    minor = {axis.to_unit(value) for value in _minor_values(axis)} - set(places)
    return Ticks(tuple(places), tuple(map(number, values)), tuple(sorted(minor)))


def scale_name(axis: Axis) -> str:
    """The axis' scale in words; "" for a linear one and for a choice."""
    return SCALES.get(_scale(axis), "")


def _round_values(axis: Numeric | Stepped) -> list[Any]:
    low, high = axis.whole
    values = _thinned([value for value in _nice(axis) if low <= value <= high])
    places = [axis.to_unit(value) for value in values]
    for end in (low, high):
        if all(abs(axis.to_unit(end) - place) > APART for place in places):
            values.append(end)
    return sorted(set(values))


def _thinned(values: Sequence[Any]) -> list[Any]:
    return list(values[:: math.ceil(len(values) / MOST) or 1])


def _nice(axis: Numeric | Stepped) -> list[Any]:
    """Round values of the axis' scale, many enough to read it."""
    low, high = axis.whole
    if isinstance(axis, Stepped):
        return [axis.grid[i] for i in range(len(axis.grid))]
    if axis.integer and _scale(axis) == "log" and _is_power_of_two(low) and _is_power_of_two(high):
        return [2**power for power in range(int(math.log2(low)), int(math.log2(high)) + 1)]
    for multiples in MULTIPLES:
        values = list(_decades(axis, multiples))
        if len(values) >= FEWEST:
            return values
    located = MaxNLocator(MOST - 1, integer=axis.integer).tick_values(low, high)
    return [int(v) if axis.integer else float(f"{v:.12g}") for v in np.asarray(located)]


def _minor_values(axis: Axis) -> list[Any]:
    """Those between the round ones that show a log scale as such."""
    values = list(_decades(axis, MULTIPLES[-1])) if isinstance(axis, Numeric) else []
    return values if len(values) <= MINOR else []


def _decades(axis: Numeric, multiples: Sequence[int]) -> Iterator[Any]:
    """Multiples of the powers of ten inside an axis with a log scale, of x or of 1 - x."""
    scale, (low, high) = _scale(axis), axis.whole
    if scale not in ("log", "per_decade", "complement_log"):
        return
    ends = (1 - high, 1 - low) if scale == "complement_log" else (low, high)
    first, last = (math.floor(math.log10(end)) for end in ends)
    powers = [float(f"{m}e{power}") for power in range(first, last + 1) for m in multiples]
    values = [round(1 - p, 12) if scale == "complement_log" else p for p in powers]
    for value in sorted(values):
        if low <= value <= high and not (axis.integer and value != int(value)):
            yield int(value) if axis.integer else value


def _is_power_of_two(value: float) -> bool:
    return value >= 1 and math.log2(value).is_integer()


def _scale(axis: Axis) -> str:
    if isinstance(axis, Numeric):
        return axis.scale.name
    return "log" if isinstance(axis, Stepped) and axis.grid.factor else "linear"
