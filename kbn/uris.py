"""URIs of tracking stores: which of them MLflow takes, which are files, and all without secrets.

Needs no MLflow, whose import takes seconds.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kbn.errors import Text, Violation, ViolationError

SERVERS = ("http", "https")
DATABRICKS = "databricks"
DEFAULT_STORE = "sqlite:///mlflow.db"  # MLflow's, where nothing names another one
PLUGINS = "mlflow.tracking_store"  # entry points of stores that MLflow does not bring
MASK = "***"
REASON = 300  # characters of a reason that are told
# "" is a plain path, or `databricks` by itself
SCHEMES = (
    *("", "http", "https", "file", "sqlite", "postgresql", "mysql", "mssql"),
    *(DATABRICKS, "databricks-uc", "uc"),
)
_SQLITE = re.compile(r"sqlite(?:\+\w+)?:///(?!:memory:|file:)([^?]+)")
# in a URL a lone user may be a token; a database may need its user's name
_LOGIN = re.compile(r"""(https?://)[^/\s"']*@|(\w://)[^/\s"'@:]*:[^/\s"']*@""")
_SECRET = re.compile(
    r"""([?&][\w.-]*(?:password|passwd|pwd|token|secret|api_?key|odbc_connect)=)[^&\s"'#]+""",
    re.IGNORECASE,
)
# what people read has stars in place of more: of all up to the last @ of a word
_SHOWN = re.compile(r"(://)\S*(@)")


def scheme_of(uri: str) -> str | None:
    """Return the scheme without a driver; "" for a path, None for what is no URI."""
    try:
        scheme = urlsplit(uri).scheme.partition("+")[0]
        return scheme if len(scheme) > 1 else ""  # a letter is a disk of Windows
    except ValueError:
        return None


def is_store(uri: str) -> bool:
    """Return whether a URI has the scheme of one of MLflow's own tracking stores."""
    return scheme_of(uri) in SCHEMES


def is_server(uri: str) -> bool:
    """Return whether a store is a server reached by HTTP."""
    return scheme_of(uri) in SERVERS


def is_workspace(uri: str) -> bool:
    """Return whether a store is a Databricks workspace: `databricks` or databricks://PROFILE."""
    return uri == DATABRICKS or scheme_of(uri) == DATABRICKS


def database_of(uri: str) -> Path | None:
    """Return the file of a SQLite store; None for any other store."""
    match = _SQLITE.fullmatch(uri.partition("?")[0])
    return Path(match[1]) if match else None


def absolute(uri: str, directory: Path) -> str:
    """Return a store's URI with the path of its SQLite file made absolute.

    MLflow keeps one connection per URI in a process: a relative path would go on to mean the file
    of the directory in which it was used first.

    Args:
        uri: of any store; what is no file, or has an absolute path, stays as it is.
        directory: that a relative path starts from.
    """
    place, mark, query = uri.partition("?")
    match = _SQLITE.fullmatch(place)
    if match is None:
        return uri
    return f"{place[: match.start(1)]}{(directory.resolve() / match[1]).as_posix()}{mark}{query}"


def without_credentials(text: str) -> str:
    """Remove users, passwords and tokens from a URI, or from a text that holds URIs."""
    return _SECRET.sub(r"\1", _LOGIN.sub(lambda match: match[1] or match[2], text))


def masked(shown: Any) -> Any:
    """Replace the user, password and tokens of every URI in text or JSON values with stars."""
    if isinstance(shown, str):
        return _SECRET.sub(rf"\1{MASK}", _SHOWN.sub(rf"\1{MASK}\2", shown))
    if isinstance(shown, dict):
        return {masked(key): masked(value) for key, value in shown.items()}
    return [masked(value) for value in shown] if isinstance(shown, list) else shown


def with_credentials(uri: str | None) -> str | None:
    """Add the credentials that MLFLOW_TRACKING_URI has for the same place to a URI without any.

    A server's may be in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD: MLflow reads these.
    """
    own = os.environ.get("MLFLOW_TRACKING_URI")
    return own if own and uri is not None and without_credentials(own) == uri else uri


def reason_of(error: BaseException) -> str:
    """Return why something failed, in one line without secrets, SQL or HTML."""
    origins = (getattr(each, "orig", None) for each in (error, error.__cause__))
    told = next(filter(None, origins), error)  # what SQLAlchemy has of the database's driver
    return without_credentials(str(told).strip().partition("\n")[0] or repr(told))[:REASON]


def check_uri(uri: str) -> None:
    """Check that MLflow has a kind of store for a URI, without contacting the store.

    Raises:
        ViolationError: with the rule, of the key `uri`, if it has none.
    """
    scheme, received = scheme_of(uri), Text(masked(uri))
    hint = "For example sqlite:///mlflow.db, or http:// and the address of a server"
    if scheme and re.search(r"\s", uri):  # where it ends could not be told, nor what to hide
        raise _violation("must be a URI without spaces", "Write %20 for a space")
    if scheme in ("", "file") and uri not in SCHEMES:
        if os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() not in ("true", "1"):
            rule = (
                "must name a database or a server: MLflow keeps no trials in directories any more"
            )
            raise _violation(rule, hint, received)
        return
    plugins = [entry.name for entry in importlib.metadata.entry_points(group=PLUGINS)]
    if scheme not in (*SCHEMES, *plugins):
        rule = f"must begin with one of {', '.join(f'{name}:' for name in SCHEMES if name)}"
        mend = "Write postgresql://" if scheme == "postgres" else hint
        raise _violation(rule, mend, received)
    if re.fullmatch(r"sqlite(\+\w+)?:(//)?/?(:memory:)?", uri):
        rule = "must name a file: a database in memory ends with its process"
        raise _violation(rule, hint, received)


def _violation(rule: str, hint: str, received: Text | None = None) -> ViolationError:
    return ViolationError(Violation(rule, hint, "uri", received))
