"""The tuner that runs the coarse-to-fine oracle on Keras models."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import keras_tuner

from kbn.search._keras_tuner import (
    OpenTuner,
    SaveBestEpoch,
    Trial,
    is_distributed,
    maybe_distribute,
)
from kbn.search.checkpoint import SaveAfterTraining, load_weights, note_checksum
from kbn.search.faults import machine_error, naming
from kbn.search.fidelity import EPOCHS, INITIAL_EPOCH, PARENT, PRUNED
from kbn.search.oracle import CoarseToFineOracle, Objectives
from kbn.search.past import PastSearch, Scored
from kbn.search.state import read_state, write_state
from kbn.search.stopping import Prune


class CoarseToFine(OpenTuner):
    """Coarse-to-fine search for Keras models, in KerasTuner's manner.

        tuner = kbn.CoarseToFine(build_model, "val_accuracy", max_trials=40)
        tuner.search(x, y, validation_data=(x_val, y_val), epochs=8)

    With `epochs="coarse_to_fine"` the oracle decides how long each trial trains. A trial that
    continues another one begins with the weights and the optimizer's state at that one's end. With
    `prune=True` a trial ends early if its best score so far is not among the best third of those
    that earlier trials had after as many epochs.

    Args:
        hypermodel: a function `build_model(hp)` or a `keras_tuner.HyperModel`.
        objective, max_trials, surrogate, epochs, prune, max_epochs, rounds, prior, pareto,
            constraints, seed, hyperparameters, allow_new_entries, tune_new_entries,
            max_retries_per_trial, max_consecutive_failed_trials: as in `CoarseToFineOracle`.
        **kwargs: as in `keras_tuner.Tuner`: directory, project_name, overwrite,
            executions_per_trial, ...

    Raises:
        ValueError: if an argument of the oracle is out of its range.
        keras_tuner.errors.FatalValueError: from `search`, if training does not report the
            objective.
        DamagedError: if a file of the search that it would go on with is lost or damaged.
        MachineError: also from `search`, if the machine lacks what is needed, such as room on the
            disk. The trial that was running is run again when the search goes on.
    """

    keeps_checkpoints = True  # False where only the trials' scores are wanted
    _trained: keras.Model  # the last one
    _saved: tuple[Path, dict[str, Any]] | None = None  # the tuner's own file and what it holds

    def __init__(
        self,
        hypermodel: keras_tuner.HyperModel | Callable[..., keras.Model] | None = None,
        objective: Objectives = None,
        max_trials: int | None = 10,
        *,
        surrogate: str | None = "gp",
        epochs: str | None = None,
        prune: bool = False,
        max_epochs: int | None = None,
        rounds: int | None = None,
        prior: Sequence[PastSearch | Sequence[Scored]] = (),
        pareto: bool = False,
        constraints: Mapping[str, Mapping[str, float]] | None = None,
        seed: int | None = None,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        allow_new_entries: bool = True,
        tune_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
        **kwargs: Any,
    ):
        if prune and (is_distributed() or kwargs.get("executions_per_trial", 1) != 1):
            raise ValueError(
                "The prune parameter of CoarseToFine must be False with several "
                "executions_per_trial, and with KerasTuner's chief. Got True instead."
            )
        oracle = CoarseToFineOracle(
            objective=objective,
            max_trials=max_trials,
            surrogate=surrogate,
            epochs=epochs,
            prune=prune,
            max_epochs=max_epochs,
            rounds=rounds,
            prior=prior,
            pareto=pareto,
            constraints=constraints,
            seed=seed,
            hyperparameters=hyperparameters,
            allow_new_entries=allow_new_entries,
            tune_new_entries=tune_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        super().__init__(oracle, hypermodel, **kwargs)

    def run_trial(self, trial: Trial, *args: Any, **kwargs: Any) -> Any:
        values = trial.hyperparameters.values
        if EPOCHS in values:
            kwargs.update(epochs=values[EPOCHS], initial_epoch=values[INITIAL_EPOCH])
        elif self._pruned_at is not None:
            kwargs.update(epochs=self._pruned_at)
        return super().run_trial(trial, *args, **kwargs)

    @property
    def _pruned_at(self) -> int | None:
        """Epochs of a whole training, where trials may be pruned before their end."""
        return self.oracle.max_epochs if getattr(self.oracle, "prunes", False) else None

    def on_epoch_end(
        self, trial: Trial, model: keras.Model, epoch: int, logs: Mapping[str, float] | None = None
    ) -> None:
        super().on_epoch_end(trial, model, epoch, logs)
        self._trained = model

    def _run_and_report(self, trial: Trial, *args: Any, **kwargs: Any) -> None:
        try:
            super()._run_and_report(trial, *args, **kwargs)
        except keras_tuner.errors.FatalError:
            raise
        except Exception as error:
            fatal = machine_error(error, self.get_trial_dir(trial.trial_id))
            if fatal is None:
                raise
            # HDF5 never again opens a file that it could not close
            for file in (
                self._best_weights(trial.trial_id),
                self._last_weights(trial.trial_id),
            ):
                with contextlib.suppress(OSError):
                    Path(file).unlink(missing_ok=True)
            raise fatal from error

    def _model_of(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        model = super()._model_of(hp)
        parent = hp.values.get(PARENT)
        if parent is not None:
            self._build(model, parent)
            model.optimizer.build(model.trainable_variables)  # its state goes on too
            load_weights(model, self._last_weights(parent))
        return model

    def load_model(self, trial: Trial) -> keras.Model:
        hp = trial.hyperparameters.copy()
        hp.values.pop(PARENT, None)  # whose weights are not needed any more
        model = self._checked_model_of(hp)
        self._build(model, trial.trial_id)
        with maybe_distribute(self.distribution_strategy):
            load_weights(model, self._best_weights(trial.trial_id))
        return model

    def _build(self, model: keras.Model, trial_id: str) -> None:
        """Build a model's weights as those of a trial that ran."""
        if not model.built:
            file = self._build_config(trial_id)
            with naming(file):
                model.build_from_config(json.loads(file.read_bytes()))

    def _fit(self, trial: Trial, *args: Any, **kwargs: Any) -> Any:
        callbacks = [
            SaveAfterTraining(each) if isinstance(each, SaveBestEpoch) else each
            for each in kwargs.pop("callbacks")
            if self.keeps_checkpoints or not isinstance(each, SaveBestEpoch)
        ]
        if self._pruned_at is not None:
            callbacks.append(Prune(self.oracle.objective, self.oracle.curves, self._pruned_at))
        results = super()._fit(trial, *args, callbacks=callbacks, **kwargs)
        for each in callbacks:
            if isinstance(each, SaveAfterTraining):
                each.save()
            if isinstance(each, Prune):
                self._note_curve(trial, each)
        if EPOCHS in trial.hyperparameters.values:
            # the weights of the best epoch are saved, but a trial goes on from the last ones
            self._trained.save_weights(self._last_weights(trial.trial_id))
            note_checksum(self._last_weights(trial.trial_id))
        if isinstance(results, keras.callbacks.History):
            self._check_objective(results.history)
        return results

    def _note_curve(self, trial: Trial, prune: Prune) -> None:
        """Note how a trial trained; it is saved with the trial's end."""
        self.oracle.note_curve(trial.trial_id, prune.curve)
        values = trial.hyperparameters.values
        values.pop(PRUNED, None)  # of a run that failed
        if prune.ended is not None:
            values[PRUNED] = prune.ended

    def _check_objective(self, history: Mapping[str, object]) -> None:
        objective = self.oracle.objective
        names = [each.name for each in getattr(objective, "objectives", [objective])]
        goals = getattr(self.oracle, "goals", None)  # a worker's client has none
        names += [name for name in (goals.names if goals else ()) if name != objective.name]
        for name in dict.fromkeys(names):
            if name not in history:
                # every trial would fail for the same reason, so the search ends
                raise keras_tuner.errors.FatalValueError(
                    f"The objective of {type(self).__name__} must be a metric that training "
                    f"reports: {', '.join(map(repr, history))}. Got {name!r} instead; name one of "
                    "these, compile the model with it, or pass validation_data to search()."
                )

    def _last_weights(self, trial_id: str) -> str:
        return str(Path(self.get_trial_dir(trial_id)) / "last.weights.h5")

    def save(self) -> None:
        search = None
        if not self._works_for_a_chief:
            self.oracle.save()
            search = self.oracle.search_id
        current = self._own_file, {**self.get_state(), "search": search}
        if current != self._saved:
            write_state(*current)
            self._saved = current

    def reload(self) -> None:
        file = self._own_file
        if not self._works_for_a_chief:
            self.oracle.reload()
        if file.exists():  # else it is written anew
            with naming(file):
                state = read_state(file)
                if not self._works_for_a_chief and state["search"] != self.oracle.search_id:
                    raise ValueError(f"the id of another search, {state['search']}")
                self.set_state(state)

    def _find_space(self) -> None:
        # called where the tuner's own file is missing, although there may be a search
        if not self._works_for_a_chief and self.oracle.begun:
            self.reload()
        else:
            super()._find_space()
