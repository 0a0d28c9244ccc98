"""KerasTuner's own chief and workers, tracked: one run of the search, and none left running."""

import contextlib
import os
import socket
import subprocess
import sys

import pytest
from mlflow import MlflowClient

from kbn.tracking.journal import Journal

# the worker named tuner1 is killed in its first trial
SCRIPT = """\
import os, signal
import keras, keras_tuner, kbn

class Model(keras_tuner.HyperModel):
    def build(self, hp):
        hp.Float("x", 0, 1)
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    def fit(self, hp, model, **_):
        if "DIES" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"loss": hp.get("x")}

objective = keras_tuner.Objective("loss", "min")
tuner = keras_tuner.RandomSearch(
    Model(), objective, max_trials=8, seed=1, directory="tuned", project_name="shared"
)
kbn.track(tuner, tracking_uri="sqlite:///mlflow.db").search()
"""


@pytest.mark.slow
def test_a_worker_of_keras_tuners_that_is_killed_and_started_again_leaves_no_run_running(
    workspace, store
):
    (workspace / "script.py").write_text(SCRIPT)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    chief = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(port)}
    with contextlib.ExitStack() as started:

        def start(name, **environment):
            own = os.environ | chief | {"KERASTUNER_TUNER_ID": name} | environment
            process = subprocess.Popen(
                [sys.executable, "script.py"], env=own, stdout=subprocess.DEVNULL
            )
            started.enter_context(process)
            started.callback(process.kill)
            return process

        processes = [start("chief")]
        assert start("tuner1", DIES="1").wait(timeout=200) < 0
        processes += [start(name) for name in ("tuner0", "tuner1")]
        assert [process.wait(timeout=200) for process in processes] == [0, 0, 0]
    attempts = Journal(workspace / "tuned" / "shared" / "journal").attempts()
    statuses = sorted(attempt.status for attempt in attempts)
    assert statuses == ["COMPLETED"] * 8 + ["KILLED"]
    client = MlflowClient(store)
    runs = client.search_runs([client.get_experiment_by_name("shared").experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(runs) - len(children) == 1
    assert sorted(run.info.status for run in runs) == ["FINISHED"] * 9 + ["KILLED"]
