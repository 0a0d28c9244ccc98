"""One search on one task, through KerasTuner's own calls: its regret after each whole training."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.tabulated.earlier import Past
from benchmarks.tabulated.task import Task, Values
from benchmarks.tabulated.tuners import make_oracle


class Curve:
    """Regret of the best trial so far, after each whole training's worth of epochs.

    The best trial is the one with the lowest observed loss, after however many epochs; its regret
    is that of its configuration trained in full, without noise. A trial counts from its end.

    Attributes:
        regrets: one per whole training spent.
    """

    def __init__(self, task: Task):
        self._task, self._whole = task, task.epochs or 1
        self._spent, self._best, self._regret = 0, np.inf, 1.0
        self.regrets: list[float] = []

    def add(self, values: Values, epochs: int, observed: float) -> None:
        """Add a trial that trained for so many epochs and reported a loss."""
        before = self._regret
        self._spent += epochs
        if observed < self._best:
            self._best, self._regret = observed, self._task.regret(self._task.loss(values))
        while (mark := (len(self.regrets) + 1) * self._whole) <= self._spent:
            self.regrets.append(self._regret if mark == self._spent else before)

    def padded(self, budget: int) -> list[float]:
        """Return `budget` regrets; a search that ended early keeps its last one."""
        return [*self.regrets, *[self._regret] * (budget - len(self.regrets))][:budget]


def search(
    tuner: str, task: Task, budget: int, seed: int, workers: int = 1, past: Sequence[Past] = ()
) -> list[float]:
    """Run one search.

    Args:
        tuner: key of TUNERS.
        task: whose losses it is to minimize.
        budget: whole trainings that it may spend.
        seed: >= 0, of the oracle and of the noise.
        past: trials of earlier searches that the oracle learns from.
        workers: number of trials in flight: so many start before the first of them ends.

    Returns:
        `budget` regrets.
    """
    curve, rng = Curve(task), np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(io.StringIO()):
        oracle = make_oracle(tuner, task, budget, seed, directory, past)
        while len(curve.regrets) < budget:
            count = min(workers, budget - len(curve.regrets))
            trials = [oracle.create_trial(f"worker{i}") for i in range(count)]
            trials = [trial for trial in trials if trial.status == "RUNNING"]
            if not trials:
                break
            for trial in trials:
                _finish(oracle, trial, curve, task, rng)
    return curve.padded(budget)


def _finish(oracle: Any, trial: Any, curve: Curve, task: Task, rng: np.random.Generator) -> None:
    """Look a trial's loss up and report it."""
    told = trial.hyperparameters.values
    values = {name: value for name, value in told.items() if not name.startswith("tuner/")}
    until = told.get("tuner/epochs")
    loss = task.observe(values, rng, until)
    oracle.update_trial(trial.trial_id, {"loss": loss})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
    trained = (until or task.epochs or 1) - told.get("tuner/initial_epoch", 0)
    curve.add(values, trained, loss)
