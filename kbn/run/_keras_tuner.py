"""The parts of KerasTuner without a public name that kbn.run uses; no other module touches them.

`Trial` is of the undocumented module `keras_tuner.engine`: no public one has the type of the trials
that a tuner passes on. tests/run/test_adapters.py has one test for each name and fails when
KerasTuner changes it.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial

__all__ = ["Read", "Trial", "Watched"]


class Read(collections.UserDict[str, Any]):
    """Values of hyperparameters that remember which were read.

    Attributes:
        names: of the values that were.
    """

    def __init__(self, values: Mapping[str, Any] | None = None):
        super().__init__(values or {})
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.names.add(name)
        return super().__getitem__(name)


class Watched(keras_tuner.HyperParameters):
    """Hyperparameters that remember which were read, and which were declared in two ways.

    Private (`_retrieve`) because all public ways to declare one lead through it, and none says that
    there is one of the same name with other values already.

    Attributes:
        read: the values, which remember it.
        redeclared: names that were declared with different values.
    """

    def __init__(self) -> None:
        super().__init__()
        self.read = Read()
        self.redeclared: set[str] = set()

    def _retrieve(self, hp: Any) -> Any:
        if any(_range(hp) != _range(known) for known in self.space if known.name == hp.name):
            self.redeclared.add(hp.name)
        return super()._retrieve(hp)


def _range(hp: Any) -> tuple[type, dict[str, Any]]:
    """Return the values that a hyperparameter can have, and their scale."""
    other = ("name", "default", "conditions", "ordered")
    return type(hp), {key: value for key, value in hp.get_config().items() if key not in other}
