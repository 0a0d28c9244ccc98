"""Canaries: each private name of a library that kbn.tracking uses still means what it did."""

import contextlib
import logging
import shutil
import sqlite3
import warnings
from pathlib import Path

import keras
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from kbn.tracking import _mlflow
from kbn.tracking.machine import LOGGER
from kbn.tracking.models import save_model
from kbn.tracking.quiet import NOISY
from kbn.tracking.views import trials_view, variants_view
from tracking.searches import here
from tracking.serving import serving


def test_mlflow_prints_the_address_of_a_run_with_log_url(empty_store, workspace):
    shutil.copy(empty_store, "mlflow.db")
    client = MlflowClient(here())
    reason = "MlflowClient._tracking_client._log_url no longer prints a run's address at its end"
    calls = []
    assert callable(client._tracking_client._log_url), reason
    client._tracking_client._log_url = calls.append
    run = client.create_run("0").info.run_id
    client.set_terminated(run)
    assert calls == [run], reason
    _mlflow.keep_silent(client)
    client.set_terminated(run)
    assert calls == [run], reason


def test_mlflow_creates_a_database_with_its_store_and_lets_go_of_it(workspace):
    reason = "SqlAlchemyStore no longer creates the tables of a database that has none"
    _mlflow.create_database(here())
    with contextlib.closing(sqlite3.connect("mlflow.db")) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    assert {"experiments", "runs", "tags"} <= tables, reason
    shutil.copy("mlflow.db", "other.db")
    MlflowClient(here()).create_experiment("old")
    shutil.move("other.db", "mlflow.db")
    _mlflow.create_database(here())
    assert MlflowClient(here()).get_experiment_by_name("old") is None, (
        "SqlAlchemyStore(uri).engine.dispose() no longer closes MLflow's connections to the file"
    )


def test_mlflow_sends_one_request_with_the_users_credentials(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "it")
    requests = []
    with serving(503, requests=requests) as port:
        answer = _mlflow.ask_once(f"http://127.0.0.1:{port}", "/where", 60, max_results=1)
    assert answer.status_code == 503, "http_request no longer returns an answer of any status"
    (request,) = requests  # MLflow would try again
    assert request.path == "/where?max_results=1", "http_request no longer adds the path and params"
    assert request.headers["Authorization"].startswith("Basic "), (
        "get_default_host_creds no longer reads MLFLOW_TRACKING_USERNAME and _PASSWORD"
    )


def test_mlflow_finds_a_workspace_and_its_token_in_the_environment(workspace, monkeypatch):
    requests = []
    with serving(requests=requests, kind="application/json", body="{}") as port:
        monkeypatch.setenv("DATABRICKS_HOST", f"http://127.0.0.1:{port}/")
        monkeypatch.setenv("DATABRICKS_TOKEN", "dapi")
        address = _mlflow.workspace_address("databricks")
        _mlflow.ask_once("databricks", "/where", 60)
    assert address == f"http://127.0.0.1:{port}", (
        "get_databricks_host_creds no longer returns the workspace's address"
    )
    assert requests[-1].headers["Authorization"] == "Bearer dapi", (
        "http_request no longer sends the token that get_databricks_host_creds found"
    )


def test_mlflow_loads_a_keras_model_as_a_function(workspace):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    x = np.ones((1, 2), "float32")
    save_model(model, "model", x)
    loaded = mlflow.pyfunc.load_model("model")
    np.testing.assert_allclose(
        loaded.predict(x),
        model(x),
        rtol=1e-6,
        err_msg="mlflow.keras.load._load_pyfunc no longer loads a Keras model",
    )


def test_mlflow_saves_a_table_as_the_example_of_a_model(tmp_path):
    table = pd.DataFrame({"a": ["x", None], "b": [1.5, 2]})
    model = mlflow.models.Model()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Operation with range is deprecated")  # of pandas
        _mlflow.save_example(model, table, tmp_path)
    loaded = model.load_input_example(str(tmp_path))
    reason = "mlflow.models.utils._save_example no longer saves rows of a table"
    assert loaded.to_dict("list")["b"] == [1.5, 2], reason


def test_mlflow_opens_a_view_that_a_tag_of_the_experiment_shares():
    """Of the page itself; tests/tracking/test_ui.py sees it in a browser."""
    folder = Path(mlflow.__file__).parent / "server" / "js" / "build" / "static" / "js"
    scripts = "".join(file.read_text("utf-8") for file in folder.glob("*.js"))
    name, _ = _mlflow.shared_view("", {})
    view = trials_view("", "min") | variants_view("min")
    words = (name, _mlflow.SHARED_VIEW_QUERY, *view)
    missing = {word for word in words if word not in scripts}
    assert not missing, f"MLflow's page of runs no longer knows {missing}"


def test_mlflow_measures_the_machine_for_a_run_of_any_store(empty_store, workspace, monkeypatch):
    pytest.importorskip("psutil")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "60")
    shutil.copy(empty_store, "other.db")
    uri = f"sqlite:///{workspace}/other.db"
    monitor = _mlflow.monitor_of(uri, MlflowClient(uri).create_run("0").info.run_id)
    monitor.collect_metrics()
    monitor.publish_metrics(monitor.aggregate_metrics())
    monitor.mlflow_logger.flush()
    (run,) = MlflowClient(uri).search_runs(["0"])
    reason = "SystemMetricsMonitor no longer logs to the run and the store that it is given"
    assert any(name.startswith("system/") for name in run.data.metrics), reason
    assert LOGGER in logging.root.manager.loggerDict, f"no library logs any more under {LOGGER}"


def test_the_libraries_log_under_the_names_that_are_kept_quiet(workspace):
    _mlflow.create_database(here())
    missing = set(NOISY) - logging.root.manager.loggerDict.keys()
    assert not missing, f"no library logs any more under {missing}"
