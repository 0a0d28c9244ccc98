"""Checks of the arguments that a batch-normalization layer is constructed with."""

from __future__ import annotations

import math

import keras


def one_axis(axis: int | list[int] | tuple[int]) -> int:
    """Return the axis, which may be given as a list of one.

    Raises:
        ValueError: if the list holds several axes or none.
    """
    if not isinstance(axis, list | tuple):
        return axis
    _require(len(axis) == 1, "axis", "one axis, also as a list of one", axis)
    return axis[0]


def check_numbers(momentum: float | None, epsilon: float, renorm_momentum: float) -> None:
    """Check the ranges of the layer's numbers.

    Raises:
        ValueError: if one is out of its range.
    """
    if momentum is not None:
        _require(0 <= momentum <= 1, "momentum", "in [0, 1] or None", momentum)
    _require(0 <= epsilon < math.inf, "epsilon", "finite and >= 0", epsilon)
    _require(0 <= renorm_momentum <= 1, "renorm_momentum", "in [0, 1]", renorm_momentum)


def check_renorm(renorm: bool, offered: bool) -> None:
    """Check that Keras can do batch renormalization where it is wanted.

    Raises:
        ValueError: if it cannot.
    """
    rule = f"False with Keras {keras.__version__}: renorm needs Keras 3.14 or later"
    _require(offered or not renorm, "renorm", rule, renorm)


def whole_size(size: float | None, whole_batch: bool) -> int | None:
    """Return the virtual batch size as an integer.

    Args:
        size: the size that was given, or None.
        whole_batch: whether another option needs the statistics of the whole batch.

    Raises:
        ValueError: if it is no integer >= 1, or given in spite of such an option.
    """
    if size is None:
        return None
    name = "virtual_batch_size"
    _require(size >= 1 and size == int(size), name, "an integer >= 1 or None", size)
    _require(not whole_batch, name, "None where renorm or synchronized is True", size)
    return int(size)


def check_axis(axis: int, input_shape: tuple[int | None, ...], grouped: bool) -> None:
    """Check that an axis holds channels.

    Args:
        axis: the axis of the channels.
        input_shape: the shape of the inputs, (batch, ..., channels, ...).
        grouped: whether the batch is split into virtual batches.

    Raises:
        ValueError: if there is no such axis, if its length is not known, or if it is split.
    """
    rank = len(input_shape)
    _require(-rank <= axis < rank, "axis", f"an axis of {input_shape}", axis)
    _require(input_shape[axis] is not None, "axis", f"of known size in {input_shape}", axis)
    rule = "another axis than the batch's where virtual_batch_size is given"
    _require(not grouped or axis % rank > 0, "axis", rule, axis)


def _require(holds: bool, name: str, rule: str, got: object) -> None:
    if not holds:
        raise ValueError(f"BatchNormalization: {name} must be {rule}. Got {got!r} instead.")
