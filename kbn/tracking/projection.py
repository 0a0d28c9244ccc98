"""The projection of a journal into an MLflow tracking store.

A search is a parent run, and each attempt at a trial a child run. Runs are found again by their
tags (see `runs`), and what is sent carries the journal's own times: every push may be repeated and
changes nothing the second time. A run ends with the last call of its push, so a run that has ended
is complete, except for what the store refused of it (see `writer`).
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from pathlib import Path

from mlflow.exceptions import MlflowException

from kbn.tracking.attempts import Attempt
from kbn.tracking.best_score import BestScore
from kbn.tracking.client import Client
from kbn.tracking.entries import (
    attempt_name,
    cut,
    dataset_inputs,
    epoch_metrics,
    metric,
    origin_tags,
    place_tags,
    round_metrics,
    scaled_values,
    session_params,
    totals,
)
from kbn.tracking.journal import Journal
from kbn.tracking.machine import MachineMonitor
from kbn.tracking.pulse import Pulse
from kbn.tracking.runs import EVENTS, Runs
from kbn.tracking.sealed import Event
from kbn.tracking.views import VARIANT, VARIANTS, as_tag, trials_view, variants_view
from kbn.tracking.writer import Writer

PARETO = "kbn.pareto"  # the trials on the front; of their own runs: whether they are on it
RUN_STATUS = {"COMPLETED": "FINISHED", "KILLED": "KILLED"}  # all others: FAILED


class Projection:
    """A journal's search in an experiment.

    Args:
        journal: of the search.
        experiment: its name; created where it does not exist.
        uri: the tracking URI.
        pulse: is informed of every call that the store answered.
        monitor: to start as soon as there is a run to log to; None for none.

    Attributes:
        uri: of the store, without secrets.

    Raises:
        TrackingError: if the experiment, or the search's run, is deleted, or the experiment cannot
            be created.
        mlflow.exceptions.MlflowException: if the store cannot be reached.
    """

    def __init__(
        self,
        journal: Journal,
        experiment: str,
        uri: str,
        pulse: Pulse,
        monitor: MachineMonitor | None = None,
    ):
        self._journal, self._secret_uri, self._monitor = journal, uri, monitor
        self._client = Client(uri, experiment, pulse)
        self.uri, self.why = self._client.uri, self._client.why
        self._runs = Runs(self._client, journal.search_id)
        self._writer = Writer(self._client, self._runs)
        self._best = BestScore(self._client, journal, self._runs, self._writer)
        self._params: dict[str, set[str]] = {}  # key -> names of the params that its run has
        self._names: dict[str, None] = {}  # of all hyperparameters
        self._views: dict[str, str] = {}  # the tags by which the experiment knows views of it
        pulse.asking = False

    @property
    def refusals(self) -> Sequence[str]:
        """What the store did not take, a line each."""
        return self._writer.refusals

    def push_search(self) -> None:
        """Send what is new of the search as a whole, and the parent run's status."""
        search = self._runs.search
        events = self._journal.events()
        if not any(event["event"] == "begin" for event in events):
            return
        run_id = self._runs.parent(events)
        self._best.push(events)
        sent = self._runs.sent.get(search, 0)
        for number, event in enumerate(events[sent:], sent):
            with self._writer.refusable(search, f"the search's {event['event']}"):
                self._push_event(run_id, event, events[:number])
        if events[sent:]:
            self._writer.log(run_id, tags={EVENTS: str(len(events))})
            self._writer.take_back(run_id)
        self._runs.sent[search] = len(events)
        if self._monitor is not None:
            self._monitor.start(self._secret_uri, run_id)
        self._share_views(events)

    def push(self, attempt: Attempt) -> None:
        """Send what is new of an attempt, as a child run."""
        key = self._runs.attempt_key(attempt.trial, attempt.number)
        if key not in self._runs.complete:
            with self._writer.refusable(key, attempt_name(attempt)):
                self._push(key, attempt)
        self._best.add(key, attempt)
        self._names.update(dict.fromkeys(attempt.values))

    def _push(self, key: str, attempt: Attempt) -> None:
        sent = self._runs.sent.get(key, 0)  # by this process; what others sent is sent again
        run_id = self._runs.ids.get(key) or self._create_child(key, attempt)
        metrics, tags = epoch_metrics(attempt.epochs[sent:])
        given = self._params.setdefault(key, set())
        params = {name: v for name, v in attempt.values.items() if name not in given}
        if attempt.ended is not None:
            metrics += totals(attempt)
            tags |= {"kbn.status": str(attempt.status)}
            if attempt.violations:
                tags |= cut({"kbn.infeasible": "; ".join(attempt.violations)})
            if attempt.message and attempt.reason:
                tags["kbn.error"] = attempt.reason
                self._client.call("log_text", run_id, attempt.message, "traceback.txt")
        # never first: MLflow's page that compares runs colours its lines by the first metric
        if not sent and metrics:
            metrics += scaled_values(attempt)
        self._writer.log(run_id, metrics, params, tags, of=attempt_name(attempt))
        given.update(params)
        self._runs.sent[key] = len(attempt.epochs)
        if attempt.ended is not None:
            self._writer.take_back(run_id)
            status = RUN_STATUS.get(str(attempt.status), "FAILED")
            status = "FINISHED" if attempt.violations else status  # nothing went wrong
            self._client.call("set_terminated", run_id, status, attempt.ended)
            self._runs.complete.add(key)

    def _create_child(self, key: str, attempt: Attempt) -> str:
        events = self._journal.events()
        begins = [event for event in events if event["event"] == "begin"]
        session = max(
            (event for event in begins if event["time"] <= attempt.began),
            key=lambda event: event["time"],
            default=begins[0],
        )
        tags = {
            **cut({**origin_tags(session), **place_tags(attempt)}),
            "mlflow.parentRunId": self._runs.parent(events),
        }
        run_id = self._runs.create(key, attempt.began, attempt_name(attempt), tags)
        self._log_dataset(run_id, session)
        return run_id

    def _share_views(self, events: list[Event]) -> None:
        """Have the experiment's page show the search's trials as `views` says."""
        begin = next(event for event in events if event["event"] == "begin")
        direction, search = begin["params"]["direction"], self._runs.search
        views = {search: trials_view(search, direction, self._names)}
        if VARIANT.removeprefix("kbn.") in begin["origin"]:
            views[VARIANTS] = variants_view(direction)
        tags = dict(filter(None, (as_tag(key, view) for key, view in views.items())))
        new, self._views = tags.items() - self._views.items(), tags
        for name, value in new:
            with contextlib.suppress(MlflowException):  # nothing is lost: links do without it
                self._client.call("set_experiment_tag", self._client.experiment, name, value)

    def _push_event(self, run_id: str, event: Event, earlier: list[Event]) -> None:
        kind, at = event["event"], event["time"]
        if kind == "begin":
            self._push_begin(run_id, event, earlier)
        elif kind == "round":
            self._writer.log(run_id, round_metrics(event))
        elif kind == "metrics":
            metrics = [metric(name, value, at, 0) for name, value in event["values"].items()]
            self._writer.log(run_id, metrics)
        elif kind == "description":
            self._writer.log(run_id, tags={"mlflow.note.content": event["text"]})
        elif kind == "front":
            self._push_front(run_id, event["trials"], earlier)
        elif kind in ("file", "model"):
            self._push_path(run_id, event)
        elif kind == "end":
            for trial, values in (event.get("best") or {}).items():
                self._best.name_best(run_id, trial, values)
            self._client.call("set_terminated", run_id, event["status"], at)

    def _push_path(self, run_id: str, event: Event) -> None:
        """Send a file or a model, if it is still there."""
        if not Path(event["path"]).exists():
            return
        if event["event"] == "file":
            self._client.call("log_artifact", run_id, event["path"])
        else:
            from kbn.tracking.models import log_model  # which needs Keras

            log_model(self._client, run_id, event)

    def _push_front(self, run_id: str, trials: Sequence[str], earlier: list[Event]) -> None:
        """Name the trials on the front, and tag their runs; those of an earlier front are not."""
        fronts = [event["trials"] for event in earlier if event["event"] == "front"]
        for trial in dict.fromkeys([*itertools.chain(*fronts), *trials]):
            child = self._runs.last_of(trial)
            if child is not None:
                self._writer.log(child, tags={PARETO: str(trial in trials).lower()})
        self._writer.log(run_id, tags={PARETO: ", ".join(trials)})

    def _push_begin(self, run_id: str, event: Event, earlier: list[Event]) -> None:
        self._client.call("update_run", run_id, status="RUNNING")
        params, changed = session_params(event, earlier)
        self._writer.log(run_id, params=params, tags=origin_tags(event) | changed)
        self._log_dataset(run_id, event)
        for name, text in event["texts"].items():
            self._client.call("log_text", run_id, text, name)

    def _log_dataset(self, run_id: str, session: Event) -> None:
        inputs = dataset_inputs(session)
        if inputs:
            self._client.call("log_inputs", run_id, inputs)
