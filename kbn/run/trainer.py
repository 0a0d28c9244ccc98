"""The trainer of a worker: it runs trials as the driver would, and reports what happens."""

from __future__ import annotations

import pickle
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from kbn.errors import KbnError
from kbn.run._keras_tuner import Trial
from kbn.run.preflight import load_data
from kbn.run.reuse import Reuse
from kbn.run.tuner import RecipeTuner
from kbn.run.workers import Broken, Ended, Epoch, Job, Ready, Report, Study
from kbn.tracking.stops import STOPS, own_stop


class ReportingTuner(RecipeTuner):
    """Tuner whose oracle proposes nothing: it only holds the trial that the tuner runs."""

    report: Callable[[Report], None]

    def run_trial(self, trial: Trial, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().run_trial(trial, *args, **kwargs)
        except STOPS as stop:
            raise own_stop(stop) from stop

    def on_epoch_end(
        self, trial: Trial, model: keras.Model, epoch: int, logs: Mapping[str, float] | None = None
    ) -> None:
        super().on_epoch_end(trial, model, epoch, logs)
        self.report(Epoch(epoch, dict(logs or {})))


class Trainer:
    """Trains the trials of a search.

    Args:
        study: the search.
        home: an empty directory for what the trainings write.
        report: is called with each report.
        reuse: keeps compiled models from search to search.
    """

    def __init__(self, study: Study, home: Path, report: Callable[[Report], None], reuse: Reuse):
        dataset = study.dataset if study.dataset is not None else load_data(study.recipe)
        project = Path(tempfile.mkdtemp(dir=home)) / study.recipe.name
        self._tuner = ReportingTuner(study.recipe, dataset, project, reuse)
        self._tuner.keeps_checkpoints &= study.keeps_models
        self._tuner.report = self._report = report

    def train(self, job: Job) -> None:
        """Run a trial, and report its epochs and its end."""
        trial = Trial.from_state(job.trial)
        oracle, trial_id = self._tuner.oracle, trial.trial_id
        oracle.trials = {trial_id: trial}
        oracle.notes = {**job.notes, trial_id: {}}
        oracle.end_order = list(job.notes)
        if job.parent is not None:
            self._write(job.parent, job.files)
        try:
            self._tuner.attempt(trial)
        finally:
            files = self._taken(trial_id)
            if job.parent is not None:
                self._taken(job.parent)
        self._report(Ended(trial.get_state(), oracle.notes[trial_id], files))

    def _write(self, trial_id: str, files: Mapping[str, bytes]) -> None:
        directory = Path(self._tuner.get_trial_dir(trial_id))
        for name, content in files.items():
            (directory / name).write_bytes(content)

    def _taken(self, trial_id: str) -> dict[str, bytes]:
        """Read and remove what the training of a trial left."""
        directory = Path(self._tuner.get_trial_dir(trial_id))
        files = {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}
        shutil.rmtree(directory)
        return files


class Worker:
    """A worker: it trains one job after another, of one search after another.

    Args:
        home: an empty directory for what the trainings write.
        report: is called with each report.
    """

    def __init__(self, home: Path, report: Callable[[Report], None]):
        self._home, self._report, self._reuse = home, report, Reuse()
        self._trainer: Trainer | None = None

    def do(self, task: Study | Job) -> None:
        """Prepare for a search, or train a trial of it."""
        try:
            if isinstance(task, Study):
                self._trainer = Trainer(task, self._home, self._report, self._reuse)
                self._report(Ready())
            elif self._trainer is not None:
                self._trainer.train(task)
        except Exception as error:  # noqa: BLE001  the driver raises it
            self._report(Broken(_sendable(error)))


def _sendable(error: Exception) -> Exception:
    """Return an error that another process can read: itself, or its text."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301
    except Exception:  # noqa: BLE001  whatever keeps it from being read
        return KbnError(f"{type(error).__name__}: {error}")
    return error
