"""The tuner of a recipe's search, and the checkpoints that it keeps."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np

from kbn.recipe.dataset import Dataset
from kbn.recipe.schema import Recipe
from kbn.run._keras_tuner import Trial
from kbn.run.hypermodel import RecipeModel
from kbn.run.measures import Infeasible
from kbn.run.plan import make_oracle
from kbn.run.reuse import Reuse
from kbn.search._keras_tuner import copied
from kbn.search.checkpoint import are_dropped, drop_weights, restore_state, state_of
from kbn.search.fidelity import EPOCHS, INITIAL_EPOCH, PARENT, PRUNED
from kbn.search.past import NOTHING, Past
from kbn.search.tuner import CoarseToFine


class RecipeTuner(CoarseToFine):
    """Tuner that a recipe asks for, in the directory of its search.

    Args:
        recipe: what to tune.
        dataset: the recipe's data.
        project: the search's directory; goes on with the search that it holds.
        reuse: keeps compiled models from trial to trial, and for other searches too; None for this
            search alone.
        past: what earlier searches have shown, if the search is new.

    Attributes:
        loop: runs the trials in place of KerasTuner's own loop, where workers train them.
    """

    loop: Callable[[], None] | None = None

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        project: Path,
        reuse: Reuse | None = None,
        past: Past = NOTHING,
    ):
        with contextlib.redirect_stdout(io.StringIO()):  # KerasTuner prints that it reloads
            # not CoarseToFine's constructor, which makes an oracle of its own
            keras_tuner.Tuner.__init__(
                self,
                make_oracle(recipe, past=past),
                RecipeModel(recipe, dataset, reuse or Reuse()),
                executions_per_trial=recipe.search.folds or recipe.search.executions,
                directory=project.parent,
                project_name=project.name,
            )
        self.oracle.verbose = 0
        # no fold's model is the best one, which is trained on all of them
        self.keeps_checkpoints = recipe.search.folds is None
        self._keep = recipe.search.keep
        self._dropped, self._continued = set[str](), set[str]()  # trials without the weights of

    def search(self, *args: Any, **kwargs: Any) -> None:
        if self.loop is None:
            super().search(*args, **kwargs)
        else:
            self.loop()

    def on_trial_lost(self, trial: Trial) -> None:
        """Called where a trial's worker has died, before the trial is run again."""

    def training_files(self, trial_id: str) -> dict[str, bytes]:
        """Return what a training goes on from: {name of a file of the trial: content}."""
        last = self._last_weights(trial_id)
        files = Path(last), Path(f"{last}.json"), self._build_config(trial_id)
        return {file.name: file.read_bytes() for file in files if file.exists()}

    def run_trial(self, trial: Trial, *args: Any, **kwargs: Any) -> Any:
        self.hypermodel.execution = 0
        return super().run_trial(trial, *args, **kwargs)

    def _run_and_report(self, trial: Trial, *args: Any, **kwargs: Any) -> None:
        try:
            super()._run_and_report(trial, *args, **kwargs)
        except Infeasible as found:
            self.oracle.measure(trial.trial_id, found.metrics)
            raise

    def on_trial_end(self, trial: Trial) -> None:
        violations = self.oracle.outcome(trial).get("violations")
        if trial.status == "FAILED" and violations:  # it was not trained: no traceback
            trial.message = f"infeasible: {'; '.join(violations)}"
        super().on_trial_end(trial)
        best = {each.trial_id for each in self.oracle.get_best_trials(self._keep)}
        for trial_id in set(self.oracle.end_order) - best - self._dropped:
            drop_weights(self._best_weights(trial_id))
            self._dropped.add(trial_id)
        self._drop_continued()

    def _drop_continued(self) -> None:
        """Remove the last weights of trials from which no other trial can go on any more."""
        ended = [self.oracle.trials[trial_id] for trial_id in self.oracle.end_order]
        for values in (trial.hyperparameters.values for trial in ended):
            if PARENT in values and values[PARENT] not in self._continued:
                drop_weights(self._last_weights(values[PARENT]))
                self._continued.add(values[PARENT])

    def load_model(self, trial: Trial) -> keras.Model:
        reuse, self.hypermodel.reuse = self.hypermodel.reuse, None  # it is to be saved
        try:
            if are_dropped(self._best_weights(trial.trial_id)):
                return self._trained_again(trial.hyperparameters)
            return super().load_model(trial)
        finally:
            self.hypermodel.reuse = reuse

    def _trained_again(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Return the model of a trial's best epoch: the same seed trains the same model.

        Of several executions it is the first one's. A trial that went on from another one is
        trained from the beginning of that one.
        """
        values = hp.values
        best = BestEpoch(self.oracle.objective, values.get(PRUNED))
        model = self._trained_from_the_beginning(values, [best])
        model.set_weights(best.weights)
        return model

    def _trained_from_the_beginning(
        self, values: dict[str, Any], callbacks: Sequence[keras.callbacks.Callback] = ()
    ) -> keras.Model:
        before = None
        if PARENT in values:
            parent = self.oracle.trials[values[PARENT]].hyperparameters.values
            before = state_of(self._trained_from_the_beginning(parent))
        hp = copied(self.oracle.hyperparameters, values)
        self.hypermodel.execution = 0
        model = self.hypermodel.build(hp)
        if before is not None:
            restore_state(model, before)
        first, last = values.get(INITIAL_EPOCH, 0), values.get(EPOCHS)
        self.hypermodel.fit(hp, model, callbacks=callbacks, initial_epoch=first, epochs=last)
        return model


class BestEpoch(keras.callbacks.Callback):
    """Callback that keeps the weights of the epoch that KerasTuner would save, of all phases.

    Args:
        objective: decides which one is the best; of equal ones it is the first, and the last one
            where training does not report it.
        epochs: number of epochs after which the training ends; None for its own end.
    """

    def __init__(self, objective: keras_tuner.Objective, epochs: int | None = None):
        super().__init__()
        self._objective, self._epochs = objective, epochs
        self._value = -math.inf if objective.direction == "max" else math.inf
        self.weights: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        reported = self._objective.has_value(logs)
        value = self._objective.get_value(logs) if reported else self._value
        if not reported or self._objective.better_than(value, self._value) or not self.weights:
            self._value = self._value if math.isnan(value) else value
            self.weights = self.model.get_weights()
        if epoch + 1 == self._epochs:
            self.model.stop_training = True
