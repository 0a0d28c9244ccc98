"""Hooks that record any KerasTuner tuner's search."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import keras_tuner
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.src.distribute.utils import has_chief_oracle

from kbn.errors import JournalError
from kbn.tracking.best import save_best
from kbn.tracking.context import dataset_of, hulls, origin, place_of
from kbn.tracking.endings import deadly, end_orphans, kill, reconcile, record_end
from kbn.tracking.journal import Attempt, Journal
from kbn.tracking.listener import Listener
from kbn.tracking.sending import Sender
from kbn.tracking.stops import STOPS, Stops
from kbn.tracking.target import Target, connect
from kbn.uris import is_store, without_credentials

log = logging.getLogger(__name__)

MODEL = "model"  # directory in the tuner's project: the best model as MLflow saves it
Tuner = TypeVar("Tuner", bound=BaseTuner)


def track(tuner: Tuner, experiment: str | None = None, tracking_uri: str | None = None) -> Tuner:
    """Sends every trial of a KerasTuner tuner to MLflow, as a child run of one run a search.

        tuner = kbn.track(keras_tuner.RandomSearch(build_model, "val_accuracy"))
        tuner.search(...)

    A child run holds the hyperparameters as params, every epoch's metrics under Keras' names, the
    score, the status, the duration, and where it ran; the parent run holds the best trial's model
    where `search` is called with its inputs x. A local journal in the tuner's project directory is
    written first, and a thread sends it: the search never waits for the store, but for a second at
    its end. What the store lacks then is sent by the next `search`, or by `kbn push`.

    Args:
        tuner: any KerasTuner tuner, before its `search`.
        experiment: MLflow experiment; the tuner's project name if None.
        tracking_uri: MLflow tracking URI; None for MLflow's own choice, by default
            sqlite:///mlflow.db in the working directory.

    Returns:
        The same tuner.

    Raises:
        TypeError: if it is no tuner.
        ValueError: if the tuner is tracked already, or the URI is none of MLflow's.
        KbnError: from `search`, if another process runs the same project.
    """
    if not isinstance(tuner, BaseTuner):
        raise TypeError(
            "kbn.track takes a KerasTuner tuner, as in "
            'kbn.track(keras_tuner.RandomSearch(build_model, "val_accuracy")). Got '
            f"{type(tuner).__name__}."
        )
    record(tuner, Target(experiment or tuner.project_name, tracking_uri), keeps_model=True)
    return tuner


def record(
    tuner: BaseTuner,
    target: Target | None,
    *,
    dataset: Mapping[str, str] | None = None,
    texts: Mapping[str, str] | None = None,
    keeps_model: bool = False,
    listener: Listener | None = None,
) -> Recorder:
    """Writes a tuner's journal and, where a target is given, sends it there.

    Args:
        tuner: any KerasTuner tuner, before its `search`.
        target: where to track it; None for the journal alone.
        dataset: what it is tuned on, as `context.dataset_of` gives it; None for what `search` is
            called with.
        texts: {file name: content} to keep with the search.
        keeps_model: whether the best trial's model is to be logged at the search's end; else its
            caller does that.
        listener: is called after each event is in the journal.

    Returns:
        What records it.

    Raises:
        ValueError: if the tuner is recorded already, or the target's URI is none of MLflow's.
    """
    if "search" in vars(tuner):
        raise ValueError(
            f"The tuner of project {tuner.project_name!r} is tracked already; call kbn.track once."
        )
    uri = target.tracking_uri if target is not None else None
    if uri is not None and not is_store(uri):
        raise ValueError(
            f"tracking_uri: it must be a tracking URI of MLflow (sqlite:///FILE, http://HOST, "
            f"postgresql://..., databricks). Got {without_credentials(uri)!r} instead."
        )
    recorder = Recorder(tuner, target, dataset, texts, keeps_model, listener or Listener())
    _replace(tuner, "search", recorder.search)
    _replace(tuner, "on_trial_begin", recorder.trial_begin)
    _replace(tuner, "run_trial", recorder.run_trial)
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
        keeps_model: bool,
        listener: Listener,
    ):
        self.listener = listener
        self.tuner, self.target = tuner, target
        self.dataset, self.texts, self.keeps_model = dataset, dict(texts or {}), keeps_model
        self.journal = Journal(Path(tuner.project_dir).resolve() / "journal")
        self.sender: Sender | None = None
        self.running: dict[str, int] = {}  # trial id -> number of its attempt
        self.rounds = 0  # of the oracle's, those that the journal has
        self.execution: tuple[Any, int] = (None, -1)  # the model in training, the index of its fit
        self.readable = True  # the journal's file of the search as a whole
        self.frozen = 0  # times that _spare_collecting did it
        self.deadly: dict[str, int] = {}  # trial id -> how many attempts at it ended the process
        self.stops = Stops()

    def search(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        shared = has_chief_oracle()  # KerasTuner's workers, which have no oracle of their own
        with self.journal.session(shared=shared):
            attempts = [] if shared else end_orphans(self.journal, self.tuner.oracle)
            self.readable = self._check_journal()
            self._begin(args, kwargs)
            status, best = "FAILED", None
            try:
                with self.stops.kept():
                    if not shared:
                        self._settle(attempts)
                    result = method(*args, **kwargs)
                    best = self._best_trial()
                    if best is not None:
                        status = "FINISHED"
                        self._note_model(best.trial_id, *args, **kwargs)
            except (KeyboardInterrupt, SystemExit):
                status = "KILLED"
                raise
            finally:
                for trial_id, number in self.running.items():
                    kill(self.journal, self.journal.attempt(trial_id, number))
                    self._notify((trial_id, number))
                self.running.clear()
                if self.frozen:
                    gc.unfreeze()
                self.frozen = 0
                values = best and {best.trial_id: best.hyperparameters.values}
                self.note("end", status=status, best=values)
        return result

    def _settle(self, attempts: Sequence[Attempt]) -> None:
        """Has oracle and journal agree on what happened before."""
        self.tuner.save()  # else KerasTuner's own begin anew where their first trial ends nowhere
        oracle = self.tuner.oracle
        self._notify(*reconcile(self.journal, attempts, oracle))
        self.deadly = deadly(attempts, oracle.max_retries_per_trial)

    def trial_begin(self, method: Callable[..., Any], trial: Any) -> None:
        self.stops.forget()
        self._spare_collecting()
        oracle = self.tuner.oracle
        for current in getattr(oracle, "rounds", ())[self.rounds :]:
            self._write("round", number=current.number, hull=hulls(current, oracle))
            self.rounds += 1
        values = trial.hyperparameters.values
        number = self.journal.begin(trial.trial_id, values, place_of(trial, oracle))
        self.running[trial.trial_id] = number
        self._notify((trial.trial_id, number))
        method(trial)
        self.listener.began(trial.trial_id, values)

    def run_trial(self, method: Callable[..., Any], trial: Any, *args: Any, **kwargs: Any) -> Any:
        if trial.trial_id in self.deadly:
            raise keras_tuner.errors.FailedTrialError(
                f"The trial ended its process in {self.deadly[trial.trial_id]} attempts, as "
                "os._exit, a segmentation fault, abort, or the system's kill for lack of memory "
                "do: it is not run again."
            )
        try:
            return method(trial, *args, **kwargs)
        except STOPS as stop:
            if self.stops.may_have_come():
                raise
            raise RuntimeError(
                f"The trial's own code raised {stop!r}, which no signal did: the trial has failed."
            ) from stop

    def epoch_end(
        self, method: Callable[..., Any], trial: Any, model: Any, epoch: int, logs: Any = None
    ) -> None:
        if model is not self.execution[0]:  # KerasTuner builds a new model for each execution
            self.execution = (model, self.execution[1] + 1)
        number = self.running[trial.trial_id]
        with _fatal():
            self.journal.epoch(trial.trial_id, number, self.execution[1], epoch, logs or {})
        self.stops.check_swallowed()
        method(trial, model, epoch, logs=logs)
        self.listener.epoch(trial.trial_id, epoch + 1, logs or {})

    def trial_end(self, method: Callable[..., Any], trial: Any) -> None:
        if trial.status != "COMPLETED":
            self.stops.check()  # it failed by that, and is not to be recorded as failed
        try:
            method(trial)
        except RuntimeError:  # KerasTuner's, of too many failed trials: this one has ended
            self._end(trial.trial_id)
            raise
        self._end(trial.trial_id)
        self.stops.check_swallowed()

    def _end(self, trial_id: str) -> None:
        self.execution = (None, -1)  # lets go of the model
        ended = self.tuner.oracle.get_trial(trial_id)
        if ended.status != "RUNNING":
            number = self.running.pop(trial_id)
            record_end(self.journal, number, ended)
            self._notify((trial_id, number))
            self.listener.ended(self.journal.attempt(trial_id, number))

    def note(self, event: str, **fields: Any) -> None:
        """Records an event of the search as a whole, after its end too."""
        self._write(event, **fields)
        if self.sender is not None and self.readable:
            self.sender.finish()

    def _write(self, event: str, **fields: Any) -> None:
        if self.readable:
            self.journal.note(event, **fields)
            self._notify()

    def _begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self.readable:
            return
        oracle = self.tuner.oracle
        events = self.journal.events() if self.journal.exists() else []
        self.rounds = sum(event["event"] == "round" for event in events)
        self._write(
            "begin",
            name=self.tuner.project_name,
            params={
                "tuner": type(self.tuner).__name__,
                "objective": oracle.objective.name,
                "direction": oracle.objective.direction,
            },
            origin={**origin(), "seed": oracle.seed},
            dataset=self.dataset or dataset_of("training", *args[:2], **kwargs),
            texts={name: without_credentials(text) for name, text in self.texts.items()},
            target=self.target and self._kept(self.target),
        )
        if self.target is not None:
            opened = functools.partial(connect, self.journal, self.target)
            self.sender = self.sender or Sender(self.journal, opened)
            self._notify()

    @staticmethod
    def _kept(target: Target) -> dict[str, str | None]:
        """A target as it may be written down."""
        uri = target.tracking_uri
        return {
            "experiment": target.experiment,
            "tracking_uri": None if uri is None else without_credentials(uri),
        }

    def _best_trial(self) -> Any:
        best = self.tuner.oracle.get_best_trials(1)  # KerasTuner makes up for lack by failed ones
        return best[0] if best and best[0].status == "COMPLETED" else None

    def _check_journal(self) -> bool:
        """Whether the search can be tracked; else a warning tells why, and nothing is touched."""
        try:
            if self.journal.exists():
                self.journal.events()
        except JournalError as error:
            log.warning(
                "%s Until then the search goes on, and its trials are in the journal; the tracking "
                "store gets them at the next start of this search, or by: kbn push",
                error,
            )
            return False
        return True

    def _note_model(self, trial_id: str, x: Any = None, *_: Any, **__: Any) -> None:
        """Has the best trial's model logged, unless it was the last that was."""
        if not (self.keeps_model and self.readable and x is not None):
            return
        if not isinstance(self.tuner, keras_tuner.Tuner):  # which keeps Keras models
            return
        logged = [event["trial"] for event in self.journal.events() if event["event"] == "model"]
        if logged[-1:] == [trial_id]:
            return
        path = Path(self.tuner.project_dir) / MODEL
        if save_best(self.tuner, trial_id, x, path):
            self._write("model", path=path, trial=trial_id, name=None)

    def _spare_collecting(self) -> None:
        """Keeps what libraries have in memory out of the garbage collections of every trial.

        Keras and KerasTuner collect twice a trial; TensorFlow's objects and MLflow's, which are
        there later, take them a tenth of a second each. Between two trials, so that no model is
        kept from being collected; until the search's end.
        """
        due = 2 if self.sender is not None and self.sender.tried else 1
        if self.frozen < due and (self.frozen or not gc.get_freeze_count()):  # else the user's own
            gc.collect()
            gc.freeze()
            self.frozen = due

    def _notify(self, *attempt: tuple[str, int]) -> None:
        if self.sender is not None and self.readable:
            self.sender.notify(*attempt)


@contextlib.contextmanager
def _fatal() -> Iterator[None]:
    """Has KerasTuner end the search, where it would take the trial for a failed one and go on."""
    try:
        yield
    except JournalError as error:
        raise keras_tuner.errors.FatalRuntimeError(str(error)) from error
