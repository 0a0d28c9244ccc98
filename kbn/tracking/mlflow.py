"""The projection of a journal into an MLflow tracking store.

A search is a parent run, each attempt at a trial a child run. Runs are found again by the tag
`kbn.key` (the search's id, or search/trial/attempt), and what is sent carries the journal's own
times: so every push may be repeated and changes nothing the second time. No global MLflow state
is touched.
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import (
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
    MLFLOW_USER,
)

from kbn.errors import TrackingError
from kbn.tracking.journal import Attempt, Epoch

KEY = "kbn.key"
# MLflow's limits of one log_batch call
METRICS_A_BATCH, PARAMS_A_BATCH = 1000, 100
RUN_STATUS = {None: "RUNNING", "COMPLETED": "FINISHED", "KILLED": "KILLED"}  # all others: FAILED


def store_uri(tracking_uri: str | None = None) -> str:
    """The tracking URI that is meant: MLflow's own choice for None."""
    return tracking_uri or mlflow.get_tracking_uri()


def page_of(experiment: str, tracking_uri: str | None = None) -> str | None:
    """The page of MLflow's UI that lists an experiment's runs, below its address; None without it.

    MLflow's own first page is that of language models' traces.
    """
    try:
        known = MlflowClient(tracking_uri).get_experiment_by_name(experiment)
    except MlflowException:
        return None
    return f"/#/experiments/{known.experiment_id}/runs" if known else None


def check_store() -> str:
    """The URI of MLflow's own choice, if there is a store.

    Raises:
        TrackingError: if it cannot be reached, or is a database that nobody made.
    """
    uri = store_uri()
    file = uri.removeprefix("sqlite:///")
    if file != uri and not Path(file).exists():
        raise TrackingError(
            f"{uri}: no trials are tracked in this directory. First: kbn tune RECIPE"
        )
    try:
        MlflowClient(uri).search_experiments(max_results=1)
    except MlflowException as error:
        reason = str(error).partition("\n")[0]
        raise TrackingError(f"{uri}: the tracking store must answer; got: {reason}") from None
    return uri


class Store:
    """The experiment that holds one search.

    Args:
        experiment: its name; made where it does not exist.
        tracking_uri: MLflow's; None for the one MLflow itself would use (MLFLOW_TRACKING_URI, else
            sqlite:///mlflow.db in the working directory).

    Raises:
        TrackingError: if the experiment is deleted.
        mlflow.exceptions.MlflowException: if the store cannot be reached.
    """

    def __init__(self, experiment: str, tracking_uri: str | None = None):
        self.client = MlflowClient(tracking_uri)
        known = self.client.get_experiment_by_name(experiment)
        if known and known.lifecycle_stage != "active":
            raise TrackingError(
                f"experiment {experiment!r} is deleted in {store_uri(tracking_uri)}; restore it "
                f"there (mlflow experiments restore -x {known.experiment_id}) or name another one"
            )
        self.experiment_id = (
            known.experiment_id if known else self.client.create_experiment(experiment)
        )
        self._runs: dict[str, str] = {}  # key -> run id

    def begin_search(self, search_id: str, name: str, params: Mapping[str, Any]) -> None:
        """The parent run, made or opened again."""
        run_id = self._run(search_id, name)
        self.client.update_run(run_id, status="RUNNING")
        self._log(run_id, params=params)

    def push(self, search_id: str, attempt: Attempt) -> None:
        """All that the journal knows of an attempt, as a child run."""
        key = f"{search_id}/{attempt.trial}/{attempt.number}"
        retry = f" attempt {attempt.number}" if attempt.number > 1 else ""
        tags = {
            MLFLOW_PARENT_RUN_ID: self._runs[search_id],
            "kbn.trial": attempt.trial,
            "kbn.attempt": str(attempt.number),
        }
        run_id = self._run(key, f"trial {attempt.trial}{retry}", tags, attempt.began)
        metrics = [metric for epoch in attempt.epochs for metric in _epoch_metrics(epoch)]
        if attempt.ended is None:
            self._log(run_id, metrics, attempt.values)
            return
        totals = {"score": attempt.score, "duration_seconds": attempt.seconds}
        metrics += [
            Metric(name, value, attempt.ended, attempt.best_step or 0)
            for name, value in totals.items()
            if value is not None
        ]
        outcome = {"kbn.status": str(attempt.status)}
        if attempt.message and attempt.reason:
            outcome["kbn.error"] = attempt.reason
            self.client.log_text(run_id, attempt.message, "traceback.txt")
        self._log(run_id, metrics, attempt.values, outcome)
        status = RUN_STATUS.get(attempt.status, "FAILED")
        self.client.set_terminated(run_id, status, attempt.ended)

    def push_best(self, search_id: str, score: float, trial: str, step: int) -> None:
        """The best score after `step` trials, and whose it is."""
        run_id = self._runs[search_id]
        self.client.log_metric(run_id, "best_score", score, step=step)
        self.client.set_tag(run_id, "kbn.best_trial", trial)

    def end_search(self, search_id: str, status: str) -> None:
        """Ends the parent run as FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self._runs[search_id], status)

    def _run(
        self, key: str, name: str, tags: Mapping[str, str] | None = None, began: int | None = None
    ) -> str:
        """The id of the run with this key, made where it does not exist."""
        if key not in self._runs:
            found = self.client.search_runs(
                [self.experiment_id], f"tags.`{KEY}` = '{key}'", max_results=1
            )
            self._runs[key] = (
                found[0] if found else self._create(key, name, tags, began)
            ).info.run_id
        return self._runs[key]

    def _create(
        self, key: str, name: str, tags: Mapping[str, str] | None, began: int | None
    ) -> Any:
        # what MLflow's fluent interface would set; a client's run has none of it
        origin = {
            MLFLOW_USER: _user(),
            MLFLOW_SOURCE_NAME: sys.argv[0],
            MLFLOW_SOURCE_TYPE: "LOCAL",
        }
        tags = {KEY: key, **origin, **(tags or {})}
        return self.client.create_run(self.experiment_id, began, tags, name)

    def _log(
        self,
        run_id: str,
        metrics: list[Metric] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        entries = [Param(name, str(value)) for name, value in (params or {}).items()]
        labels = [RunTag(name, value) for name, value in (tags or {}).items()]
        for some in _batches(metrics or [], METRICS_A_BATCH):
            self.client.log_batch(run_id, metrics=some)
        for some in _batches(entries, PARAMS_A_BATCH):
            self.client.log_batch(run_id, params=some)
        if labels:
            self.client.log_batch(run_id, tags=labels)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"


def _batches(items: list[Any], size: int) -> list[list[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _epoch_metrics(epoch: Epoch) -> list[Metric]:
    """Keras' own names; further executions of the same trial have theirs in front."""
    prefix = f"execution_{epoch.execution + 1}/" if epoch.execution else ""
    return [
        Metric(prefix + name, value, epoch.time, epoch.epoch)
        for name, value in epoch.metrics.items()
    ]
