"""Searches that KerasTuner's chief shares out to its workers, each in a process of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from kbn.tracking.journal import Journal
from tracking.searches import here
from tracking.serving import free_port

PROGRAM = """
import keras_tuner as kt
import kbn

class Instant(kt.RandomSearch):
    def run_trial(self, trial):
        return trial.hyperparameters.get("rate")

space = kt.HyperParameters()
space.Float("rate", 1e-3, 1, sampling="log")
tuner = Instant(
    objective=kt.Objective("loss", "min"), max_trials=4, hyperparameters=space, seed=1,
    project_name="shared",
)
kbn.track(tuner).search()
"""
WAIT = 200  # seconds at most


@pytest.fixture
def run(workspace):
    """Starts a tuner of the search under a name, which is chief or a worker."""
    processes, port = [], str(free_port())

    def start(name):
        variables = {"TUNER_ID": name, "ORACLE_IP": "127.0.0.1", "ORACLE_PORT": port}
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | {f"KERASTUNER_{key}": value for key, value in variables.items()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate(timeout=WAIT)


@pytest.mark.slow
def test_a_search_of_a_chief_and_its_worker_is_tracked_as_one(empty_store, run):
    shutil.copy(empty_store, "mlflow.db")
    chief = run("chief")
    for process in (run("worker"), chief):
        _, errors = process.communicate(timeout=WAIT)
        assert process.returncode == 0, errors
    journal = Journal(Path("shared/journal"))
    attempts, faults = journal.readable()
    assert faults == []
    assert [attempt.status for attempt in attempts] == ["COMPLETED"] * 4
    for attempt in attempts:
        assert attempt.score == pytest.approx(attempt.values["rate"], rel=1e-6)
    assert all(attempt.place["scaled"] == ["rate"] for attempt in attempts)
    kinds = [event["event"] for event in journal.events()]
    assert (kinds.count("begin"), kinds.count("end")) == (2, 2)

    store = MlflowClient(here())
    runs = store.search_runs([store.get_experiment_by_name("shared").experiment_id])
    (parent,) = (run for run in runs if "kbn.trial" not in run.data.tags)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["kbn.seed"] == "1"
    best = min(attempts, key=lambda attempt: attempt.score)
    assert parent.data.tags["kbn.best_trial"] == best.trial
    scores = {
        run.data.tags["kbn.trial"]: run.data.metrics["score"] for run in runs if run is not parent
    }
    assert scores == {attempt.trial: attempt.score for attempt in attempts}
    assert len(runs) == 5
