"""Examples that do not lie in memory, but come batch by batch."""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import keras
import numpy as np

from kbn.recipe.arrays import VALIDATION_BATCH
from kbn.recipe.augmentation import AugmentationSpec
from kbn.recipe.dataset import Dataset, PartName, Scaling
from kbn.recipe.inputs import each, named
from kbn.recipe.preparing import Preparation, Prepared

if TYPE_CHECKING:
    from kbn.recipe.dataset import Batches
    from kbn.recipe.inputs import Inputs

HELD = 256  # examples of a part that are kept in memory, to look at
NUMBERS = 2**22  # at most in a batch of validation, where the examples are large


@dataclasses.dataclass(frozen=True, kw_only=True)
class Streams(Dataset):
    """Data set that is read anew in every epoch.

    Attributes:
        outputs, labels, x_scaling, y_scaling: as in `Dataset`.
        pixels: the lowest and the highest number in x, which an augmentation must know.
        augmentation: random changes of the training images, in their order.
    """

    outputs: int
    labels: tuple[bool | int | float | str, ...]
    x_scaling: Scaling | dict[str, Scaling]
    y_scaling: tuple[float, float]
    pixels: tuple[float, float]
    augmentation: Sequence[AugmentationSpec]

    @abc.abstractmethod
    def raw(self, part: PartName, batch_size: int, *, shuffled: bool = False) -> Batches:
        """Return batches of a part as the data have them: (x, y) or (x, y, sample_weight).

        Args:
            part: which one.
            batch_size: number of examples in each, unless the data come in batches of their own.
            shuffled: whether in another order in every epoch, where that is not up to the data.
        """

    @abc.abstractmethod
    def opened(self) -> Self:
        """Return the same data as they are before any of them was read."""

    def fitting(self, batch_size: int) -> dict[str, Any]:
        data = self.opened()
        train = data._ready(data.raw("train", batch_size, shuffled=True), self.augmentation)
        return {
            "x": train,
            "steps_per_epoch": steps_of(train),
            "validation_data": data._validation,
            "validation_steps": steps_of(data._validation),
            "shuffle": data.batched,  # the order of a PyDataset's batches
        }

    def first(self, count: int) -> tuple[Inputs, np.ndarray]:
        x, y = self._held("train")
        x, y, *_ = self._preparation.of_arrays(each(lambda rows: rows[:count], x), y[:count])
        return x, y

    def excerpt(self) -> tuple[Inputs, np.ndarray]:
        return self.first(HELD)

    def inputs(self) -> Batches:
        data = self.opened()
        return data._ready(data.raw("train", self._many))

    def given(self, count: int) -> Inputs:
        x, _ = self._held("validation")
        return each(lambda rows: rows[:count].astype("float32"), x)

    def test_scores(self, model: keras.Model) -> Mapping[str, float]:
        data = self.opened()
        test = data._ready(data.raw("test", self._many))
        return model.evaluate(test, verbose=0, return_dict=True)

    @property
    def _many(self) -> int:
        """Number of examples in a batch that no training step takes."""
        numbers = sum(map(math.prod, named(self.shape).values()))
        return max(1, min(VALIDATION_BATCH, NUMBERS // numbers))

    @functools.cached_property
    def _validation(self) -> Batches | None:
        if not self.sizes.validation:
            return None
        return self._ready(self.raw("validation", self._many))

    @property
    def _preparation(self) -> Preparation:
        return Preparation(self.classification, self.x_scaling, self.y_scaling)

    def _ready(self, batches: Batches, augmentation: Sequence[AugmentationSpec] = ()) -> Batches:
        """Return batches as a training step gets them."""
        if isinstance(batches, keras.utils.PyDataset):
            return Prepared(batches, self._preparation)
        return self._preparation.of_stream(batches, augmentation, self.pixels)

    def _held(self, part: PartName) -> tuple[Inputs, np.ndarray]:
        """Return the first examples of a part as the data have them."""
        if part not in self._kept:
            batches = self.raw(part, HELD)
            whole = isinstance(batches, keras.utils.PyDataset)
            x, y, *_ = batches[0] if whole else next(iter(batches))
            self._kept[part] = each(np.asarray, x), np.asarray(y)
        return self._kept[part]

    @functools.cached_property
    def _kept(self) -> dict[str, tuple[Inputs, np.ndarray]]:
        return {}


def steps_of(batches: Batches | None) -> int | None:
    """Return the number of batches of a `tf.data.Dataset` if that is known, else None.

    Told it, Keras makes one iterator an epoch instead of two.
    """
    if batches is None or isinstance(batches, keras.utils.PyDataset):
        return None
    steps = int(batches.cardinality())
    return steps if steps > 0 else None
