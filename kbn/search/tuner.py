"""The tuner round the coarse-to-fine oracle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import keras_tuner
from keras_tuner.src.engine.tuner_utils import SaveBestEpoch

from kbn.search.checkpoint import SaveAfterTraining
from kbn.search.fidelity import EPOCHS, INITIAL_EPOCH, PARENT
from kbn.search.oracle import CoarseToFineOracle
from kbn.search.state import write_json


class CoarseToFine(keras_tuner.Tuner):
    """Coarse-to-fine search for Keras models, in KerasTuner's manner.

        tuner = kbn.CoarseToFine(build_model, "val_accuracy", max_trials=40)
        tuner.search(x, y, validation_data=(x_val, y_val), epochs=8)

    With `epochs="coarse_to_fine"` the oracle says how long each trial trains, and a trial that goes
    on begins with the weights and the optimizer's state at the end of the one before it.

    Args:
        hypermodel: a function `build_model(hp)` or a `keras_tuner.HyperModel`.
        objective, max_trials, surrogate, epochs, max_epochs, rounds, seed, hyperparameters,
            allow_new_entries, tune_new_entries, max_retries_per_trial,
            max_consecutive_failed_trials: as in `CoarseToFineOracle`.
        **kwargs: as in `keras_tuner.Tuner`: directory, project_name, overwrite,
            executions_per_trial, ...

    Raises:
        ValueError: if an argument of the oracle is out of its range.
        keras_tuner.errors.FatalValueError: from `search`, if training does not report the
            objective.
    """

    def __init__(
        self,
        hypermodel: Any = None,
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
        **kwargs: Any,
    ):
        oracle = CoarseToFineOracle(
            objective=objective,
            max_trials=max_trials,
            surrogate=surrogate,
            epochs=epochs,
            max_epochs=max_epochs,
            rounds=rounds,
            seed=seed,
            hyperparameters=hyperparameters,
            allow_new_entries=allow_new_entries,
            tune_new_entries=tune_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        super().__init__(oracle, hypermodel, **kwargs)

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        values = trial.hyperparameters.values
        if EPOCHS in values:
            kwargs.update(epochs=values[EPOCHS], initial_epoch=values[INITIAL_EPOCH])
        return super().run_trial(trial, *args, **kwargs)

    def on_epoch_end(self, trial: Any, model: keras.Model, epoch: int, logs: Any = None) -> None:
        super().on_epoch_end(trial, model, epoch, logs)
        if EPOCHS in trial.hyperparameters.values:
            # KerasTuner keeps the weights of the best epoch; training goes on from the last
            model.save_weights(self._last_weights(trial.trial_id))

    def _build_hypermodel(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        model = super()._build_hypermodel(hp)
        parent = hp.values.get(PARENT)
        if parent is not None:
            if not model.built:
                config = Path(self._get_build_config_fname(parent)).read_text(encoding="utf-8")
                model.build_from_config(json.loads(config))
            model.optimizer.build(model.trainable_variables)  # its state goes on too
            model.load_weights(self._last_weights(parent))
        return model

    def _build_and_fit_model(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        callbacks = [
            SaveAfterTraining(each) if isinstance(each, SaveBestEpoch) else each
            for each in kwargs.pop("callbacks")
        ]
        results = super()._build_and_fit_model(trial, *args, callbacks=callbacks, **kwargs)
        for each in callbacks:
            if isinstance(each, SaveAfterTraining):
                each.save()
        if isinstance(results, keras.callbacks.History):
            self._check_objective(results.history)
        return results

    def _check_objective(self, history: dict[str, Any]) -> None:
        objectives = getattr(self.oracle.objective, "objectives", [self.oracle.objective])
        for name in (objective.name for objective in objectives):
            if name not in history:
                # every trial would fail for it: the search ends
                raise keras_tuner.errors.FatalValueError(
                    f"The objective of {type(self).__name__} must be a metric that training "
                    f"reports: {', '.join(map(repr, history))}. Got {name!r} instead; name one of "
                    "these, compile the model with it, or pass validation_data to search()."
                )

    def _last_weights(self, trial_id: str) -> str:
        return str(Path(self.get_trial_dir(trial_id)) / "last.weights.h5")

    def save(self) -> None:
        if not self._is_worker():
            self.oracle.save()
        write_json(self._get_tuner_fname(), self.get_state())

    def on_search_begin(self) -> None:
        # KerasTuner reloads only what this wrote: without it a search killed in its first trial
        # would start over
        self.save()
        super().on_search_begin()
