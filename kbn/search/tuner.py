"""The tuner round the coarse-to-fine oracle."""

from __future__ import annotations

from typing import Any

import keras_tuner

from kbn.search.oracle import CoarseToFineOracle
from kbn.search.state import write_json


class CoarseToFine(keras_tuner.Tuner):
    """Coarse-to-fine search for Keras models, in KerasTuner's manner.

        tuner = kbn.CoarseToFine(build_model, "val_accuracy", max_trials=40)
        tuner.search(x, y, validation_data=(x_val, y_val), epochs=8)

    Args:
        hypermodel: a function `build_model(hp)` or a `keras_tuner.HyperModel`.
        objective, max_trials, rounds, seed, hyperparameters, allow_new_entries,
            tune_new_entries, max_retries_per_trial, max_consecutive_failed_trials: as in
            `CoarseToFineOracle`.
        **kwargs: as in `keras_tuner.Tuner`: directory, project_name, overwrite,
            executions_per_trial, ...

    Raises:
        ValueError: if max_trials, rounds or seed are out of range.
    """

    def __init__(
        self,
        hypermodel: Any = None,
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
        **kwargs: Any,
    ):
        oracle = CoarseToFineOracle(
            objective=objective,
            max_trials=max_trials,
            rounds=rounds,
            seed=seed,
            hyperparameters=hyperparameters,
            allow_new_entries=allow_new_entries,
            tune_new_entries=tune_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        super().__init__(oracle, hypermodel, **kwargs)

    def save(self) -> None:
        if not self._is_worker():
            self.oracle.save()
        write_json(self._get_tuner_fname(), self.get_state())

    def on_search_begin(self) -> None:
        # KerasTuner reloads only what this wrote: without it a search killed in its first trial
        # would start over
        self.save()
        super().on_search_begin()
