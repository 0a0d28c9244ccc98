"""A batch in groups that are normalized by themselves ("ghost batch normalization")."""

from __future__ import annotations

from keras import KerasTensor, ops


def grouped(
    x: KerasTensor, weights: KerasTensor | None, size: int
) -> tuple[KerasTensor, KerasTensor | None]:
    """Split a batch into groups of `size` examples.

    The last group is filled up with copies of the last example, which get the weight 0.

    Args:
        x: (batch, ...).
        weights: of x's rank; broadcasts against x.
        size: >= 1.

    Returns:
        x as (groups, size, ...), and the weights so; None where every element counts once.
    """
    batch, *rest = ops.shape(x)
    groups = -(-batch // size)
    if weights is not None:
        weights = ops.broadcast_to(weights, (batch, *ops.shape(weights)[1:]))
    if not isinstance(batch, int) or batch % size:
        index = ops.arange(groups * size)
        real = ops.reshape(ops.cast(index < batch, x.dtype), (-1, *[1] * len(rest)))
        index = ops.minimum(index, batch - 1)
        x = ops.take(x, index, axis=0)
        weights = real if weights is None else real * ops.take(weights, index, axis=0)

    def split(rows: KerasTensor) -> KerasTensor:
        return ops.reshape(rows, (groups, size, *ops.shape(rows)[1:]))

    return split(x), None if weights is None else split(weights)


def joined(y: KerasTensor, batch: KerasTensor | int) -> KerasTensor:
    """Undo `grouped`: (groups, size, ...) -> (batch, ...), without the filling."""
    return ops.reshape(y, (-1, *ops.shape(y)[2:]))[:batch]
