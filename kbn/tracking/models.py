"""Keras models in MLflow: saved and logged without global state, loaded in any process."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import mlflow.keras
import numpy as np
import pandas as pd
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature, infer_signature
from mlflow.types.schema import AnyType, ColSpec, Schema

from kbn.errors import KbnError
from kbn.files import replace
from kbn.tracking._mlflow import load_keras_function, save_example
from kbn.tracking.client import Client
from kbn.tracking.quiet import quiet
from kbn.tracking.runs import KEY_TAG
from kbn.tracking.stores import is_new, store_uri

ALIAS = "best"  # alias of the registered version that the last search found
KERAS_FILES = (".keras", ".h5")
LONGEST_PART = 1000  # characters, in a model's description
EXAMPLES = 2  # inputs that are kept with a model


def load_model(uri: str | os.PathLike[str]) -> keras.Model:
    """Load a Keras model, which may have kbn's layers, from a file or from MLflow.

        kbn.load_model("searches/digits_mlp/best.keras")
        kbn.load_model("models:/digits_mlp@best")

    Args:
        uri: a .keras or .h5 file, or any model URI of MLflow (models:/, runs:/, a directory), which
            is looked up in the store that MLflow itself would choose.

    Raises:
        KbnError: if there is no such model.
    """
    text = os.fspath(uri)
    try:
        if text.endswith(KERAS_FILES):
            return keras.saving.load_model(text)
        if text.startswith(("models:/", "runs:/")) and is_new(
            store_uri()
        ):  # MLflow would create it
            raise FileNotFoundError(f"there is no tracking store {store_uri()}")
        return mlflow.keras.load_model(text)
    except (OSError, ValueError, MlflowException) as error:
        reason = str(error).strip().partition("\n")[0]
        raise KbnError(
            f"{text}: a model must be a .keras file or a model URI of MLflow. Got: {reason}. "
            "Name a file, or models:/NAME@best of a search whose model is registered."
        ) from error


def example_of(x: Any) -> Any:
    """Return some of the inputs that Keras' `fit` was given.

    Args:
        x: an array of shape (examples, ...), a structure of such, a `tf.data.Dataset` or a
            `keras.utils.PyDataset` of batches.

    Returns:
        The first `EXAMPLES` of them, as arrays in the same structure.

    Raises:
        TypeError: if x is something else, such as a generator, which gives its batches only once.
    """
    if isinstance(x, keras.utils.PyDataset):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(x[0])
    elif hasattr(x, "element_spec"):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(next(iter(x.take(1))))
    return keras.tree.map_structure(lambda array: np.asarray(array[:EXAMPLES]), x)


def save_model(model: keras.Model, directory: str | os.PathLike[str], example: Any) -> None:
    """Save a model as MLflow does, with its signature.

    MLflow's own loader does not know kbn's layers: the model names kbn's loader instead, and kbn
    among its requirements.

    Args:
        model: to save.
        directory: to save it in; is replaced once the model is complete.
        example: some inputs, an array of shape (examples, ...), a structure of such, or a table.
    """
    packages = ("kbn", "keras", keras.backend.backend())
    outputs = keras.ops.convert_to_numpy(model(example, training=False))
    table = isinstance(example, pd.DataFrame)  # whose columns Keras' flavor has no signature for
    described = (
        {}
        if table
        else {
            "signature": infer_signature(example, outputs),
            "input_example": example,
        }
    )
    draft = Path(f"{os.fspath(directory)}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)  # else MLflow cannot write the example
    with warnings.catch_warnings(), quiet():  # MLflow's warnings, of its own code
        warnings.filterwarnings("ignore", ".*Any type hint")
        warnings.filterwarnings("ignore", "Operation with range is deprecated")  # of pandas
        mlflow.keras.save_model(
            model,
            os.fspath(draft),
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in packages],
            **described,
        )
        saved = Model.load(os.fspath(draft))
        if table:
            saved.signature = _signature_of(example, outputs)
            save_example(saved, example, draft)
    saved.flavors["python_function"]["loader_module"] = __name__
    saved.save(os.fspath(draft / "MLmodel"))
    shutil.rmtree(directory, ignore_errors=True)
    replace(draft, directory)


def _signature_of(table: pd.DataFrame, outputs: np.ndarray) -> ModelSignature:
    """Return a signature that names the columns of a table.

    Their types are the model's affair: MLflow would reject whole numbers where the example has
    fractions, and a column that has no gaps where the example has one.
    """
    columns = Schema([ColSpec(AnyType(), name) for name in table.columns])
    return ModelSignature(columns, infer_signature(outputs).inputs)


def _load_pyfunc(path: str) -> Any:
    """Load a model as a function; MLflow looks for this name in the module that a model names."""
    function = load_keras_function(path)
    model = function.get_raw_model()
    return _TableFunction(model) if getattr(model, "takes_tables", False) else function


class _TableFunction:
    """What MLflow calls of a model that takes tables, whose columns MLflow would drop the names of.

    Args:
        model: takes DataFrames.
    """

    def __init__(self, model: keras.Model):
        self._model = model

    def get_raw_model(self) -> keras.Model:
        return self._model

    def predict(self, data: Any, params: Any = None) -> Any:
        answers = self._model.predict(data, verbose=0)
        return (
            pd.DataFrame(answers, index=data.index) if isinstance(data, pd.DataFrame) else answers
        )


def log_model(
    client: Client,
    run_id: str,
    event: Mapping[str, Any],
) -> None:
    """Log a saved model as a run's output, and register it where a name is given.

    What an earlier call had done before it was cut short is found and not done again.

    Args:
        client: of the run's experiment.
        run_id: of the search.
        event: of the journal: `path` of the saved model, and `name` to register it by, or None.
    """
    tags = {KEY_TAG: f"{run_id}/{event['trial']}/{event['time']}"}
    which = f"tags.`{KEY_TAG}` = '{tags[KEY_TAG]}'"
    made = client.call("search_logged_models", [client.experiment], which, max_results=1)
    if made:
        model = made[0]
    else:
        noted = tags | {"mlflow.note.content": description_of(event["path"])}
        model = client.call("create_logged_model", client.experiment, "model", run_id, tags=noted)
    if model.status != LoggedModelStatus.READY:
        client.call("log_model_artifacts", model.model_id, event["path"])
        client.call("finalize_logged_model", model.model_id, LoggedModelStatus.READY)
    outputs = client.call("get_run", run_id).outputs
    if model.model_id not in [output.model_id for output in outputs.model_outputs]:
        client.call("log_outputs", run_id, [LoggedModelOutput(model.model_id, step=0)])
    if event["name"] is not None:
        # without a server, MLflow would look for a model's id in the process' own store
        source = f"models:/{model.model_id}" if client.by_server else model.artifact_location
        _register(client, event["name"], run_id, source, model.model_id, tags)


def description_of(directory: str | os.PathLike[str]) -> str:
    """Return what a saved model takes and gives, with an example, for its page in MLflow.

    The page itself shows neither, though both are among the model's files.
    """
    file, parts = Path(directory) / "MLmodel", dict[str, str]()
    saved = Model.load(os.fspath(file)) if file.exists() else Model()
    if saved.signature is not None:
        parts = {"Inputs": str(saved.signature.inputs), "Outputs": str(saved.signature.outputs)}
    example = Path(directory) / "input_example.json"
    if example.exists():
        parts["Example of inputs"] = example.read_text("utf-8")
    return "\n\n".join(
        f"{name}:\n\n{textwrap.indent(_shortened(text), ' ' * 4)}" for name, text in parts.items()
    )


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_PART else f"{text[:LONGEST_PART]} ..."


def _register(
    client: Client,
    name: str,
    run_id: str,
    source: str,
    model_id: str,
    tags: Mapping[str, str],
) -> None:
    """Make a logged model the best version of a registered model."""
    try:
        client.call("create_registered_model", name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    found = client.call("search_model_versions", f"name = '{name}'")
    own = next((version for version in found if version.tags.get(KEY_TAG) == tags[KEY_TAG]), None)
    if own is None:
        own = client.call(
            "create_model_version", name, source, run_id, tags=tags, model_id=model_id
        )
    best = client.call("get_registered_model", name).aliases.get(ALIAS, 0)
    if int(best) < int(own.version):  # a repeated push takes the alias from no later search
        client.call("set_registered_model_alias", name, ALIAS, str(own.version))
