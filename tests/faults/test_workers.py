"""Searches on workers: whatever dies, nothing is lost, repeated or left behind."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from faults.conftest import check_all_is_told_once, states_of
from kbn.tracking.journal import Journal
from kbn.tracking.push import push
from processes import ends

PROJECT = "searches/busy"
RECIPE = """\
name: busy
dataset: {name: iris}
model: {python: "model.py:build"}
objective: {metric: val_loss}
search: {trials: 6, epochs: 2, tuner: random, max_retries: 1}
space: {learning_rate: {type: float, low: 1e-3, high: 1, scale: log}}
"""
# once three attempts have begun, a trial waits for ever, with a child, if the test wants it to
MODEL = """\
import os, pathlib, socket, subprocess, sys
import keras

def build(hp, shape, outputs):
    model = keras.Sequential([keras.Input(shape), keras.layers.Dense(outputs, "softmax")])
    model.compile(keras.optimizers.SGD(hp.get("learning_rate")), "sparse_categorical_crossentropy")
    begun = len(list(pathlib.Path("searches/busy/journal").glob("*.*.jsonl"))) >= 3
    if begun and sys.argv[0].endswith("serving.py") and "KBN_TEST" in os.environ:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        test = socket.create_connection(("127.0.0.1", int(os.environ["KBN_TEST"])))
        test.sendall(f"{os.getpid()} {child.pid}\\n".encode())
        test.recv(1)
    return model
"""


@pytest.fixture
def busy(workspace, store):
    """Starts `kbn tune` with two workers; returns it, and the processes that wait in trials."""
    (workspace / "busy.yaml").write_text(RECIPE)
    (workspace / "model.py").write_text(MODEL)
    kbn = str(Path(sys.executable).with_name("kbn"))
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        server.settimeout(240)

        def start(*, waiting):
            waits = {"KBN_TEST": str(server.getsockname()[1])} if waiting else {}
            process = subprocess.Popen(
                [kbn, "tune", "busy.yaml", "--workers=2"],
                env=os.environ | waits,
                stderr=subprocess.PIPE,
                text=True,
            )
            opened.enter_context(process)
            opened.callback(process.kill)
            trials = [opened.enter_context(server.accept()[0]) for _ in range(waiting)]
            lines = [opened.enter_context(trial.makefile()).readline() for trial in trials]
            return process, [int(pid) for line in lines for pid in line.split()]

        yield start


def check_the_search_goes_on(busy, store):
    before = states_of(PROJECT)
    process, _ = busy(waiting=0)
    _, told = process.communicate(timeout=250)
    assert process.returncode == 0, told
    after = states_of(PROJECT)
    assert before.items() <= after.items()
    assert list(after.values()) == ["COMPLETED"] * 6
    push(PROJECT)
    check_all_is_told_once(PROJECT, store, "busy")


@pytest.mark.slow
def test_with_a_driver_that_is_killed_all_its_workers_and_their_children_end(busy, store):
    process, pids = busy(waiting=2)
    process.kill()
    assert len(pids) == 4
    assert all(ends(pid) for pid in pids)
    check_the_search_goes_on(busy, store)


@pytest.mark.slow
def test_ctrl_c_ends_the_running_trials_as_killed_and_all_workers(busy, store):
    process, pids = busy(waiting=2)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "--workers=2" in told
    assert all(ends(pid) for pid in pids)
    attempts = Journal(f"{PROJECT}/journal").attempts()
    assert [attempt.status for attempt in attempts].count("KILLED") == 2
    check_the_search_goes_on(busy, store)
