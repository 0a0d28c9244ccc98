"""MLflow's tracking stores: which one is meant, whether it is there, and how a new one is made."""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from kbn.errors import TrackingError
from kbn.tracking.sending import in_background

SQLITE = "sqlite:///"
ANSWER = 1.0  # seconds


def store_uri(tracking_uri: str | None = None) -> str:
    """The tracking URI that is meant: MLflow's own choice for None."""
    return tracking_uri or mlflow.get_tracking_uri()


def page_of(experiment: str, tracking_uri: str | None = None) -> str | None:
    """The page of MLflow's UI that lists an experiment's runs, below its address.

    MLflow's own first page is that of language models' traces.

    Returns:
        None if there is no such experiment, or a server or a locked database does not say
        so in `ANSWER` seconds.
    """
    pages: list[str] = []

    def ask() -> None:
        with contextlib.suppress(MlflowException):
            known = MlflowClient(tracking_uri).get_experiment_by_name(experiment)
            if known:
                pages.append(f"/#/experiments/{known.experiment_id}/runs")

    thread = in_background(ask)  # which would wait long for one that hangs
    thread.join(None if opens(store_uri(tracking_uri)) else ANSWER)
    return next(iter(pages), None)


def check_store(tracking_uri: str | None = None) -> str:
    """The URI that is meant, if there is a store.

    Raises:
        TrackingError: if it cannot be reached, or is a database that nobody made.
    """
    uri = store_uri(tracking_uri)
    if is_new(uri):
        raise TrackingError(
            f"{uri}: no trials are tracked in this directory. First: kbn tune RECIPE"
        )
    try:
        MlflowClient(uri).search_experiments(max_results=1)
    except MlflowException as error:
        reason = str(error).partition("\n")[0]
        raise TrackingError(f"{uri}: the tracking store must answer; got: {reason}") from None
    return uri


def is_new(uri: str) -> bool:
    """Whether a store is a database that MLflow has to make first, which takes it seconds."""
    return uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists()


def opens(uri: str) -> bool:
    """Whether a store is a database that nobody has locked: what opening it takes is our own."""
    if not uri.startswith(SQLITE) or is_new(uri):
        return is_new(uri)
    database = sqlite3.connect(uri.removeprefix(SQLITE), timeout=0)
    try:
        database.execute("BEGIN IMMEDIATE")
    except sqlite3.Error:
        return False
    finally:
        database.close()
    return True


@contextlib.contextmanager
def made_by_one_process(uri: str) -> Iterator[None]:
    """Lets only one process of kbn make the tables of a new database: of two, MLflow loses one."""
    if not is_new(uri):
        yield
        return
    file = Path(uri.removeprefix(SQLITE))
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f"{file.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
