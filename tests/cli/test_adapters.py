"""Canaries: each private name of a library that kbn.cli uses still means what it did."""

import importlib.util
import os
import subprocess
import sys

import keras_tuner
import pytest
from keras_tuner.src import config

from kbn.cli._keras_tuner import print_no_tracebacks


def fails(hp):
    hp.Int("n", 1, 2)
    raise ValueError("no luck")


def test_keras_tuner_prints_tracebacks_of_failed_trials_unless_debug_is_off(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(config, "DEBUG", True)
    printed = []
    for settle in (lambda: None, print_no_tracebacks):
        settle()
        tuner = keras_tuner.RandomSearch(
            lambda hp: None, keras_tuner.Objective("val_loss", "min"), 1, directory=tmp_path
        )
        tuner.oracle.max_retries_per_trial = 0
        tuner.oracle.max_consecutive_failed_trials = None
        tuner.hypermodel.build = fails
        tuner.search(verbose=0)
        captured = capsys.readouterr()
        printed.append("no luck" in captured.out + captured.err)
    assert printed == [True, False], (
        "keras_tuner.src.config.DEBUG no longer decides what is printed"
    )


FAKE = """\
class random:
    set_seed = staticmethod(lambda seed: None)
"""


@pytest.mark.parametrize("left_alone", [False, True])
def test_keras_on_another_backend_imports_tensorflow_unless_told_to_leave_it_alone(
    left_alone, tmp_path
):
    backends = (name for name in ("jax", "torch") if importlib.util.find_spec(name))
    backend = next(backends, None)
    if backend is None:
        pytest.skip("no other backend is installed: `make test-backends` installs two")
    (tmp_path / "tensorflow.py").write_text(FAKE)
    settle = "from kbn.cli import _keras; _keras.leave_tensorflow_alone()"
    program = f"""\
import sys, keras
{settle if left_alone else ""}
keras.utils.set_random_seed(1)
print("tensorflow" in sys.modules)"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == str(not left_alone), (
        "keras.src.utils.module_utils.tensorflow.available no longer decides what Keras imports: "
        + done.stderr
    )
