"""Hooks that record any KerasTuner tuner's search."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from keras_tuner.engine.base_tuner import BaseTuner

from kbn.tracking.journal import Journal
from kbn.tracking.mlflow import Store

log = logging.getLogger(__name__)

Tuner = TypeVar("Tuner", bound=BaseTuner)
# KerasTuner fails a trial whose score is NaN without a word
NO_NUMBER = "The objective was not a number."


def track(tuner: Tuner, experiment: str | None = None, tracking_uri: str | None = None) -> Tuner:
    """Sends every trial of a KerasTuner tuner to MLflow, as a child run of one run a search.

        tuner = kbn.track(keras_tuner.RandomSearch(build_model, "val_accuracy"))
        tuner.search(...)

    A child run holds the hyperparameters as params, every epoch's metrics under Keras' names, the
    score, the status and the duration. A local journal in the tuner's project directory is
    written first; if the store cannot be reached, the search goes on with one warning, and the
    next call of `search` sends what is missing.

    Args:
        tuner: any KerasTuner tuner, before its `search`.
        experiment: MLflow experiment; the tuner's project name if None.
        tracking_uri: MLflow tracking URI; None for MLflow's own choice, by default
            sqlite:///mlflow.db in the working directory.

    Returns:
        The same tuner.

    Raises:
        ValueError: if the tuner is tracked already.
    """
    record(tuner, lambda: Store(experiment or tuner.project_name, tracking_uri))
    return tuner


def record(tuner: BaseTuner, connect: Callable[[], Store] | None) -> None:
    """Writes a tuner's journal and, where `connect` gives a store, projects it there.

    Args:
        tuner: any KerasTuner tuner, before its `search`.
        connect: opens the store, at the start of every search; None for the journal alone.

    Raises:
        ValueError: if the tuner is recorded already.
    """
    if "search" in vars(tuner):
        raise ValueError(
            f"The tuner of project {tuner.project_name!r} is tracked already; call kbn.track once."
        )
    recorder = _Recorder(tuner, connect)
    _replace(tuner, "search", recorder.search)
    _replace(tuner, "on_trial_begin", recorder.trial_begin)
    _replace(tuner, "on_trial_end", recorder.trial_end)
    if hasattr(tuner, "on_epoch_end"):  # tuners of other models have none
        _replace(tuner, "on_epoch_end", recorder.epoch_end)


def _replace(tuner: BaseTuner, name: str, hook: Callable[..., Any]) -> None:
    """Has `hook` called in place of a method, which becomes its first argument."""
    method = getattr(tuner, name)
    setattr(tuner, name, functools.wraps(method)(functools.partial(hook, method)))


class _Recorder:
    def __init__(self, tuner: BaseTuner, connect: Callable[[], Store] | None):
        self.tuner, self.connect = tuner, connect
        self.journal = Journal(Path(tuner.project_dir) / "journal")
        self.store: Store | None = None
        self.running: dict[str, int] = {}  # trial id -> number of its attempt
        self.execution: tuple[Any, int] = (None, -1)  # the model in training, the index of its fit

    def search(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._begin_search()
        status = "FAILED"
        try:
            result = method(*args, **kwargs)
            status = "FINISHED" if self._best() else "FAILED"
        except (KeyboardInterrupt, SystemExit):
            status = "KILLED"
            raise
        finally:
            self._kill_open()
            self._send(lambda store: store.end_search(self.journal.search_id, status))
        return result

    def trial_begin(self, method: Callable[..., Any], trial: Any) -> None:
        values = trial.hyperparameters.values
        number = self.running[trial.trial_id] = self.journal.begin(trial.trial_id, values)
        self._push(trial.trial_id, number)
        method(trial)

    def epoch_end(
        self, method: Callable[..., Any], trial: Any, model: Any, epoch: int, logs: Any = None
    ) -> None:
        if model is not self.execution[0]:  # KerasTuner builds a new model for each execution
            self.execution = (model, self.execution[1] + 1)
        number = self.running[trial.trial_id]
        self.journal.epoch(trial.trial_id, number, self.execution[1], epoch, logs or {})
        method(trial, model, epoch, logs=logs)

    def trial_end(self, method: Callable[..., Any], trial: Any) -> None:
        try:
            method(trial)
        finally:  # KerasTuner raises from here when too many trials failed
            ended = self.tuner.oracle.get_trial(trial.trial_id)
            # a retried trial keeps what an earlier attempt left in these fields
            outcome = (
                {"score": ended.score, "best_step": ended.best_step}
                if ended.status == "COMPLETED"
                else {"message": ended.message or NO_NUMBER}
            )
            self.execution = (None, -1)  # lets go of the model
            number = self.running.pop(ended.trial_id)
            values = ended.hyperparameters.values
            self.journal.end(ended.trial_id, number, ended.status, values, **outcome)
            self._push(ended.trial_id, number)
            self._push_best()

    def _begin_search(self) -> None:
        self._kill_open()
        if self.connect is None:
            return
        oracle = self.tuner.oracle
        params = {
            "tuner": type(self.tuner).__name__,
            "objective": oracle.objective.name,
            "direction": oracle.objective.direction,
        }
        try:
            self.store = self.connect()
        except Exception as error:  # noqa: BLE001  whatever ails the store, training goes on
            self._give_up(error)
        name = self.tuner.project_name
        self._send(lambda store: store.begin_search(self.journal.search_id, name, params))
        for attempt in self.journal.attempts():
            self._push(attempt.trial, attempt.number)

    def _kill_open(self) -> None:
        """Ends the attempts that nobody will go on with: their process died or was stopped."""
        self.running.clear()
        for attempt in self.journal.attempts():
            if attempt.ended is None:
                self.journal.end(
                    attempt.trial,
                    attempt.number,
                    "KILLED",
                    attempt.values,
                    time=attempt.last_sign,
                )
                self._push(attempt.trial, attempt.number)

    def _push(self, trial_id: str, number: int) -> None:
        journal = self.journal
        self._send(lambda store: store.push(journal.search_id, journal.attempt(trial_id, number)))

    def _push_best(self) -> None:
        best = self._best()
        if best is not None:
            step = len(self.tuner.oracle.end_order)
            self._send(
                lambda store: store.push_best(
                    self.journal.search_id, best.score, best.trial_id, step
                )
            )

    def _send(self, message: Callable[[Store], None]) -> None:
        if self.store is None:
            return
        try:
            message(self.store)
        except Exception as error:  # noqa: BLE001  as above
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.store = None
        log.warning(
            "The tracking store failed: %s. The search goes on, its journal in %s keeps every "
            "trial; mend the store, and the next start of this search sends them.",
            str(error).strip().partition("\n")[0],
            self.journal.directory,
        )

    def _best(self) -> Any:
        best = self.tuner.oracle.get_best_trials(1)
        return best[0] if best and best[0].status == "COMPLETED" else None
