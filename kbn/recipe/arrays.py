"""Examples in memory, as arrays."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from kbn.recipe.dataset import Dataset, Scaling, Sizes

if TYPE_CHECKING:
    import keras
    import numpy as np

    from kbn.recipe.dataset import Part

VALIDATION_BATCH = 1024  # examples; does not change the metrics, only the time they take


@dataclasses.dataclass(frozen=True)
class Arrays(Dataset):
    """Data set in memory.

    Attributes:
        x_train, x_val, x_test: float32, shape (examples, *shape). Each feature of a table, or each
            channel of larger examples, is standardized to zero mean and unit variance on the
            training part. The test part may be empty.
        y_train, y_val, y_test: shape (examples,); int64 in [0, outputs) for a classification,
            float32 and standardized on the training part for a regression.
        outputs, labels, x_scaling, y_scaling, folds: as in `Dataset`.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    outputs: int
    x_scaling: Scaling
    y_scaling: tuple[float, float]
    labels: tuple[bool | int | float | str, ...]
    folds: tuple[Arrays, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.x_train.shape[1:]

    @property
    def sizes(self) -> Sizes:
        return Sizes(len(self.y_train), len(self.y_val), len(self.y_test))

    def fitting(self, batch_size: int) -> dict[str, Any]:
        return {
            "x": self.x_train,
            "y": self.y_train,
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
        if keras.backend.backend() != "tensorflow":
            return self.x_val, self.y_val
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices((self.x_val, self.y_val)).batch(VALIDATION_BATCH)

    def first(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        return self.x_train[:count], self.y_train[:count]

    def inputs(self) -> np.ndarray:
        return self.x_train

    def class_counts(self) -> np.ndarray:
        import numpy as np

        return np.bincount(self.y_train, minlength=self.outputs)

    def given(self, count: int) -> np.ndarray:
        return self.as_given((self.x_val if len(self.x_val) else self.x_train)[:count])

    def as_given(self, x: np.ndarray) -> np.ndarray:
        """Return standardized examples in the data's own units, float32, of the same shape."""
        mean, deviation = self.x_scaling
        return (x * deviation + mean).astype("float32")

    def joined(self) -> Self:
        import numpy as np

        x = np.concatenate([self.x_train, self.x_val])
        y = np.concatenate([self.y_train, self.y_val])
        return dataclasses.replace(self, x_train=x, y_train=y, x_val=x[:0], y_val=y[:0], folds=())

    def test_scores(self, model: keras.Model) -> Mapping[str, float]:
        return model.evaluate(self.x_test, self.y_test, verbose=0, return_dict=True)
