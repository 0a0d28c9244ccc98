"""The coarse-to-fine search as a KerasTuner oracle."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import keras_tuner
import numpy as np
from threadpoolctl import ThreadpoolController

from kbn.errors import KbnError
from kbn.search._keras_tuner import Trial
from kbn.search.acquisition import ACQUISITION, most_promising
from kbn.search.durable import DurableOracle
from kbn.search.faults import ANEW
from kbn.search.fidelity import EPOCHS, PARENT, Ladder
from kbn.search.history import History
from kbn.search.hyperparameters import space_of
from kbn.search.ranking import REPEATS, Ranking
from kbn.search.sampling import Region, latin_hypercube
from kbn.search.space import Box, Space, Values
from kbn.search.surrogate import Surrogate
from kbn.search.zoom import ZOOM, Plan, Round


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """The tuned numbers of the search as a whole.

    Sources: chosen on the development tasks of benchmarks/tabulated; `modelled` also for a
    suggestion's time, by `python benchmarks/suggestion.py`. Another value's regret is measured by,
    for example,
    `python -m benchmarks.tabulated --data DIR --tuners ours --set search.modelled=300`.

    Attributes:
        modelled: most trials that the model learns from, half of them the best, half the newest.
        fewest: number of finished trials that the model needs, and smallest number that are good.
        good_every: one trial in so many counts as good.
        repeat_every: one exploring trial in so many may repeat the best trial instead.
        noisy: standard deviation of the noise, as a share of the scores', from which it may.
        endless_late: number of trials after which it may in a search without an end; with an end,
            half of `max_trials`.
        fewest_coarse: smallest number of trials that cover the whole space first; with many
            hyperparameters, half of their number.
        narrow_tries: draws of the boxes, without a model, before they count as exhausted.
        wide_tries: draws of the whole space before it counts as exhausted.
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


SEARCH = SearchSettings()


class CoarseToFineOracle(DurableOracle):
    """Random search, from coarse to fine, every hyperparameter on its own scale.

    1. Coarse: the first trials are a Latin hypercube over the whole space, random and never a grid
       (Bergstra and Bengio, Random Search for Hyper-Parameter Optimization, JMLR 13, 2012,
       section 1): no two share a stratum of any hyperparameter.
    2. Fine: each later round draws at random from boxes round up to three good, distinct trials.
       Their mean side shrinks by the same factor from round to round, to 0.3 of each axis; they are
       narrower along the axes where the model's length scale is shorter, that is, which matter
       more. One trial in three (one in six without a model) is drawn from the whole space
       whatever the boxes. A choice without an order is never narrowed; it is drawn as often as the
       good trials have it.
    3. With `surrogate="gp"` some hundred random points of the boxes compete for each trial: a
       Gaussian process predicts the loss, and the point with the largest expected improvement wins
       (Jones, Schonlau and Welch, J. Global Optimization 13, 1998, section 4.1). Running trials
       count as if they ended as predicted. With None the first random point wins, which is the
       plain method of the textbooks.

    A trial that failed counts as one as bad as the worst. What a trial proposes depends only on the
    seed and on the trials before it, so an interrupted search goes on as if it had never stopped.

    Args:
        objective: as in KerasTuner: a metric's name, a `keras_tuner.Objective` or a list.
        max_trials: number of trials, at least 1; None for no end.
        surrogate: "gp" or None.
        epochs: None trains every trial in full. With "coarse_to_fine" early trials train for a
            share of `max_epochs`, and the best third go on from their weights; the search may
            then have more than `max_trials` trials, but trains no more epochs than so many whole
            ones. What a trial trains stands in its values, as in KerasTuner's Hyperband:
            "tuner/epochs", "tuner/initial_epoch" and, if it goes on, "tuner/trial_id".
        max_epochs: epochs of a whole training, at least 1; needed if `epochs` is given.
        rounds: number of rounds, at least 1; 1 never leaves the whole space. None for twice
            the square root of `max_trials`.
        seed: integer >= 0; None draws one.
        hyperparameters, allow_new_entries, tune_new_entries, max_retries_per_trial,
            max_consecutive_failed_trials: as in every KerasTuner oracle.

    Raises:
        ValueError: if an argument is out of its range.
    """

    def __init__(
        self,
        objective: Any = None,
        max_trials: int | None = 10,
        *,
        surrogate: str | None = "gp",
        epochs: str | None = None,
        max_epochs: int | None = None,
        rounds: int | None = None,
        seed: int | None = None,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        allow_new_entries: bool = True,
        tune_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
    ):
        _require_number("max_trials", max_trials, least=1)
        _require_number("rounds", rounds, least=1)
        _require_number("seed", seed, least=0)
        _require_number("max_epochs", max_epochs, least=1)
        _require_one_of("surrogate", surrogate, "gp")
        _require_one_of("epochs", epochs, "coarse_to_fine")
        if (epochs is None) != (max_epochs is None):
            raise ValueError(
                "The max_epochs parameter of CoarseToFineOracle must be the epochs of a whole "
                f"training with epochs='coarse_to_fine', else None. Got {max_epochs!r} with "
                f"epochs={epochs!r} instead."
            )
        super().__init__(
            objective=objective,
            max_trials=max_trials,
            hyperparameters=hyperparameters,
            allow_new_entries=allow_new_entries,
            tune_new_entries=tune_new_entries,
            seed=seed,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        self._has_surrogate = surrogate is not None
        self._max_epochs = max_epochs
        self._rounds_wanted = rounds
        self._rounds: list[Round] = []
        self._forget()

    def _forget(self) -> None:
        super()._forget()
        self._ladder: Ladder | None = None
        self._surrogate: Surrogate | None = None
        self._regions: dict[tuple[int, bool], list[Region]] = {}  # of a round, exploring or not
        self._ranking, self._ranked = Ranking(self.objective.direction), 0  # and trials in it
        self._exact = False  # whether the last repeat gave the very score again

    @property
    def rounds(self) -> tuple[Round, ...]:
        """The rounds begun so far, each with its boxes in natural units."""
        ends = [r.first for r in self._rounds[1:]] + [len(self.start_order)]
        return tuple(
            # how many trials share out epochs is known only afterwards
            dataclasses.replace(r, size=max(end - r.first, 0 if self._max_epochs else r.size))
            for r, end in zip(self._rounds, ends, strict=False)
        )

    def planned_rounds(self) -> list[Round]:
        """Return the rounds of the whole search as far as they are known before any score.

        Their boxes have the right sizes, but lie in the middle of the space. A search without an
        end has those until its boxes shrink no more. With `epochs`, how many trials will share out
        a round's epochs is unknown, and its size is 0.
        """
        space = space_of(self.hyperparameters)
        middle, even = np.full((1, len(space.axes)), 0.5), np.ones(len(space.axes))
        count = math.inf if self.max_trials else self._rounds_wanted or ZOOM.endless_rounds
        rounds: list[Round] = []
        while len(rounds) < count and (
            not rounds or rounds[-1].until < (self.max_trials or math.inf)
        ):
            first, begun = (rounds[-1].end, rounds[-1].until) if rounds else (0, 0.0)
            new = self._plan.next_round(space, middle, even, len(rounds), first, begun)
            rounds.append(dataclasses.replace(new, size=0) if self._max_epochs else new)
        return rounds

    def place(self, trial_id: str) -> tuple[Round, Box | None]:
        """The round of a trial that began, and its box; None where no box holds its values."""
        index = self.start_order.index(trial_id)
        current = next((r for r in self.rounds if index < r.end), self.rounds[-1])
        space, values = space_of(self.hyperparameters), self.trials[trial_id].hyperparameters.values
        return current, next((box for box in current.boxes if space.contains(box, values)), None)

    def get_best_trials(self, num_trials: int = 1) -> list[Any]:
        """The best completed trials, best first: those that trained longest, then by score.

        A trial that was repeated counts, as its repeats do, with the mean of its scores.
        """
        with self._lock:
            for trial_id in self.end_order[self._ranked :]:
                trial = self.trials[trial_id]
                if not math.isnan(self._loss(trial)):
                    values = trial.hyperparameters.values
                    self._ranking.add(trial_id, values, trial.score, int(trial_id))
            self._ranked = len(self.end_order)
            return [self.trials[trial_id] for trial_id in self._ranking.first(num_trials)]

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The next trial's values, in the form KerasTuner asks for."""
        history = self._updated_history()
        note = self.notes[trial_id] = {}
        told = {}
        if self._ladder is not None:
            step = self._ladder.next(self._budget)
            if self._ladder.spent + step.cost > self._budget:
                return {"status": "STOPPED"}
            told = step.values
            if step.parent is not None:
                values = self.trials[step.parent].hyperparameters.values
                return {"status": "RUNNING", "values": {**values, **told}}
        with _one_blas_thread():
            for values in self._draws(history, note):
                if REPEATS in values or not history.tried(values):
                    return {"status": "RUNNING", "values": {**values, **told}}
        return {"status": "STOPPED"}  # nothing is left that was not tried

    @property
    def _begun(self) -> float:
        """Trials begun, in whole trainings."""
        return self._ladder.whole_trainings if self._ladder else len(self.start_order)

    @property
    def _budget(self) -> float:
        """Epochs of the whole search."""
        return (self.max_trials or math.inf) * (self._max_epochs or 1)

    def _is_full(self) -> bool:
        # where trials differ in epochs, it is not their number that ends the search
        return self._max_epochs is None and super()._is_full()

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "max_epochs": self._max_epochs}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        begun, wanted = state["max_epochs"], self._max_epochs
        if begun != wanted:
            raise KbnError(
                f"{self._file('oracle.json')}: a search goes on with the epochs it began with, "
                f"max_epochs={begun}. Got max_epochs={wanted} instead. Give it these, or {ANEW}."
            )

    def reload(self) -> None:
        with self._lock:
            self._rounds = []
            super().reload()

    def _recall(self, trial: Any) -> None:
        values, note = trial.hyperparameters.values, self.notes[trial.trial_id]
        for name in (PARENT, REPEATS):  # a file's name is made of it
            if values.get(name, trial.trial_id) not in self.trials:
                raise ValueError(f"{name} {values[name]!r}, which is no trial")
        if "round" in note:
            self._rounds.append(Round.from_config(note["round"]))

    def _new_history(self) -> History:
        history = super()._new_history()
        self._ladder = Ladder(self._max_epochs) if self._max_epochs else None
        if self._has_surrogate:
            unordered = history.space.unordered
            self._surrogate = Surrogate(unordered, levelled=self._ladder is not None)
        return history

    def _note_start(self, history: History, trial: Trial) -> None:
        super()._note_start(history, trial)
        note = self.notes[trial.trial_id]
        if self._ladder:
            self._ladder.start(trial.hyperparameters.values)
        if self._surrogate and "theta" in note:
            self._surrogate.recall(np.array(note["theta"]), note["fitted"])

    def _note_end(self, history: History, trial: Trial) -> None:
        values, loss = trial.hyperparameters.values, self._loss(trial)
        history.end(values, loss, self._ladder.level(values[EPOCHS]) if self._ladder else 1.0)
        if self._ladder:
            self._ladder.end(trial.trial_id, values, loss)
        if REPEATS in values:
            self._exact = loss == self._loss(self.trials[values[REPEATS]])

    def _draws(self, history: History, note: dict[str, Any]) -> Iterator[Values]:
        """Values to try, the best first; what is decided on the way goes into `note`."""
        space, index = history.space, history.fresh
        rng = np.random.default_rng([self.seed, history.started])
        points, levels, losses = history.known(SEARCH.modelled)
        ready = len(losses) >= SEARCH.fewest and index >= self._coarse
        model = self._surrogate if ready else None
        widths = np.ones(len(space.axes))
        if model is not None:
            if model.learn(points, levels, losses, history.ended):
                note.update(theta=model.theta.tolist(), fitted=model.fitted)
            losses, levels = model.means, np.ones_like(levels)
            widths = model.widths.clip(*ZOOM.width_limits)
        best_first = points[np.lexsort((losses, -levels))]
        good = best_first[: max(SEARCH.fewest, len(points) // SEARCH.good_every)]
        current = self._round(space, good, widths, note)

        blind = self._surrogate is None and self._rounds_wanted == 1  # all trials are coarse
        strata = current.size if blind else self._coarse
        if model is None and current.number == 0 and index < strata:
            yield space.decode(latin_hypercube(space, strata, index, self.seed))
        explores = current.explores(index)
        if model is not None and explores:
            yield from self._doubted(history, model, current, best_first[0])
        regions = self._drawn_from(space, current, explores)
        apart = explores or (model is None and current.side == 1)
        around = [None if apart else region.around(best_first, good) for region in regions]
        if model is not None:
            running = [t.hyperparameters.values for t in self.ongoing_trials.values()]
            if running:
                model.expect(np.array([space.encode(values) for values in running]))
            radii = np.minimum(1.0, current.side * widths) / 2
            yield from map(space.decode, most_promising(space, regions, around, model, radii, rng))
        else:
            shares = np.array(ACQUISITION.box_shares[: len(regions)])
            for _ in range(SEARCH.narrow_tries):
                i = rng.choice(len(regions), p=shares / shares.sum())
                yield space.decode(regions[i].draw(1, rng, around[i])[0])
        for _ in range(SEARCH.wide_tries):
            yield space.decode(rng.random(len(space.axes)))

    def _drawn_from(self, space: Space, current: Round, explores: bool) -> list[Region]:
        key = current.number, explores
        if key not in self._regions:
            boxes = (space.whole,) if explores else current.boxes
            self._regions[key] = [Region(space, box) for box in boxes]
        return self._regions[key]

    def _doubted(
        self, history: History, model: Surrogate, current: Round, favourite: np.ndarray
    ) -> Iterator[Values]:
        """The best trial's values, marked, where noise rather than merit may have made it the best.

        So it may where scores are noisy and the model holds another trial, `favourite`, for better.
        """
        late = self.max_trials / 2 if self.max_trials else SEARCH.endless_late
        every = SEARCH.repeat_every
        turn = history.fresh // current.explore_every % every == every - 1
        if not turn or self._exact or model.noise < SEARCH.noisy or self._begun < late:
            return
        best, space = self.get_best_trials()[0], history.space
        values = best.hyperparameters.values
        whole = values.get(EPOCHS) == self._max_epochs
        if whole and (favourite != space.encode(values)).any():
            own = {axis.name: values[axis.name] for axis in space.axes if axis.name in values}
            yield {**own, REPEATS: values.get(REPEATS, best.trial_id)}

    @property
    def _coarse(self) -> int:
        """Number of trials that cover the whole space, before the best ones guide any other."""
        coarse = max(SEARCH.fewest_coarse, math.ceil((len(self.hyperparameters.space) + 1) / 2))
        return max(1, min(coarse, self.max_trials // 2)) if self.max_trials else coarse

    @property
    def _plan(self) -> Plan:
        explore = ZOOM.explore_every if self._has_surrogate else ZOOM.blind_explore_every
        cost = Ladder(self._max_epochs).first_cost if self._max_epochs else 1
        return Plan(self.max_trials, self._rounds_wanted, self._coarse * cost, explore)

    def _round(
        self, space: Space, good: np.ndarray, widths: np.ndarray, note: dict[str, Any]
    ) -> Round:
        """The round of the next trial, begun if need be."""
        first = len(self.start_order)
        begun = self._begun
        if not self._rounds or begun >= self._rounds[-1].until:
            new = self._plan.next_round(space, good, widths, len(self._rounds), first, begun)
            self._rounds.append(new)
            note["round"] = dataclasses.asdict(new)
        return self._rounds[-1]


def _one_blas_thread() -> AbstractContextManager[Any]:
    """Matrices of some hundred rows take two to three times as long in several threads."""
    return _blas().limit(limits=1, user_api="blas")


_blas = functools.cache(ThreadpoolController)  # to find the libraries takes 10 ms


def _require_number(name: str, value: Any, least: int) -> None:
    if value is not None and (type(value) is not int or value < least):
        raise ValueError(
            f"The {name} parameter of CoarseToFineOracle must be None or an integer of at least "
            f"{least}. Got {value!r} instead."
        )


def _require_one_of(name: str, value: Any, other: str) -> None:
    if value not in (None, other):
        raise ValueError(
            f"The {name} parameter of CoarseToFineOracle must be {other!r} or None. Got {value!r} "
            "instead."
        )
