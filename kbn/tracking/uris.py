"""Tracking URIs: which ones MLflow's own stores have, and how they are kept without secrets."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

# "" is a plain path, or `databricks` by itself
SCHEMES = (
    *("", "http", "https", "file", "sqlite", "postgresql", "mysql", "mssql"),
    *("databricks", "databricks-uc", "uc"),
)
# in a URL a lone user may be a token; a database may need its user's name
_LOGIN = re.compile(r"""(https?://)[^/\s"']*@|(\w://)[^/\s"'@:]*:[^/\s"']*@""")
_SECRET = re.compile(
    r"""([?&][\w.-]*(?:password|passwd|pwd|token|secret|api_?key|odbc_connect)=)[^&\s"'#]+""",
    re.IGNORECASE,
)


def is_store(uri: str) -> bool:
    """Whether a URI has the scheme of one of MLflow's own tracking stores."""
    try:
        scheme, _, _driver = urlsplit(uri).scheme.partition("+")
    except ValueError:
        return False
    return scheme in SCHEMES


def without_credentials(text: str) -> str:
    """A URI, or a text that holds URIs, without the users, passwords and tokens in them."""
    return _SECRET.sub(r"\1", _LOGIN.sub(lambda match: match[1] or match[2], text))


def with_credentials(uri: str | None) -> str | None:
    """A URI with the credentials that MLFLOW_TRACKING_URI has for the same place, if it has none.

    A server's may be in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD: MLflow reads these.
    """
    own = os.environ.get("MLFLOW_TRACKING_URI")
    return own if own and uri is not None and without_credentials(own) == uri else uri
