"""Examples in memory, as arrays."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from kbn.recipe.dataset import Dataset, Scaling, Sizes
from kbn.recipe.inputs import each, shapes

if TYPE_CHECKING:
    import keras
    import numpy as np
    import pandas as pd

    from kbn.recipe.dataset import Part
    from kbn.recipe.inputs import Inputs, Shapes, X
    from kbn.recipe.preprocessing import Preprocessing

VALIDATION_BATCH = 1024  # examples; does not change the metrics, only the time they take


@dataclasses.dataclass(frozen=True)
class Arrays(Dataset):
    """Data set in memory.

    Attributes:
        x_train, x_val, x_test: float32, shape (examples, *shape). Each feature of a table, or each
            channel of larger examples, is standardized to zero mean and unit variance on the
            training part. Tokens of texts are int32. The test part may be empty. Several inputs
            are a dict of such arrays.
        y_train, y_val, y_test: shape (examples,); int64 in [0, outputs) for a classification,
            float32 and standardized on the training part for a regression.
        outputs, labels, x_scaling, y_scaling, folds, preprocessing: as in `Dataset`.
        w_train, w_val, w_test: weights, float32 with a mean of 1, shape (examples,); None without.
        raw: some examples of a table with a `preprocessing`, as its file has them, of the
            validation part if there is one.
    """

    x_train: Inputs
    y_train: np.ndarray
    x_val: Inputs
    y_val: np.ndarray
    x_test: Inputs
    y_test: np.ndarray
    outputs: int
    x_scaling: Scaling | dict[str, Scaling]
    y_scaling: tuple[float, float]
    labels: tuple[bool | int | float | str, ...]
    folds: tuple[Arrays, ...] = ()
    w_train: np.ndarray | None = None
    w_val: np.ndarray | None = None
    w_test: np.ndarray | None = None
    preprocessing: Preprocessing | None = None
    raw: pd.DataFrame | None = None

    @property
    def weighted(self) -> bool:
        return self.w_train is not None

    @property
    def shape(self) -> Shapes:
        return shapes(self.x_train)

    @property
    def sizes(self) -> Sizes:
        return Sizes(len(self.y_train), len(self.y_val), len(self.y_test))

    def fitting(self, batch_size: int) -> dict[str, Any]:
        weights = {} if self.w_train is None else {"sample_weight": self.w_train}
        return {
            "x": self.x_train,
            "y": self.y_train,
            **weights,
            "batch_size": batch_size,
            # told the number of steps, Keras makes one iterator an epoch instead of two
            "steps_per_epoch": math.ceil(self.sizes.train / batch_size),
            "validation_data": self._validation,
            "validation_batch_size": VALIDATION_BATCH,
            "validation_steps": math.ceil(self.sizes.validation / VALIDATION_BATCH),
        }

    @functools.cached_property
    def _validation(self) -> Part | None:
        """Validation part, batched once for all trials, since that takes as long as some epochs."""
        import keras

        if not self.sizes.validation:
            return None
        weights = () if self.w_val is None else (self.w_val,)
        part = (self.x_val, self.y_val, *weights)
        if keras.backend.backend() != "tensorflow":
            return part
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices(part).batch(VALIDATION_BATCH)

    def first(self, count: int) -> tuple[Inputs, np.ndarray]:
        return each(lambda x: x[:count], self.x_train), self.y_train[:count]

    def excerpt(self) -> tuple[Inputs, np.ndarray]:
        return self.x_train, self.y_train

    def inputs(self) -> Inputs:
        return self.x_train

    def class_counts(self) -> np.ndarray:
        import numpy as np

        return np.bincount(self.y_train, self.w_train, minlength=self.outputs)

    def given(self, count: int) -> Inputs | pd.DataFrame:
        if self.raw is not None:
            return self.raw.head(count)
        x = self.x_val if self.sizes.validation else self.x_train
        return self.as_given(each(lambda rows: rows[:count], x))

    def as_given(self, x: X) -> X:
        """Return standardized examples in the data's own units, float32, of the same shape."""

        def unscaled(x: np.ndarray, scaling: Scaling) -> np.ndarray:
            mean, deviation = scaling
            return (x * deviation + mean).astype("float32")

        return each(unscaled, x, self.x_scaling)

    def joined(self) -> Self:
        import numpy as np

        x = each(lambda *parts: np.concatenate(parts), self.x_train, self.x_val)
        y, none = np.concatenate([self.y_train, self.y_val]), each(lambda rows: rows[:0], x)
        whole = dataclasses.replace(self, x_train=x, y_train=y, x_val=none, y_val=y[:0], folds=())
        if self.w_train is None or self.w_val is None:
            return whole
        weights = np.concatenate([self.w_train, self.w_val])
        return dataclasses.replace(whole, w_train=weights, w_val=weights[:0])

    def test_scores(self, model: keras.Model) -> Mapping[str, float]:
        return model.evaluate(
            self.x_test, self.y_test, sample_weight=self.w_test, verbose=0, return_dict=True
        )
