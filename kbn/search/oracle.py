"""The coarse-to-fine search as a KerasTuner oracle."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import keras_tuner
import numpy as np
from threadpoolctl import ThreadpoolController

from kbn.errors import KbnError
from kbn.search._keras_tuner import Trial
from kbn.search.arguments import require_budget, require_number, require_one, require_one_of
from kbn.search.axes import Value
from kbn.search.durable import DurableOracle
from kbn.search.faults import ANEW
from kbn.search.fidelity import EPOCHS, INITIAL_EPOCH, PARENT, Ladder
from kbn.search.history import History
from kbn.search.hyperparameters import space_of
from kbn.search.past import PastSearch, PastTrial, Scored
from kbn.search.proposals import COVERS, Proposer, coarse_trials
from kbn.search.pruning import Savings
from kbn.search.ranking import REPEATS, Ranking
from kbn.search.space import Box, Space, Values
from kbn.search.surrogate import Surrogate
from kbn.search.transfer import Transfer
from kbn.search.zoom import ZOOM, Plan, Round

CURVE = "curve"  # among the notes of a trial: its losses by epoch, JSON values
Objectives: TypeAlias = "str | keras_tuner.Objective | list[str | keras_tuner.Objective] | None"


class CoarseToFineOracle(DurableOracle):
    """Random search, from coarse to fine, every hyperparameter on its own scale.

    1. Coarse: the first trials are a Latin hypercube over the whole space, random and never a grid
       (Bergstra and Bengio, Random Search for Hyper-Parameter Optimization, JMLR 13, 2012,
       section 1): no two share a stratum of any hyperparameter.
    2. Fine: each later round draws at random from boxes around up to three good, distinct trials.
       Their mean side shrinks by the same factor from round to round, to 0.3 of each axis. They are
       narrower along axes with a shorter length scale in the model, which matter more. One trial in
       three (one in six without a model) is drawn from the whole space. An unordered choice is
       never narrowed: each value is drawn as often as the good trials have it.
    3. With `surrogate="gp"`, several hundred random points of the boxes compete for each trial: a
       Gaussian process predicts the loss, and the point with the largest expected improvement wins
       (Jones, Schonlau and Welch, J. Global Optimization 13, 1998, section 4.1). Running trials
       count as if they had ended as predicted. With None the first random point wins, which is
       plain coarse-to-fine random search.

    A failed trial counts as one that is as bad as the worst. A proposal depends only on the seed
    and on the trials before it, so an interrupted search goes on as if it had never stopped.

    Args:
        objective: as in KerasTuner; a list means the sum of its objectives unless `pareto` is True.
        pareto: whether to search for the front of a list, as in `kbn.search.pareto`: the trials
            that no other one dominates. The first objective is the score, and decides the epoch.
        constraints: {metric: {"min": low, "max": high}}, one limit or both; a trial that violates
            them is never the best.
        max_trials: number of trials, at least 1; None for no end.
        surrogate: "gp" or None.
        epochs: None trains every trial in full. With "coarse_to_fine", early trials train for a
            share of `max_epochs`, and the best third continue from their weights. The search may
            then have more than `max_trials` trials, but trains at most `max_trials * max_epochs`
            epochs. A trial's epochs are among its values, as in KerasTuner's Hyperband:
            "tuner/epochs", "tuner/initial_epoch" and, if it continues another, "tuner/trial_id".
        prune: whether trials may end early, as `CoarseToFine` ends those that are hopeless. Such a
            trial says so among its values, "tuner/pruned": number of its epochs. The epochs that it
            saved go into further trials, as with `epochs`.
        max_epochs: epochs of a whole training, at least 1; needed with `epochs` and with `prune`.
        first: values of the first trials, as those of a baseline, each {hyperparameter: value};
            what one lacks is drawn.
        past: trials of earlier searches, each a `kbn.search.past.PastTrial`, that boxes and model
            learn from. They are not run, but for the best of them, after those of `first`.
        prior: earlier searches of similar tasks, the same model on other data say. Each is a list
            of (values, score) of its trials, such as `[(t.hyperparameters.values, t.score) for t in
            oracle.get_best_trials(1000)]`, or a `kbn.search.past.PastSearch`. Their scores matter
            only beside one another; higher is better where this objective's is. After those of
            `first` and `past`, up to four trials take over values that did well there, and say so
            among their own, "tuner/from"; the model of the others learns how far each of them
            holds, as `kbn.search.transfer` tells. Hyperparameters that they lack are searched as
            without them; trials with more values outside the space than in it are left out.
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
        objective: Objectives = None,
        max_trials: int | None = 10,
        *,
        surrogate: str | None = "gp",
        epochs: str | None = None,
        prune: bool = False,
        max_epochs: int | None = None,
        rounds: int | None = None,
        first: Sequence[Mapping[str, Value]] = (),
        pareto: bool = False,
        constraints: Mapping[str, Mapping[str, float]] | None = None,
        past: Sequence[PastTrial] = (),
        prior: Sequence[PastSearch | Sequence[Scored]] = (),
        seed: int | None = None,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        allow_new_entries: bool = True,
        tune_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
    ):
        for name, value, least in (
            ("max_trials", max_trials, 1),
            ("rounds", rounds, 1),
            ("seed", seed, 0),
            ("max_epochs", max_epochs, 1),
        ):
            require_number(name, value, least)
        require_one_of("surrogate", surrogate, "gp")
        require_one_of("epochs", epochs, None if pareto else "coarse_to_fine")
        require_one(pareto, prune=prune, past=past, prior=prior)
        require_budget(epochs, max_epochs, prune=prune)
        super().__init__(
            objective=objective,
            max_trials=max_trials,
            pareto=pareto,
            constraints=constraints,
            hyperparameters=hyperparameters,
            allow_new_entries=allow_new_entries,
            tune_new_entries=tune_new_entries,
            seed=seed,
            first=first,
            past=past,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        self.prior = tuple(PastSearch.of(each, number) for number, each in enumerate(prior))
        self._has_surrogate = surrogate is not None
        self.max_epochs, self.prunes = max_epochs, prune
        self._rounds_wanted = rounds
        self._rounds: list[Round] = []
        self._forget()

    def _forget(self) -> None:
        super()._forget()
        self._encoded: dict[str, np.ndarray] = {}  # points of running trials, by id
        self._ladder: Ladder | Savings | None = None
        self._surrogate: Surrogate | None = None
        self._ranking, self._ranked = Ranking(self.objective.direction), 0  # and trials in it

    @property
    def curves(self) -> list[list[float]]:
        """Losses by epoch of the trials that ended, in that order, as far as they were noted."""
        notes = [self.notes[trial_id].get(CURVE) for trial_id in self.end_order]
        return [[math.nan if x is None else x for x in curve] for curve in notes if curve]

    def note_curve(self, trial_id: str, losses: Sequence[float]) -> None:
        """Note the losses of a trial by epoch, NaN where there is none, until it ends."""
        curve = [None if math.isnan(loss) else loss for loss in losses]
        self.notes[trial_id][CURVE] = curve

    @property
    def rounds(self) -> tuple[Round, ...]:
        """The rounds that have begun, each with its boxes in natural units."""
        ends = [r.first for r in self._rounds[1:]] + [len(self.start_order)]
        return tuple(
            # how many trials share a round's epochs is known only afterwards
            dataclasses.replace(r, size=max(end - r.first, 0 if self.max_epochs else r.size))
            for r, end in zip(self._rounds, ends, strict=False)
        )

    def planned_rounds(self) -> list[Round]:
        """Return the rounds of the whole search as far as they are known before any score.

        Their boxes have the right sizes, but lie in the middle of the space. A search without an
        end has those until its boxes shrink no more. With `epochs`, how many trials will share out
        a round's epochs is unknown, and its size is 0.
        """
        space = space_of(self.hyperparameters)
        rounds = self._plan(len(space.axes)).preview(space)
        return [dataclasses.replace(each, size=0) if self.max_epochs else each for each in rounds]

    def place(self, trial_id: str) -> tuple[Round, Box | None]:
        """Return the round of a trial that began, and its box; None where no box holds it."""
        index = self.start_order.index(trial_id)
        current = next((r for r in self.rounds if index < r.end), self.rounds[-1])
        space, values = space_of(self.hyperparameters), self.trials[trial_id].hyperparameters.values
        return current, next((box for box in current.boxes if space.contains(box, values)), None)

    def get_best_trials(self, num_trials: int = 1) -> list[Trial]:
        """Return the best completed trials, best first: those that trained longest, then by score.

        A trial that was repeated counts with the mean of its scores, and so do its repeats.
        Infeasible ones are left out. Of several objectives, those on the front come first.
        """
        if self.goals.several:
            return super().get_best_trials(num_trials)
        with self._lock:
            for trial_id in self.end_order[self._ranked :]:
                trial = self.trials[trial_id]
                if not math.isnan(self._loss(trial)):
                    values = trial.hyperparameters.values
                    self._ranking.add(trial_id, values, trial.score, int(trial_id))
            self._ranked = len(self.end_order)
            return [self.trials[trial_id] for trial_id in self._ranking.first(num_trials)]

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Return the next trial's values, in the form KerasTuner asks for."""
        history = self._updated_history()
        note = self.notes[trial_id] = {}
        begun: float = history.started
        epochs: Values = {}
        if self._ladder is not None:
            begun, step = self._ladder.whole_trainings, self._ladder.next(self._budget)
            if self._ladder.spent + step.cost > self._budget:
                return {"status": "STOPPED"}
            epochs = step.values
            if step.parent is not None:
                values = self.trials[step.parent].hyperparameters.values
                return {"status": "RUNNING", "values": {**values, **epochs}}
        plan = self._plan(len(history.space.axes))
        running = self._running(history.space)
        with _one_blas_thread():
            proposed = self._proposer.propose(plan, begun, running, self._best_whole, note)
            for values in itertools.chain(self._given(history), proposed):
                if REPEATS in values or not history.tried(values):
                    return {"status": "RUNNING", "values": {**values, **epochs}}
        return {"status": "STOPPED"}  # nothing is left that was not tried

    def _running(self, space: Space) -> np.ndarray:
        """Return the points of the trials that have not ended, shape (r, axes)."""
        trials, known = self.ongoing_trials.values(), self._encoded
        self._encoded = {
            trial.trial_id: known[trial.trial_id]
            if trial.trial_id in known
            else space.encode(trial.hyperparameters.values)
            for trial in trials
        }
        return np.array([*self._encoded.values()]).reshape(len(trials), len(space.axes))

    @property
    def _budget(self) -> float:
        """Number of epochs of the whole search."""
        return (self.max_trials or math.inf) * (self.max_epochs or 1)

    def _is_full(self) -> bool:
        # where trials differ in epochs, not their number but the epochs end the search
        return self.max_epochs is None and super()._is_full()

    def get_state(self) -> dict[str, Any]:
        epochs = {"max_epochs": self.max_epochs, "prune": self.prunes}
        return {
            **super().get_state(),
            **epochs,
            "prior": [search.as_config() for search in self.prior],
        }

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self.prior = tuple(map(PastSearch.from_config, state.get("prior", ())))
        begun = {"max_epochs": state["max_epochs"], "prune": state.get("prune", False)}
        wanted = {"max_epochs": self.max_epochs, "prune": self.prunes}
        for name, value in begun.items():
            if value != wanted[name]:
                raise KbnError(
                    f"{self._files.search}: a search goes on with the epochs it began with, {name}="
                    f"{value}. Got {name}={wanted[name]} instead. Give it these, or {ANEW}."
                )

    def reload(self) -> None:
        with self._lock:
            self._rounds = []
            super().reload()

    def _recall(self, trial: Trial) -> None:
        values, note = trial.hyperparameters.values, self.notes[trial.trial_id]
        for name in (PARENT, REPEATS):  # the name of a file contains it
            if values.get(name, trial.trial_id) not in self.trials:
                raise ValueError(f"{name} {values[name]!r}, which is no trial")
        if "round" in note:
            self._rounds.append(Round.from_config(note["round"]))

    def _new_history(self) -> History:
        history = super()._new_history()
        sign = 1.0 if self.objective.direction == "min" else -1.0
        for trial in self.past:
            history.recall(trial.values, sign * trial.score)
        if self.max_epochs:
            self._ladder = (Savings if self.prunes else Ladder)(self.max_epochs)
        self._transfer = Transfer(history.space, self.prior, sign)
        if self._has_surrogate:
            levelled = self._ladder is not None and self._ladder.levelled
            self._surrogate = Surrogate(history.space.unordered, levelled, self._transfer)
        given = len(self.first) + bool(self.past)
        self._proposer = Proposer(
            history, self._surrogate, self._rounds, self.seed, self._transfer, given
        )
        self._proposer.exact = self.goals.several  # a repeat would be of one weighing's best alone
        return history

    def _add_start(self, history: History, trial: Trial) -> None:
        super()._add_start(history, trial)
        note = self.notes[trial.trial_id]
        if self._ladder:
            self._ladder.start(trial.hyperparameters.values)
        self._proposer.covering += COVERS in note
        if self._surrogate and "theta" in note:
            self._surrogate.recall(np.array(note["theta"]), note["fitted"])

    def _add_end(self, history: History, trial: Trial) -> None:
        values, loss = trial.hyperparameters.values, self._loss(trial)
        level = self._ladder.level(values) if self._ladder else 1.0
        history.end(values, self._losses(trial), level, self._excess(trial))
        if self._ladder:
            self._ladder.end(trial.trial_id, values, loss)
        if REPEATS in values:
            self._proposer.exact = loss == self._loss(self.trials[values[REPEATS]])

    @property
    def _whole_training(self) -> Values:
        shares = self.max_epochs and not self.prunes
        return {EPOCHS: self.max_epochs, INITIAL_EPOCH: 0} if shares else {}

    def _best_whole(self) -> tuple[str, Values] | None:
        """Return the id and the values of the best trial, if it trained in full."""
        best = self.get_best_trials()[0]
        values = best.hyperparameters.values
        whole = values.get(EPOCHS, self.max_epochs) == self.max_epochs
        return (best.trial_id, values) if whole else None

    def _plan(self, axes: int) -> Plan:
        """Return the plan of a search in a space with so many axes."""
        coarse: float = coarse_trials(axes, self.max_trials, len(self.past))
        if self.max_epochs:
            coarse *= 1.0 if self.prunes else Ladder(self.max_epochs).first_cost
        explore = ZOOM.explore_every if self._has_surrogate else ZOOM.blind_explore_every
        return Plan(self.max_trials, self._rounds_wanted, coarse, explore)


def _one_blas_thread() -> AbstractContextManager[object]:
    """Limit linear algebra to one thread, which is two to three times as fast on small matrices."""
    return _blas().limit(limits=1, user_api="blas")


_blas = functools.cache(ThreadpoolController)  # finding the libraries takes 10 ms
