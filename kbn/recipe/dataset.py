"""What the training of a model asks of its data, wherever they lie."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeAlias

if TYPE_CHECKING:
    import keras
    import numpy as np
    import pandas as pd
    import tensorflow as tf

    from kbn.recipe.inputs import Inputs, Shapes
    from kbn.recipe.preprocessing import Preprocessing

    Part = tf.data.Dataset | tuple[Inputs, ...]
    Batches: TypeAlias = tf.data.Dataset | keras.utils.PyDataset

REGRESSION = 1  # number of outputs of a regression; a classification has at least two

PartName = Literal["train", "validation", "test"]
PARTS: tuple[PartName, ...] = ("train", "validation", "test")  # in the order of Sizes

Scaling = tuple["np.ndarray | float", "np.ndarray | float"]  # mean and standard deviation
UNSCALED: Scaling = (0.0, 1.0)


class Sizes(NamedTuple):
    """Number of examples in each part of a data set; 0 where there is no such part."""

    train: int
    validation: int
    test: int


class Dataset(abc.ABC):
    """Examples, split into training, validation and test parts.

    Attributes:
        outputs: number of outputs of a model: the number of classes, or 1 for a regression.
        labels: the classes as the data name them, in the order of their numbers; empty for a
            regression.
        x_scaling, y_scaling: (mean, standard deviation) that the data were standardized with, shape
            (features,) or (channels,) for x and () for y; 0 and 1 if they were not standardized,
            as the y of a classification. {name: (mean, standard deviation)} of several inputs.
        folds: the training part once for each fold of a cross-validation, which is its validation
            part; each is standardized on its own training part. Empty without cross-validation.
        preprocessing: layer that makes x from raw columns of a table; None where x is an array
            that the data hold.
    """

    outputs: int
    labels: tuple[bool | int | float | str, ...]
    x_scaling: Scaling | dict[str, Scaling]
    y_scaling: tuple[float, float]
    folds: Sequence[Dataset] = ()
    preprocessing: Preprocessing | None = None

    @property
    @abc.abstractmethod
    def shape(self) -> Shapes:
        """Shape of one example; {name: shape} of several inputs."""

    @property
    @abc.abstractmethod
    def sizes(self) -> Sizes:
        """Number of examples in each part."""

    @property
    def vocabulary(self) -> int | None:
        """Number of different tokens, where x are tokens of texts."""
        return None if self.preprocessing is None else self.preprocessing.vocabulary

    @property
    def classification(self) -> bool:
        """Whether the targets are classes."""
        return self.outputs > REGRESSION

    @property
    def batched(self) -> bool:
        """Whether the data come in batches of their own, on which `batch_size` has no effect."""
        return False

    @property
    def weighted(self) -> bool:
        """Whether the examples have weights, which count in the loss and the metrics."""
        return False

    def steps(self, batch_size: int) -> int:
        """Return the number of mini-batches in an epoch."""
        return math.ceil(self.sizes.train / batch_size)

    @abc.abstractmethod
    def fitting(self, batch_size: int) -> dict[str, Any]:
        """Return the arguments of `keras.Model.fit` that concern the data."""

    @abc.abstractmethod
    def first(self, count: int) -> tuple[Inputs, np.ndarray]:
        """Return x and y of the first training examples, as a training step gets them."""

    @abc.abstractmethod
    def excerpt(self) -> tuple[Inputs, np.ndarray]:
        """Return x and y of the training examples by which MLflow knows the data: all in memory."""

    @abc.abstractmethod
    def inputs(self) -> Inputs | Batches:
        """Return x of all training examples, as `kbn.recalibrate` takes it."""

    @abc.abstractmethod
    def class_counts(self) -> np.ndarray:
        """Return how many training examples each class has, or their weight; shape (outputs,)."""

    @abc.abstractmethod
    def given(self, count: int) -> Inputs | pd.DataFrame:
        """Return some examples as the saved model takes them, of the validation part if any."""

    @abc.abstractmethod
    def joined(self) -> Self:
        """Return the same data with the validation part added to the training part."""

    @abc.abstractmethod
    def test_scores(self, model: keras.Model) -> Mapping[str, float]:
        """Return {metric: value} of a compiled model on the test part."""
