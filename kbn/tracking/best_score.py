"""The best score after each trial, and the best trial, on a search's parent run."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Metric

from kbn.tracking.attempts import Attempt
from kbn.tracking.client import Client
from kbn.tracking.entries import metric
from kbn.tracking.journal import Journal
from kbn.tracking.names import legal
from kbn.tracking.runs import Runs
from kbn.tracking.sealed import Event
from kbn.tracking.writer import Writer

VALUES = "best/"  # begins the names of the tags that hold the best trial's values
BEST_TRIAL = "kbn.best_trial"
FOREMOST = "best/score"  # the same: a run's page draws folders first, this one before the boxes
SCORES = "kbn.scores"  # of how many attempts the parent run has the best score
SCORES_A_CALL = 100


class BestScore:
    """The best score of a search, which grows trial by trial.

    Args:
        client: of the search's experiment.
        journal: of the search.
        runs: of the search.
        writer: to these runs.
    """

    def __init__(self, client: Client, journal: Journal, runs: Runs, writer: Writer):
        self._client, self._journal, self._runs, self._writer = client, journal, runs, writer
        tags = runs.parent_tags
        self._keys: set[str] = set()  # of the attempts in what follows
        self._scores: list[Metric] = []  # the best score after each of them
        self._leader: Attempt | None = None  # the one with the best score
        self._score = math.nan
        self._sent, self._named = int(tags.get(SCORES, 0)), tags.get(BEST_TRIAL, "")
        self._tags = {name for name in tags if name.startswith(VALUES)}

    def add(self, key: str, attempt: Attempt) -> None:
        """Add the score of an attempt, if it has ended with one and violates no constraint."""
        if (
            attempt.violations
            or key in self._keys
            or attempt.status != "COMPLETED"
            or attempt.ended is None
        ):
            return
        if attempt.score is None or not math.isfinite(attempt.score):
            return
        if self._leader is None or self._sign * attempt.score < self._sign * self._score:
            self._leader, self._score = attempt, attempt.score
        self._keys.add(key)
        self._scores.append(metric("best_score", self._score, attempt.ended, len(self._keys)))
        if len(self._scores) >= self._sent + SCORES_A_CALL:
            self.push(self._journal.events())

    def push(self, events: list[Event]) -> None:
        """Send the best scores that are new, and the trial of the last one.

        Args:
            events: of the search; at least one of them begins a session.
        """
        if self._leader is None or len(self._scores) <= self._sent:
            return
        run_id, ended = self._runs.parent(events), self._leader.ended or 0
        ends = (e for e in events if e["event"] == "end" and e.get("best"))
        decided = any(event["time"] >= ended for event in ends)
        if self._leader.trial != self._named and not decided:
            self.name_best(run_id, self._leader.trial, self._leader.values)
        count, new = {SCORES: str(len(self._scores))}, self._scores[self._sent :]
        foremost = [Metric(FOREMOST, each.value, each.timestamp, each.step) for each in new]
        self._writer.log(run_id, [*new, *foremost], tags=count)
        self._sent = len(self._scores)

    def name_best(self, run_id: str, trial: str, values: Mapping[str, Any]) -> None:
        """Name the best trial and its values on the parent run, and no value of an earlier one.

        While the search runs, it is the trial of the best score; at its end the one that the oracle
        chose, which may weigh more than one score.
        """
        tags = {legal(f"{VALUES}{name}"): str(value) for name, value in values.items()}
        for stale in self._tags - tags.keys():
            self._client.call("delete_tag", run_id, stale)
        self._writer.log(run_id, tags={BEST_TRIAL: trial} | tags)
        self._tags, self._named = set(tags), trial

    @functools.cached_property
    def _sign(self) -> int:
        """1 if the lower of two scores is the better one, else -1."""
        events = self._journal.events()
        direction = next(e["params"]["direction"] for e in events if e["event"] == "begin")
        return 1 if direction == "min" else -1
