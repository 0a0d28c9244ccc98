"""MLflow's tracking stores: which one is meant, whether it is there, and how a new one is made."""

from __future__ import annotations

import contextlib
import http
import re
import sqlite3
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from kbn.errors import TrackingError, ViolationError
from kbn.files import locked, sync
from kbn.tracking.sending import in_background, quiet
from kbn.uris import absolute, check_uri, database_of, is_server, reason_of, without_credentials

ANSWER = 1.0  # seconds
ATTENTION = 10.0  # seconds in which a server must answer for trials to be sent to it
PROBE = "/api/2.0/mlflow/experiments/search"
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
    return absolute(tracking_uri or mlflow.get_tracking_uri(), directory or Path.cwd())


def open_store(uri: str) -> MlflowClient:
    """A client of a store that is there, or is made if it is a new database.

    Raises:
        TrackingError: if there is no such kind of store, or a server does not answer as MLflow's.
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
        _forget_connections(uri)  # to a file that was removed since
    return MlflowClient(uri)


def make(file: Path) -> None:
    """Makes a database of MLflow's, unless it is there: whole or not at all.

    MLflow itself would leave a half-made one to a kill, or to two processes at once, for good.
    """
    if not _is_missing(file):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    lock, draft = (file.with_name(f"{file.name}.{end}") for end in ("lock", "new"))
    with locked(lock, waits=True):
        if _is_missing(file):
            for old in (draft, draft.with_name(f"{draft.name}-journal")):  # a kill's
                old.unlink(missing_ok=True)
            with quiet():
                _forget_connections(f"sqlite:///{draft}")  # which makes it
            draft.replace(file)
            sync(file.parent)
        lock.unlink(missing_ok=True)  # who waits for it finds the database


def _forget_connections(uri: str) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # takes a second to import

    SqlAlchemyStore(uri, DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH).engine.dispose()


def check_server(uri: str) -> None:
    """Asks a server once, without MLflow's retries, which take minutes.

    Raises:
        TrackingError: if it does not answer, or not as a tracking server; says which.
    """
    creds, shown = get_default_host_creds(uri), without_credentials(uri)
    try:
        answer = http_request(
            creds,
            PROBE,
            "GET",
            max_retries=0,
            timeout=ATTENTION,
            raise_on_status=False,
            params={"max_results": 1},
        )
    except MlflowException as error:
        raise TrackingError(
            f"{shown}: the tracking store must answer. Got: {_no_answer(str(error))}"
        ) from None
    status, told = answer.status_code, f"it answers with status {answer.status_code}"
    with contextlib.suppress(ValueError):
        told += f" ({http.HTTPStatus(status).phrase})"
    kind = answer.headers.get("Content-Type", "none").partition(";")[0]
    if status in LOGIN:
        raise TrackingError(f"{shown}: {told}. {LOGIN[http.HTTPStatus(status)]}")
    if status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
        raise TrackingError(f"{shown}: the tracking store must answer. Got: {told}")
    if status != http.HTTPStatus.OK or not answer.text.lstrip().startswith("{"):
        raise TrackingError(f"{shown}: this is no MLflow server. Got: {told}, type {kind}")


def _no_answer(text: str) -> str:
    """What a connection's failure comes to."""
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


def page_of(experiment: str, tracking_uri: str | None = None) -> str | None:
    """The page of MLflow's UI that lists an experiment's runs, below its address.

    MLflow's own first page is that of language models' traces.

    Returns:
        None if there is no such experiment, or a server or a locked database does not say
        so in `ANSWER` seconds.
    """
    uri, pages = store_uri(tracking_uri), list[str]()
    if is_new(uri):
        return None

    def ask() -> None:
        with contextlib.suppress(MlflowException):
            known = MlflowClient(uri).get_experiment_by_name(experiment)
            if known:
                pages.append(f"/#/experiments/{known.experiment_id}/runs")

    thread = in_background(ask)  # which would wait long for one that hangs
    thread.join(None if opens(uri) else ANSWER)
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
    """Whether a store is a database that has to be made first, which takes seconds."""
    file = database_of(uri)
    return file is not None and _is_missing(file)


def opens(uri: str) -> bool:
    """Whether a store is a database that nobody has locked: what opening it takes is our own."""
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
    """Also if it is empty, as SQLite leaves one that it opened and did not write."""
    return not file.exists() or file.stat().st_size == 0
