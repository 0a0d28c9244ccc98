"""How the inputs of a late layer are distributed while a network trains, variant by variant.

Source: Ioffe and Szegedy, Batch Normalization (ICML 2015), section 4.1 and figure 1.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kbn.files import write
from kbn.recipe.schema import Recipe


def distribution(recipe: Recipe, project: Path) -> Mapping[str, np.ndarray] | None:
    """Return {variant: percentiles of the input of the last activation's first unit}.

    Each array has the shape (steps, 3), as `kbn.run.probe` makes it. None where
    `watch_distribution` has not made them, or where their file is not as it was written.
    """
    try:
        content = io.BytesIO(_file(recipe, project).read_bytes())  # NumPy leaves a bad file open
        with np.load(content, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in recipe.variants}
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error):
        return None


def watch_distribution(recipe: Recipe, project: Path) -> None:
    """Train one network per variant with the recipe's values, where it asks for that.

    What is seen is kept in the project, for `distribution`.
    """
    assert recipe.compare is not None  # noqa: S101  the caller's recipe compares
    asked = recipe.compare.distribution
    if asked is None or distribution(recipe, project) is not None:
        return
    from kbn.run.probe import percentiles  # imports Keras, which a report does not need

    watched: dict[str, Any] = {
        name: percentiles(recipes[0], asked.values, asked.epochs)
        for name, recipes in recipe.variants.items()
    }
    content = io.BytesIO()
    np.savez(content, **watched)
    write(_file(recipe, project), content.getvalue())


def _file(recipe: Recipe, project: Path) -> Path:
    """Return the file, whose name depends on the recipe."""
    told = recipe.model_dump_json(exclude={"tracking": True, "compare": {"seeds", "threshold"}})
    return project / f"distribution-{hashlib.sha256(told.encode()).hexdigest()[:12]}.npz"
