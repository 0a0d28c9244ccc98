"""kbn: batch normalization, coarse-to-fine search and tracking for Keras models.

Everything below is imported when first used, so that `import kbn` costs nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kbn.norm.layer import BatchNorm, BatchNormalization
    from kbn.norm.surgery import convert_batch_norm, fold_batch_norm, recalibrate
    from kbn.recipe.loading import load_recipe
    from kbn.recipe.schema import Recipe
    from kbn.run.comparison import compare
    from kbn.run.search import tune
    from kbn.search import scaled as scales
    from kbn.search.oracle import CoarseToFineOracle
    from kbn.search.tuner import CoarseToFine
    from kbn.tracking.models import load_model
    from kbn.tracking.track import track

    __version__: str

__all__ = [
    "BatchNorm",
    "BatchNormalization",
    "CoarseToFine",
    "CoarseToFineOracle",
    "Recipe",
    "__version__",
    "compare",
    "convert_batch_norm",
    "fold_batch_norm",
    "load_model",
    "load_recipe",
    "recalibrate",
    "scales",
    "track",
    "tune",
]

_HOMES = {
    "BatchNorm": "kbn.norm.layer",
    "BatchNormalization": "kbn.norm.layer",
    "CoarseToFine": "kbn.search.tuner",
    "CoarseToFineOracle": "kbn.search.oracle",
    "Recipe": "kbn.recipe.schema",
    "compare": "kbn.run.comparison",
    "convert_batch_norm": "kbn.norm.surgery",
    "fold_batch_norm": "kbn.norm.surgery",
    "load_model": "kbn.tracking.models",
    "load_recipe": "kbn.recipe.loading",
    "recalibrate": "kbn.norm.surgery",
    "track": "kbn.tracking.track",
    "tune": "kbn.run.search",
}


def __getattr__(name: str) -> Any:
    if name == "scales":
        return importlib.import_module("kbn.search.scaled")
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("kbn")
    if name not in _HOMES:
        raise AttributeError(f"module 'kbn' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _ImportAfter:
    """Import hook: as soon as `trigger` is imported, import `module`."""

    def __init__(self, trigger: str, module: str):
        self.trigger, self.module = trigger, module
        if trigger in sys.modules:
            importlib.import_module(module)
        else:
            sys.meta_path.insert(0, self)

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        if name != self.trigger:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)  # who only asks for the spec imports nothing
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_follow(module: ModuleType) -> None:
                execute(module)
                if self in sys.meta_path:  # not where the module is executed twice
                    sys.meta_path.remove(self)
                importlib.import_module(self.module)

            spec.loader.exec_module = execute_and_follow  # type: ignore[method-assign]
        return spec


# Keras and KerasTuner rebuild what was saved from registered classes: ours must be registered as
# soon as either can load anything, whether it was imported before kbn or comes after.
_ImportAfter("keras", "kbn.norm.layer")
_ImportAfter("keras", "kbn.recipe.preprocessing")
_ImportAfter("keras_tuner", "kbn.search.hyperparameters")
