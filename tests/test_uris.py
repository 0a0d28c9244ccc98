from pathlib import Path, PureWindowsPath

import pytest

from kbn.errors import ViolationError
from kbn.uris import absolute, check_uri, is_store, with_credentials, without_credentials


@pytest.mark.parametrize(("text", "kept"), [
    ("sqlite:////a/mlflow.db", None),
    ("http://host:5000/path?x=me@home", None),
    ("https://user:pass@host/path", "https://host/path"),
    ("https://token@host/path.git", "https://host/path.git"),
    ("https://user:p@ss@host", "https://host"),
    ("postgresql+psycopg2://user:pass@host/db", "postgresql+psycopg2://host/db"),
    ("postgresql://user@host/db", None),  # a name is no secret, and the database needs it
    ("mysql://h/db?user=u&password=secret&x=1", "mysql://h/db?user=u&password=&x=1"),
    ("mssql://h/?odbc_connect=PWD%3Dsecret", "mssql://h/?odbc_connect="),
    ('{"uri": "http://u:p@host", "mail": "me@home"}', '{"uri": "http://host", "mail": "me@home"}'),
    ("uri: postgres://user:pass@host/db\nother: x@y", "uri: postgres://host/db\nother: x@y"),
])  # fmt: skip
def test_no_password_or_token_is_left_in_a_text(text, kept):
    assert without_credentials(text) == (text if kept is None else kept)


@pytest.mark.parametrize(("own", "uri", "full"), [
    (None, "http://host", "http://host"),
    ("http://u:p@host", "http://host", "http://u:p@host"),
    ("http://u:p@host", "http://other", "http://other"),
    ("http://u:p@host", None, None),
    ("postgresql://u:p@h/db", "postgresql://h/db", "postgresql://u:p@h/db"),
    ("postgresql://u:p@h/db", "postgresql://h/db2", "postgresql://h/db2"),
])  # fmt: skip
def test_credentials_come_back_from_the_environment_for_the_same_place_alone(
    own, uri, full, monkeypatch
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if own:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", own)
    assert with_credentials(uri) == full


@pytest.mark.parametrize(("uri", "full"), [
    ("sqlite:///mlflow.db", "sqlite:////home/me/mlflow.db"),
    ("sqlite+pysqlite:///a/b.db?timeout=5", "sqlite+pysqlite:////home/me/a/b.db?timeout=5"),
    ("sqlite:////a/b.db", "sqlite:////a/b.db"),
    ("postgresql://host/mlflow.db", "postgresql://host/mlflow.db"),
    ("http://host/mlflow.db", "http://host/mlflow.db"),
])  # fmt: skip
def test_only_a_relative_path_of_a_database_is_made_absolute(uri, full):
    assert absolute(uri, Path("/home/me")) == full


class WindowsPath(PureWindowsPath):
    """A directory of Windows, on any system."""

    def resolve(self):
        return self


@pytest.mark.parametrize(("uri", "full"), [
    ("sqlite:///mlflow.db", "sqlite:///C:/Users/me/mlflow.db"),
    ("sqlite:///D:/runs/mlflow.db", "sqlite:///D:/runs/mlflow.db"),
    (r"sqlite:///D:\runs\mlflow.db", "sqlite:///D:/runs/mlflow.db"),
    ("http://host/mlflow.db", "http://host/mlflow.db"),
])  # fmt: skip
def test_on_windows_the_absolute_path_of_a_database_has_its_disk(uri, full):
    assert absolute(uri, WindowsPath(r"C:\Users\me")) == full


def test_a_path_on_a_disk_of_windows_is_a_directory_which_mlflow_does_not_take(monkeypatch):
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    for uri in (r"C:\runs", "D:/runs"):
        assert is_store(uri)
        with pytest.raises(ViolationError, match="must name a database or a server"):
            check_uri(uri)


def test_only_mlflows_own_stores_are_stores():
    good = ["mlruns", "/a/b", "file:///a", "sqlite:///a.db", "http://h", "mysql+pymysql://h/d"]
    good += ["databricks", "databricks://profile", "databricks-uc", "uc:https://h"]
    assert [uri for uri in good if not is_store(uri)] == []
    bad = ["postgres://h/d", "s3://b", "ftp://h", "plugin://", "http://["]
    assert [uri for uri in bad if is_store(uri)] == []
