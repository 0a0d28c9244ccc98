"""MLflow's client of one experiment, without any of MLflow's global state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from mlflow.store.entities import PagedList

from kbn.errors import KbnError, TrackingError
from kbn.tracking._mlflow import keep_silent
from kbn.tracking.pulse import PROMPT_FILE, Pulse
from kbn.tracking.stores import check_server, full_name, open_store, opens
from kbn.uris import database_of, is_server, reason_of, without_credentials

SHOWN_NAME = 60  # characters of an experiment's name in a message


class Client:
    """A connection to an experiment.

    Args:
        uri: of the store.
        experiment: its name; created where it does not exist. In a Databricks workspace, a path,
            or a name in the user's folder.
        pulse: is informed of every call that the store answered.

    Attributes:
        uri: of the store, without secrets.
        by_server: whether a server keeps the store.
        experiment: id of the experiment.

    Raises:
        TrackingError: if the experiment is deleted, or cannot be created.
        mlflow.exceptions.MlflowException: if the store cannot be reached.
    """

    def __init__(self, uri: str, experiment: str, pulse: Pulse):
        self.uri, self._secret_uri = without_credentials(uri), uri
        self.by_server = is_server(uri)
        self._database, self._pulse = database_of(uri), pulse
        if self._database:
            pulse.prompt = PROMPT_FILE
        pulse.asking = not opens(uri)
        self._client: MlflowClient = open_store(uri)
        keep_silent(self._client)
        self._file = self._present_file()
        self.experiment = self._find_or_create(full_name(uri, experiment))
        pulse.beat()

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of MLflow's client."""
        self._pulse.asking = True
        try:
            return getattr(self._client, method)(*args, **kwargs)
        finally:
            self._pulse.asking = False
            self._pulse.beat()

    def check_experiment(self) -> None:
        """Check that the experiment still exists.

        Raises:
            TrackingError: if a user deleted it.
        """
        self._check_active(self.call("get_experiment", self.experiment))

    def why(self, error: Exception) -> str:
        """Return why the store failed, in one line."""
        if isinstance(error, KbnError):
            return str(error)
        if self._file != self._present_file():
            change = "replaced by another one" if self._present_file() else "removed"
            return f"{self.uri}: the database was {change} while it was in use"
        try:
            if self.by_server:
                check_server(self._secret_uri)
        except TrackingError as found:
            return str(found)
        return f"{self.uri}: {reason_of(error)}"

    def _present_file(self) -> tuple[int, int] | None:
        """Identify the database's file; None where there is none."""
        if self._database is None or not self._database.exists():
            return None
        found = self._database.stat()
        return found.st_dev, found.st_ino

    def _find_or_create(self, name: str) -> str:
        known = self._client.get_experiment_by_name(name)
        if known is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException as error:
                known = self._client.get_experiment_by_name(name)
                if known is None:  # else another search created it a moment ago
                    raise TrackingError(
                        f"{self.uri}: experiment {_short(name)} cannot be made: "
                        f"{reason_of(error)}. If it is the name, choose another one."
                    ) from error
        self._check_active(known)
        return str(known.experiment_id)

    def _check_active(self, experiment: Experiment) -> None:
        if experiment.lifecycle_stage != "active":
            raise TrackingError(
                f"{self.uri}: experiment {_short(experiment.name)} is deleted "
                f"there; restore it (mlflow experiments restore -x {experiment.experiment_id}) or "
                "choose another name"
            )


def pages(ask: Callable[..., PagedList[Any]], *args: Any, **options: Any) -> Iterator[Any]:
    """Yield what a method of MLflow's client finds, page by page."""
    token = None
    while token != "":
        page = ask(*args, page_token=token, **options)
        yield from page
        token = page.token or ""


def _short(name: str) -> str:
    return repr(name if len(name) <= SHOWN_NAME else f"{name[:SHOWN_NAME]}...")
