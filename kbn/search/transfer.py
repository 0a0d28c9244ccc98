"""What earlier searches of similar tasks say about this one: where they did well.

Glossary, beside that of `space`:
    X, z    of one earlier search: its points, shape (n, axes), and its warped losses, shape (n,)
    P       what s earlier searches predict at m points, each by a Gaussian process of its own that
            was fitted to its X and z, shape (m, s); smaller is better

The surrogate takes P in as s features, whose weights it learns with the trials of this search. An
earlier search is trusted, its weight expected to be positive, unless it ranks these trials wrongly.
Then the trials alone decide whether it says anything, or even the opposite.

Sources: Golovin et al., Google Vizier: A Service for Black-Box Optimization (KDD 2017), section 3.3
(a search's Gaussian process on top of those of earlier searches). Feurer, Letham, Hutter and
Bakshy, Practical Transfer Learning for Bayesian Optimization (arXiv:1802.02219), section 4 (a
weighted sum of models, one for each search). Wistuba, Schilling and Schmidt-Thieme, Sequential
Model-Free Hyperparameter Tuning (ICDM 2015), section III (first trials chosen greedily, each the
best where those before it are not good). Weights with a normal prior, and judging by ranks, are our
own choice.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from kbn.search.gaussian_process import GaussianProcess, fit, prior
from kbn.search.history import best_and_newest
from kbn.search.past import FROM, PastSearch, PastTrial, related
from kbn.search.space import INACTIVE, Space, Values
from kbn.search.surrogate import warp


@dataclasses.dataclass(frozen=True)
class TransferSettings:
    """The tuned numbers of learning from earlier searches.

    Sources: chosen on the development tasks of benchmarks/tabulated. Another value is measured by,
    for example, `python -m benchmarks.tabulated --data DIR --tuners ours --past 3
    --set transfer.first=8`.

    Attributes:
        fewest: number of trials that an earlier search must have in this one's space.
        modelled: most of its trials that are learned from, the best and the last in equal parts.
        offered: number of its best points that compete for every trial of this search.
        first: largest number of trials that begin with values of the earlier searches.
        gain: mean predicted loss, in standard deviations, that each of these must gain over those
            before it.
        control: place among them of a trial drawn at random, by which they are judged.
        benefit: pairs of trials that an earlier search may rank wrongly, beyond as many as it ranks
            rightly, until it is not trusted.
        total: expected sum of the weights of those that are trusted.
    """

    fewest: int = 3
    modelled: int = 100
    offered: int = 10
    first: int = 4
    gain: float = 1e-3
    control: int = 2
    benefit: int = 5
    total: float = 1.0


TRANSFER = TransferSettings()


class Transfer:
    """Models of the earlier searches on the axes of a new one.

    Args:
        space: of the new search.
        searches: the earlier ones. Trials with values outside the space teach the models, but are
            not run again; a choice that the space lacks is unlike all others. Trials with more such
            values than others are left out, and so are searches with fewer than three trials left.
        sign: 1 if smaller scores are better, else -1.

    Attributes:
        searches: those that can be learned from.
        trusted: which of them are trusted now, shape (s,).
    """

    def __init__(self, space: Space, searches: Sequence[PastSearch], sign: float):
        self._space = space
        self._models: list[tuple[np.ndarray, GaussianProcess]] = []
        self._best: list[list[PastTrial]] = []  # of each search
        self.searches: list[PastSearch] = []
        for search in searches:
            near = [
                dataclasses.replace(trial, values=known)
                for trial in search.trials
                if (known := related(space, trial.values)) is not None
            ]
            losses = np.array([sign * trial.score for trial in near])
            kept = best_and_newest(losses, TRANSFER.modelled)
            if len(kept) >= TRANSFER.fewest:
                trials = [near[i] for i in kept]
                self.searches.append(search)
                self._models.append(self._model(trials, losses[kept]))
                best_first = (trials[i] for i in np.argsort(losses[kept], kind="stable"))
                inside = [t for t in best_first if space.contains(space.whole, t.values)]
                self._best.append(inside[: TRANSFER.offered])
        self._offered = [
            self._points(trials if known.all() else [])
            for trials, (known, _) in zip(self._best, self._models, strict=True)
        ]
        self.trusted = np.ones(len(self.searches), bool)

    def predict(self, points: np.ndarray) -> np.ndarray:
        """Return P at points of shape (m, axes)."""
        columns = [model.mean(points[:, known]) for known, model in self._models]
        return np.array(columns).T.reshape(len(points), len(columns))

    @property
    def weights(self) -> np.ndarray:
        """Expected weights of the searches before any trial, shape (s,)."""
        return self.trusted * (TRANSFER.total / max(1, self.trusted.sum()))

    @property
    def offered(self) -> np.ndarray:
        """The best points of the trusted searches that know all axes, shape (n, axes)."""
        trusted = [points for points, on in zip(self._offered, self.trusted, strict=True) if on]
        return np.concatenate([np.empty((0, len(self._space.axes))), *trusted])

    def judge(self, points: np.ndarray, levels: np.ndarray, losses: np.ndarray) -> None:
        """Trust the searches that rank the trials so far rightly.

        Args:
            points: of the trials, shape (n, axes).
            levels: how far each was trained, shape (n,); only equal ones are compared.
            losses: smaller is better, shape (n,).
        """
        if not self.searches:
            return
        pairs = np.sign(losses[:, None] - losses) * (levels[:, None] == levels)
        predicted = self.predict(points)
        for i, column in enumerate(predicted.T):
            right = (np.sign(column[:, None] - column) * pairs).sum() / 2
            self.trusted[i] = right > -TRANSFER.benefit

    @property
    def begins(self) -> int:
        """Number of first trials, that at random included."""
        return len(self._first) + 1 if self.searches else 0

    def begin(self, place: int) -> Values | None:
        """Return the values of a first trial; None for one at random, and after the last.

        Args:
            place: of the trial among those that no one else has given values.
        """
        if place == TRANSFER.control:
            return None
        place -= place > TRANSFER.control
        begins = 0 <= place < len(self._first) and self.trusted.any()
        return self._first[place] if begins else None

    @functools.cached_property
    def _first(self) -> list[Values]:
        """Values of the first trials, each of one of the best points and with its source.

        Each lowers most what the best of them loses, as predicted and in the mean over the earlier
        searches, until none lowers it.
        """
        best = [trial for trials in self._best for trial in trials]
        predicted = self.predict(self._points(best))
        chosen: list[Values] = []
        lowest = np.full(len(self._models), np.inf)
        while best and len(chosen) < TRANSFER.first:
            means = np.minimum(lowest, predicted).mean(1)
            index = int(means.argmin())
            if chosen and means[index] > lowest.mean() - TRANSFER.gain:
                break
            lowest = np.minimum(lowest, predicted[index])
            trial = best[index]
            chosen.append({**trial.values, FROM: trial.source})
        return chosen

    def _model(
        self, trials: Sequence[PastTrial], losses: np.ndarray
    ) -> tuple[np.ndarray, GaussianProcess]:
        """Return which axes a search knows, shape (axes,), and its model on these."""
        names = {name for trial in trials for name in trial.values}
        known = np.array([axis.name in names for axis in self._space.axes], bool)
        x, z, unordered = self._points(trials)[:, known], warp(losses), self._space.unordered[known]
        theta = fit(x, z, unordered, prior(x.shape[1])[0])
        return known, GaussianProcess(x, z, unordered, theta)

    def _points(self, trials: Sequence[PastTrial]) -> np.ndarray:
        points = [self._point(trial.values) for trial in trials]
        return np.array(points, float).reshape(len(trials), len(self._space.axes))

    def _point(self, values: Values) -> np.ndarray:
        axes = self._space.axes
        known = [axis for axis in axes if axis.name in values]
        outside = {a.name for a in known if not a.contains(a.whole, values[a.name])}
        point = self._space.encode({k: v for k, v in values.items() if k not in outside})
        for j, axis in enumerate(axes):
            if axis.name in outside:
                point[j] = axis.place(values[axis.name])
            elif any(condition.name in outside for condition in axis.conditions):
                point[j] = INACTIVE
        return point
