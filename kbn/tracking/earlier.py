"""Earlier searches, read back from the runs of a tracking store."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kbn.tracking.quiet import in_background
from kbn.uris import DEFAULT_STORE, absolute, database_of, with_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARENTS = """
SELECT tags.value, runs.name FROM tags JOIN runs ON tags.run_uuid = runs.run_uuid
WHERE tags.key = 'kbn.key' AND tags.value NOT LIKE '%/%'
"""  # a trial's key has slashes
PATIENCE = 10.0  # seconds to wait for a store: a search can do without it
MOST_TRIALS = 1000  # of a search, and what a store gives at once


@dataclasses.dataclass(frozen=True)
class TrackedTrial:
    """A finished trial as a store keeps it.

    Attributes:
        trial: its id in the search.
        params: {legal name: text} of its values.
        score: of the search's objective.
    """

    trial: str
    params: Mapping[str, str]
    score: float


@dataclasses.dataclass(frozen=True)
class TrackedSearch:
    """A search as a store keeps it.

    Attributes:
        name: of the search.
        trials: the finished ones, the newest first; `MOST_TRIALS` at most.
    """

    name: str
    trials: tuple[TrackedTrial, ...]


def earlier_searches(
    uri: str | None, objective: str, direction: str, *, without: Collection[str], most: int
) -> list[TrackedSearch]:
    """Return the searches of an objective that a store has, the newest first.

    A store that fails, or does not answer within `PATIENCE`, has none: nobody asked for it. MLflow,
    which takes seconds to import, is imported only where there is something to read.

    Args:
        uri: of the store; MLflow's own choice for None.
        objective: name of the metric.
        direction: "min" or "max".
        without: ids and names of searches that are left out.
        most: largest number of searches.
    """
    found: list[TrackedSearch] = []

    def ask() -> None:
        with contextlib.suppress(Exception):
            searches = _searches(_client(uri), objective, direction, without, most)
            found.extend(searches)

    if _may_have_others(uri, without):
        in_background(ask).join(PATIENCE)
    return list(found)  # of its own: the thread may still be at work


def _may_have_others(uri: str | None, without: Collection[str]) -> bool:
    """Return whether a store may have searches beside those; without MLflow, a database says so."""
    given = with_credentials(uri) or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_STORE
    database = database_of(absolute(given, Path.cwd()))
    return database is None or any(not {*each} & {*without} for each in _in_database(database))


def _in_database(database: Path) -> list[tuple[str, str]]:
    """Return id and name of the searches in a database of MLflow's; none if it cannot be read.

    The tables are MLflow's own, and `tests/tracking/test_earlier.py` notices when they change.
    """
    if not database.exists():
        return []
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(database)) as file:
        return file.execute(PARENTS).fetchall()
    return []


def _client(uri: str | None) -> MlflowClient:
    from kbn.tracking.stores import open_store, store_uri

    return open_store(store_uri(with_credentials(uri)))


def _searches(
    client: MlflowClient, objective: str, direction: str, without: Collection[str], most: int
) -> Iterator[TrackedSearch]:
    from kbn.tracking.client import pages
    from kbn.tracking.runs import KEY_TAG

    experiments = [each.experiment_id for each in pages(client.search_experiments)]
    where = f"params.objective = '{objective}' and params.direction = '{direction}'"
    for parent in pages(client.search_runs, experiments, where, order_by=["start_time DESC"]):
        key, name = parent.data.tags.get(KEY_TAG, ""), parent.info.run_name
        if key and key not in without and name not in without:
            trials = tuple(_trials(client, parent, key))
            if trials:
                yield TrackedSearch(name, trials)
                most -= 1
        if not most:
            return


def _trials(client: MlflowClient, parent: Run, search: str) -> Iterator[TrackedTrial]:
    from kbn.tracking.runs import SEARCH_TAG

    runs = client.search_runs(
        [parent.info.experiment_id],
        f"tags.`{SEARCH_TAG}` = '{search}' and attributes.status = 'FINISHED'",
        max_results=MOST_TRIALS,
    )
    for run in runs:
        score, trial = run.data.metrics.get("score"), run.data.tags.get("kbn.trial")
        if score is not None and trial is not None and "kbn.infeasible" not in run.data.tags:
            yield TrackedTrial(trial, run.data.params, score)
