"""Settings of a command's process, which a library has no business to make."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from pathlib import Path

from kbn.cli import console


def quiet_environment() -> None:
    """Has libraries that are imported later say nothing, and give up soon."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # MLflow's own numbers take four minutes to give up a dead server, two a hanging one
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")


def settle_libraries() -> None:
    """Imports TensorFlow and KerasTuner, and keeps them from printing."""
    quiet_environment()
    with console.native_silence():
        import tensorflow as tf
    tf.get_logger().setLevel("ERROR")  # it takes a search for a model that is traced too often
    warnings.filterwarnings("ignore", "All-NaN")  # KerasTuner, of a trial that diverged
    import keras_tuner.src.config as keras_tuner_config

    keras_tuner_config.DEBUG = False  # it would print the traceback of a failed trial


def program(name: str) -> str:
    """How to call a program of this environment from the shell."""
    own = Path(sys.executable).parent / name
    found = shutil.which(name)
    if found and Path(found).resolve() == own.resolve():
        return name
    return min(str(own), os.path.relpath(own), key=len)
