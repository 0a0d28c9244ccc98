"""Comparison of variants of a search, each of which was run with the same seeds.

Each search yields one number, its measure. Variants are compared by the paired differences of their
measures, seed by seed, because searches with the same seed share the split of the data, the initial
weights and the random draws.

Source: Student, The Probable Error of a Mean, Biometrika 6 (1908). The confidence interval of the
mean of n numbers with standard deviation s is mean ± t(.975, n - 1) s / sqrt(n).
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
FEWEST_SEEDS, MOST_SEEDS = 5, 200  # that are worth proposing
ROUNDING = 1e-7  # differences of metrics that float32, their precision, does not show


@dataclasses.dataclass(frozen=True)
class SeedMean:
    """Mean over seeds, with its confidence interval.

    Attributes:
        value: the mean; NaN if there are no numbers.
        interval: 95 % confidence interval; None for fewer than two numbers, or if all are equal:
            these show no spread to judge by.
        count: how many numbers it is the mean of.
    """

    value: float
    interval: tuple[float, float] | None
    count: int

    @classmethod
    def of(
        cls, numbers: Iterable[float], limits: tuple[float, float] = (-math.inf, math.inf)
    ) -> SeedMean:
        """Return the mean of the numbers that are not NaN, with an interval within the limits."""
        known = np.array([number for number in numbers if not math.isnan(number)])
        if len(known) < 2:  # noqa: PLR2004  one number has no spread
            return cls(known[0].item() if len(known) else math.nan, None, len(known))
        mean, deviation = known.mean().item(), known.std(ddof=1).item()
        if np.ptp(known) <= ROUNDING:
            return cls(mean, None, len(known))
        from scipy.special import stdtrit  # scipy.stats takes a second to import

        reach = stdtrit(len(known) - 1, (1 + CONFIDENCE) / 2).item() * deviation
        reach /= math.sqrt(len(known))
        low, high = limits
        return cls(mean, (max(low, mean - reach), min(high, mean + reach)), len(known))

    def negated(self) -> SeedMean:
        """Return the mean of the negated numbers."""
        ends = None if self.interval is None else (-self.interval[1], -self.interval[0])
        return SeedMean(-self.value, ends, self.count)

    @property
    def is_settled(self) -> bool:
        """Whether the interval says that the mean is not 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    @property
    def seeds_to_settle(self) -> int | None:
        """How many numbers with this mean and spread settle it; None where that is unknown.

        The interval's width falls with the root of their count.
        """
        if self.interval is None or not self.value:
            return None
        reach = (self.interval[1] - self.interval[0]) / 2
        return math.ceil(self.count * (reach / self.value) ** 2)

    @property
    def uncertainty(self) -> float:
        """Width of the interval; a tenth of the value if there is none."""
        if self.interval is None:
            return abs(self.value) / 10
        return self.interval[1] - self.interval[0]

    def __str__(self) -> str:
        """Format as ".012 [.004, .020]", with as many digits as the interval supports."""
        numbers = (self.value, *(self.interval or ()))
        value, *ends = (fixed(number, self.uncertainty) for number in numbers)
        return f"{value} [{', '.join(ends)}]" if ends else value


@dataclasses.dataclass(frozen=True)
class VariantSummary:
    """Measures of one variant, and its difference to the first variant.

    Attributes:
        variant: name of the variant.
        measures: measure of the search of each seed; NaN if it has none.
        mean: mean of the measures.
        difference: mean of the paired differences to the first variant; None for the first variant
            itself.
    """

    variant: str
    measures: tuple[float, ...]
    mean: SeedMean
    difference: SeedMean | None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Searches of several variants, each run with the same seeds.

    Attributes:
        title: title of the report.
        metric: name of the objective.
        direction: "min" or "max", whether lower or higher scores are better.
        measure: what is compared, in words, such as "best val_accuracy".
        searches: {variant: one search per seed}, with the seeds in the same order for each variant.
            The others are compared with the first variant.
        space: axes of the hyperparameters of all searches.
        threshold: a score. If given, the measure of a search is the share of its trials that are at
            least as good, in [0, 1]; failed trials are not. If None, the measure is the best score.
        distribution: {variant: shape (steps, 3)}, the 15th, 50th and 85th percentile of the inputs
            of one unit at each training step, as in Ioffe and Szegedy, Batch Normalization (ICML
            2015), figure 1 b and c; None if not recorded.

    Raises:
        ValueError: if there is no variant, a variant has no seed, or their numbers of seeds differ.
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
        """Number of seeds, which is the number of searches of each variant."""
        return len(self.searches[self.first])

    @property
    def more_is_better(self) -> bool:
        """Whether a higher measure is better, also where a lower score is."""
        return self.threshold is not None or self.direction == "max"

    def measure_of(self, results: Results) -> float:
        """Return the measure of one search; NaN if no trial finished."""
        best = results.best_so_far()
        if self.threshold is None:
            return best[-1] if best else math.nan
        sign = -1 if self.direction == "min" else 1
        scores = scores_of(results.finished)
        good = sum(sign * score >= sign * self.threshold for score in scores)
        return good / len(results.trials) if results.trials else math.nan

    def table(self) -> tuple[VariantSummary, ...]:
        """Return one summary per variant, in their order."""
        limits = (-math.inf, math.inf) if self.threshold is None else (0.0, 1.0)
        rows: list[VariantSummary] = []
        for variant, searches in self.searches.items():
            measures = tuple(map(self.measure_of, searches))
            difference = None
            if rows:
                pairs = zip(measures, rows[0].measures, strict=True)
                difference = SeedMean.of(own - first for own, first in pairs)
            mean = SeedMean.of(measures, limits)
            rows.append(VariantSummary(variant, measures, mean, difference))
        return tuple(rows)

    def sentences(self) -> list[str]:
        """Return one sentence per variant that compares it with the first one."""
        return [
            self._outcome(row.variant, row.difference)
            for row in self.table()
            if row.difference is not None
        ]

    def next_steps(self) -> list[str]:
        """Return a sentence for each variant that is not settled, about the seeds that it takes."""
        if len(self.searches) == 1:
            return []
        steps = [
            self._seeds_needed(row.variant, row.difference)
            for row in self.table()
            if row.difference is not None and not row.difference.is_settled
        ]
        return steps or ["The variants are told apart: go on with the best one."]

    def _seeds_needed(self, variant: str, difference: SeedMean) -> str:
        seeds = difference.seeds_to_settle
        if seeds is None:
            return f"To tell {variant} from {self.first}, run {FEWEST_SEEDS} seeds or more."
        count = f"about {seeds}" if seeds <= MOST_SEEDS else f"more than {MOST_SEEDS}"
        return (
            f"To tell {variant} from {self.first} takes {count} seeds, if their difference is as "
            "large as it looks."
        )

    def _outcome(self, variant: str, difference: SeedMean) -> str:
        gain = difference if self.more_is_better else difference.negated()
        seeds = f"{gain.count} seed{'s' * (gain.count != 1)}"
        if not gain.count:
            return f"{variant} cannot be compared with {self.first}: no seed has both."
        word, size = ("better", gain) if gain.value > 0 else ("worse", gain.negated())
        outcome = f"is {word} than {self.first} by {size}" if size.value else f"equals {self.first}"
        if gain.interval is None:
            why = "each by the same, which gives no interval"
            if gain.count == 1:
                why = "too few for an interval"
            return f"{variant} {outcome} in {seeds}: {why}, so it may be chance."
        if gain.interval[0] <= 0 <= gain.interval[1]:
            return (
                f"{variant} cannot be told apart from {self.first}: its advantage is {gain} "
                f"(95 %, {seeds})."
            )
        return f"{variant} {outcome} (95 %, {seeds})."
