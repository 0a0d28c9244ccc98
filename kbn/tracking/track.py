"""Hooks that record any KerasTuner tuner's search."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import keras_tuner
from keras_tuner.engine.base_tuner import BaseTuner

from kbn.errors import JournalError
from kbn.tracking.context import dataset_of, hulls, origin, place_of
from kbn.tracking.endings import end_orphans, kill, record_end
from kbn.tracking.journal import Journal
from kbn.tracking.sending import Sender, Target

log = logging.getLogger(__name__)

Tuner = TypeVar("Tuner", bound=BaseTuner)


def track(tuner: Tuner, experiment: str | None = None, tracking_uri: str | None = None) -> Tuner:
    """Sends every trial of a KerasTuner tuner to MLflow, as a child run of one run a search.

        tuner = kbn.track(keras_tuner.RandomSearch(build_model, "val_accuracy"))
        tuner.search(...)

    A child run holds the hyperparameters as params, every epoch's metrics under Keras' names, the
    score, the status, the duration, and where it ran. A local journal in the tuner's project
    directory is written first, and a thread sends it: the search never waits for the store, but for
    a second at its end. What the store lacks then is sent by the next `search`, or by `kbn push`.

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
    record(tuner, Target(experiment or tuner.project_name, tracking_uri))
    return tuner


def record(
    tuner: BaseTuner,
    target: Target | None,
    *,
    dataset: Mapping[str, str] | None = None,
    texts: Mapping[str, str] | None = None,
) -> Recorder:
    """Writes a tuner's journal and, where a target is given, sends it there.

    Args:
        tuner: any KerasTuner tuner, before its `search`.
        target: where to track it; None for the journal alone.
        dataset: what it is tuned on, as `context.dataset_of` gives it; None for what `search` is
            called with.
        texts: {file name: content} to keep with the search.

    Returns:
        What records it.

    Raises:
        ValueError: if the tuner is recorded already.
    """
    if "search" in vars(tuner):
        raise ValueError(
            f"The tuner of project {tuner.project_name!r} is tracked already; call kbn.track once."
        )
    recorder = Recorder(tuner, target, dataset, texts)
    _replace(tuner, "search", recorder.search)
    _replace(tuner, "on_trial_begin", recorder.trial_begin)
    _replace(tuner, "on_trial_end", recorder.trial_end)
    if hasattr(tuner, "on_epoch_end"):  # tuners of other models have none
        _replace(tuner, "on_epoch_end", recorder.epoch_end)
    return recorder


def _replace(tuner: BaseTuner, name: str, hook: Callable[..., Any]) -> None:
    """Has `hook` called in place of a method, which becomes its first argument."""
    method = getattr(tuner, name)
    setattr(tuner, name, functools.wraps(method)(functools.partial(hook, method)))


class Recorder:
    """What is called in the course of a search; `record` makes it."""

    def __init__(
        self,
        tuner: BaseTuner,
        target: Target | None,
        dataset: Mapping[str, str] | None,
        texts: Mapping[str, str] | None,
    ):
        self.tuner, self.target = tuner, target
        self.dataset, self.texts = dataset, dict(texts or {})
        self.journal = Journal(Path(tuner.project_dir).resolve() / "journal")
        self.sender: Sender | None = None
        self.running: dict[str, int] = {}  # trial id -> number of its attempt
        self.rounds = 0  # of the oracle's, those that the journal has
        self.execution: tuple[Any, int] = (None, -1)  # the model in training, the index of its fit

    def search(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self.journal.alone() as alone:
            if alone:
                end_orphans(self.journal, self.tuner.oracle)
        with self.journal.session():
            self._begin(args, kwargs)
            status = "FAILED"
            try:
                result = method(*args, **kwargs)
                status = "FINISHED" if self.tuner.oracle.get_best_trials(1) else "FAILED"
            except (KeyboardInterrupt, SystemExit):
                status = "KILLED"
                raise
            finally:
                for trial_id, number in self.running.items():
                    kill(self.journal, self.journal.attempt(trial_id, number))
                    self._notify((trial_id, number))
                self.running.clear()
                self.note("end", status=status)
        return result

    def trial_begin(self, method: Callable[..., Any], trial: Any) -> None:
        oracle = self.tuner.oracle
        for current in getattr(oracle, "rounds", ())[self.rounds :]:
            self.journal.note("round", number=current.number, hull=hulls(current, oracle))
            self.rounds += 1
        values = trial.hyperparameters.values
        number = self.journal.begin(trial.trial_id, values, place_of(trial, oracle))
        self.running[trial.trial_id] = number
        self._notify((trial.trial_id, number))
        method(trial)

    def epoch_end(
        self, method: Callable[..., Any], trial: Any, model: Any, epoch: int, logs: Any = None
    ) -> None:
        if model is not self.execution[0]:  # KerasTuner builds a new model for each execution
            self.execution = (model, self.execution[1] + 1)
        number = self.running[trial.trial_id]
        with _fatal():
            self.journal.epoch(trial.trial_id, number, self.execution[1], epoch, logs or {})
        method(trial, model, epoch, logs=logs)

    def trial_end(self, method: Callable[..., Any], trial: Any) -> None:
        try:
            method(trial)
        except RuntimeError:  # KerasTuner's, of too many failed trials: this one has ended
            self._end(trial.trial_id)
            raise
        self._end(trial.trial_id)

    def _end(self, trial_id: str) -> None:
        self.execution = (None, -1)  # lets go of the model
        ended = self.tuner.oracle.get_trial(trial_id)
        if ended.status != "RUNNING":
            number = self.running.pop(trial_id)
            record_end(self.journal, number, ended)
            self._notify((trial_id, number))

    def note(self, event: str, **fields: Any) -> None:
        """Records an event of the search as a whole, after its end too."""
        self.journal.note(event, **fields)
        self._notify()
        if self.sender is not None:
            self.sender.finish()

    def _begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        oracle = self.tuner.oracle
        events = self.journal.events() if self.journal.exists() else []
        self.rounds = sum(event["event"] == "round" for event in events)
        self.journal.note(
            "begin",
            name=self.tuner.project_name,
            params={
                "tuner": type(self.tuner).__name__,
                "objective": oracle.objective.name,
                "direction": oracle.objective.direction,
            },
            origin={**origin(), "seed": oracle.seed},
            dataset=self.dataset or dataset_of("training", *args[:2], **kwargs),
            texts=self.texts,
            target=self.target and dataclasses.asdict(self.target),
        )
        if self.target is not None:
            self.sender = self.sender or Sender(self.journal, self.target)
            self._notify()

    def _notify(self, *attempt: tuple[str, int]) -> None:
        if self.sender is not None:
            self.sender.notify(*attempt)


@contextlib.contextmanager
def _fatal() -> Iterator[None]:
    """Has KerasTuner end the search, where it would take the trial for a failed one and go on."""
    try:
        yield
    except JournalError as error:
        raise keras_tuner.errors.FatalRuntimeError(str(error)) from error
