"""The driver's loop: it hands trials to workers, and takes over what they report."""

from __future__ import annotations

import collections
import dataclasses
import math
import time
from pathlib import Path

from kbn.files import write
from kbn.recipe.searching import SearchSpec
from kbn.run._keras_tuner import Trial
from kbn.run.best import RESUMABLE
from kbn.run.machine import writing
from kbn.run.tuner import RecipeTuner
from kbn.run.workers import Broken, Died, Ended, Epoch, Job, Ready, Report, Workers
from kbn.search.fidelity import PARENT

GRACE = 5.0  # seconds, or half of the time that a trial may take, until one that overran is killed
LOOK = 1.0  # seconds at most between two looks at the clock


@dataclasses.dataclass(frozen=True)
class Running:
    """A trial that a worker trains.

    Attributes:
        trial: the oracle's.
        until: when it is killed, in seconds of `time.monotonic`.
    """

    trial: Trial
    until: float


class Driver:
    """Runs the trials of a search on workers.

    Args:
        tuner: of the search; its methods are called as in KerasTuner's own loop.
        workers: prepared for the search.
        search: says how long a trial may take, and how often it is run again if its worker dies.
    """

    def __init__(self, tuner: RecipeTuner, workers: Workers, search: SearchSpec):
        self._tuner, self._workers = tuner, workers
        self._timeout, self._retries = search.trial_timeout, search.max_retries
        self._ready: set[int] = set()  # slots
        self._running: dict[int, Running] = {}  # by slot
        self._lost = collections.deque[Trial]()  # trials to be run again
        self._deaths = collections.Counter[str]()  # of workers, by trial
        self._asked = 0
        self._is_over = False  # whether the oracle had no further trial when it was asked last

    def run(self) -> None:
        """Run all trials that are left."""
        while True:
            self._hand_out()
            if self._is_over and not self._running and not self._lost:
                return
            for slot, report in self._workers.wait(LOOK):
                self._take(slot, report)
            self._end_late()

    def _hand_out(self) -> None:
        for slot in sorted(self._ready):
            trial = self._next()
            if trial is None:
                return
            self._ready.remove(slot)
            self._tuner.on_trial_begin(trial)
            limit = self._timeout
            patience = math.inf if limit is None else limit + max(GRACE, limit / 2)
            self._running[slot] = Running(trial, time.monotonic() + patience)
            self._workers.start(slot, self._job(trial))

    def _next(self) -> Trial | None:
        """Return the next trial; None if there is none for now."""
        if self._lost:
            return self._lost.popleft()
        if self._is_over:
            return None
        # a new name each time: the oracle would give a name its running trial again
        self._asked += 1
        trial = self._tuner.oracle.create_trial(f"worker{self._asked}")
        self._is_over = trial.status == "STOPPED"
        return trial if trial.status == "RUNNING" else None

    def _job(self, trial: Trial) -> Job:
        oracle, parent = self._tuner.oracle, trial.hyperparameters.values.get(PARENT)
        judged = oracle.end_order if getattr(oracle, "prunes", False) else ()
        notes = {trial_id: oracle.notes[trial_id] for trial_id in judged}
        files = {} if parent is None else self._tuner.training_files(parent)
        return Job(trial.get_state(), notes, parent, files)

    def _take(self, slot: int, report: Report) -> None:
        if isinstance(report, Ready):
            # a worker that was replaced as the last search ended gets two studies: it says so twice
            if slot not in self._running:
                self._ready.add(slot)
        elif isinstance(report, Broken):
            raise report.error
        elif isinstance(report, Epoch):
            trial = self._running[slot].trial
            self._tuner.on_epoch_end(trial, None, report.number, report.metrics)
        elif isinstance(report, Ended):
            self._end(self._running.pop(slot).trial, report)
            self._ready.add(slot)
        else:
            self._ready.discard(slot)
            if slot in self._running:
                self._lose(self._running.pop(slot).trial, report)

    def _end(self, trial: Trial, ended: Ended) -> None:
        found = Trial.from_state(ended.trial)
        trial.hyperparameters, trial.metrics = found.hyperparameters, found.metrics
        trial.status, trial.message = found.status, found.message
        self._tuner.oracle.notes[trial.trial_id].update(ended.notes)
        directory = Path(self._tuner.get_trial_dir(trial.trial_id))
        with writing(directory, RESUMABLE):
            for name, content in ended.files.items():
                write(directory / name, content)
        self._report_end(trial)

    def _lose(self, trial: Trial, died: Died) -> None:
        """Record that an attempt died with its worker; run the trial again, or give it up."""
        self._deaths[trial.trial_id] += 1
        if self._deaths[trial.trial_id] <= self._retries:
            self._tuner.on_trial_lost(trial)
            self._lost.append(trial)
        else:
            self._fail(
                trial,
                f"The trial's worker died in {self._deaths[trial.trial_id]} attempts, the last "
                f"time because {died.reason}: it is not run again.",
            )

    def _end_late(self) -> None:
        """Kill the trials that take longer than they may and did not end when they were asked."""
        now = time.monotonic()
        for slot in [slot for slot, running in self._running.items() if now > running.until]:
            trial = self._running.pop(slot).trial
            self._workers.replace(slot)
            self._fail(trial, f"The trial timed out: it took more than {self._timeout:g} seconds.")

    def _fail(self, trial: Trial, message: str) -> None:
        trial.status, trial.message = "FAILED", message
        self._report_end(trial)

    def _report_end(self, trial: Trial) -> None:
        self._tuner.on_trial_end(trial)
        self._is_over = False  # a trial that is to be run again may have been the last one
