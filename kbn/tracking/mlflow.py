"""The projection of a journal into an MLflow tracking store.

A search is a parent run, each attempt at a trial a child run. Runs are found again by the tag
`kbn.key` (the search's id, or search/trial/attempt), and what is sent carries the journal's own
times: so every push may be repeated and changes nothing the second time. A run ends with the last
call of its push, so one that has ended has all. No global MLflow state is touched.
"""

from __future__ import annotations

import bisect
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import (
    MLFLOW_DATASET_CONTEXT,
    MLFLOW_GIT_COMMIT,
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
    MLFLOW_USER,
)

from kbn.errors import TrackingError
from kbn.tracking.journal import Attempt, Epoch, Event, Journal
from kbn.tracking.names import legal
from kbn.tracking.sending import PROMPT_FILE, Pulse
from kbn.tracking.stores import SQLITE, made_by_one_process, opens, store_uri

KEY, SEARCH = "kbn.key", "kbn.search"
BEST = "best/"  # on the parent run: begins the names of the best trial's values
EVENTS = "kbn.events"  # on the parent run: how many of the search's it has
TAG = 5000  # characters of a tag's value that every store takes
A_BATCH, PARAMS_A_BATCH = 1000, 100  # MLflow's limits of one log_batch call; tags as params
RUN_STATUS = {"COMPLETED": "FINISHED", "KILLED": "KILLED"}  # all others: FAILED
# What a session is told of where it runs, by MLflow's own names; the rest keeps kbn's.
ORIGIN = {"user": MLFLOW_USER, "source": MLFLOW_SOURCE_NAME, "commit": MLFLOW_GIT_COMMIT}


class Projection:
    """A journal's search in an experiment.

    Args:
        journal: of the search.
        experiment: its name; made where it does not exist.
        tracking_uri: MLflow's; None for the one MLflow itself would use (MLFLOW_TRACKING_URI, else
            sqlite:///mlflow.db in the working directory).
        pulse: is told of every call that the store answered.

    Raises:
        TrackingError: if the experiment is deleted.
        mlflow.exceptions.MlflowException: if the store cannot be reached.
    """

    def __init__(
        self,
        journal: Journal,
        experiment: str,
        tracking_uri: str | None,
        pulse: Pulse,
    ):
        uri = store_uri(tracking_uri)
        self._journal, self._pulse = journal, pulse
        if uri.startswith(SQLITE):
            pulse.prompt = PROMPT_FILE
        pulse.asking = not opens(uri)
        with made_by_one_process(uri):
            self._client = MlflowClient(uri)
            self._experiment = self._find_experiment(experiment, uri)
        pulse.asking = True
        pulse.beat()
        self._runs: dict[str, str] = {}  # key -> run id
        self._ended: set[str] = set()  # keys of the children that have all
        self._sent: dict[str, int] = {}  # key -> how many epochs, or events, it has
        self._given: dict[str, set[str]] = {}  # key -> names of the params it has
        self._scores: list[tuple[int, str, float]] = []  # time, trial and score of those that ended
        self._best: set[str] = set()  # tags of the parent run that hold the best trial's values
        for run in self._known_runs():
            key, removed = run.data.tags[KEY], run.info.lifecycle_stage != "active"
            if removed or run.info.status != "RUNNING":
                self._ended.add(key)
            if key == journal.search_id:
                self._best = {name for name in run.data.tags if name.startswith(BEST)}
            if not removed:
                self._runs[key] = run.info.run_id
                self._sent[key] = int(run.data.tags.get(EVENTS, 0))

    def push_search(self) -> None:
        """What the journal says of the search as a whole, and the parent run's status."""
        search = self._journal.search_id
        events = self._journal.events()
        if not any(event["event"] == "begin" for event in events):
            return
        sent = self._sent.get(search, 0)
        new = events[sent:]
        run_id = self._parent(events)
        for number, event in enumerate(new, sent):
            self._push_event(run_id, event, events[:number])
        if new:
            self._log(run_id, tags={EVENTS: str(len(events))})
        self._sent[search] = len(events)

    def push(self, attempt: Attempt) -> None:
        """All that is new of an attempt, as a child run."""
        search = self._journal.search_id
        key = f"{search}/{attempt.trial}/{attempt.number}"
        self._push_best(attempt, known=key in self._ended)
        if key in self._ended:
            return
        begin = not self._sent.get(key)  # by this process; what was sent before is sent again
        run_id = self._child(key, attempt)
        epochs = attempt.epochs[self._sent.get(key, 0) :]
        metrics, tags = _epoch_metrics(epochs)
        given = self._given.setdefault(key, set())
        params = {name: v for name, v in attempt.values.items() if name not in given}
        if attempt.ended is not None:
            metrics += _totals(attempt)
            tags |= {"kbn.status": str(attempt.status)}
            if attempt.message and attempt.reason:
                tags["kbn.error"] = attempt.reason
                self._call("log_text", run_id, attempt.message, "traceback.txt")
        if begin and metrics:  # never first: MLflow's page that compares runs colours by the first
            metrics += _scaled(attempt)
        self._log(run_id, metrics, params, tags)
        given.update(params)
        self._sent[key] = len(attempt.epochs)
        if attempt.ended is not None:
            status = RUN_STATUS.get(str(attempt.status), "FAILED")
            self._call("set_terminated", run_id, status, attempt.ended)
            self._ended.add(key)

    def _find_experiment(self, experiment: str, uri: str) -> str:
        known = self._client.get_experiment_by_name(experiment)
        if known and known.lifecycle_stage != "active":
            raise TrackingError(
                f"experiment {experiment!r} is deleted in {uri}; restore it "
                f"there (mlflow experiments restore -x {known.experiment_id}) or name another one"
            )
        if known:
            return str(known.experiment_id)
        try:
            return str(self._client.create_experiment(experiment))
        except MlflowException:  # another search made it a moment ago
            return str(self._client.get_experiment_by_name(experiment).experiment_id)

    def _known_runs(self) -> Iterator[Any]:
        """Those that this search has in the store."""
        token = None
        while token != "":
            page = self._call(
                "search_runs",
                [self._experiment],
                f"tags.`{SEARCH}` = '{self._journal.search_id}'",
                ViewType.ALL,  # one that a user deleted is not made again
                page_token=token,
            )
            yield from page
            token = page.token or ""

    def _parent(self, events: list[Event]) -> str:
        """The parent run, made or opened again."""
        search = self._journal.search_id
        if search not in self._runs:
            first = next(event for event in events if event["event"] == "begin")
            tags = {KEY: search, SEARCH: search}
            run = self._call("create_run", self._experiment, first["time"], tags, first["name"])
            self._runs[search] = run.info.run_id
        return self._runs[search]

    def _push_event(self, run_id: str, event: Event, earlier: list[Event]) -> None:
        kind, at = event["event"], event["time"]
        if kind == "begin":
            self._push_begin(run_id, event, earlier)
        elif kind == "round":
            names = {f"box/{name}": ends for name, ends in event["hull"].items()}
            values = {
                f"{name}/{end}": value
                for name, ends in names.items()
                for end, value in zip(("low", "high"), ends, strict=True)
            }
            metrics = [_metric(name, value, at, event["number"]) for name, value in values.items()]
            self._log(run_id, metrics)
        elif kind == "metrics":
            self._log(run_id, [_metric(name, v, at, 0) for name, v in event["values"].items()])
        elif kind == "file":
            if Path(event["path"]).exists():
                self._call("log_artifact", run_id, event["path"])
        elif kind == "model":
            from kbn.tracking.models import log_model  # which needs Keras

            if Path(event["path"]).exists():
                log_model(self._client, self._experiment, run_id, event)
                self._pulse.beat()
        elif kind == "end":
            for trial, values in (event.get("best") or {}).items():
                self._tell_best(run_id, trial, values)
            self._call("set_terminated", run_id, event["status"], at)

    def _push_begin(self, run_id: str, event: Event, earlier: list[Event]) -> None:
        self._call("update_run", run_id, status="RUNNING")
        params, changed = _params(event, earlier)
        self._log(run_id, params=params, tags=_origin(event) | changed)
        if event["dataset"]:
            self._call("log_inputs", run_id, [_dataset(event["dataset"])])
        for name, text in event["texts"].items():
            self._call("log_text", run_id, text, name)

    def _push_best(self, attempt: Attempt, known: bool) -> None:
        """The best score so far by trial, on the parent run, unless it has it."""
        if attempt.status != "COMPLETED" or attempt.score is None or attempt.ended is None:
            return
        if not math.isfinite(attempt.score):
            return
        entry = (attempt.ended, attempt.trial, attempt.score)
        index = bisect.bisect_left(self._scores, entry)
        if self._scores[index : index + 1] == [entry]:
            return
        self._scores.insert(index, entry)
        if known:
            return
        events = self._journal.events()
        direction = next(e["params"]["direction"] for e in events if e["event"] == "begin")
        choose = min if direction == "min" else max
        best = choose(self._scores[: index + 1], key=lambda scored: scored[2])
        metric = _metric("best_score", best[2], attempt.ended, index + 1)
        run_id = self._parent(events)
        self._log(run_id, [metric])
        told = (e for e in events if e["event"] == "end" and e.get("best"))
        decided = any(event["time"] >= attempt.ended for event in told)
        if best[1] == attempt.trial and not decided:
            self._tell_best(run_id, attempt.trial, attempt.values)

    def _tell_best(self, run_id: str, trial: str, values: Mapping[str, Any]) -> None:
        """The best trial and its values, and none that only an earlier one had.

        While the search runs, that of the best score; at its end the one that its oracle chose,
        which may count more than one score.
        """
        tags = {legal(f"{BEST}{name}"): str(value) for name, value in values.items()}
        for stale in self._best - tags.keys():
            self._call("delete_tag", run_id, stale)
        self._log(run_id, tags={"kbn.best_trial": trial} | tags)
        self._best = set(tags)

    def _child(self, key: str, attempt: Attempt) -> str:
        if key not in self._runs:
            events = self._journal.events()
            begins = [event for event in events if event["event"] == "begin"]
            session = max(
                (event for event in begins if event["time"] <= attempt.began),
                key=lambda event: event["time"],
                default=begins[0],
            )
            retry = f" attempt {attempt.number}" if attempt.number > 1 else ""
            place = {f"kbn.{name}": _text(value) for name, value in attempt.place.items()}
            place.pop("kbn.scaled", None)
            tags = {
                **_origin(session),
                **place,
                KEY: key,
                SEARCH: self._journal.search_id,
                MLFLOW_PARENT_RUN_ID: self._parent(events),
                "kbn.trial": attempt.trial,
                "kbn.attempt": str(attempt.number),
            }
            name = f"trial {attempt.trial}{retry}"
            run = self._call("create_run", self._experiment, attempt.began, _cut(tags), name)
            self._runs[key] = run.info.run_id
            if session["dataset"]:
                self._call("log_inputs", self._runs[key], [_dataset(session["dataset"])])
        return self._runs[key]

    def _log(
        self,
        run_id: str,
        metrics: list[Metric] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """In as few calls as MLflow's limits allow."""
        entries = [Param(legal(name), str(value)) for name, value in (params or {}).items()]
        labels = [RunTag(name, value) for name, value in _cut(tags or {}).items()]
        metrics = metrics or []
        while metrics or entries or labels:
            some, entries = entries[:PARAMS_A_BATCH], entries[PARAMS_A_BATCH:]
            more, labels = labels[:PARAMS_A_BATCH], labels[PARAMS_A_BATCH:]
            room = A_BATCH - len(some) - len(more)
            self._call("log_batch", run_id, metrics[:room], some, more)
            metrics = metrics[room:]

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        answer = getattr(self._client, name)(*args, **kwargs)
        self._pulse.beat()
        return answer


def _origin(begin: Event) -> dict[str, str]:
    """The tags of a session: what MLflow's fluent interface would set, and where it ran."""
    tags = {ORIGIN.get(name, f"kbn.{name}"): _text(v) for name, v in begin["origin"].items()}
    return {**tags, MLFLOW_SOURCE_TYPE: "LOCAL"}


def _params(begin: Event, earlier: list[Event]) -> tuple[dict[str, str], dict[str, str]]:
    """Of a session, its params, and as tags those that sessions disagree in.

    MLflow refuses to change a param: the first one stays.
    """
    sessions = [event["params"] for event in (*earlier, begin) if event["event"] == "begin"]
    first = {name: value for params in reversed(sessions) for name, value in params.items()}
    disputed = {name for params in sessions for name in params if params[name] != first[name]}
    present = begin["params"]
    kept = {name: value for name, value in present.items() if name not in disputed}
    return kept, {f"kbn.{name}": present[name] for name in disputed & present.keys()}


def _dataset(fields: Mapping[str, str]) -> DatasetInput:
    return DatasetInput(Dataset(**fields), [InputTag(MLFLOW_DATASET_CONTEXT, "training")])


def _cut(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: value[:TAG] for name, value in tags.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _metric(name: str, value: float, time: int, step: int) -> Metric:
    # MLflow stores an infinite value as 1.8e308, which spoils every chart
    return Metric(legal(name), value if math.isfinite(value) else math.nan, time, step)


def _epoch_metrics(epochs: tuple[Epoch, ...]) -> tuple[list[Metric], dict[str, str]]:
    """Under Keras' own names; further executions of the same trial have theirs in front.

    Infinite ones are not a number there; a tag tells which they were.
    """
    metrics, infinite = [], {}
    for epoch in epochs:
        prefix = f"execution_{epoch.execution + 1}/" if epoch.execution else ""
        for name, value in epoch.metrics.items():
            metrics.append(_metric(prefix + name, value, epoch.time, epoch.epoch))
            if math.isinf(value):
                tag = legal(f"kbn.infinite/{prefix}{name}")
                infinite[tag] = f"{value} at epoch {epoch.epoch}"  # the last of them
    return metrics, infinite


def _scaled(attempt: Attempt) -> list[Metric]:
    """Hyperparameters on a scale of their own, as metrics: MLflow's charts have a log axis."""
    values = {name: attempt.values.get(name) for name in attempt.place.get("scaled", ())}
    return [
        _metric(f"hp/{name}", float(value), attempt.began, 0)
        for name, value in values.items()
        if value is not None
    ]


def _totals(attempt: Attempt) -> list[Metric]:
    totals = {
        "score": attempt.score,
        "best_epoch": attempt.best_step,
        "duration_seconds": attempt.seconds,
    }
    step = attempt.best_step or 0
    return [
        _metric(name, value, attempt.ended or 0, step)
        for name, value in totals.items()
        if value is not None
    ]
