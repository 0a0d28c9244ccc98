"""The axis of scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from kbn.report.results import Results, has_score, scores_of
from kbn.tracking.journal import Attempt

# A score is off the scale if it is so many times as far from the best one as three in four are.
FAR = 4.0
# Losses are on a log scale if three in four spread over such a factor.
WIDE = 30.0
ALIKE, TINY = 0.1, 1e-6  # length of the axis of scores that are all alike, as a share of them
BEYOND, ROOM = -0.1, 0.05  # shares of the axis: where marks stand beyond its end, and room about


@dataclasses.dataclass(frozen=True)
class Span:
    """The part of the scores that an axis shows: a diverged trial must not hide all others.

    Attributes:
        worst, best: the ends.
        direction: "min" or "max", which scores are better.
        log: whether the axis is logarithmic.
    """

    worst: float
    best: float
    direction: str
    log: bool = False

    @classmethod
    def of(cls, scores: Sequence[float], direction: str) -> Span:
        """Of finite scores, one at least."""
        losses = np.sort(scores) if direction == "min" else -np.sort(scores)[::-1]
        best, most = losses[0], np.quantile(losses, 0.75)
        log = direction == "min" and bool(best > 0 and most > WIDE * best)
        heights = np.log10(losses) if log else losses
        edge = heights[0] + FAR * (np.quantile(heights, 0.75) - heights[0])
        worst = losses[heights <= edge].max() if edge > heights[0] else losses[-1]
        sign = 1 if direction == "min" else -1
        return cls(float(sign * worst), float(sign * best), direction, log)

    @classmethod
    def of_results(cls, results: Results) -> Span:
        """Of the finished trials, one at least."""
        return cls.of(scores_of(results.finished), results.direction)

    def hides(self, score: float) -> bool:
        """Whether a score is off the scale."""
        return score > self.worst if self.direction == "min" else score < self.worst

    def clip(self, scores: Sequence[float]) -> np.ndarray:
        """The scores, those off the scale at its worse end."""
        low, high = sorted((self.worst, self.best))
        return np.asarray(scores, float).clip(low, high)

    def heights(self, trials: Sequence[Attempt]) -> np.ndarray:
        """Where trials stand, shape (trials,): at their scores, or beyond the worse end."""
        beyond = self.at(BEYOND)
        heights = [
            trial.score
            if has_score(trial) and trial.score is not None and not self.hides(trial.score)
            else beyond
            for trial in trials
        ]
        return np.array(heights, float)

    def at(self, share: float) -> float:
        """The score at a share of the way from the worst to the best."""
        if self.log:
            return self.worst * (self.best / self.worst) ** share
        alike = max(abs(self.best), TINY) * (-ALIKE if self.direction == "min" else ALIKE)
        return self.worst + share * (self.best - self.worst or alike)

    def to_unit(self, scores: Sequence[float]) -> np.ndarray:
        """Shares of the way from the worst, 0, to the best, 1."""
        if self.worst == self.best:
            return np.ones(len(scores))
        ends = np.array([self.worst, self.best, *self.clip(scores)])
        worst, best, *heights = np.log10(ends) if self.log else ends
        return (np.array(heights) - worst) / (best - worst)

    def frame(self, panel: Axes) -> None:
        """Sets the vertical axis, with room for marks beyond its worse end."""
        if self.log:
            panel.set_yscale("log")
        panel.set_ylim(*sorted((self.at(BEYOND - ROOM), self.at(1 + ROOM))))
