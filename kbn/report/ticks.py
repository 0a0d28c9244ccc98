"""Ticks of a hyperparameter's axis, on its own scale.

All panels draw a hyperparameter in the coordinates of its axis, u in [0, 1], so that equal
distances on paper are equal steps of the search. The ticks are labelled in natural units, with
round values of the scale: powers of ten, or .9, .99, .999 on a log scale of 1 - x.
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

MIN_LABELS, MAX_LABELS = 3, 6  # labelled ticks of a numeric axis, besides its ends
MIN_DISTANCE = 0.1  # share of the axis between labels that do not touch
MAX_MINOR = 60  # ticks without a label; more would look like a black bar
MAX_CHOICES = 8  # labelled values of a choice
MULTIPLES = ((1,), (1, 2, 5), (1, 2, 3, 4, 5, 6, 7, 8, 9))  # of powers of ten
SCALE_NAMES = {
    "log": "log scale",
    "complement_log": "log scale of 1 − x",  # noqa: RUF001  a minus sign
    "per_decade": "equal decades",
    "reverse_log": "reversed log scale",
}


@dataclasses.dataclass(frozen=True)
class Ticks:
    """Ticks of an axis.

    Attributes:
        places: coordinates of the labelled ticks in [0, 1], rising.
        labels: their labels, in natural units.
        minor: coordinates of the ticks without a label.
    """

    places: tuple[float, ...]
    labels: tuple[str, ...]
    minor: tuple[float, ...]


def ticks(axis: Axis) -> Ticks:
    """Return the ticks of an axis, its ends included where their labels have room."""
    if isinstance(axis, Discrete):
        values: Sequence[Any] = axis.values[:: math.ceil(len(axis.values) / MAX_CHOICES)]
    else:
        values = _round_values(axis)
    places = [axis.to_unit(value) for value in values]
    minor = {axis.to_unit(value) for value in _minor_values(axis)} - set(places)
    return Ticks(tuple(places), tuple(map(number, values)), tuple(sorted(minor)))


def scale_name(axis: Axis) -> str:
    """Return the name of an axis' scale; "" for a linear one and for a choice."""
    return SCALE_NAMES.get(_scale(axis), "")


def _round_values(axis: Numeric | Stepped) -> list[int | float]:
    low, high = axis.whole
    values = _every_nth([value for value in _nice(axis) if low <= value <= high])
    places = [axis.to_unit(value) for value in values]
    for end in (low, high):
        if all(abs(axis.to_unit(end) - place) > MIN_DISTANCE for place in places):
            values.append(end)
    return sorted(set(values))


def _every_nth(values: Sequence[int | float]) -> list[int | float]:
    """Return evenly chosen values, at most `MAX_LABELS`."""
    return list(values[:: math.ceil(len(values) / MAX_LABELS) or 1])


def _nice(axis: Numeric | Stepped) -> list[int | float]:
    """Return enough round values of an axis' scale to read it."""
    low, high = axis.whole
    if isinstance(axis, Stepped):
        return [axis.grid[i] for i in range(len(axis.grid))]
    if axis.integer and _scale(axis) == "log" and _is_power_of_two(low) and _is_power_of_two(high):
        return [2**power for power in range(int(math.log2(low)), int(math.log2(high)) + 1)]
    for multiples in MULTIPLES:
        values = list(_powers_of_ten(axis, multiples))
        if len(values) >= MIN_LABELS:
            return values
    located = MaxNLocator(MAX_LABELS - 1, integer=axis.integer).tick_values(low, high)
    return [int(v) if axis.integer else float(f"{v:.12g}") for v in np.asarray(located)]


def _minor_values(axis: Axis) -> list[int | float]:
    """Return the values between the labelled ones that make a log scale recognizable."""
    values = list(_powers_of_ten(axis, MULTIPLES[-1])) if isinstance(axis, Numeric) else []
    return values if len(values) <= MAX_MINOR else []


def _powers_of_ten(axis: Numeric, multiples: Sequence[int]) -> Iterator[int | float]:
    """Yield multiples of powers of ten inside an axis with a log scale, of x or of 1 - x."""
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
