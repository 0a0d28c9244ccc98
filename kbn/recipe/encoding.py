"""What a table's preprocessing is fitted to: the training part alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kbn.errors import Text, Violation, ViolationError
from kbn.recipe.columns import Kind, converted, times
from kbn.recipe.dataset import UNSCALED
from kbn.recipe.moments import scaling_of

if TYPE_CHECKING:
    import pandas as pd

    from kbn.recipe.preprocessing import Preprocessing

WORDS = 50  # most frequent ones of a category that have a feature each
VOCABULARY = {"text": 1000, "tokens": 10_000}  # most frequent words of a text, unless a recipe says
LENGTHS, LONGEST = 0.95, 256  # a length that this share of the texts does not exceed, but at most
DAY = 86_400  # seconds


def fit(
    table: pd.DataFrame,
    kinds: Mapping[str, Kind],
    *,
    standardize: bool = True,
    vocabulary: int | None = None,
    length: int | None = None,
) -> Preprocessing:
    """Fit the preprocessing of a table.

    Args:
        table: features of the training part, as their file has them.
        kinds: {column: kind}.
        standardize: whether numbers are standardized.
        vocabulary: number of the most frequent words of a text that are known.
        length: number of tokens of a text; longer ones are cut, shorter ones filled up.

    Raises:
        ViolationError: if Keras does not run on TensorFlow, or a text has no words.
    """
    import keras

    from kbn.recipe.preprocessing import Preprocessing

    if (backend := keras.backend.backend()) != "tensorflow":
        rule = "tables with words, dates or gaps need Keras on TensorFlow"
        hint = "Run it with KERAS_BACKEND=tensorflow."
        raise ViolationError(Violation(rule, hint, "path", Text(backend)))
    columns: dict[str, dict[str, Any]] = {}
    for name, kind in kinds.items():
        column = table[name]
        if kind == "number":
            found = _number(column, standardize=standardize)
        elif kind == "category":
            found = {"words": _most_frequent(column)}
        elif kind == "date":
            found = _date(column)
        else:
            found = _text(column, kind, vocabulary or VOCABULARY[kind], length)
        columns[name] = {"kind": kind, **found}
    return Preprocessing(columns, name="preprocessing")


def _number(column: pd.Series[Any], *, standardize: bool) -> dict[str, Any]:
    import numpy as np

    numbers = converted(column, "number").astype("float64")
    there = numbers[~np.isnan(numbers)]
    mean, deviation = _moments(there)
    scaling = (mean, deviation) if standardize else (0.0, 1.0)
    gaps = len(there) < len(numbers)
    return {"mean": scaling[0], "deviation": scaling[1], "fill": mean, "gaps": gaps}


def _moments(numbers: Any) -> tuple[float, float]:
    """Return mean and standard deviation, 1 for a constant; 0 and 1 of no numbers."""
    mean, deviation = scaling_of(numbers) if len(numbers) else UNSCALED
    return float(mean), float(deviation)


def _most_frequent(column: pd.Series[Any]) -> list[str]:
    """Return the most frequent words; "", which is missing, is always among them if it occurs."""
    import numpy as np

    words, counts = np.unique(converted(column, "category").astype(str), return_counts=True)
    order = np.lexsort((words, -counts * (words != ""), words != ""))
    return words[order[: WORDS + ("" in words)]].tolist()


def _date(column: pd.Series[Any]) -> dict[str, Any]:
    import numpy as np

    seconds = times(column)
    there = seconds[~np.isnan(seconds)]
    mean, deviation = _moments(there // DAY)
    hours = bool((there % DAY).any())
    return {"mean": mean, "deviation": deviation, "hours": hours, "gaps": len(there) < len(seconds)}


def _text(column: pd.Series[Any], kind: str, vocabulary: int, length: int | None) -> dict[str, Any]:
    import keras
    import numpy as np
    import tensorflow as tf

    texts = tf.constant(converted(column, "text"), "string")
    layer = keras.layers.TextVectorization(max_tokens=vocabulary + 2)  # with no and unknown word
    layer.adapt(texts)
    words = [str(word) for word in layer.get_vocabulary(include_special_tokens=False)]
    if not words:
        rule, hint = "must have words in its training part", f"Write {column.name}: ignore."
        raise ViolationError(Violation(rule, hint, f"columns.{column.name}"))
    if kind == "text":
        return {"words": words}
    lengths = [len(text.split()) for text in texts.numpy()]
    derived = min(max(1, math.ceil(np.quantile(lengths, LENGTHS))), LONGEST)
    return {"words": words, "length": length or derived}
