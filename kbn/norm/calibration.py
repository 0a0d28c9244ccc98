"""Moving averages replaced by the statistics of the whole population."""

from __future__ import annotations

import dataclasses
import itertools
import math
import operator
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops

from kbn.norm import _keras
from kbn.norm.copying import Array, float64, is_plain_norm
from kbn.norm.moments import element_weights, float_type, moments, per_channel

_ROWS = 128  # rows of a batch that is cut from arrays, at most


def recalibrate(
    model: keras.Model, data: Iterable[Any], steps: int | None = None, *, frozen: bool = True
) -> None:
    """Set all moving averages, in place, to the population's statistics under the final weights.

    The data go through the model once. Every batch-normalization layer normalizes by its batch's
    statistics, while all other layers are in inference mode. The inputs of each layer add up to the
    mean and the (biased) variance of all elements, so that a batch counts by its size. Masked
    elements do not count, and others count as the layer's `sample_weight` says. A layer with
    `unbiased=True` gets the unbiased variance. A layer with `renorm` or `virtual_batch_size` gets
    the statistics of the whole population too, and so do frozen layers, unless `frozen` is False:
    then these are in inference mode, as they were in training. Layers that the model does not
    call, and layers of a user's own subclass, keep their averages. If an error is raised, the
    model is unchanged.

    Args:
        model: built Keras model.
        data: an array (rows, ...); a list or dict with one for each of several inputs; or a tuple
            (x, y) or (x, y, sample_weight) of those. They are cut into even batches of at most 128
            rows. Or batches as Keras takes them: tf.data.Dataset, keras.utils.PyDataset,
            DataLoader, or any iterable. Only x is used.
        steps: the number of batches to take, >= 1; None takes all.
        frozen: whether layers with `trainable=False` get new averages too.

    Raises:
        ValueError: if `model` is not built or has no such batch normalization, if `data` is empty
            or never ends, if `steps` is below 1, or if a layer's statistics are not finite.

    Source: Wu and Johnson, Rethinking "Batch" in BatchNorm (arXiv:2105.07576), section 3.
    """
    norms = [
        layer
        for layer in _keras.layers_within(model)
        if is_plain_norm(layer) and (frozen or layer.trainable)
    ]
    _check_recalibrate(model, norms, data, steps)
    totals = _observed(model, norms, _batches(model, data), steps)
    if not any(np.any(total.count) for total in totals):
        raise ValueError(
            "recalibrate: `data` must hold a batch with at least one element that is not masked. "
            f"Got {type(data).__name__} without any instead."
        )
    for layer, total in zip(norms, totals, strict=True):
        if not np.all(np.isfinite(total.mean) & np.isfinite(total.m2)):
            raise ValueError(
                "recalibrate: `data` must give every layer finite statistics. "
                f"Got NaN or infinity in {layer.name}."
            )
    for layer, total in zip(norms, totals, strict=True):
        if np.any(total.count):
            variance = total.m2 / _or_one(total.count - getattr(layer, "unbiased", False))
            layer.moving_mean.assign(total.mean)
            layer.moving_variance.assign(variance)
            if (
                getattr(layer, "moving_weight", None) is not None
            ):  # or the next batch would drop them
                weight = total.batches if layer.momentum is None else 1.0
                layer.moving_weight.assign(np.full(layer.moving_weight.shape, weight))
            if getattr(layer, "renorm", False):  # Keras' own layer has it since Keras 3.14
                deviation = np.sqrt(variance + layer.epsilon)
                layer.moving_stddev.assign(deviation)
                layer.renorm_mean.assign(total.mean)
                layer.renorm_stddev.assign(deviation)


def _check_recalibrate(
    model: keras.Model, norms: list[keras.Layer], data: Iterable[Any], steps: int | None
) -> None:
    if not norms:
        raise ValueError(
            "recalibrate: `model` must have a BatchNormalization layer. "
            f"Got {model.name} with none instead."
        )
    if not any(layer.built for layer in norms):
        raise ValueError(
            f"recalibrate: `model` must be built. Got {model.name}, which is not: call it on a "
            "batch, or build it with its input's shape, first."
        )
    if steps is not None and steps < 1:
        raise ValueError(f"recalibrate: `steps` must be at least 1. Got {steps} instead.")
    if steps is None and _is_endless(data):
        raise ValueError("recalibrate: `steps` must be given where `data` never ends. Got None.")


def _observed(
    model: keras.Model, norms: list[keras.Layer], batches: Iterable[Any], steps: int | None
) -> list[_Population]:
    """Collect the inputs of each norm while `batches` go through the model."""
    totals = [_Population() for _ in norms]
    try:
        for layer, total in zip(norms, totals, strict=True):
            vars(layer)["call"] = _observing(layer, total)
        for batch in itertools.islice(batches, steps):
            model(keras.utils.unpack_x_y_sample_weight(batch)[0], training=False)
    finally:
        for layer in norms:
            vars(layer).pop("call", None)
    return totals


@dataclasses.dataclass
class _Population:
    """Statistics of all elements seen so far, per channel.

    Attributes:
        count: (channels,), the number or weight of the elements.
        mean: (channels,), their mean.
        m2: (channels,), the sum of their squared distances from the mean.
        batches: the number of batches that they came in.
    """

    count: Array | float = 0.0
    mean: Array | float = 0.0
    m2: Array | float = 0.0
    batches: int = 0

    def add(self, count: Array, mean: Array, m2: Array) -> None:
        """Add another set of elements, with statistics (channels,).

        Source: Chan, Golub and LeVeque, The American Statistician 37 (1983), equation 2.1.
        """
        total = self.count + count
        share, delta = count / _or_one(total), mean - self.mean
        self.m2 = self.m2 + m2 + delta**2 * self.count * share
        self.mean = self.mean + delta * share
        self.count = total
        self.batches += 1


def _or_one(count: Array | float) -> Array:
    """Replace counts of 0 by 1, so that 0 divided by them stays 0."""
    return np.where(count > 0, count, 1)


def _observing(
    layer: keras.layers.BatchNormalization, total: _Population
) -> Callable[..., KerasTensor]:
    """Make a call of a layer that uses the batch's statistics and adds them to `total`."""

    def call(
        inputs: KerasTensor,
        training: bool | None = None,
        mask: KerasTensor | None = None,
        sample_weight: KerasTensor | None = None,
    ) -> KerasTensor:
        z = ops.cast(inputs, float_type(inputs.dtype))
        weights = element_weights(z, mask, sample_weight)
        if weights is not None:  # an element that does not count may be NaN
            z = ops.where(ops.isfinite(z) | (weights > 0), z, 0)
        rank = len(z.shape)
        batch = moments(z, [axis for axis in range(rank) if axis != layer.axis % rank], weights)
        count, shift, residual, variance = (
            float64(ops.broadcast_to(statistic, ops.shape(batch.variance))).reshape(-1)
            for statistic in (batch.count, batch.shift, batch.residual, batch.variance)
        )
        total.add(count, shift + residual, variance * count)
        y = (z - batch.shift - batch.residual) * ops.rsqrt(batch.variance + layer.epsilon)
        if layer.gamma is not None:
            y *= per_channel(z, layer.axis, layer.gamma)[0]
        if layer.beta is not None:
            y += per_channel(z, layer.axis, layer.beta)[0]
        return ops.cast(y, layer.compute_dtype)

    return call


def _is_endless(data: Iterable[Any]) -> bool:
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches is None
    cardinality = getattr(data, "cardinality", None)  # a tf.data.Dataset has one; -1 is INFINITE
    return callable(cardinality) and int(cardinality()) == -1


def _batches(model: keras.Model, data: Any) -> Iterable[Any]:
    """Return batches as Keras takes them: x, or a tuple that starts with x."""
    if data is None:
        return ()
    if isinstance(data, keras.utils.PyDataset):
        count = data.num_batches
        return (data[i] for i in (itertools.count() if count is None else range(count)))
    x = data[0] if isinstance(data, tuple) and data else data
    several = isinstance(x, list) and len(x) == len(getattr(model, "inputs", None) or x) > 1
    if not (several or isinstance(x, dict) or hasattr(x, "shape")):
        return data
    arrays = keras.tree.flatten(x)
    if not arrays or not all(hasattr(array, "shape") for array in arrays):
        raise ValueError(
            "recalibrate: `data` must hold arrays or tensors. "
            f"Got {sorted({type(array).__name__ for array in arrays})} instead."
        )
    if len(lengths := {len(array) for array in arrays}) > 1:
        raise ValueError(
            f"recalibrate: the arrays of `data` must be equally long. Got {sorted(lengths)} rows."
        )
    rows = lengths.pop()
    # of even size, because a last batch of one row would be normalized to zeros
    ends = np.linspace(0, rows, math.ceil(rows / _ROWS) + 1).astype(int)
    slices = itertools.starmap(slice, itertools.pairwise(ends))
    return ((keras.tree.map_structure(operator.itemgetter(part), x),) for part in slices)
