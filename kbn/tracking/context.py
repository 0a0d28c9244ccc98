"""What is recorded beside metrics: where a search ran, on which data, where a trial stood in it."""

from __future__ import annotations

import functools
import getpass
import hashlib
import importlib.metadata
import json
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from keras_tuner import HyperParameters, Oracle
from keras_tuner.engine.hyperparameters import HyperParameter
from keras_tuner.engine.trial import Trial

PACKAGES = ("kbn", "keras", "keras-tuner", "numpy", "mlflow")
HASHED_ROWS = 10_000  # of a data set, evenly spread


class BoxedRound(Protocol):
    """A round of an oracle that narrows the space."""

    @property
    def boxes(self) -> Sequence[Mapping[str, tuple[float, float]]]:
        """The ranges of hyperparameters in which trials are proposed."""


@functools.cache
def origin() -> dict[str, Any]:
    """Return who runs which code with which versions on which device: {name: text}."""
    packages = (*PACKAGES, keras.backend.backend())
    versions = {f"version.{name}": importlib.metadata.version(name) for name in packages}
    return {
        "user": _user(),
        "source": sys.argv[0],
        **_commit(),
        "device": ", ".join(_devices()),
        "backend": keras.backend.backend(),
        "version.python": platform.python_version(),
        **versions,
    }


def _devices() -> list[str]:
    try:
        return list(keras.distribution.list_devices())
    except AttributeError:  # on torch, which Keras does not distribute over devices
        return ["unknown"]


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container's user may have no name
        return "unknown"


def _commit() -> dict[str, str]:
    """Return the commit of the program's Git repository, if it lies in one."""
    directory = Path(sys.argv[0]).resolve().parent
    command = ["git", "-C", str(directory), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": found.stdout.strip()} if found.returncode == 0 else {}


def dataset_of(
    name: str,
    x: object = None,
    y: object = None,
    *,
    examples: object = None,
    **_: object,
) -> dict[str, str] | None:
    """Return MLflow's fields of a data set in arrays; None for anything else.

    Args:
        name: of the data set.
        x: inputs, shape (examples, ...), or {name: array} of several.
        y: targets, shape (examples, ...).
        examples: number of examples, if the arrays hold only the first of them; None for all.
    """
    inputs = {f"features.{n}": array for n, array in x.items()} if isinstance(x, dict) else {}
    arrays = {
        part: array
        for part, array in {**(inputs or {"features": x}), "targets": y}.items()
        if isinstance(array, np.ndarray) and not array.dtype.hasobject
    }
    if not arrays.keys() - {"targets"}:
        return None
    digest = hashlib.sha256()
    for array in arrays.values():
        shape = array.shape if examples is None else (examples, *array.shape[1:])
        digest.update(f"{array.dtype} {shape}".encode())
        step = -(-len(array) // HASHED_ROWS) or 1
        digest.update(np.ascontiguousarray(array[::step]).data)
    schema = [
        {"name": part, "dtype": str(a.dtype), "shape": [-1, *a.shape[1:]]}
        for part, a in arrays.items()
    ]
    profile = {
        f"{part}_shape": (len(a) if examples is None else examples, *a.shape[1:])
        for part, a in arrays.items()
    }
    return {
        "name": name,
        "digest": digest.hexdigest()[:8],
        "source_type": "code",
        "source": json.dumps({"tags": {"mlflow.source.name": sys.argv[0]}}),
        "schema": json.dumps({"mlflow_tensorspec": schema}),
        "profile": json.dumps(profile),
    }


def place_of(trial: Trial, oracle: Oracle) -> dict[str, Any]:
    """Return where a trial stands in its search: its round and box, and what has a scale.

    Args:
        trial: that begins.
        oracle: of its tuner, or a worker's client of it; one without `rounds` has no boxes.
    """
    numeric = _numeric(trial.hyperparameters)
    place: dict[str, Any] = {"scaled": [hp.name for hp in numeric if _is_scaled(hp)]}
    if getattr(oracle, "rounds", ()):
        current, box = oracle.place(trial.trial_id)
        place["round"] = current.number
        place["box"] = "the whole space" if box is None else dict(box)
    return place


def hulls(current: BoxedRound, oracle: Oracle) -> dict[str, tuple[float, float]]:
    """Return the ends of what a round's boxes together leave of each numeric hyperparameter."""
    found = {}
    for hp in _numeric(oracle.hyperparameters):
        ranges = [box[hp.name] for box in current.boxes if hp.name in box]
        if ranges:
            found[hp.name] = (min(low for low, _ in ranges), max(high for _, high in ranges))
    return found


def _numeric(hyperparameters: HyperParameters) -> list[HyperParameter]:
    return [hp for hp in hyperparameters.space if hasattr(hp, "min_value")]


def _is_scaled(hp: HyperParameter) -> bool:
    return hasattr(hp, "scale") or getattr(hp, "sampling", "linear") not in (None, "linear")
