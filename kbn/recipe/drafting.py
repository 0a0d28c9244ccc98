"""A recipe to start from, drafted from what is found in a file of data."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import cast

from kbn.recipe.architectures import IMAGE
from kbn.recipe.arrays import Arrays
from kbn.recipe.columns import described
from kbn.recipe.dataset import Sizes
from kbn.recipe.examining import SEED, Found, examine
from kbn.recipe.finding import RECIPES
from kbn.recipe.inputs import Shape
from kbn.recipe.reading import word

TRIALS = 24
WIDTH = 100  # characters of a line of comments
QUANTITY = (
    " If the numbers are a quantity, write task: regression, metric: val_mae, direction: min."
)
MAX_LABELS, MAX_WORD = 10, 40  # classes, and characters of each, that a comment shows
MAX_KINDS = 400  # characters of the kinds of columns
# hyperparameters of the space: name, range, comment
LEARNING_RATE = "learning_rate", "{type: float, low: 1e-4, high: 1e-1, scale: log, tier: 1}", ""
FILTERS = "filters", "{type: int, low: 4, high: 32, scale: log, tier: 2}", ""
DROPOUT = "dropout", "{type: float, low: 0, high: 0.5}", ""


def draft(name: str, file: Path, target: str | None) -> str:
    """Return the text of a recipe for data, with comments that say what was found in them.

    Args:
        name: of the recipe, whose file will be in `recipes/`.
        file: a CSV or Parquet table, or an NPZ file.
        target: column of the table to predict; None for the last.

    Raises:
        RecipeError: with all that is wrong with the data.
    """
    found = examine(file, target)
    return "\n".join([*_comments(name, found), *_keys(name, found), ""])


def _comments(name: str, found: Found) -> Iterator[str]:
    data, columns = found.dataset, math.prod(_shape(found.dataset))
    if data.preprocessing is not None:
        columns = len(data.preprocessing.kinds)
    what = f"the other {columns} columns" if found.target is not None else "x"
    yield f"# Predict {plain(found.target or 'y')} from {what} of {plain(found.file.name)}."
    yield from commands(name)
    yield from filled(_of_examples(found))
    yield "#"
    yield from filled(_of_target(found))
    yield "#"
    yield from filled(_of_parts(data))


def _shape(data: Arrays) -> Shape:
    return cast("Shape", data.shape)  # of files, which hold a single array


def _of_examples(found: Found) -> str:
    shape, preprocessing = _shape(found.dataset), found.dataset.preprocessing
    each = f"{shape[0]} features" if len(shape) == 1 else f"the shape {shape}"
    own = len(found.dataset.y_test) if found.spec.test is None else 0
    more = f" and {own} more in a test part of its own" if own else ""
    columns = ""
    if preprocessing is not None:
        columns = f" The columns: {plain(described(preprocessing.kinds), MAX_KINDS)}."
    ignored = [name for name, kind in (found.spec.columns or {}).items() if kind == "ignore"]
    if ignored:
        some = ", ".join(map(plain, ignored[:MAX_LABELS]))
        columns += f" Left out, as they only name the rows or are empty: {some}."
    return (
        f"The file holds {len(found.y)} examples of {each}{more}. `path` starts from this file's "
        "directory. Inputs are standardized; the saved model takes them as the file has "
        f"them.{columns}"
    )


def _of_parts(data: Arrays) -> str:
    parts = (
        f"{len(data.y_train)} examples are for training and {len(data.y_val)} for validation, "
        "which decides between the trials."
    )
    if not len(data.y_test):
        return f"{parts} There are too few for a test part."
    return (
        f"{parts} The search never sees the {len(data.y_test)} test examples: `refit` trains the "
        "best trial's model anew on all others and measures it on these."
    )


def _of_target(found: Found) -> str:
    import numpy as np

    y, data = found.y, found.dataset
    if data.classification:
        numbers = y.dtype.kind in "iu"
        kind = "whole numbers" if numbers else "true or false" if y.dtype.kind == "b" else "words"
        labels = ", ".join(plain(str(label)) for label in data.labels[:MAX_LABELS])
        more = ", ..." if data.outputs > MAX_LABELS else ""
        commonest = np.unique(y, return_counts=True)[1].max() / len(y)
        return (
            f"The target is {kind}, so this is a classification, with "
            f"{data.outputs} classes: {labels}{more}. Always answering the commonest has an "
            f"accuracy of {commonest:.2f}: a model must do better.{QUANTITY if numbers else ''}"
        )
    why = "a quantity"
    if y.dtype.kind != "f":
        why = "whole numbers, some of which occur only once, so it is taken as a quantity"
    baseline = np.abs(data.y_train - np.median(data.y_train)).mean()
    return (
        f"The target is {why}: this is a regression of values from {y.min():.4g} to {y.max():.4g}. "
        "It is standardized for training: a val_mae of 0.5 is half a standard deviation. Always "
        f"answering the median has about {baseline:.2f}: a model must do better."
    )


def _keys(name: str, found: Found) -> Iterator[str]:
    data = found.dataset
    model = "mlp" if len(data.shape) != IMAGE else "cnn, norm: {position: before_activation}"
    metric, better = ("val_accuracy", "max") if data.classification else ("val_mae", "min")
    yield f"name: {word(name)}"
    yield f"dataset: {{{_dataset(found)}}}"
    yield f"model: {{name: {model}}}"
    yield f"objective: {{metric: {metric}, direction: {better}}}"
    yield from search_keys(name, data.sizes, _space(data))


def search_keys(name: str, sizes: Sizes, space: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """Yield the lines of a recipe from its search on.

    Args:
        name: of the recipe.
        sizes: of the parts of its data.
        space: (hyperparameter, its range, comment) of each; the comment may be "".
    """
    yield ""
    yield "search:"
    yield f"  trials: {TRIALS}"
    yield f"  epochs: {_epochs(sizes.train)}      # fewer examples need more of them"
    yield f"  seed: {SEED}"
    if sizes.test:
        yield "  final: {refit: true}"
    yield ""
    yield "space:"
    for key, value, comment in space:
        yield f"  {f'{key}:':14} {value}" + (f"    # {comment}" if comment else "")
    yield ""
    yield f"tracking: {{experiment: {word(name)}}}      # enabled: false turns it off"


def commands(name: str) -> Iterator[str]:
    """Yield the commands to begin with, as comments."""
    yield f"#   kbn check {name} --full"
    yield f"#   kbn tune {name} search.trials=4        # a quick look"
    yield f"#   kbn tune {name}"
    yield "#"


def _dataset(found: Found) -> str:
    spec = found.spec
    keys = {
        "path": word(path_from_recipes(found.file)),
        "target": None if spec.target is None else word(spec.target),
        "columns": _columns(spec.columns or {}),
        "task": spec.task,
        "validation": spec.validation,
        "test": spec.test,
    }
    return ", ".join(f"{key}: {value}" for key, value in keys.items() if value is not None)


def _columns(kinds: Mapping[str, str]) -> str | None:
    """Return the kinds that a recipe says, as YAML on one line; None if it says none."""
    said = ", ".join(f"{word(name)}: {kind}" for name, kind in kinds.items())
    return f"{{{said}}}" if said else None


def _space(data: Arrays) -> list[tuple[str, str, str]]:
    train, inputs = len(data.y_train), math.prod(_shape(data))
    sizes, units = batch_sizes(train), _units(train, inputs)
    none = "softmax" if data.classification else "linear"
    rows = [
        LEARNING_RATE,
        ("batch_size", f"{{type: choice, values: {sizes}, tier: 2}}", f"for {train} examples"),
    ]
    if len(data.shape) == IMAGE:
        rows += [
            FILTERS,
            ("layers", "{type: int, low: 1, high: 3, tier: 3}", "each halves the image"),
        ]
    else:
        low, extent = max(4, units // 16), f"for {inputs} inputs and {train} examples"
        rows += [
            ("units", f"{{type: int, low: {low}, high: {units}, scale: log, tier: 2}}", extent),
            ("layers", "{type: int, low: 0, high: 3, tier: 3}", f"0 is {none} regression"),
        ]
    return [*rows, DROPOUT]


def _epochs(train: int) -> int:
    """Return the epochs in which a trial sees 20,000 examples, from 5 to 30."""
    return min(max(20_000 // train, 5), 30)


def batch_sizes(train: int) -> list[int]:
    """Return powers of two up to an eighth of the training examples, at most 512."""
    largest = min(max(_power_of_two(train / 8), 16), 512)
    return [size for size in (largest // 8, largest // 4, largest // 2, largest) if size >= 4]  # noqa: PLR2004


def _units(train: int, features: int) -> int:
    """Return the most units of a layer: some for each feature, few for each training example."""
    return min(max(_power_of_two(min(8 * features, 10 * train / features)), 16), 512)


def _power_of_two(number: float) -> int:
    """Return the largest power of two that is not above a number, at least 1."""
    return 2 ** max(0, math.floor(math.log2(number))) if number > 0 else 1


def path_from_recipes(file: Path) -> str:
    """Return the path of data from `recipes/`: relative if they lie below the working directory."""
    place = file.parent.resolve() / file.name
    if not place.is_relative_to(Path.cwd()):
        return str(place)
    return Path(os.path.relpath(place, RECIPES.resolve())).as_posix()


def filled(text: str) -> list[str]:
    """Return a paragraph as lines of comments."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def plain(text: str, most: int = MAX_WORD) -> str:
    """Return a name from the data as a comment shows it: short, on one line, without controls."""
    seen = "".join(c if c.isprintable() else " " for c in text)
    return seen if len(seen) <= most else f"{seen[: most - 3]}..."
