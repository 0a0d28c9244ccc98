"""Images in memory that are changed at random while a model is trained."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from kbn.recipe.arrays import Arrays
from kbn.recipe.augmentation import AugmentationSpec, augmented, next_seed

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from kbn.recipe.dataset import Scaling


@dataclasses.dataclass(frozen=True)
class AugmentedArrays(Arrays):
    """Images in memory, and how those of the training part are changed.

    Attributes:
        augmentation: the changes, in their order.
    """

    x_train: np.ndarray
    x_scaling: Scaling
    augmentation: Sequence[AugmentationSpec] = ()

    @classmethod
    def of(cls, arrays: Arrays, augmentation: Sequence[AugmentationSpec]) -> Self:
        """Return the same data with these changes."""
        fields = {field.name: getattr(arrays, field.name) for field in dataclasses.fields(arrays)}
        fields["folds"] = tuple(cls.of(fold, augmentation) for fold in arrays.folds)
        return cls(**fields, augmentation=augmentation)

    def fitting(self, batch_size: int) -> dict[str, Any]:
        import tensorflow as tf

        rows, (x, y) = self.sizes.train, self._tensors
        batches = (
            tf.data.Dataset.range(rows)
            .shuffle(rows, seed=next_seed())
            .batch(batch_size)
            .map(lambda batch: (tf.gather(x, batch), tf.gather(y, batch)), tf.data.AUTOTUNE)
        )
        whole = super().fitting(batch_size)
        pixels = float(self._pixels[0]), float(self._pixels[1])
        changed = augmented(batches, self.augmentation, pixels, self.x_scaling)
        kept = {key: value for key, value in whole.items() if key not in ("y", "batch_size")}
        return {**kept, "x": changed.prefetch(tf.data.AUTOTUNE), "shuffle": False}

    @functools.cached_property
    def _tensors(self) -> tuple[tf.Tensor, tf.Tensor]:
        """The training part in the memory of the CPU, where data are prepared."""
        import tensorflow as tf

        with tf.device("CPU"):
            return tf.constant(self.x_train), tf.constant(self.y_train)

    @functools.cached_property
    def _pixels(self) -> tuple[Any, Any]:
        """Lowest and highest value of a pixel, in the data's own units."""
        ends = self.x_train.min(axis=(0, 1, 2)), self.x_train.max(axis=(0, 1, 2))
        low, high = (self.as_given(end) for end in ends)
        return low.min(), high.max()
