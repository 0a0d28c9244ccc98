"""What MLflow measures of the machine while a search runs."""

import contextlib
import importlib.util
import shutil
import signal
import threading

import pytest
from mlflow import MlflowClient

from kbn.errors import KbnError
from kbn.tracking.target import Target
from kbn.tracking.track import record
from tracking.scripted import Scripted, number_of
from tracking.searches import here

MEASURED = "system/cpu_utilization_percentage"
PATIENCE = 60  # seconds, on a machine that others use too


def monitors():
    return [each for each in threading.enumerate() if each.name == "SystemMetricsMonitor"]


@pytest.fixture
def parent(empty_store, workspace, monkeypatch):
    """The run of the search, as the store has it now."""
    pytest.importorskip("psutil")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.01")
    shutil.copy(empty_store, "mlflow.db")
    store = MlflowClient(here())

    def parent():
        known = store.get_experiment_by_name("measured")
        runs = store.search_runs([known.experiment_id], "tags.`kbn.events` != ''") if known else ()
        return next(iter(runs), None)

    return parent


@pytest.mark.parametrize("stopped", [False, True])
def test_the_machine_is_measured_until_the_search_ends_whatever_ends_it(parent, stopped):
    def script(trial):
        for _ in range(10 * PATIENCE):
            run = parent()
            if run is not None and MEASURED in run.data.metrics:
                break
            threading.Event().wait(0.1)
        if stopped:
            signal.raise_signal(signal.SIGINT)
        return number_of(trial)

    recorder = record(Scripted(script, 1), Target("measured", system_metrics=True))
    with pytest.raises(KeyboardInterrupt) if stopped else contextlib.nullcontext():
        recorder.tuner.search()
    for monitor in monitors():
        monitor.join(PATIENCE)
    assert not monitors()
    assert 0 <= parent().data.metrics[MEASURED] <= 100


def test_the_machine_is_not_measured_unasked(parent):
    seen = []
    record(
        Scripted(lambda trial: seen.extend(monitors()) or number_of(trial), 1), Target("measured")
    ).tuner.search()
    assert not seen
    assert not any(name.startswith("system/") for name in parent().data.metrics)


def test_without_psutil_a_search_that_is_to_measure_says_what_to_install(workspace, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "psutil" else found(name)
    )
    with pytest.raises(KbnError, match=r"system_metrics: .* psutil.* pip install 'kbn\[system\]'"):
        record(Scripted(number_of, 1), Target("measured", system_metrics=True))
