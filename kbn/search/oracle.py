"""The coarse-to-fine search as a KerasTuner oracle."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine import hyperparameters as kt

from kbn.search.hyperparameters import ScaledFloat
from kbn.search.scales import LINEAR, LOG, REVERSE_LOG
from kbn.search.space import Axis, Condition, Discrete, Numeric, Space, Values
from kbn.search.state import write_json
from kbn.search.zoom import Round, next_round

BOX_WEIGHTS = (4, 2, 1)  # how often a round draws from its first, second, third box
NARROW_TRIES, WIDE_TRIES = 20, 1000  # draws before a box, then the space, counts as exhausted
ENDED = ("COMPLETED", "FAILED")
SAMPLINGS = {"linear": LINEAR, "log": LOG, "reverse_log": REVERSE_LOG}


class CoarseToFineOracle(keras_tuner.Oracle):
    """Random search, from coarse to fine, every hyperparameter on its own scale.

    The first round is a Latin hypercube over the whole space: random, and no two trials share a
    stratum of any hyperparameter (McKay, Beckman and Conover, Technometrics 21, 1979). Each
    later round draws at random from smaller boxes round the best distinct trials so far; one
    trial in six still comes from the whole space. Why random and not a grid: Bergstra and
    Bengio, JMLR 13 (2012), section 1.

    What a trial proposes depends only on the seed and on the trials before it, so an
    interrupted search goes on as if it had never stopped.

    Args:
        objective: as in KerasTuner: a metric's name, a `keras_tuner.Objective` or a list.
        max_trials: number of trials, at least 1; None for no end.
        rounds: number of rounds, at least 1; 1 is plain random search. None for about as many
            as a round has trials: 7 rounds of 7 for 48 trials.
        seed: integer >= 0; None draws one.
        hyperparameters, allow_new_entries, tune_new_entries, max_retries_per_trial,
            max_consecutive_failed_trials: as in every KerasTuner oracle.

    Raises:
        ValueError: if max_trials, rounds or seed are out of range.
    """

    def __init__(
        self,
        objective: Any = None,
        max_trials: int | None = 10,
        *,
        rounds: int | None = None,
        seed: int | None = None,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        allow_new_entries: bool = True,
        tune_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
    ):
        _require("max_trials", max_trials, least=1)
        _require("rounds", rounds, least=1)
        _require("seed", seed, least=0)
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
        if seed is not None:  # KerasTuner takes 0 for "none given"
            self.seed = seed
        self.trials: dict[str, Any] = {}
        self._rounds_wanted = rounds
        self._rounds: list[Round] = []

    @property
    def rounds(self) -> tuple[Round, ...]:
        """The rounds begun so far, each with its boxes in natural units."""
        return tuple(self._rounds)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The next trial's values, in the form KerasTuner asks for."""
        space = space_of(self.hyperparameters)
        # not KerasTuner's own check, which forgets a proposal as soon as its model asks for more
        tried = {_key(space, trial.hyperparameters.values) for trial in self.trials.values()}
        for values in self._draws(space, index=len(self.start_order)):
            if _key(space, values) not in tried:
                return {"status": "RUNNING", "values": values}
        return {"status": "STOPPED"}  # nothing is left that was not tried

    def _draws(self, space: Space, index: int) -> Iterator[Values]:
        rng = np.random.default_rng([self.seed, index])
        current = self._round_of(space, index)
        if current.number == 0:
            coordinates = [self._stratum(axis.name, current.size, index) for axis in space.axes]
            yield space.sample(space.whole, coordinates)
        elif not current.explores(index):
            weights = np.array(BOX_WEIGHTS[: len(current.boxes)])
            for _ in range(NARROW_TRIES):
                box = current.boxes[rng.choice(len(current.boxes), p=weights / weights.sum())]
                yield space.sample(box, rng.random(len(space.axes)).tolist())
        for _ in range(WIDE_TRIES):
            yield space.sample(space.whole, rng.random(len(space.axes)).tolist())

    def _round_of(self, space: Space, index: int) -> Round:
        if not self._rounds or index >= self._rounds[-1].end:
            finished = [t for t in self.trials.values() if t.status == "COMPLETED" and _scored(t)]
            finished.sort(key=lambda t: t.score, reverse=self.objective.direction == "max")
            best_first = [trial.hyperparameters.values for trial in finished]
            self._rounds.append(
                next_round(space, best_first, self._rounds, self.max_trials, self._rounds_wanted)
            )
        return next(r for r in reversed(self._rounds) if r.first <= index)

    def _stratum(self, name: str, size: int, index: int) -> float:
        """The coordinate in [0, 1) of the first round's trial `index` on one axis.

        Every axis has a permutation of the strata of its own, so that one which is found while
        the round runs leaves the others' as they are.
        """
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        return float((rng.permutation(size)[index] + rng.random()) / size)

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "rounds": [dataclasses.asdict(r) for r in self._rounds]}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self._rounds = [Round.from_config(config) for config in state["rounds"]]

    def save(self) -> None:
        write_json(self._get_oracle_fname(), self.get_state())

    def _save_trial(self, trial: Any) -> None:
        file = Path(self._get_trial_dir(trial.trial_id)) / "trial.json"
        write_json(file, trial.get_state())

    def reload(self) -> None:
        super().reload()
        # KerasTuner loads the trials in the order of a directory: ties of the score would be
        # broken otherwise than before
        self.trials = {trial_id: self.trials[trial_id] for trial_id in self.start_order}
        # KerasTuner queues every trial that it saved as ongoing, which includes one that had just
        # ended, and a waiting retry for the second time
        self._retry_queue: list[str] = [
            trial_id
            for trial_id in dict.fromkeys(self._retry_queue)
            if self.trials[trial_id].status not in ENDED
        ]


def space_of(hyperparameters: keras_tuner.HyperParameters) -> Space:
    """KerasTuner's hyperparameters as axes, each on the scale it was declared with.

    Raises:
        ValueError: if a name is declared twice.
    """
    names = [hp.name for hp in hyperparameters.space]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"A hyperparameter's name must be declared once. Got {name!r} under several "
                "conditions, of which KerasTuner keeps the last alone; give each its own name."
            )
    return Space(tuple(_axis(hp) for hp in hyperparameters.space))


def _key(space: Space, values: Values) -> tuple[Any, ...]:
    """What tells points of the space apart."""
    return tuple(values.get(axis.name) for axis in space.axes)


def _scored(trial: Any) -> bool:
    return trial.score is not None and math.isfinite(trial.score)


def _axis(hp: Any) -> Axis:
    conditions = tuple(Condition(c.name, tuple(c.values)) for c in hp.conditions)
    if isinstance(hp, ScaledFloat):
        return Numeric(hp.name, hp.min_value, hp.max_value, hp.scale, False, conditions)
    if isinstance(hp, kt.Fixed):
        return Discrete(hp.name, (hp.value,), True, conditions)
    if isinstance(hp, kt.Boolean):
        return Discrete(hp.name, (False, True), False, conditions)
    if isinstance(hp, kt.Choice):
        return Discrete(hp.name, tuple(hp.values), hp.ordered, conditions)
    integer = isinstance(hp, kt.Int)
    if hp.step is None or (integer and hp.step == 1):
        scale = SAMPLINGS[hp.sampling]
        return Numeric(hp.name, hp.min_value, hp.max_value, scale, integer, conditions)
    return Discrete(hp.name, _steps(hp, integer), True, conditions)


def _steps(hp: Any, integer: bool) -> tuple[float, ...]:
    """All values of a hyperparameter with a step, the last one included.

    KerasTuner's own count uses a float floor division, which loses .5 of Float(0, .5, step=.1).
    """
    if hp.sampling == "linear":
        count = int((hp.max_value - hp.min_value) / hp.step + 1e-8) + 1
        values = [hp.min_value + i * hp.step for i in range(count)]
    else:
        count = int(math.log(hp.max_value / hp.min_value, hp.step) + 1e-8) + 1
        values = [hp.min_value * hp.step**i for i in range(count)]
    if hp.sampling == "reverse_log":
        values = [hp.max_value + hp.min_value - value for value in reversed(values)]
    # 12 digits: 3 * .1 is .3, not .30000000000000004
    return tuple(round(value) if integer else float(f"{value:.12g}") for value in values)


def _require(name: str, value: Any, least: int) -> None:
    if value is not None and (type(value) is not int or value < least):
        raise ValueError(
            f"The {name} parameter of CoarseToFineOracle must be None or an integer of at least "
            f"{least}. Got {value!r} instead."
        )
