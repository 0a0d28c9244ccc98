"""A Databricks workspace as the store: MLflow's server behind the workspace's addresses."""

import contextlib
import http.client
import http.server
import json
import threading

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from kbn.cli.main import cli
from kbn.errors import TrackingError
from kbn.tracking import stores
from kbn.tracking.push import push
from tracking.searches import ended_search
from tracking.serving import Server, free_port

USER, TOKEN = "ada@example.com", "dapi-secret"


@contextlib.contextmanager
def workspace_of(server):
    """Answers who the user is, and passes all else on to a server of MLflow."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path.startswith("/.well-known/"):
                self.reply(200, b"{}")
            elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self.reply(403, b'{"error_code": "403", "message": "Invalid access token."}')
            elif self.path.startswith("/api/2.0/preview/scim/v2/Me"):
                self.reply(200, json.dumps({"userName": USER}).encode())
            else:
                behind = http.client.HTTPConnection(server.uri.removeprefix("http://"))
                kind = {"Content-Type": "application/json"}
                behind.request(self.command, self.path, body, kind)
                answer = behind.getresponse()
                self.reply(answer.status, answer.read())
                behind.close()

        def reply(self, status, body):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = answer  # noqa: N815

        def log_message(self, *_):
            pass

    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}"
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()


@pytest.fixture(scope="module")
def workspace_address(tmp_path_factory):
    directory = tmp_path_factory.mktemp("databricks")
    with contextlib.chdir(directory):
        server = Server("sqlite:///mlflow.db", free_port())
    try:
        with workspace_of(server) as address:
            yield address
    finally:
        server.kill()


@pytest.fixture
def host(workspace_address, workspace, monkeypatch):
    """Address of a workspace that the environment names."""
    monkeypatch.setenv("DATABRICKS_HOST", workspace_address)
    monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
    return workspace_address


@pytest.mark.slow
def test_a_search_lies_in_the_users_folder_of_a_workspace(host, workspace):
    ended_search(workspace / "search", "012", "databricks", "digits")
    push(workspace / "search")
    client = MlflowClient("databricks")
    experiment = client.get_experiment_by_name(f"/Users/{USER}/digits")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 1 + 3
    assert {run.info.status for run in runs} == {"FINISHED"}
    page = f"/ml/experiments/{experiment.experiment_id}/runs"
    assert stores.experiment_page("digits", "databricks") == page
    assert stores.ui_address("databricks") == host
    written = [file for file in workspace.rglob("*") if file.is_file()]
    assert written
    assert not any(TOKEN.encode() in file.read_bytes() for file in written)


def test_an_experiment_with_a_path_stays_where_it_is(host):
    assert stores.full_name("databricks", "/Shared/digits") == "/Shared/digits"
    assert stores.full_name("databricks", "digits") == f"/Users/{USER}/digits"
    assert stores.full_name("sqlite:///mlflow.db", "digits") == "digits"


def test_a_token_that_the_workspace_rejects_is_reported_with_the_way_out(host, monkeypatch):
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-wrong")
    with pytest.raises(TrackingError, match="the workspace must know the user") as caught:
        stores.full_name("databricks", "digits")
    assert "Set DATABRICKS_HOST and DATABRICKS_TOKEN" in str(caught.value)
    assert "dapi-wrong" not in str(caught.value)


def test_without_a_workspace_the_error_names_the_variables(workspace, monkeypatch):
    for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN", "DATABRICKS_CONFIG_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(workspace))
    with pytest.raises(TrackingError, match="Set DATABRICKS_HOST and DATABRICKS_TOKEN"):
        stores.ui_address("databricks")


def test_ui_names_the_page_of_the_workspace_and_starts_nothing(host, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "databricks")
    result = CliRunner().invoke(cli, ["ui"])
    assert (result.exit_code, result.stdout) == (0, f"Open {host}\n")
