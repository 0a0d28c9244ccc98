"""Batches of a stream as a training step gets them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kbn.recipe.augmentation import AugmentationSpec, augmented
from kbn.recipe.dataset import Scaling
from kbn.recipe.inputs import each

if TYPE_CHECKING:
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What is done with every batch: x becomes float32 and standardized, y a number an example.

    Attributes:
        classification: whether y are classes; else they are standardized too.
        x_scaling, y_scaling: (mean, standard deviation), of several inputs {name: such a pair}.
    """

    classification: bool
    x_scaling: Scaling | dict[str, Scaling]
    y_scaling: tuple[float, float]

    def of_arrays(self, x: Any, y: Any, *weights: Any) -> tuple[Any, ...]:
        """Return (x, y) or (x, y, sample_weight) of a batch in NumPy's arrays."""
        x = each(_standardized, each(lambda one: np.asarray(one, "float32"), x), self._scaling)
        return x, self._target(np.reshape(np.asarray(y), -1)), *weights

    def of_stream(
        self,
        batches: tf.data.Dataset,
        augmentation: Sequence[AugmentationSpec],
        pixels: tuple[float, float],
    ) -> tf.data.Dataset:
        """Return all batches of a stream.

        Args:
            batches: of (x, y) or (x, y, sample_weight).
            augmentation: what changes the images.
            pixels: the lowest and the highest value of a pixel.
        """
        import tensorflow as tf

        scaling = self._scaling

        def raw(x: Any, *others: tf.Tensor) -> tuple[Any, ...]:
            return each(lambda one: tf.cast(one, "float32"), x), *others

        def ready(x: Any, y: tf.Tensor, *weights: tf.Tensor) -> tuple[Any, ...]:
            x, y = each(_standardized, x, scaling), tf.reshape(y, [-1])
            if self.classification:
                return x, tf.cast(y, "int64"), *weights
            middle, spread = self.y_scaling
            return x, tf.cast((tf.cast(y, "float64") - middle) / spread, "float32"), *weights

        if augmentation:
            batches = augmented(batches.map(raw, tf.data.AUTOTUNE), augmentation, pixels)
        made = batches.map(lambda *batch: ready(*raw(*batch)), tf.data.AUTOTUNE)
        options = tf.data.Options()
        options.deterministic = True
        return made.with_options(options).prefetch(tf.data.AUTOTUNE)

    @property
    def _scaling(self) -> Any:
        return each(lambda pair: tuple(np.asarray(n, "float32") for n in pair), self.x_scaling)

    def _target(self, y: np.ndarray) -> np.ndarray:
        if self.classification:
            return y.astype("int64")
        middle, spread = self.y_scaling
        return ((y.astype("float64") - middle) / spread).astype("float32")


def _standardized(x: Any, scaling: tuple[np.ndarray, np.ndarray]) -> Any:
    mean, deviation = scaling
    return (x - mean) / deviation


class _Over(keras.utils.PyDataset):
    """Batches made of those of others, which are read as these say."""

    _given: tuple[keras.utils.PyDataset, ...]

    def __init__(self, *given: keras.utils.PyDataset):
        first = given[0]
        super().__init__(
            workers=first.workers,
            use_multiprocessing=first.use_multiprocessing,
            max_queue_size=first.max_queue_size,
        )
        self._given = given

    def __len__(self) -> int:
        return sum(each.num_batches for each in self._given)

    def on_epoch_begin(self) -> None:
        for given in self._given:
            given.on_epoch_begin()

    def on_epoch_end(self) -> None:
        for given in self._given:
            given.on_epoch_end()


class Prepared(_Over):
    """Batches of another `PyDataset` as a training step gets them."""

    _preparation: Preparation

    def __init__(self, given: keras.utils.PyDataset, preparation: Preparation):
        super().__init__(given)
        self._preparation = preparation

    def __getitem__(self, number: int) -> tuple[Any, ...]:
        return self._preparation.of_arrays(*self._given[0][number])


class Joined(_Over):
    """Batches of two `PyDataset`, one after the other."""

    def __init__(self, first: keras.utils.PyDataset, second: keras.utils.PyDataset):
        super().__init__(first, second)

    def __getitem__(self, number: int) -> Any:
        first, second = self._given
        held = first.num_batches
        return first[number] if number < held else second[number - held]
