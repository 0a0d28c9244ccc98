"""Optuna's samplers as KerasTuner oracles, each hyperparameter in the form Optuna knows best."""

from __future__ import annotations

import pkgutil
from typing import Any

import keras_tuner as kt
import optuna


class OptunaOracle(kt.Oracle):
    """Oracle that asks an Optuna sampler for values and reports every score to it.

    Args:
        sampler: module and name of the sampler's class, "optuna.samplers:TPESampler".
        seed: the sampler's seed.
        **kwargs: as in every KerasTuner oracle.
    """

    def __init__(self, sampler: str, seed: int, **kwargs: Any):
        super().__init__(seed=seed, **kwargs)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        kind = pkgutil.resolve_name(sampler)
        self._study = optuna.create_study(direction="minimize", sampler=kind(seed=seed))
        self._asked: dict[str, optuna.Trial] = {}

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        self._asked[trial_id] = ask = self._study.ask()
        values: dict[str, Any] = {}
        for hp in self.hyperparameters.space:
            if all(condition.is_active(values) for condition in hp.conditions):
                values[hp.name] = suggested(ask, hp)
        return {"status": "RUNNING", "values": values}

    def end_trial(self, trial: Any) -> None:
        super().end_trial(trial)
        self._study.tell(self._asked.pop(trial.trial_id), self.trials[trial.trial_id].score)


def suggested(ask: optuna.Trial, hp: Any) -> Any:
    """Return Optuna's value: ordered choices as integers, others as categories, logs as logs."""
    if isinstance(hp, kt.engine.hyperparameters.Choice):
        if hp.ordered:
            return hp.values[ask.suggest_int(hp.name, 0, len(hp.values) - 1)]
        return ask.suggest_categorical(hp.name, list(hp.values))
    integer = isinstance(hp, kt.engine.hyperparameters.Int)
    suggest = ask.suggest_int if integer else ask.suggest_float
    return suggest(hp.name, hp.min_value, hp.max_value, log=hp.sampling == "log")
