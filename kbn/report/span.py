"""Axis of scores: its range, and whether it is logarithmic."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from kbn.report.results import Results, has_score, scores_of
from kbn.tracking.attempts import Attempt

# A score is off the scale if it is this many times as far from the best as the 75th percentile.
OFF_SCALE_FACTOR = 4.0
# Losses are on a log scale if their 75th percentile is more than this many times the lowest.
LOG_FACTOR = 30.0
# An axis of scores that are all equal is this share of the score long, or of the floor.
EQUAL_SHARE, EQUAL_FLOOR = 0.1, 1e-6
# Shares of the axis: where marks stand beyond its worse end, and the margin at both ends.
BEYOND_END, END_MARGIN = -0.1, 0.05


@dataclasses.dataclass(frozen=True)
class Span:
    """The range of scores that an axis shows, so that a diverged trial does not hide all others.

    Attributes:
        worst, best: ends of the range.
        direction: "min" or "max", whether lower or higher scores are better.
        log: whether the axis is logarithmic.
    """

    worst: float
    best: float
    direction: str
    log: bool = False

    @classmethod
    def of(cls, scores: Sequence[float], direction: str) -> Span:
        """Return the span of at least one finite score."""
        losses = np.sort(scores) if direction == "min" else -np.sort(scores)[::-1]
        best, most = losses[0], np.quantile(losses, 0.75)
        log = direction == "min" and bool(best > 0 and most > LOG_FACTOR * best)
        heights = np.log10(losses) if log else losses
        edge = heights[0] + OFF_SCALE_FACTOR * (np.quantile(heights, 0.75) - heights[0])
        worst = losses[heights <= edge].max() if edge > heights[0] else losses[-1]
        sign = 1 if direction == "min" else -1
        return cls(float(sign * worst), float(sign * best), direction, log)

    @classmethod
    def of_results(cls, results: Results) -> Span:
        """Return the span of the finished trials, of which there is at least one."""
        return cls.of(scores_of(results.finished), results.direction)

    def hides(self, score: float) -> bool:
        """Whether a score is worse than the axis shows."""
        return score > self.worst if self.direction == "min" else score < self.worst

    def clip(self, scores: Sequence[float]) -> np.ndarray:
        """Return the scores, with those off the scale moved to its worse end, shape (scores,)."""
        low, high = sorted((self.worst, self.best))
        return np.asarray(scores, float).clip(low, high)

    def heights(self, trials: Sequence[Attempt]) -> np.ndarray:
        """Return where to draw trials: at their scores or beyond the worse end, shape (trials,)."""
        beyond = self.at(BEYOND_END)
        heights = [
            trial.score
            if has_score(trial) and trial.score is not None and not self.hides(trial.score)
            else beyond
            for trial in trials
        ]
        return np.array(heights, float)

    def at(self, share: float) -> float:
        """Return the score at a share of the way from the worst to the best."""
        if self.log:
            return self.worst * (self.best / self.worst) ** share
        length = EQUAL_SHARE * max(abs(self.best), EQUAL_FLOOR)
        if self.direction == "min":
            length = -length
        return self.worst + share * (self.best - self.worst or length)

    def to_unit(self, scores: Sequence[float]) -> np.ndarray:
        """Map scores to [0, 1], from the worst to the best, shape (scores,)."""
        if self.worst == self.best:
            return np.ones(len(scores))
        ends = np.array([self.worst, self.best, *self.clip(scores)])
        worst, best, *heights = np.log10(ends) if self.log else ends
        return (np.array(heights) - worst) / (best - worst)

    def frame(self, panel: Axes, side: str = "y") -> None:
        """Set the limits of an axis, "x" or "y", with room for marks beyond its worse end."""
        if self.log:
            panel.set(**{f"{side}scale": "log"})
        limits = sorted((self.at(BEYOND_END - END_MARGIN), self.at(1 + END_MARGIN)))
        panel.set(**{f"{side}lim": limits})
