"""Fixtures that the tests of several packages share."""

import gc
import os
import signal
import sys
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

REPOSITORY = Path(__file__).parents[1]
POSIX = [  # kill, fork and stop processes as Windows cannot
    "cli/test_process.py",
    "cli/test_tune.py",
    "faults",
    "tracking/test_endings.py",
    "tracking/test_stores.py",
]
collect_ignore = POSIX if os.name == "nt" else []


def pytest_collection_modifyitems(items):
    """On Windows, skip what is marked as POSIX's: signals, forks, pipes with names, devices."""
    for item in items if os.name == "nt" else ():
        if item.get_closest_marker("posix"):
            item.add_marker(pytest.mark.skip(reason="Windows has nothing like it"))


@pytest.fixture(scope="session", autouse=True)
def _what_was_imported_is_no_garbage():
    """Keras and KerasTuner collect garbage in every trial: they need not look through it."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def _signals_are_those_of_a_terminal():
    """`nohup make test`, or a job in the background, would have all that is started ignore them."""
    defaults = {signal.SIGINT: signal.default_int_handler}
    if hasattr(signal, "SIGHUP"):
        defaults[signal.SIGHUP] = signal.SIG_DFL
    before = {number: signal.getsignal(number) for number in defaults}
    for number, handler in before.items():
        if handler is signal.SIG_IGN:
            signal.signal(number, defaults[number])
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def _mlflow_does_not_close_the_stream_of_pytest():
    """MLflow before 3.16 closes all log handlers when it is imported, and absl's closes its stream.

    Only a standard stream stays open. absl, which TensorFlow logs by, takes the one of pytest.
    """
    from absl import logging

    logging.get_absl_handler().python_handler.setStream(sys.__stderr__)


@pytest.fixture
def recipes() -> Path:
    """The directory of the recipes that kbn ships."""
    return REPOSITORY / "recipes"


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    """An empty working directory, without a tracking store from outside."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """A tracking database without runs, to be copied; MLflow takes seconds to make one."""
    from mlflow import MlflowClient  # which takes seconds to import

    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def recipe_file(tmp_path) -> Path:
    """A recipe that trains in a moment."""
    file = tmp_path / "quick.yaml"
    file.write_text(
        """\
# A quick look at softmax regression.
name: quick
dataset: {name: iris, validation: 0.2}
model: {name: softmax}
objective: {metric: val_accuracy, direction: max}
search: {trials: 3, epochs: 2, seed: 1}
space:
  learning_rate: {type: float, low: 1e-4, high: 1, scale: log}
  batch_size: {type: choice, values: [16, 32]}
"""
    )
    return file
