"""MLflow's tracking stores: which one is meant, whether it exists, and how a new one is made."""

from __future__ import annotations

import contextlib
import http
import re
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from kbn.errors import TrackingError, ViolationError
from kbn.files import locked, remove_lock, replace, sync
from kbn.tracking import databricks
from kbn.tracking._mlflow import ask_once, create_database
from kbn.tracking.quiet import in_background, quiet
from kbn.uris import (
    DEFAULT_STORE,
    absolute,
    check_uri,
    database_of,
    is_server,
    is_workspace,
    reason_of,
    without_credentials,
)

ANSWER = 1.0  # seconds
ATTENTION = 10.0  # seconds in which a server must answer for trials to be sent to it
PROBE_PATH = "/api/2.0/mlflow/experiments/search"
LOGIN = {
    http.HTTPStatus.UNAUTHORIZED: "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
    "MLFLOW_TRACKING_TOKEN",
    http.HTTPStatus.FORBIDDEN: "Use the name of a user who may write there, or ask its owner",
}


def store_uri(tracking_uri: str | None = None, directory: Path | None = None) -> str:
    """Return the tracking URI that is meant, with an absolute path where it names a file.

    Args:
        tracking_uri: MLflow's own choice for None.
        directory: that a relative path starts from; the working directory if None.
    """
    chosen = tracking_uri or mlflow.get_tracking_uri()
    if not tracking_uri and not mlflow.is_tracking_uri_set() and database_of(chosen):
        chosen = DEFAULT_STORE  # MLflow's is in the working directory, which a trial may change
    return absolute(chosen, directory or Path.cwd())


def open_store(uri: str) -> MlflowClient:
    """Return a client of a store, which is created first if it is a new database.

    Raises:
        TrackingError: if MLflow has no such kind of store, or a server does not answer as MLflow's.
        mlflow.exceptions.MlflowException: if the store fails.
    """
    try:
        check_uri(uri)
    except ViolationError as error:
        (violation,) = error.violations
        raise TrackingError(
            f"{violation.shown}: a tracking URI {violation.rule}. {violation.hint}"
        ) from None
    if is_server(uri):
        check_server(uri)
    file = database_of(uri)
    if file is not None:
        make(file)
        create_database(uri)  # nothing but to forget connections to a file that was removed since
    return MlflowClient(uri)


def make(file: Path) -> None:
    """Create a database of MLflow's where there is none: whole or not at all.

    MLflow itself would leave a half-made one for good after a kill, or after two processes at once.
    """
    if not _is_missing(file):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    lock, draft = (file.with_name(f"{file.name}.{end}") for end in ("lock", "new"))
    with locked(lock, waits=True):
        if _is_missing(file):
            for old in (draft, draft.with_name(f"{draft.name}-journal")):  # left by a kill
                old.unlink(missing_ok=True)
            with quiet():
                create_database(f"sqlite:///{draft.as_posix()}")
            replace(draft, file)
            sync(file.parent)
        with contextlib.suppress(PermissionError):  # of Windows: then it stays
            remove_lock(lock)  # who waits for it finds the database


def check_server(uri: str) -> None:
    """Check that a server answers as a tracking server, without MLflow's retries of minutes.

    Raises:
        TrackingError: if it does not answer, or not as a tracking server; says which.
    """
    shown = without_credentials(uri)
    try:
        answer = ask_once(uri, PROBE_PATH, ATTENTION, max_results=1)
    except MlflowException as error:
        raise TrackingError(
            f"{shown}: the tracking store must answer. Got: {_no_answer(str(error))}"
        ) from None
    status, got = answer.status_code, f"it answers with status {answer.status_code}"
    with contextlib.suppress(ValueError):
        got += f" ({http.HTTPStatus(status).phrase})"
    kind = answer.headers.get("Content-Type", "none").partition(";")[0]
    if status in LOGIN:
        raise TrackingError(f"{shown}: {got}. {LOGIN[http.HTTPStatus(status)]}")
    if status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
        raise TrackingError(f"{shown}: the tracking store must answer. Got: {got}")
    if status != http.HTTPStatus.OK or not answer.text.lstrip().startswith("{"):
        raise TrackingError(f"{shown}: this is no MLflow server. Got: {got}, type {kind}")


def _no_answer(text: str) -> str:
    """Return the reason of a connection's failure, in a few words."""
    if refused := re.search(r"certificate verify failed: ([^(\"']*\w)", text):
        return (
            f"a certificate that cannot be trusted, {refused[1]}. Name the authority's file in "
            "MLFLOW_TRACKING_SERVER_CERT_PATH"
        )
    if "SSLError" in text:
        return "no HTTPS"
    if "timeout exception" in text:
        return f"nothing for {ATTENTION:g} seconds"
    if failed := re.search(r"\[Errno -?\d+\] ([\w ]+)", text):
        return failed[1]
    return without_credentials(text.partition("\n")[0])


def full_name(uri: str, experiment: str) -> str:
    """Return the name that an experiment has in a store: in a Databricks workspace, a path.

    Raises:
        TrackingError: if the workspace does not tell the user's name, in whose folder it lies.
    """
    return databricks.experiment_path(uri, experiment) if is_workspace(uri) else experiment


def ui_address(uri: str) -> str | None:
    """Return the address of a store's own pages, without credentials; None for a database.

    Raises:
        TrackingError: if the URI means a Databricks workspace, but names none.
    """
    if is_workspace(uri):
        return databricks.address(uri)
    return without_credentials(uri).rstrip("/") if is_server(uri) else None


def experiment_page(
    experiment: str,
    tracking_uri: str | None = None,
    query: Callable[[Mapping[str, str]], str] | None = None,
) -> str | None:
    """Return the page of MLflow's UI that lists an experiment's runs, below the UI's address.

    The UI's own first page is that of language models' traces.

    Args:
        experiment: its name.
        tracking_uri: MLflow's own choice for None.
        query: takes the experiment's tags, and returns the query that chooses among its runs; None
            for all of them.

    Returns:
        None if there is no such experiment, or if the store does not answer in `ANSWER` seconds.
    """
    uri, pages = store_uri(tracking_uri), list[str]()
    if is_new(uri):
        return None

    def ask() -> None:
        with contextlib.suppress(MlflowException, TrackingError):
            known = MlflowClient(uri).get_experiment_by_name(full_name(uri, experiment))
            if known:
                start = "/ml" if is_workspace(uri) else "/#"
                chosen = f"?{query(known.tags)}" if query else ""
                pages.append(f"{start}/experiments/{known.experiment_id}/runs{chosen}")

    thread = in_background(ask)  # the client would wait long for a store that hangs
    thread.join(None if opens(uri) else ANSWER)
    return next(iter(pages), None)


def check_store(tracking_uri: str | None = None) -> str:
    """Return the URI of the store that is meant, which must exist.

    Raises:
        TrackingError: if the store cannot be reached, or is a database that does not exist.
    """
    uri = store_uri(tracking_uri)
    if is_new(uri):
        raise TrackingError(
            f"{uri}: no trials are tracked in this directory. First: kbn tune RECIPE"
        )
    try:
        with quiet():
            open_store(uri).search_experiments(max_results=1)
    except TrackingError:
        raise
    except Exception as error:
        raise TrackingError(
            f"{without_credentials(uri)}: the tracking store must answer; got: {reason_of(error)}"
        ) from error
    return uri


def is_new(uri: str) -> bool:
    """Return whether a store is a database that has yet to be created, which takes seconds."""
    file = database_of(uri)
    return file is not None and _is_missing(file)


def opens(uri: str) -> bool:
    """Return whether a store is a database that nobody has locked.

    The time that opening it takes is then spent on kbn's own work, not on waiting for the store.
    """
    file = database_of(uri)
    if file is None or _is_missing(file):
        return file is not None
    database = sqlite3.connect(file, timeout=0)
    try:
        database.execute("BEGIN IMMEDIATE")
    except sqlite3.Error:
        return False
    finally:
        database.close()
    return True


def _is_missing(file: Path) -> bool:
    """Return whether a file does not exist, or is empty as SQLite leaves one without tables."""
    return not file.exists() or file.stat().st_size == 0
