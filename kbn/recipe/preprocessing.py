"""Keras model of a table: its raw columns go in, what was fitted on the training part included.

The layers that need fitting get what was fitted as arguments, so that a model's configuration holds
all of it. They are Keras' own, on TensorFlow alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kbn.recipe.columns import converted, series
from kbn.recipe.names import suggest

if TYPE_CHECKING:
    import pandas as pd
    import tensorflow as tf

ROWS = 4096  # that are encoded at a time
MISSING_DATE = "1970-01-01T00:00"

Fitted = Mapping[str, Mapping[str, Any]]  # column -> {"kind": ..., what was fitted}


@keras.saving.register_keras_serializable("kbn")
class Preprocessing(keras.layers.Layer):
    """Layer that turns columns of a table into features.

    Args:
        columns: of each column its kind and what `kbn.recipe.encoding.fit` found:
            number: mean, deviation, fill (in place of gaps), gaps (whether they are a feature);
            category: words, each a feature, as is any other word;
            date: mean and deviation of the days since 1970, hours (whether they are features),
            gaps; text: words, each a feature; tokens: words, and length, that of a text.
        **kwargs: of a Keras layer.

    Call arguments:
        inputs: {column: tensor of the shape (rows,) or (rows, 1)}: float32 of numbers, where NaN
            is missing; text of all others, ISO 8601 of dates, where "" is missing.

    Returns:
        Features, float32, shape (rows, features); of a column of tokens their numbers, int32,
        shape (rows, length).
    """

    def __init__(self, columns: Fitted, **kwargs: Any):
        super().__init__(**kwargs)
        self.columns = {name: dict(fitted) for name, fitted in columns.items()}
        self.numbers = [name for name, fitted in columns.items() if fitted["kind"] == "number"]
        numbers = [columns[name] for name in self.numbers]
        self.with_gaps = [i for i, fitted in enumerate(numbers) if fitted["gaps"]]
        self.fill = [fitted["fill"] for fitted in numbers]
        if numbers:
            self.normalization = _normalization(numbers)
        self.others = [name for name in columns if name not in self.numbers]
        for number, name in enumerate(self.others):  # a SavedModel finds no layers in lists
            setattr(self, f"encoder_{number}", _LAYERS[columns[name]["kind"]](columns[name]))
        self.built = True

    @property
    def kinds(self) -> dict[str, str]:
        """{column: kind}."""
        return {name: fitted["kind"] for name, fitted in self.columns.items()}

    @property
    def vocabulary(self) -> int | None:
        """Number of different tokens, with those for unknown and no word; None without tokens."""
        words = [len(each["words"]) for each in self.columns.values() if each["kind"] == "tokens"]
        return words[0] + 2 if words else None

    @property
    def signature(self) -> dict[str, Any]:
        """{column: tf.TensorSpec} of what the layer takes, named as TensorFlow allows."""
        import tensorflow as tf

        names = {name: re.sub(r"[^A-Za-z0-9]", "_", name) for name in self.columns}
        taken = list(names.values())
        return {
            name: tf.TensorSpec(
                (None,),
                "float32" if kind == "number" else "string",
                names[name] if taken.count(names[name]) == 1 else f"{names[name]}_{number}",
            )
            for number, (name, kind) in enumerate(self.kinds.items())
        }

    def call(self, inputs: Mapping[str, Any]) -> Any:
        import tensorflow as tf

        parts = []
        if self.numbers:
            columns = [tf.reshape(inputs[name], (-1, 1)) for name in self.numbers]
            numbers = tf.concat(columns, axis=1)
            missing = tf.math.is_nan(numbers)
            parts.append(self.normalization(tf.where(missing, self.fill, numbers)))
            if self.with_gaps:
                parts.append(tf.cast(tf.gather(missing, self.with_gaps, axis=1), "float32"))
        for number, name in enumerate(self.others):
            encoder = getattr(self, f"encoder_{number}")
            parts.append(encoder(tf.reshape(inputs[name], (-1, 1))))
        if self.vocabulary:
            return tf.cast(parts[0], "int32")
        return tf.concat([tf.cast(part, "float32") for part in parts], axis=1)

    def tensors(self, table: Any) -> dict[str, tf.Tensor]:
        """Return a table as `call` takes it.

        Args:
            table: a DataFrame, or {column: values}: lists, arrays, Series or tensors. Columns that
                are no features are left out.

        Raises:
            ValueError: if a column is missing, or a value is not of its kind.
        """
        return {name: _tensor(name, table, kind) for name, kind in self.kinds.items()}

    def encode(self, table: pd.DataFrame) -> np.ndarray:
        """Return the features of a table, a few rows at a time, so that it takes little memory."""
        parts = [table[first : first + ROWS] for first in range(0, max(1, len(table)), ROWS)]
        return np.concatenate([np.asarray(self(self.tensors(part))) for part in parts])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "columns": self.columns}


@keras.saving.register_keras_serializable("kbn")
class DateParts(keras.layers.Layer):
    """Layer that turns dates into numbers.

    A trend, the standardized days since 1970; the month and the weekday as points on a circle, so
    that December is beside January; the time of the day alike, where there are times. A missing
    date has zeros.

    Args:
        mean, deviation: of the days since 1970.
        hours: whether there are times of the day.
        gaps: whether missing dates have a feature that says so.
        **kwargs: of a Keras layer.

    Call arguments:
        inputs: text, shape (rows, 1): dates like 2026-11-26, 2026-11-26 12:30, 2026-11-26T12:30:15;
            an offset from UTC is not read. What is no date is missing.

    Returns:
        float32, shape (rows, 5), and 2 more with hours, 1 more with gaps.
    """

    def __init__(self, mean: float, deviation: float, *, hours: bool, gaps: bool, **kwargs: Any):
        super().__init__(**kwargs)
        self.mean, self.deviation, self.hours, self.gaps = mean, deviation, hours, gaps

    def call(self, inputs: Any) -> Any:
        import tensorflow as tf

        from kbn.recipe.columns import DATE

        there = tf.strings.regex_full_match(inputs, DATE)
        text = tf.where(there, inputs, MISSING_DATE) + "T00:00"

        def part(position: int, length: int) -> Any:
            return tf.strings.to_number(tf.strings.substr(text, position, length), tf.int32)

        year, month, day = part(0, 4), part(5, 2), part(8, 2)
        days = _days(year, month, day)
        trend = (tf.cast(days, "float32") - self.mean) / self.deviation
        # 1970 began on a Thursday, the fourth day of the week
        parts = [trend, *_circle((month - 1) / 12), *_circle((days + 3) % 7 / 7)]
        if self.hours:
            parts += _circle((part(11, 2) * 60 + part(14, 2)) / 1440)
        zeroed = tf.where(there, tf.concat([tf.cast(p, "float32") for p in parts], 1), 0.0)
        gaps = [tf.cast(~there, "float32")] if self.gaps else []
        return tf.concat([zeroed, *gaps], axis=1)

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("mean", "deviation", "hours", "gaps")}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("kbn")
class TableModel(keras.Model):
    """Model that takes a table as its file has it: a DataFrame, or {column: values}.

        model.predict(pd.read_csv("new.csv"))
        model.predict({"size": [1.5, None], "planted": ["2026-11-26", None]})

    Columns that are no features may be there. None and NaN are missing. Inside other models and in
    a SavedModel it takes tensors, as `Preprocessing` does.

    Args:
        preprocessing: of the table.
        network: takes what `preprocessing` gives.
        **kwargs: of a Keras model.
    """

    takes_tables = True

    def __init__(self, preprocessing: Preprocessing, network: keras.Model, **kwargs: Any):
        super().__init__(**kwargs)
        self.preprocessing, self.network = preprocessing, network
        self.built = True

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(self.preprocessing.tensors(inputs), *args, **kwargs)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.network(self.preprocessing(inputs), training=training)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> np.ndarray:
        return super().predict(self.preprocessing.tensors(x), *args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        parts = {"preprocessing": self.preprocessing, "network": self.network}
        saved = {name: keras.saving.serialize_keras_object(part) for name, part in parts.items()}
        return {"name": self.name, **saved}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> TableModel:
        parts = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects)
            for name in ("preprocessing", "network")
        }
        return cls(**parts, name=config["name"])


def _tensor(name: str, table: Any, kind: Any) -> Any:
    import tensorflow as tf

    if name not in table:
        hint = suggest(name, table)
        raise ValueError(f"the table must have the column {name}; {hint}")
    values = table[name]
    if tf.is_tensor(values) or keras.backend.is_keras_tensor(values):
        return values
    made = converted(series(name, values), kind)
    return tf.constant(made, "float32" if kind == "number" else "string")


def _days(year: Any, month: Any, day: Any) -> Any:
    """Return the days since 1970-01-01 of dates in the Gregorian calendar, int32.

    Source: Hinnant, chrono-Compatible Low-Level Date Algorithms (2013), days_from_civil.
    """
    year = year - keras.ops.cast(month <= 2, "int32")  # noqa: PLR2004  years begin in March
    era, of_era = year // 400, year % 400
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


def _circle(share: Any) -> list[Any]:
    """Return the coordinates of points on the unit circle, given as shares of a turn."""
    angle = 2 * np.pi * keras.ops.cast(share, "float32")
    return [keras.ops.cos(angle), keras.ops.sin(angle)]


def _normalization(numbers: list[Mapping[str, Any]]) -> keras.layers.Layer:
    mean = [fitted["mean"] for fitted in numbers]
    variance = [fitted["deviation"] ** 2 for fitted in numbers]
    layer = keras.layers.Normalization(mean=mean, variance=variance)
    layer.build((None, len(numbers)))  # outside of any graph, which would keep its constants
    return layer


def _lookup(fitted: Mapping[str, Any]) -> keras.layers.Layer:
    words = list(fitted["words"])
    return keras.layers.StringLookup(vocabulary=words, output_mode="one_hot")


def _vectorization(fitted: Mapping[str, Any]) -> keras.layers.Layer:
    words = list(fitted["words"])
    if fitted["kind"] == "text":
        return keras.layers.TextVectorization(vocabulary=words, output_mode="multi_hot")
    length = fitted["length"]
    return keras.layers.TextVectorization(vocabulary=words, output_sequence_length=length)


def _date_parts(fitted: Mapping[str, Any]) -> keras.layers.Layer:
    return DateParts(**{key: value for key, value in fitted.items() if key != "kind"})


_LAYERS = {
    "category": _lookup,
    "date": _date_parts,
    "text": _vectorization,
    "tokens": _vectorization,
}
