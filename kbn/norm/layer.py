"""The batch-normalization layer."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
from keras import ops

from kbn.norm.moments import moments


@keras.saving.register_keras_serializable(package="kbn")
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization with explicit gamma, beta and moving averages.

    A drop-in for `keras.layers.BatchNormalization`: same arguments, same weights.

    In training, per channel, with mu and var the batch's mean and (biased) variance over all
    axes but `axis`:

        z_norm = (z - mu) / sqrt(var + epsilon)
        y      = gamma * z_norm + beta

        moving_mean     <- momentum * moving_mean     + (1 - momentum) * mu
        moving_variance <- momentum * moving_variance + (1 - momentum) * var

    At inference, and always where `trainable` is False, the moving averages stand in for mu and
    var. Statistics are computed in float32 at least, whatever the input's type.

    Call arguments:
        inputs: float tensor of rank >= 2, e.g. (batch, features) or (batch, height, width,
            channels).
        training: True normalizes with the batch's statistics and moves the averages.
        mask: boolean tensor of the inputs' shape without its last axis; masked elements do not
            count in the statistics.

    Raises:
        ValueError: if the mask's rank is not the inputs' rank less one.

    Source: Ioffe and Szegedy, Batch Normalization, ICML 2015 (arXiv:1502.03167), algorithms 1, 2.
    """

    # name -> (argument that switches it on, trainable)
    _WEIGHTS: ClassVar = {
        "gamma": ("scale", True),
        "beta": ("center", True),
        "moving_mean": (None, False),
        "moving_variance": (None, False),
    }

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if self.renorm:  # keeps further averages; those are Keras' own
            super().build(input_shape)
            return
        rank, channels = len(input_shape), input_shape[self.axis]
        for name, (switch, trainable) in self._WEIGHTS.items():
            if switch is None or getattr(self, switch):
                weight = self.add_weight(
                    name=name,
                    shape=(channels,),
                    initializer=getattr(self, f"{name}_initializer"),
                    regularizer=getattr(self, f"{name}_regularizer", None),
                    constraint=getattr(self, f"{name}_constraint", None),
                    trainable=trainable,
                    autocast=False,
                )
                setattr(self, name, weight)
        self.input_spec = keras.layers.InputSpec(ndim=rank, axes={self.axis: channels})

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if self.renorm or self.synchronized:
            return super().call(inputs, training=training, mask=mask)
        z = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        if training and self.trainable:
            mean, variance = self._batch_statistics(z, mask)
        else:
            mean, variance = self._per_channel(z, self.moving_mean, self.moving_variance)
        # centred before scaled: folding the mean into the offset would cancel where it is large
        y = (z - mean) * ops.rsqrt(variance + self.epsilon)
        if self.scale:
            y *= self._per_channel(z, self.gamma)[0]
        if self.center:
            y += self._per_channel(z, self.beta)[0]
        return ops.cast(y, self.compute_dtype)

    def _batch_statistics(self, z: Any, mask: Any) -> tuple[Any, Any]:
        """Mean and variance of the batch, of rank len(z.shape); moves the averages."""
        rank = len(z.shape)
        if mask is not None:
            if len(mask.shape) != rank - 1:
                raise ValueError(
                    f"The mask of {self.name} must have rank {rank - 1}, one less than its "
                    f"inputs {tuple(z.shape)}. Got shape {tuple(mask.shape)} instead."
                )
            mask = ops.expand_dims(mask, -1)
        axes = [axis for axis in range(rank) if axis != self.axis % rank]
        statistics = moments(z, axes, mask)
        for average, batch in zip(
            (self.moving_mean, self.moving_variance), statistics, strict=True
        ):
            new = ops.cast(ops.reshape(batch, average.shape), average.dtype)
            average.assign(average * self.momentum + new * (1.0 - self.momentum))
        return statistics

    def _per_channel(self, z: Any, *weights: Any) -> list[Any]:
        """Weights of shape (channels,), of z's type and shaped to broadcast against it."""
        shape = [1] * len(z.shape)
        shape[self.axis] = -1
        return [ops.reshape(ops.cast(weight, z.dtype), shape) for weight in weights]


BatchNorm = BatchNormalization
