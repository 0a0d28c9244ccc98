"""The parts of MLflow without a public name that kbn.tracking uses; no other module touches them.

tests/tracking/test_adapters.py has one test for each and fails when MLflow changes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlflow import MlflowClient
from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.databricks_utils import get_databricks_host_creds
from mlflow.utils.rest_utils import http_request

from kbn.uris import is_workspace

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import requests
    from mlflow.models import Model
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor


# Private because MLflow documents neither the tag in which its page of runs keeps a view that was
# shared, nor the query that names the view; a link can choose the columns in no other way.
SHARED_VIEW_TAG, SHARED_VIEW_QUERY = "mlflow.sharedViewState.", "viewStateShareKey"
_DEFAULTS: Mapping[str, Any] = {  # older pages fail where a part of the state is missing
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "datasetsFilter": [],
    "modelVersionFilter": "All Runs",
    "columnOrder": [],
    "columnWidths": {},
    "runsExpanded": {},
    "runsPinned": [],
    "runsHidden": [],
    "runsVisibilityMap": {},
    "runsHiddenMode": "FIRST_10_RUNS",
    "groupBy": None,
    "groupsExpanded": {},
    "useGroupedValuesInCharts": True,
    "hideEmptyCharts": True,
    "autoRefreshEnabled": True,
    "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0},
}


def shared_view(key: str, state: Mapping[str, Any]) -> tuple[str, str]:
    """Return the tag of an experiment that shares a view of its runs: name and value."""
    return f"{SHARED_VIEW_TAG}{key}", json.dumps({**_DEFAULTS, **state})


def keep_silent(client: MlflowClient) -> None:
    """Keep a client from printing the address of every run that ends to stdout.

    Private (`_tracking_client._log_url`) because MLflow has no setting for it; the method also asks
    the server for the run once more.
    """
    client._tracking_client._log_url = lambda _: None


def create_database(uri: str) -> None:
    """Create the tables of a SQLite store where they are missing, and close the connections to it.

    Private (`SqlAlchemyStore`, `DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH`) because publicly MLflow
    creates a database as a side effect of its first use, and keeps the connections to a file even
    after another one has taken its place.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # takes a second to import

    SqlAlchemyStore(uri, DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH).engine.dispose()


def ask_once(uri: str, path: str, seconds: float, **params: object) -> requests.Response:
    """Send a GET request to a tracking server or workspace with the user's credentials.

    Private (`get_default_host_creds`, `http_request`) because MLflow's public calls retry for
    minutes, and hide the status and type of the answer.

    Args:
        uri: of the server, or of the Databricks workspace.
        path: of the endpoint.
        seconds: that the server has to answer.
        **params: of the request.

    Raises:
        mlflow.exceptions.MlflowException: if there is no answer.
    """
    credentials = get_databricks_host_creds if is_workspace(uri) else get_default_host_creds
    return http_request(
        credentials(uri),
        path,
        "GET",
        max_retries=0,
        timeout=seconds,
        raise_on_status=False,
        params=params,
    )


def workspace_address(uri: str) -> str:
    """Return the address of the Databricks workspace that a URI means, as https://HOST.

    Private (`get_databricks_host_creds`) because MLflow has no public name for the workspace that
    `databricks://PROFILE` and the environment choose.

    Raises:
        mlflow.exceptions.MlflowException: if neither names a workspace.
    """
    return str(get_databricks_host_creds(uri).host).rstrip("/")


def monitor_of(uri: str, run_id: str) -> SystemMetricsMonitor:
    """Return what logs the machine's use to a run, between its `start` and `finish`.

    Private (`SystemMetricsMonitor`) because publicly MLflow measures only for the run that its
    fluent interface has begun, in the process' own store.
    """
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    return SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)


def load_keras_function(path: str) -> Any:
    """Load a saved Keras model as MLflow's generic function.

    Private (`mlflow.keras.load._load_pyfunc`) because publicly `mlflow.pyfunc.load_model` does this
    only for the loader that the model names, which is kbn's.
    """
    from mlflow.keras.load import _load_pyfunc

    return _load_pyfunc(path)


def save_example(model: Model, example: pd.DataFrame, directory: Path) -> None:
    """Save some rows of a table as the input example of a saved model, and note them in the model.

    Private (`mlflow.models.utils._save_example`) because publicly only a flavor's `save_model` does
    this, and that of Keras wants arrays.
    """
    from mlflow.models.utils import _save_example

    _save_example(model, example, str(directory))
