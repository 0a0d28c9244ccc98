"""What a run should tell beside its metrics: where it ran, on which data, where in the search."""

from __future__ import annotations

import functools
import getpass
import hashlib
import importlib.metadata
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

PACKAGES = ("kbn", "keras", "keras-tuner", "numpy", "mlflow")
HASHED_ROWS = 10_000  # of a data set, evenly spread


@functools.cache
def origin() -> dict[str, Any]:
    """Who runs which code with which versions on which device: {name: text}."""
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
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"


def _commit() -> dict[str, str]:
    """Of the program's repository, if it lies in one."""
    directory = Path(sys.argv[0]).resolve().parent
    command = ["git", "-C", str(directory), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": found.stdout.strip()} if found.returncode == 0 else {}


def dataset_of(name: str, x: Any = None, y: Any = None, **_: Any) -> dict[str, str] | None:
    """MLflow's fields of a data set in arrays; None for anything else.

    Args:
        name: of the data set.
        x: inputs, shape (examples, ...).
        y: targets, shape (examples, ...).
    """
    arrays = {"features": x, "targets": y}
    arrays = {
        part: array
        for part, array in arrays.items()
        if isinstance(array, np.ndarray) and not array.dtype.hasobject
    }
    if "features" not in arrays:
        return None
    digest = hashlib.sha256()
    for array in arrays.values():
        digest.update(f"{array.dtype} {array.shape}".encode())
        step = -(-len(array) // HASHED_ROWS) or 1
        digest.update(np.ascontiguousarray(array[::step]).data)
    schema = [
        {"name": part, "dtype": str(a.dtype), "shape": [-1, *a.shape[1:]]}
        for part, a in arrays.items()
    ]
    profile = {f"{part}_shape": a.shape for part, a in arrays.items()}
    return {
        "name": name,
        "digest": digest.hexdigest()[:8],
        "source_type": "code",
        "source": json.dumps({"tags": {"mlflow.source.name": sys.argv[0]}}),
        "schema": json.dumps({"mlflow_tensorspec": schema}),
        "profile": json.dumps(profile),
    }


def place_of(trial: Any, oracle: Any) -> dict[str, Any]:
    """Where a trial stands in its search: its round and box, and what has a scale of its own.

    Args:
        trial: that begins.
        oracle: of its tuner; one without `rounds` has no boxes.
    """
    place: dict[str, Any] = {"scaled": [hp.name for hp in _numeric(oracle) if _is_scaled(hp)]}
    if getattr(oracle, "rounds", ()):
        current, box = oracle.place(trial.trial_id)
        place["round"] = current.number
        place["box"] = "the whole space" if box is None else dict(box)
    return place


def hulls(current: Any, oracle: Any) -> dict[str, tuple[float, float]]:
    """Of each numeric hyperparameter, the ends of what a round's boxes leave of it together."""
    found = {}
    for hp in _numeric(oracle):
        ranges = [box[hp.name] for box in current.boxes if hp.name in box]
        if ranges:
            found[hp.name] = (min(low for low, _ in ranges), max(high for _, high in ranges))
    return found


def _numeric(oracle: Any) -> list[Any]:
    return [hp for hp in oracle.hyperparameters.space if hasattr(hp, "min_value")]


def _is_scaled(hp: Any) -> bool:
    return hasattr(hp, "scale") or getattr(hp, "sampling", "linear") not in (None, "linear")
