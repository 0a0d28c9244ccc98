"""What the next trial tries: values proposed from the trials so far, the best proposal first.

Symbols are those of `space`: several points have shape (points, axes), coordinates in [0, 1].

Sources: Bergstra and Bengio, Random Search for Hyper-Parameter Optimization, JMLR 13 (2012),
section 1 (random first trials, never a grid). Jones, Schonlau and Welch, J. Global Optimization 13
(1998), section 4.1 (expected improvement). Repeats where noise decides, and the distance from
running trials, are our own additions.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from kbn.search.acquisition import ACQUISITION, most_promising
from kbn.search.history import History
from kbn.search.pareto import draw_weights
from kbn.search.past import FROM
from kbn.search.ranking import REPEATS
from kbn.search.sampling import Region, latin_hypercube
from kbn.search.space import Space, Values
from kbn.search.surrogate import Surrogate
from kbn.search.transfer import Transfer
from kbn.search.zoom import ZOOM, Plan, Round

COVERS = "covers"  # among the notes of a trial that is to cover the space


@dataclasses.dataclass(frozen=True)
class ProposalSettings:
    """The tuned numbers of choosing what a trial tries.

    Sources: chosen on the development tasks of benchmarks/tabulated; `modelled` also for a
    suggestion's time, by `python benchmarks/suggestion.py`. Another value's regret is measured by,
    for example,
    `python -m benchmarks.tabulated --data DIR --tuners ours --set search.modelled=300`.

    Attributes:
        modelled: most trials that the model holds, running ones included; but it always learns from
            half as many finished ones. Of those it takes equal parts of the best and the newest.
        fewest: number of finished trials that the model needs, and smallest number that are good.
        good_every: one trial in so many counts as good.
        repeat_every: one exploring trial in so many may repeat the best trial instead.
        noisy: noise from which trials are repeated: its standard deviation as a share of that of
            the scores.
        endless_late: number of trials after which trials are repeated in a search without an end;
            with an end, half of `max_trials`.
        fewest_coarse: smallest number of trials that cover the whole space first; with many
            hyperparameters, half of their number.
        narrow_tries: draws of the boxes, without a model, before they count as exhausted.
        wide_tries: draws of the whole space before it counts as exhausted.
        apart: distance from every running trial, in the unit cube, within which a point is the last
            choice.
    """

    modelled: int = 200
    fewest: int = 3
    good_every: int = 5
    repeat_every: int = 4
    noisy: float = 0.1
    endless_late: int = 20
    fewest_coarse: int = 4
    narrow_tries: int = 20
    wide_tries: int = 1000
    apart: float = 0.02


PROPOSALS = ProposalSettings()


def coarse_trials(axes: int, max_trials: int | None, past: int = 0) -> int:
    """Return how many trials cover the whole space before the best ones guide any other.

    Args:
        axes: number of hyperparameters.
        max_trials: of the search; None for no end.
        past: number of trials of earlier searches, which cover the space as well.
    """
    coarse = max(PROPOSALS.fewest_coarse, math.ceil((axes + 1) / 2)) - past
    return max(1, min(coarse, max_trials // 2) if max_trials else coarse)


class Proposer:
    """Proposes the values of one trial after the other.

    Args:
        history: the trials so far, to which the caller adds each that starts or ends.
        surrogate: learns from them; None if the first random point that fits is taken.
        rounds: those that have begun; grows.
        seed: >= 0, of the whole search.
        transfer: what earlier searches of similar tasks say.
        given: number of trials at the beginning that someone else gives values.

    Attributes:
        covering: number of trials that covered the space after those of earlier searches.
        exact: whether the last trial that was repeated gave the very same score again.
    """

    def __init__(
        self,
        history: History,
        surrogate: Surrogate | None,
        rounds: list[Round],
        seed: int,
        transfer: Transfer,
        given: int = 0,
    ):
        self._history, self._surrogate = history, surrogate
        self._rounds, self._seed, self._transfer = rounds, seed, transfer
        self._given = given
        self._regions: dict[tuple[int, bool], list[Region]] = {}  # of a round, exploring or not
        self.covering, self.exact = 0, False

    def propose(
        self,
        plan: Plan,
        begun: float,
        running: np.ndarray,
        best: Callable[[], tuple[str, Values] | None],
        note: dict[str, Any],
    ) -> Iterator[Values]:
        """Yield values for the next trial, the best first.

        Args:
            plan: the rounds of the search.
            begun: number of whole trainings that all trials so far were given.
            running: points of the trials that have not ended, shape (r, axes).
            best: returns the id and the values of the best trial, or None if it was not trained in
                full; called once a trial has ended.
            note: gets what is decided on the way: a new round, a new fit of the surrogate.
        """
        history, space, index = self._history, self._history.space, self._history.fresh
        rng = np.random.default_rng([self._seed, history.started])
        weights = self._weights()
        most = max(PROPOSALS.modelled - len(running), PROPOSALS.modelled // 2)
        points, levels, losses = history.known(most, weights)
        coarse = coarse_trials(len(space.axes), plan.max_trials, history.past)
        guide = self._transfer
        guide.judge(points, levels, losses)
        ready = self._is_ready(len(losses), coarse)
        model = self._surrogate if ready else None
        widths = np.ones(len(space.axes))
        if model is not None:
            if model.learn(points, levels, losses, history.past + history.ended):
                note.update(theta=model.theta.tolist(), fitted=model.fitted)
            losses, levels = model.means, np.ones_like(levels)
            widths = model.widths.clip(*ZOOM.width_limits)
        best_first = points[np.lexsort((losses, -levels))]
        good = best_first[: max(PROPOSALS.fewest, len(points) // PROPOSALS.good_every)]
        if weights is not None and len(front := history.front()):
            good = rng.permutation(front)  # a round serves proposals with other weights too
        current = self._round(plan, begun, good, widths, note)

        values = guide.begin(index - self._given)
        if values:
            drawn = space.sample(space.whole, rng.random(len(space.axes)).tolist(), values)
            yield {**drawn, FROM: values[FROM]}
        explores = current.explores(index)
        if model is not None and explores and self._may_repeat(model, plan, current, begun):
            yield from _repeat(space, best(), best_first[0])
        regions = self._drawn_from(current, explores)
        apart = explores or (model is None and current.side == 1)
        around = [None if apart else region.around(best_first, good) for region in regions]
        tries: Iterable[np.ndarray]
        if model is not None:
            if len(running):
                model.expect(running)
            radii = np.minimum(1.0, current.side * widths) / 2
            tries = most_promising(space, regions, around, model, radii, rng, guide.offered)
        else:
            blind = self._surrogate is None and plan.rounds == 1  # all trials are coarse
            strata = current.size if blind else coarse
            tries = self._drawn(regions, around, rng)
            place = self._place_in_cover(current)
            if place is not None and place < strata:
                if not values:
                    note[COVERS] = True
                first = latin_hypercube(space, strata, place, self._seed)
                tries = itertools.chain([first], tries)
        wide = (rng.random(len(space.axes)) for _ in range(PROPOSALS.wide_tries))
        yield from map(space.decode, _apart(itertools.chain(tries, wide), running))

    def _is_ready(self, ended: int, coarse: int) -> bool:
        """Whether enough is known for the model to propose the next trial.

        Args:
            ended: number of trials to learn from.
            coarse: number of trials that cover the whole space first.
        """
        guide, index = self._transfer, self._history.fresh
        if guide.trusted.any():  # then a single trial is enough
            return ended > 0 and index >= self._given + guide.begins
        return ended >= PROPOSALS.fewest and (self.covering if guide.searches else index) >= coarse

    def _place_in_cover(self, current: Round) -> int | None:
        """Return the next trial's place among those that cover the space, or one behind the last.

        None if it is in a later round.
        """
        if self._transfer.searches:
            return self.covering
        return self._history.fresh if current.number == 0 else None

    @staticmethod
    def _drawn(
        regions: Sequence[Region], around: Sequence[np.ndarray | None], rng: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Draw points of the boxes at random, more of them in the first ones."""
        shares = np.array(ACQUISITION.box_shares[: len(regions)])
        for _ in range(PROPOSALS.narrow_tries):
            i = rng.choice(len(regions), p=shares / shares.sum())
            yield regions[i].draw(1, rng, around[i])[0]

    def _weights(self) -> np.ndarray | None:
        """Draw the weights of the objectives in this proposal; None if there is one objective."""
        if self._history.objectives == 1:
            return None
        stream = self._seed, self._history.started, 1  # apart from that of the points
        return draw_weights(self._history.objectives, np.random.default_rng(stream))

    def _round(
        self, plan: Plan, begun: float, good: np.ndarray, widths: np.ndarray, note: dict[str, Any]
    ) -> Round:
        """Return the round of the next trial, begun if need be."""
        if not self._rounds or begun >= self._rounds[-1].until:
            space, number, first = self._history.space, len(self._rounds), self._history.started
            new = plan.next_round(space, good, widths, number, first, begun)
            self._rounds.append(new)
            note["round"] = dataclasses.asdict(new)
        return self._rounds[-1]

    def _drawn_from(self, current: Round, explores: bool) -> list[Region]:
        """Return the boxes of a round, or the whole space, in coordinates of the unit cube."""
        key = current.number, explores
        if key not in self._regions:
            space = self._history.space
            boxes = (space.whole,) if explores else current.boxes
            self._regions[key] = [Region(space, box) for box in boxes]
        return self._regions[key]

    def _may_repeat(self, model: Surrogate, plan: Plan, current: Round, begun: float) -> bool:
        """Whether noise, rather than merit, may have made the best trial the best."""
        late = plan.max_trials / 2 if plan.max_trials else PROPOSALS.endless_late
        every = PROPOSALS.repeat_every
        turn = self._history.fresh // current.explore_every % every == every - 1
        return turn and not self.exact and model.noise >= PROPOSALS.noisy and begun >= late


def _apart(points: Iterable[np.ndarray], running: np.ndarray) -> Iterator[np.ndarray]:
    """Yield points, those that almost repeat a running trial last.

    Args:
        points: each of shape (axes,).
        running: shape (r, axes).
    """
    close = []
    for point in points:
        if len(running) and ((running - point) ** 2).sum(1).min() < PROPOSALS.apart**2:
            close.append(point)
        else:
            yield point
    yield from close


def _repeat(
    space: Space, best: tuple[str, Values] | None, favourite: np.ndarray
) -> Iterator[Values]:
    """Yield the best trial's values, marked, if the model prefers another point.

    Args:
        space: the axes of the search.
        best: id and values of the best trial; None if it was not trained in full.
        favourite: the point with the lowest predicted mean of those tried, shape (axes,).
    """
    if best is None:
        return
    trial_id, values = best
    if (favourite != space.encode(values)).any():
        own = {axis.name: values[axis.name] for axis in space.axes if axis.name in values}
        yield {**own, REPEATS: values.get(REPEATS, trial_id)}
