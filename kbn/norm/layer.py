"""The batch-normalization layer."""

from __future__ import annotations

from typing import Any

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

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if self.renorm:  # keeps further averages; those are Keras' own
            super().build(input_shape)
            return
        rank, channels = len(input_shape), input_shape[self.axis]
        if self.scale:
            self.gamma = self.add_weight(
                name="gamma",
                shape=(channels,),
                initializer=self.gamma_initializer,
                regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint,
                autocast=False,
            )
        if self.center:
            self.beta = self.add_weight(
                name="beta",
                shape=(channels,),
                initializer=self.beta_initializer,
                regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
                autocast=False,
            )
        self.moving_mean = self.add_weight(
            name="moving_mean",
            shape=(channels,),
            initializer=self.moving_mean_initializer,
            trainable=False,
            autocast=False,
        )
        self.moving_variance = self.add_weight(
            name="moving_variance",
            shape=(channels,),
            initializer=self.moving_variance_initializer,
            trainable=False,
            autocast=False,
        )
        self._reduction_axes = [axis for axis in range(rank) if axis != self.axis % rank]
        self.input_spec = keras.layers.InputSpec(ndim=rank, axes={self.axis: channels})

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if mask is not None and len(mask.shape) != len(inputs.shape) - 1:
            raise ValueError(
                f"The mask of {self.name} must have rank {len(inputs.shape) - 1}, one less than "
                f"its inputs {tuple(inputs.shape)}. Got shape {tuple(mask.shape)} instead."
            )
        if self.renorm or self.synchronized:
            return super().call(inputs, training=training, mask=mask)
        z = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        if training and self.trainable:
            mean, variance = self._batch_statistics(z, mask)
        else:
            mean, variance = self._per_channel(z, self.moving_mean, self.moving_variance)
        scale = ops.rsqrt(variance + self.epsilon)
        if self.scale:
            scale *= self._per_channel(z, self.gamma)[0]
        # centred before scaled: folding the mean into the offset would cancel where it is large
        y = (z - mean) * scale
        if self.center:
            y += self._per_channel(z, self.beta)[0]
        return ops.cast(y, self.compute_dtype)

    def _batch_statistics(self, z: Any, mask: Any) -> tuple[Any, Any]:
        """Mean and variance of the batch, of z's rank; moves the averages."""
        if mask is not None:
            mask = ops.expand_dims(mask, -1)
        statistics = moments(z, self._reduction_axes, mask)
        for average, batch in zip(
            (self.moving_mean, self.moving_variance), statistics, strict=True
        ):
            # in the type of the statistics: half precision would stall or overflow
            old, new = ops.cast(average, z.dtype), ops.reshape(batch, average.shape)
            average.assign(old * self.momentum + new * (1.0 - self.momentum))
        return statistics

    def _per_channel(self, z: Any, *weights: Any) -> list[Any]:
        """Weights of shape (channels,), of z's type and shaped to broadcast against it."""
        shape = [1] * len(z.shape)
        shape[self.axis] = -1
        return [ops.reshape(ops.cast(weight, z.dtype), shape) for weight in weights]


BatchNorm = BatchNormalization
