"""The recorder of a search, which a tracked tuner calls in place of its own methods."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import keras
import keras_tuner
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial

from kbn.errors import JournalError
from kbn.tracking.attempts import Attempt
from kbn.tracking.best import save_best_trial
from kbn.tracking.context import dataset_of, hulls, origin, place_of
from kbn.tracking.endings import deadly, end_orphans, kill, reconcile, record_end
from kbn.tracking.journal import Journal
from kbn.tracking.listener import Listener
from kbn.tracking.machine import MachineMonitor
from kbn.tracking.sending import Sender
from kbn.tracking.stops import STOPS, Stops, own_stop
from kbn.tracking.target import Target, connect
from kbn.uris import without_credentials

log = logging.getLogger(__name__)

SAVED_MODEL = "model"  # directory in the tuner's project: the best model as MLflow saves it
P = ParamSpec("P")
R = TypeVar("R")


class Recorder:
    """Records what happens in a tuner's search; see `track.record` for the arguments.

    Attributes:
        tuner: that is recorded.
        journal: of its search.
        sender: of the journal; None where it is not sent, and before the search.
    """

    def __init__(
        self,
        tuner: BaseTuner,
        target: Target | None,
        dataset: Mapping[str, str] | None,
        params: Mapping[str, str] | None,
        texts: Mapping[str, str] | None,
        tags: Mapping[str, str] | None,
        keeps_model: bool,
        listener: Listener,
    ):
        self.tuner, self._target, self._listener = tuner, target, listener
        self._dataset, self._keeps_model = dataset, keeps_model
        self._params, self._texts, self._tags = params or {}, texts or {}, tags or {}
        self.journal = Journal(Path(tuner.project_dir).resolve() / "journal")
        self.sender: Sender | None = None
        self._monitor = MachineMonitor() if target and target.system_metrics else None
        self._running: dict[str, int] = {}  # trial id -> number of its attempt
        self._rounds = 0  # of the oracle's, those that the journal has
        # trial id -> of its execution in training: the model, number and last epoch
        self._executions: dict[str, tuple[keras.Model | None, int, int]] = {}
        self._readable = True  # the journal's file of the search as a whole
        self._deadly: dict[str, int] = {}  # trial id -> how many attempts at it ended the process
        self._stops = Stops()
        self._shared = False  # with KerasTuner's chief and its other workers

    def search(self, method: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Record a search from its begin to its end, whatever ends it.

        A search with KerasTuner's chief is shared: each process records a session of its own. The
        chief has the oracle and knows the best trial in the end, the workers run the trials.
        """
        self._shared = shared = "KERASTUNER_ORACLE_IP" in os.environ
        is_worker = shared and "chief" not in os.environ["KERASTUNER_TUNER_ID"]
        with self.journal.locks.session(shared=shared):
            attempts = [] if shared else end_orphans(self.journal, self.tuner.oracle)
            with self.journal.locks.beginning():
                self._readable = self._check_journal()
                self._begin(args, kwargs)
            status, best = "FAILED", None
            try:
                with self._stops.kept():
                    if not shared:
                        self._settle(attempts)
                    result = method(*args, **kwargs)
                    if is_worker:  # its chief may have ended by now
                        status = "FINISHED"
                    elif (best := self._best_trial()) is not None:
                        status = "FINISHED"
                        self._note_model(best.trial_id, *args, **kwargs)
            except (KeyboardInterrupt, SystemExit):
                status = "KILLED"
                raise
            finally:
                if self._monitor is not None:
                    self._monitor.stop()
                for trial_id, number in self._running.items():
                    kill(self.journal, self.journal.attempt(trial_id, number))
                    self._notify((trial_id, number))
                self._running.clear()
                values = best and {best.trial_id: best.hyperparameters.values}
                self.note("end", status=status, best=values)
        return result

    def trial_begin(self, method: Callable[[Trial], None], trial: Trial) -> None:
        """Record the begin of an attempt, and of the oracle's rounds that are new."""
        self._stops.forget()
        if self._listener.collecting is not None:
            tried = self.sender is not None and self.sender.tried  # MLflow is in memory
            self._listener.collecting.spare(2 if tried else 1)
        oracle = self.tuner.oracle
        for current in getattr(oracle, "rounds", ())[self._rounds :]:
            self._write("round", number=current.number, hull=hulls(current, oracle))
            self._rounds += 1
        values = trial.hyperparameters.values
        number = self.journal.begin(trial.trial_id, values, place_of(trial, oracle))
        if self._shared:
            self._end_earlier(trial.trial_id, number)
        self._running[trial.trial_id] = number
        self._notify((trial.trial_id, number))
        method(trial)
        self._listener.began(trial.trial_id, values)

    def run_trial(
        self,
        method: Callable[Concatenate[Trial, P], R],
        trial: Trial,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run a trial, unless it ended its process before; what its code raises is no stop."""
        if trial.trial_id in self._deadly:
            raise keras_tuner.errors.FailedTrialError(
                f"The trial ended its process in {self._deadly[trial.trial_id]} attempts, as "
                "os._exit, a segmentation fault, abort, or the system's kill for lack of memory "
                "do: it is not run again."
            )
        try:
            return method(trial, *args, **kwargs)
        except STOPS as stop:
            if self._stops.may_have_come():
                raise
            raise own_stop(stop) from stop

    def epoch_end(
        self,
        method: Callable[..., None],
        trial: Trial,
        model: keras.Model | None,
        epoch: int,
        logs: Mapping[str, float] | None = None,
    ) -> None:
        """Record the end of an epoch; the model is None where another process trains it."""
        before, execution, last = self._executions.get(trial.trial_id, (model, -1, epoch))
        # KerasTuner builds a model for each execution; a tuner may train the same one again
        if model is not before or epoch <= last:
            execution += 1
        self._executions[trial.trial_id] = (model, execution, epoch)
        number = self._running[trial.trial_id]
        with _fatal():
            self.journal.epoch(trial.trial_id, number, execution, epoch, logs or {})
        self._stops.check_swallowed()
        method(trial, model, epoch, logs=logs)
        self._listener.epoch(trial.trial_id, epoch + 1, logs or {})

    def trial_lost(self, method: Callable[[Trial], None], trial: Trial) -> None:
        """Record that an attempt died with its process; another one will follow."""
        self._executions.pop(trial.trial_id, None)
        attempt = trial.trial_id, self._running.pop(trial.trial_id)
        kill(self.journal, self.journal.attempt(*attempt), died=True)
        self._notify(attempt)
        self._listener.ended(self.journal.attempt(*attempt))
        method(trial)

    def trial_end(self, method: Callable[[Trial], None], trial: Trial) -> None:
        """Record the end of an attempt, unless it is a stop that ended it."""
        if trial.status != "COMPLETED":
            self._stops.check()  # it failed by that, and is not to be recorded as failed
        try:
            method(trial)
        except RuntimeError:  # KerasTuner's, of too many failed trials: this one has ended
            self._end(trial.trial_id)
            raise
        self._end(trial.trial_id)
        self._stops.check_swallowed()

    def note(self, event: str, **fields: object) -> None:
        """Record an event of the search as a whole, after its end too, and have it sent."""
        self._write(event, **fields)
        if self.sender is not None and self._readable:
            self.sender.finish()

    def _end_earlier(self, trial_id: str, number: int) -> None:
        """End the attempts at a trial before this one whose worker was killed in them."""
        for earlier in range(1, number):
            try:
                attempt = self.journal.attempt(trial_id, earlier)
            except JournalError:  # its file is damaged, and stays as it is
                continue
            if attempt.ended is None:
                kill(self.journal, attempt, died=True)
                self._notify((trial_id, earlier))

    def _settle(self, attempts: Sequence[Attempt]) -> None:
        """Have oracle and journal agree on what happened before."""
        self.tuner.save()  # else KerasTuner's own begin anew where their first trial ends nowhere
        oracle = self.tuner.oracle
        self._notify(*reconcile(self.journal, attempts, oracle))
        self._deadly = deadly(attempts, oracle.max_retries_per_trial)

    def _end(self, trial_id: str) -> None:
        self._executions.pop(trial_id, None)  # lets go of the model
        ended = self.tuner.oracle.get_trial(trial_id)
        if ended.status != "RUNNING":
            number = self._running.pop(trial_id)
            record_end(self.journal, number, ended, self.tuner.oracle)
            self._notify((trial_id, number))
            self._listener.ended(self.journal.attempt(trial_id, number))

    def _write(self, event: str, **fields: object) -> None:
        if self._readable:
            self.journal.note(event, **fields)
            self._notify()

    def _notify(self, *attempt: tuple[str, int]) -> None:
        if self.sender is not None and self._readable:
            self.sender.notify(*attempt)

    def _begin(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        if not self._readable:
            return
        oracle = self.tuner.oracle
        events = self.journal.events() if self.journal.exists() else []
        seed = {"seed": oracle.seed} if hasattr(oracle, "seed") else {}  # a worker's has none
        self._rounds = sum(event["event"] == "round" for event in events)
        self._write(
            "begin",
            name=self.tuner.project_name,
            params={
                "tuner": type(self.tuner).__name__,
                "objective": oracle.objective.name,
                "direction": oracle.objective.direction,
                **self._params,
            },
            origin=origin() | seed | dict(self._tags),
            dataset=self._dataset or dataset_of("training", *args[:2], **kwargs),
            texts={name: without_credentials(text) for name, text in self._texts.items()},
            target=self._target and self._target.for_journal(),
        )
        if self._target is not None:
            opened = functools.partial(connect, self.journal, self._target, monitor=self._monitor)
            self.sender = self.sender or Sender(self.journal, opened)
            self._notify()

    def _check_journal(self) -> bool:
        """Return whether the search can be tracked; else log why, and touch nothing."""
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

    def _best_trial(self) -> Trial | None:
        best = self.tuner.oracle.get_best_trials(1)  # KerasTuner makes up for lack by failed ones
        return best[0] if best and best[0].status == "COMPLETED" else None

    def _note_model(self, trial_id: str, x: object = None, *_: object, **__: object) -> None:
        """Have the best trial's model logged, unless it is the one that was logged last."""
        if not (self._keeps_model and self._readable and x is not None):
            return
        if not isinstance(self.tuner, keras_tuner.Tuner):  # which keeps Keras models
            return
        logged = [event["trial"] for event in self.journal.events() if event["event"] == "model"]
        if logged[-1:] == [trial_id]:
            return
        path = Path(self.tuner.project_dir) / SAVED_MODEL
        if save_best_trial(self.tuner, trial_id, x, path):
            self._write("model", path=path, trial=trial_id, name=None)


@contextlib.contextmanager
def _fatal() -> Iterator[None]:
    """Have KerasTuner end the search, where it would count the trial as failed and go on."""
    try:
        yield
    except JournalError as error:
        raise keras_tuner.errors.FatalRuntimeError(str(error)) from error
