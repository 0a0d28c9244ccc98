"""Keras models in MLflow: saved and logged without its global state, loaded in any process."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import mlflow.keras
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from mlflow.exceptions import MlflowException
from mlflow.models import Model, infer_signature

from kbn.errors import KbnError

BEST = "best"  # alias of the registered version that the last search found
KERAS_FILES = (".keras", ".h5")
EXAMPLES = 2  # inputs that are kept with a model


def load_model(uri: str | os.PathLike[str]) -> keras.Model:
    """The Keras model of a file or of MLflow; kbn's layers are known to it.

        kbn.load_model("searches/digits_mlp/best.keras")
        kbn.load_model("models:/digits_mlp@best")

    Args:
        uri: a .keras or .h5 file, or any model URI of MLflow (models:/, runs:/, a directory), which
            is looked up in MLflow's own choice of a store.

    Raises:
        KbnError: if there is no such model.
    """
    text = os.fspath(uri)
    try:
        if text.endswith(KERAS_FILES):
            return keras.saving.load_model(text)
        return mlflow.keras.load_model(text)
    except (OSError, ValueError, MlflowException) as error:
        reason = str(error).strip().partition("\n")[0]
        raise KbnError(
            f"{text}: a model must be a .keras file or a model URI of MLflow. Got: {reason}. "
            "Name a file, or models:/NAME@best of a search whose model is registered."
        ) from error


def example_of(x: Any) -> Any:
    """Some inputs of those that Keras' `fit` was given.

    Args:
        x: an array of shape (examples, ...), a structure of such, a `tf.data.Dataset` or a
            `keras.utils.PyDataset` of batches.

    Returns:
        The first `EXAMPLES` of them, as arrays in the same structure.

    Raises:
        TypeError: if x is something else, such as a generator, whose batches come but once.
    """
    if isinstance(x, keras.utils.PyDataset):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(x[0])
    elif hasattr(x, "element_spec"):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(next(iter(x.take(1))))
    return keras.tree.map_structure(lambda array: np.asarray(array[:EXAMPLES]), x)


def save_model(model: keras.Model, directory: str | os.PathLike[str], example: Any) -> None:
    """Saves a model as MLflow does, with its signature.

    MLflow's own way to load it would not know kbn's layers: the model says that ours is to be
    called, and its requirements name kbn.

    Args:
        model: to save.
        directory: is replaced, by a whole model only.
        example: some inputs, an array of shape (examples, ...) or a structure of such.
    """
    packages = ("kbn", "keras", keras.backend.backend())
    draft = Path(f"{os.fspath(directory)}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)  # else MLflow cannot write the example
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Any type hint")  # MLflow's, of its own code
        mlflow.keras.save_model(
            model,
            os.fspath(draft),
            signature=infer_signature(example, np.asarray(model(example, training=False))),
            input_example=example,
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in packages],
        )
    saved = Model.load(os.fspath(draft))
    saved.flavors["python_function"]["loader_module"] = __name__
    saved.save(os.fspath(draft / "MLmodel"))
    shutil.rmtree(directory, ignore_errors=True)
    draft.replace(directory)


def _load_pyfunc(path: str) -> Any:
    """Called by MLflow, wherever it loads a saved model as a function: by then kbn is imported."""
    from mlflow.keras.load import _load_pyfunc as load

    return load(path)


def log_model(
    client: MlflowClient, experiment_id: str, run_id: str, event: Mapping[str, Any]
) -> None:
    """Logs a saved model as one of a run's, and registers it where a name is given.

    Args:
        client: of the store.
        experiment_id: of the run.
        run_id: of the search.
        event: the journal's: `path` of the saved model, `name` to register it by, or None.
    """
    made = client.create_logged_model(experiment_id, "model", run_id)
    client.log_model_artifacts(made.model_id, event["path"])
    client.finalize_logged_model(made.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(made.model_id, step=0)])
    name = event["name"]
    if name is None:
        return
    with contextlib.suppress(MlflowException):  # it is there
        client.create_registered_model(name)
    version = client.create_model_version(
        name, f"models:/{made.model_id}", run_id, model_id=made.model_id
    )
    client.set_registered_model_alias(name, BEST, version.version)
