"""Databricks workspaces as tracking stores: where their experiments lie, and their pages."""

from __future__ import annotations

import http

from mlflow.exceptions import MlflowException

from kbn.errors import TrackingError
from kbn.tracking._mlflow import ask_once, workspace_address
from kbn.uris import reason_of

ME = "/api/2.0/preview/scim/v2/Me"
PATIENCE = 10.0  # seconds
HINT = (
    "Set DATABRICKS_HOST and DATABRICKS_TOKEN, or name a profile of ~/.databrickscfg: "
    "databricks://PROFILE"
)


def address(uri: str) -> str:
    """Return the address of the workspace that a URI means, as https://HOST.

    Raises:
        TrackingError: if neither the URI nor the environment names one.
    """
    try:
        return workspace_address(uri)
    except (MlflowException, ValueError) as error:
        raise _error(uri, reason_of(error)) from error


def experiment_path(uri: str, experiment: str) -> str:
    """Return the path of an experiment: by itself a name lies in the user's own folder.

    Args:
        uri: of the workspace.
        experiment: a name, or a path such as /Shared/digits.

    Raises:
        TrackingError: if the workspace does not tell the user's name.
    """
    if experiment.startswith("/"):
        return experiment
    try:
        answer = ask_once(uri, ME, PATIENCE)
        if answer.status_code != http.HTTPStatus.OK:
            raise _error(uri, f"it answers with status {answer.status_code}")
        return f"/Users/{answer.json()['userName']}/{experiment}"
    except (MlflowException, ValueError, KeyError, TypeError) as error:
        raise _error(uri, reason_of(error)) from error


def _error(uri: str, received: str) -> TrackingError:
    return TrackingError(
        f"{uri}: the workspace must know the user. Got: {received}. {HINT}, or give the "
        "experiment a path: /Shared/NAME"
    )
