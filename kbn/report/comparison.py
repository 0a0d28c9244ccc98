"""Variants of a search compared: each was run with the same seeds.

One search gives one number, its measure. Variants are compared by the differences of the measures
of the same seed, since a seed shares data, first weights and draws between them.

Source: Student, The Probable Error of a Mean, Biometrika 6 (1908); the interval of a mean of n
numbers with standard deviation s is mean +- t(.975, n - 1) s / sqrt(n).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kbn.report.results import Results, scores_of
from kbn.report.words import fixed

if TYPE_CHECKING:
    from kbn.search.space import Space

CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean over seeds.

    Attributes:
        value: the mean; NaN of none.
        interval: in which it lies with 95 % confidence; None of fewer than two numbers.
        count: of the numbers.
    """

    value: float
    interval: tuple[float, float] | None
    count: int

    @classmethod
    def of(
        cls, numbers: Iterable[float], limits: tuple[float, float] = (-math.inf, math.inf)
    ) -> Mean:
        """Of those numbers that are not NaN, with Student's interval as far as it is in limits."""
        known = np.array([number for number in numbers if not math.isnan(number)])
        if len(known) < 2:  # noqa: PLR2004  one number tells no spread
            return cls(known[0].item() if len(known) else math.nan, None, len(known))
        from scipy.stats import t  # takes a second

        mean, deviation = known.mean().item(), known.std(ddof=1).item()
        reach = t.ppf((1 + CONFIDENCE) / 2, len(known) - 1).item() * deviation
        reach /= math.sqrt(len(known))
        low, high = limits
        return cls(mean, (max(low, mean - reach), min(high, mean + reach)), len(known))

    def turned(self) -> Mean:
        """The mean of the numbers with the opposite sign."""
        ends = None if self.interval is None else (-self.interval[1], -self.interval[0])
        return Mean(-self.value, ends, self.count)

    @property
    def uncertainty(self) -> float:
        """Width of the interval; a tenth of the value where there is none."""
        if self.interval is None:
            return abs(self.value) / 10
        return self.interval[1] - self.interval[0]

    def __str__(self) -> str:
        """As in ".012 [.004, .020]": with as many digits as the interval deserves."""
        numbers = (self.value, *(self.interval or ()))
        value, *ends = (fixed(number, self.uncertainty) for number in numbers)
        return f"{value} [{', '.join(ends)}]" if ends else value


@dataclasses.dataclass(frozen=True)
class Row:
    """What is known of a variant.

    Attributes:
        variant: its name.
        measures: of the search of each seed; NaN where it has none.
        mean: of them.
        difference: mean of the differences to the first variant, of the same seeds; None for the
            first one itself.
    """

    variant: str
    measures: tuple[float, ...]
    mean: Mean
    difference: Mean | None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Searches of several variants, each with the same seeds.

    Attributes:
        title: heads the report.
        metric: the objective's name.
        direction: "min" or "max", which scores are better.
        measure: what is compared, in words, as "best val_accuracy".
        searches: {variant: a search a seed}, the seeds in the same order in each. The first
            variant is the one that the others are compared with.
        space: the axes of all of them.
        threshold: a score; the measure of a search is then the share of its trials that are at
            least as good, where one that failed is not. If None, its best score.
        distribution: {variant: shape (steps, 3)}, the 15th, 50th and 85th percentile of the inputs
            of one unit at each training step, as in Ioffe and Szegedy, Batch Normalization (ICML
            2015), figure 1 b and c; None if not recorded.

    Raises:
        ValueError: unless there is a variant, and all have equally many seeds, at least one.
    """

    title: str
    metric: str
    direction: str
    measure: str
    searches: Mapping[str, Sequence[Results]]
    space: Space
    threshold: float | None = None
    distribution: Mapping[str, np.ndarray] | None = None

    def __post_init__(self) -> None:
        counts = {variant: len(searches) for variant, searches in self.searches.items()}
        if len(set(counts.values())) != 1 or 0 in counts.values():
            raise ValueError(
                "The searches parameter of Comparison must have equally many seeds, at least one, "
                f"for every variant. Got {counts} instead; leave out what is not complete."
            )

    @property
    def first(self) -> str:
        """The variant that the others are compared with."""
        return next(iter(self.searches))

    @property
    def seeds(self) -> int:
        """Number of searches of each variant."""
        return len(self.searches[self.first])

    @property
    def more_is_better(self) -> bool:
        """Which measures are better; not always which scores."""
        return self.threshold is not None or self.direction == "max"

    def measure_of(self, results: Results) -> float:
        """The measure of one search; NaN where it has none, as without a finished trial."""
        best = results.best_so_far()
        if self.threshold is None:
            return best[-1] if best else math.nan
        sign = -1 if self.direction == "min" else 1
        scores = scores_of(results.finished)
        good = sum(sign * score >= sign * self.threshold for score in scores)
        return good / len(results.trials) if results.trials else math.nan

    def table(self) -> tuple[Row, ...]:
        """A row a variant."""
        limits = (-math.inf, math.inf) if self.threshold is None else (0.0, 1.0)
        rows: list[Row] = []
        for variant, searches in self.searches.items():
            measures = tuple(map(self.measure_of, searches))
            difference = None
            if rows:
                pairs = zip(measures, rows[0].measures, strict=True)
                difference = Mean.of(own - first for own, first in pairs)
            rows.append(Row(variant, measures, Mean.of(measures, limits), difference))
        return tuple(rows)

    def sentences(self) -> list[str]:
        """The outcome of every variant against the first one, in a sentence each."""
        return [
            self._outcome(row.variant, row.difference)
            for row in self.table()
            if row.difference is not None
        ]

    def _outcome(self, variant: str, difference: Mean) -> str:
        gain = difference if self.more_is_better else difference.turned()
        seeds = f"{gain.count} seed{'s' * (gain.count != 1)}"
        if not gain.count:
            return f"{variant} cannot be compared with {self.first}: no seed has both."
        word, size = ("better", gain) if gain.value > 0 else ("worse", gain.turned())
        outcome = f"is {word} than {self.first} by {size}" if size.value else f"equals {self.first}"
        if gain.interval is None:
            return f"{variant} {outcome} in {seeds}: that tells no interval, and may be chance."
        if gain.interval[0] <= 0 <= gain.interval[1]:
            return (
                f"{variant} cannot be told apart from {self.first}: its advantage is {gain} "
                f"(95 %, {seeds})."
            )
        return f"{variant} {outcome} (95 %, {seeds})."
