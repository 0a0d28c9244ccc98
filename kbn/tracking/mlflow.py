"""The projection of a journal into an MLflow tracking store.

A search is a parent run, each attempt at a trial a child run. Runs are found again by the tag
`kbn.key` (the search's id, or search/trial/attempt), and what is sent carries the journal's own
times: so every push may be repeated and changes nothing the second time. A run ends with the last
call of its push, so one that has ended has all, but what the store refused of it, which the tag
`kbn.refused` tells: that is sent anew by every projection. No global MLflow state is touched.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

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

from kbn.errors import KbnError, TrackingError
from kbn.tracking.journal import Attempt, Epoch, Event, Journal
from kbn.tracking.names import legal
from kbn.tracking.sending import PROMPT_FILE, Pulse
from kbn.tracking.stores import check_server, open_store, opens
from kbn.uris import database_of, is_server, reason_of, without_credentials

log = logging.getLogger(__name__)

KEY, SEARCH = "kbn.key", "kbn.search"
BEST = "best/"  # on the parent run: begins the names of the best trial's values
EVENTS = "kbn.events"  # on the parent run: how many of the search's it has
SCORES = "kbn.scores"  # on the parent run: of how many attempts it has the best score so far
REFUSED = "kbn.refused"  # what the store did not take of a run
TAG = 5000  # characters of a tag's value that every store takes
A_BATCH, PARAMS_A_BATCH = 1000, 100  # MLflow's limits of one log_batch call; tags as params
SCORES_A_CALL = 100
SHOWN = 60  # characters of an experiment's name in a message
RUN_STATUS = {"COMPLETED": "FINISHED", "KILLED": "KILLED"}  # all others: FAILED
UNWELL = (  # codes of errors of the store, not of what it was given
    "TEMPORARILY_UNAVAILABLE",
    "REQUEST_LIMIT_EXCEEDED",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "CUSTOMER_UNAUTHORIZED",
)
# What a session is told of where it runs, by MLflow's own names; the rest keeps kbn's.
ORIGIN = {"user": MLFLOW_USER, "source": MLFLOW_SOURCE_NAME, "commit": MLFLOW_GIT_COMMIT}

Entry: TypeAlias = "Metric | Param | RunTag"


class Projection:
    """A journal's search in an experiment.

    Args:
        journal: of the search.
        experiment: its name; made where it does not exist.
        uri: the tracking URI.
        pulse: is told of every call that the store answered.

    Attributes:
        uri: of the store, without secrets.
        refusals: what the store did not take, a line each.

    Raises:
        TrackingError: if the experiment, or the search's run, is deleted, or the experiment cannot
            be made.
        mlflow.exceptions.MlflowException: if the store cannot be reached.
    """

    def __init__(
        self,
        journal: Journal,
        experiment: str,
        uri: str,
        pulse: Pulse,
    ):
        self.uri, self._secret_uri = without_credentials(uri), uri
        self._journal, self._pulse = journal, pulse
        if database_of(uri):
            pulse.prompt = PROMPT_FILE
        pulse.asking = not opens(uri)
        self._client: MlflowClient = open_store(uri)
        # it asks the server for the run that ends, and prints its address to stdout
        self._client._tracking_client._log_url = lambda _: None
        self._database = database_of(uri)
        self._file = self._file_now()
        self._experiment = self._find_experiment(experiment)
        pulse.beat()
        self.refusals: list[str] = []
        self._runs: dict[str, str] = {}  # key -> run id
        self._ended: set[str] = set()  # keys of the children that have all
        self._sent: dict[str, int] = {}  # key -> how many epochs, or events, it has
        self._given: dict[str, set[str]] = {}  # key -> names of the params it has
        self._refused: dict[str, bool] = {}  # ids of runs with that tag -> whether by this object
        self._scored: set[str] = set()  # keys of the children in what follows
        self._scores: list[Metric] = []  # the best score after each of them
        self._scores_sent, self._told_best = 0, ""  # a trial
        self._leader: Attempt | None = None  # with the best score of them
        self._best_score = math.nan
        self._best: set[str] = set()  # tags of the parent run that hold the best trial's values
        for run in self._known_runs():
            self._know(run)
        pulse.asking = False

    def push_search(self) -> None:
        """What the journal says of the search as a whole, and the parent run's status."""
        search = self._journal.search_id
        events = self._journal.events()
        if not any(event["event"] == "begin" for event in events):
            return
        run_id = self._parent(events)
        self._push_scores(events)
        sent = self._sent.get(search, 0)
        for number, event in enumerate(events[sent:], sent):
            with self._refusable(search, f"the search's {event['event']}"):
                self._push_event(run_id, event, events[:number])
        if events[sent:]:
            self._log(run_id, tags={EVENTS: str(len(events))})
            self._take_back(run_id)
        self._sent[search] = len(events)

    def push(self, attempt: Attempt) -> None:
        """All that is new of an attempt, as a child run."""
        key = f"{self._journal.search_id}/{attempt.trial}/{attempt.number}"
        if key not in self._ended:
            with self._refusable(key, _name(attempt)):
                self._push(key, attempt)
        self._score(key, attempt)

    def why(self, error: Exception) -> str:
        """Why the store failed, in one line."""
        if isinstance(error, KbnError):
            return str(error)
        if self._file != self._file_now():
            change = "replaced by another one" if self._file_now() else "removed"
            return f"{self.uri}: the database was {change} while it was in use"
        try:
            if is_server(self._secret_uri):
                check_server(self._secret_uri)
        except TrackingError as found:
            return str(found)
        return f"{self.uri}: {reason_of(error)}"

    def _push(self, key: str, attempt: Attempt) -> None:
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
        self._log(run_id, metrics, params, tags, of=_name(attempt))
        given.update(params)
        self._sent[key] = len(attempt.epochs)
        if attempt.ended is not None:
            self._take_back(run_id)
            status = RUN_STATUS.get(str(attempt.status), "FAILED")
            self._call("set_terminated", run_id, status, attempt.ended)
            self._ended.add(key)

    def _file_now(self) -> tuple[int, int] | None:
        """Which file the database is; None for one that is gone, and for another store."""
        if self._database is None or not self._database.exists():
            return None
        found = self._database.stat()
        return found.st_dev, found.st_ino

    def _find_experiment(self, experiment: str) -> str:
        known = self._client.get_experiment_by_name(experiment)
        if known is None:
            try:
                return str(self._client.create_experiment(experiment))
            except MlflowException as error:
                known = self._client.get_experiment_by_name(experiment)
                if known is None:  # else another search made it a moment ago
                    raise TrackingError(
                        f"{self.uri}: experiment {_short(experiment)} cannot be made: "
                        f"{reason_of(error)}. If it is the name, choose another one."
                    ) from error
        self._check_active(known)
        return str(known.experiment_id)

    def _check_active(self, experiment: Any) -> None:
        if experiment.lifecycle_stage != "active":
            raise TrackingError(
                f"{self.uri}: experiment {_short(experiment.name)} is deleted "
                f"there; restore it (mlflow experiments restore -x {experiment.experiment_id}) or "
                "choose another name"
            )

    def _check_parent(self, run: Any) -> None:
        """Raises if a user deleted the search's run: it is not made again behind his back."""
        if run.info.lifecycle_stage != "active":
            raise TrackingError(
                f"{self.uri}: the run of this search is deleted there; restore "
                f"it: mlflow runs restore --run-id {run.info.run_id}"
            )

    def _know(self, run: Any) -> None:
        """Takes note of a run of this search that the store has."""
        key, tags = run.data.tags[KEY], run.data.tags
        refused, removed = REFUSED in tags, run.info.lifecycle_stage != "active"
        if key == self._journal.search_id:
            self._check_parent(run)
            self._best = {name for name in tags if name.startswith(BEST)}
            self._scores_sent = int(tags.get(SCORES, 0))
            self._told_best = tags.get("kbn.best_trial", "")
        elif removed or (run.info.status != "RUNNING" and not refused):
            self._ended.add(key)
        if not removed:
            self._runs[key] = run.info.run_id
            self._sent[key] = 0 if refused else int(tags.get(EVENTS, 0))
        if refused:
            self._refused[run.info.run_id] = False

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
                server = is_server(self._secret_uri)
                log_model(self._call, self._experiment, run_id, event, by_server=server)
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

    def _score(self, key: str, attempt: Attempt) -> None:
        """Takes note of an attempt's score, for the best score so far on the parent run."""
        if key in self._scored or attempt.status != "COMPLETED" or attempt.ended is None:
            return
        if attempt.score is None or not math.isfinite(attempt.score):
            return
        if self._leader is None or self._sign * attempt.score < self._sign * self._best_score:
            self._leader, self._best_score = attempt, attempt.score
        self._scored.add(key)
        step = len(self._scored)
        self._scores.append(_metric("best_score", self._best_score, attempt.ended, step))
        if len(self._scores) >= self._scores_sent + SCORES_A_CALL:
            self._push_scores(self._journal.events())

    @functools.cached_property
    def _sign(self) -> int:
        """1 if the lower of two scores is the better one, else -1."""
        events = self._journal.events()
        direction = next(e["params"]["direction"] for e in events if e["event"] == "begin")
        return 1 if direction == "min" else -1

    def _push_scores(self, events: list[Event]) -> None:
        """The best score so far, and whose it is."""
        if self._leader is None or len(self._scores) <= self._scores_sent:
            return
        run_id, ended = self._parent(events), self._leader.ended or 0
        told = (e for e in events if e["event"] == "end" and e.get("best"))
        decided = any(event["time"] >= ended for event in told)
        if self._leader.trial != self._told_best and not decided:
            self._tell_best(run_id, self._leader.trial, self._leader.values)
        count = {SCORES: str(len(self._scores))}
        self._log(run_id, self._scores[self._scores_sent :], tags=count)
        self._scores_sent = len(self._scores)

    def _tell_best(self, run_id: str, trial: str, values: Mapping[str, Any]) -> None:
        """The best trial and its values, and none that only an earlier one had.

        While the search runs, that of the best score; at its end the one that its oracle chose,
        which may count more than one score.
        """
        tags = {legal(f"{BEST}{name}"): str(value) for name, value in values.items()}
        for stale in self._best - tags.keys():
            self._call("delete_tag", run_id, stale)
        self._log(run_id, tags={"kbn.best_trial": trial} | tags)
        self._best, self._told_best = set(tags), trial

    def _child(self, key: str, attempt: Attempt) -> str:
        if key not in self._runs:
            events = self._journal.events()
            begins = [event for event in events if event["event"] == "begin"]
            session = max(
                (event for event in begins if event["time"] <= attempt.began),
                key=lambda event: event["time"],
                default=begins[0],
            )
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
            began, name = attempt.began, _name(attempt)
            run = self._call("create_run", self._experiment, began, _cut(tags), name)
            self._runs[key] = run.info.run_id
            if session["dataset"]:
                self._call("log_inputs", self._runs[key], [_dataset(session["dataset"])])
        return self._runs[key]

    def _log(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        of: str = "the search",
    ) -> None:
        """In as few calls as MLflow's limits allow, the tags last of all."""
        entries: list[Entry] = [Param(legal(name), str(v)) for name, v in (params or {}).items()]
        entries += [*metrics, *(RunTag(name, v) for name, v in _cut(tags or {}).items())]
        while entries:
            size = _a_batch(entries)
            self._send(run_id, entries[:size], of)
            entries = entries[size:]

    def _send(self, run_id: str, entries: list[Entry], of: str) -> None:
        """All of them but those that the store refuses, which are found by halving."""
        parts = [[e for e in entries if isinstance(e, kind)] for kind in (Metric, Param, RunTag)]
        try:
            self._call("log_batch", run_id, *parts)
        except MlflowException as error:
            self._check(error)
            if self._is_deleted(run_id):
                raise
            if len(entries) == 1:
                kind = type(entries[0]).__name__.removeprefix("Run").lower()
                self._reject(run_id, f"{of}: {kind} {entries[0].key}", error)
                return
            half = len(entries) // 2
            self._send(run_id, entries[:half], of)
            self._send(run_id, entries[half:], of)

    @contextlib.contextmanager
    def _refusable(self, key: str, what: str) -> Iterator[None]:
        """Goes on after what the store refuses."""
        try:
            yield
        except Exception as error:
            log.debug("%s is refused", what, exc_info=True)
            self._reject(self._runs.get(key), what, error)

    def _reject(self, run_id: str | None, what: str, error: Exception) -> None:
        """Takes note of what the store does not take, or raises if it takes nothing at all."""
        self._check(error)
        if run_id and self._is_deleted(run_id):
            self.refusals.append(f"{what}: its run is deleted there, and is not made again")
            self._ended.update(key for key, of in self._runs.items() if of == run_id)
            return
        self.refusals.append(f"{what}: {reason_of(error)}")
        if run_id:
            self._refused[run_id] = True
            self._call("set_tag", run_id, REFUSED, what[:TAG])

    def _take_back(self, run_id: str) -> None:
        """Says no more that something was refused of a run, if that was not by this object."""
        if self._refused.get(run_id) is False:
            self._call("delete_tag", run_id, REFUSED)
            del self._refused[run_id]

    def _check(self, error: Exception) -> None:
        """Raises if it is the store that fails, or what a search needs is deleted there."""
        if isinstance(error, KbnError) or getattr(error, "error_code", None) in UNWELL:
            raise error
        self._check_active(self._call("get_experiment", self._experiment))
        if self._journal.search_id in self._runs:
            self._check_parent(self._call("get_run", self._runs[self._journal.search_id]))

    def _is_deleted(self, run_id: str) -> bool:
        return bool(self._call("get_run", run_id).info.lifecycle_stage != "active")

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        self._pulse.asking = True
        try:
            return getattr(self._client, name)(*args, **kwargs)
        finally:
            self._pulse.asking = False
            self._pulse.beat()


def _a_batch(entries: Sequence[Entry]) -> int:
    """How many of the first of them one call takes."""
    counts = collections.Counter[type]()
    for size, entry in enumerate(entries[:A_BATCH]):
        counts[type(entry)] += 1
        if counts[type(entry)] > (A_BATCH if isinstance(entry, Metric) else PARAMS_A_BATCH):
            return size
    return min(len(entries), A_BATCH)


def _name(attempt: Attempt) -> str:
    retry = f" attempt {attempt.number}" if attempt.number > 1 else ""
    return f"trial {attempt.trial}{retry}"


def _short(name: str) -> str:
    return repr(name if len(name) <= SHOWN else f"{name[:SHOWN]}...")


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
