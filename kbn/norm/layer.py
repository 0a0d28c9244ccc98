"""The batch-normalization layer."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from kbn.norm.moments import element_weights, float_type, moments, per_channel

kernels: Any = None
if keras.backend.backend() == "tensorflow":
    from kbn.norm import tensorflow_kernels as kernels
elif keras.backend.backend() == "torch":
    from kbn.norm import torch_kernels as kernels


@keras.saving.register_keras_serializable(package="kbn")
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization with explicit gamma, beta and moving averages.

    A drop-in for `keras.layers.BatchNormalization`: same arguments, same weights, faster and more
    exact. In training, per channel, with mu and var the batch's mean and (biased) variance over all
    axes but `axis`:

        z_norm = (z - mu) / sqrt(var + epsilon)
        y      = gamma * z_norm + beta

        moving_mean     <- momentum * moving_mean     + (1 - momentum) * mu
        moving_variance <- momentum * moving_variance + (1 - momentum) * var

    At inference, and always where `trainable` is False, the moving averages stand in for mu and
    var. Statistics are computed and averages kept in float32 at least, whatever the inputs' type. A
    channel whose statistics are not finite, or that has no valid element, leaves its averages as
    they were.

    Args:
        axis: the axis of the channels; also a list of one.
        momentum: of the moving averages, in [0, 1]. None averages over all batches seen, each with
            the same weight: n <- n + 1, moving_mean <- moving_mean + (mu - moving_mean) / n. For
            averages under weights that no longer move, e.g. in a last epoch with learning rate 0.
            Source: PyTorch's `BatchNorm2d(momentum=None)`.
        epsilon: added to the variance, >= 0.
        center, scale: whether there is a beta, a gamma.
        beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer,
        beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint: as in Keras.
        renorm: batch renormalization: z_norm * r + d stands for z_norm in training, with r and d
            (no gradient flows through them) what would make it the inference's. For batches too
            small or too uneven to be normalized by themselves. Source: Ioffe, NeurIPS 2017
            (arXiv:1702.03275), algorithm 1.
        renorm_clipping: bounds "rmin", "rmax", "dmax" of r and d.
        renorm_momentum: of the averages behind r and d.
        synchronized: True takes mu and var over the batches of all replicas of a `tf.distribute`
            strategy. For replicas whose own batches are small. TensorFlow only. Source: Peng et
            al., MegDet, CVPR 2018 (arXiv:1711.07240), section 3.3.
        debias: True corrects the averages for the zeros and ones they start from: the n-th batch
            moves them by (1 - momentum) / (1 - momentum^n) instead of 1 - momentum, so that they
            are right from the first step. For short training, or a momentum close to 1. Source:
            Kingma and Ba, Adam, ICLR 2015 (arXiv:1412.6980), section 3.
        unbiased: True moves the variance's average by var * N / (N - 1), N the number of elements
            in a channel: the population's variance. For small batches. Source: Ioffe and Szegedy,
            algorithm 2, step 10; PyTorch does the same.
        virtual_batch_size: normalizes each so many samples by themselves in training, the rest of
            the batch as one smaller group. The averages are moved by the mean of the groups' mu and
            var, each weighted by its size. For large batches, whose statistics are too exact to
            regularize. Source: Hoffer, Hubara and Soudry, Train longer, generalize better, NeurIPS
            2017 (arXiv:1705.08741), algorithm 1.

    `debias` and `momentum=None` add a third non-trainable weight, `moving_weight` (channels,): the
    weight of all batches behind the averages.

    Call arguments:
        inputs: float tensor of rank >= 2, e.g. (batch, features) or (batch, height, width,
            channels).
        training: True normalizes with the batch's statistics and moves the averages.
        mask: True where an element counts in the statistics. Of the shape of the inputs' leading
            axes, at most all but the last: (batch, time) serves inputs (batch, time, features) and
            (batch, time, height, width, channels). Lengths of one are repeated.
        sample_weight: how often an element counts, >= 0, of such a shape too, e.g. (batch,).
            A weight of 2 is a row that stands there twice.

    Raises:
        ValueError: for an argument, a mask or a weight that breaks these laws.

    Source: Ioffe and Szegedy, Batch Normalization, ICML 2015 (arXiv:1502.03167), algorithms 1, 2.
    """

    def __init__(
        self,
        axis: int | list[int] | tuple[int] = -1,
        momentum: float | None = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: dict[str, float] | None = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        *,
        debias: bool = False,
        unbiased: bool = False,
        virtual_batch_size: int | None = None,
        **kwargs: Any,
    ):
        if isinstance(axis, list | tuple):
            _require(len(axis) == 1, "axis", "one axis, also as a list of one", axis)
            axis = axis[0]
        if momentum is not None:
            _require(0 <= momentum <= 1, "momentum", "in [0, 1] or None", momentum)
        _require(0 <= epsilon < math.inf, "epsilon", "finite and >= 0", epsilon)
        _require(0 <= renorm_momentum <= 1, "renorm_momentum", "in [0, 1]", renorm_momentum)
        if virtual_batch_size is not None:
            _require(
                virtual_batch_size >= 1 and virtual_batch_size == int(virtual_batch_size),
                "virtual_batch_size",
                "an integer >= 1 or None",
                virtual_batch_size,
            )
            _require(
                not (renorm or synchronized),
                "virtual_batch_size",
                "None where renorm or synchronized is True",
                virtual_batch_size,
            )
        super().__init__(
            axis=axis,
            momentum=0.0 if momentum is None else momentum,
            epsilon=epsilon,
            center=center,
            scale=scale,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            moving_mean_initializer=moving_mean_initializer,
            moving_variance_initializer=moving_variance_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
            renorm=renorm,
            renorm_clipping=renorm_clipping,
            renorm_momentum=renorm_momentum,
            synchronized=synchronized,
            **kwargs,
        )
        if momentum is None:
            self.momentum = None
        self.debias = debias
        self.unbiased = unbiased
        self.virtual_batch_size = None if virtual_batch_size is None else int(virtual_batch_size)
        self.moving_weight: Any = None

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "debias": self.debias,
            "unbiased": self.unbiased,
            "virtual_batch_size": self.virtual_batch_size,
        }

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        rank = len(input_shape)
        _require(-rank <= self.axis < rank, "axis", f"an axis of {input_shape}", self.axis)
        _require(
            input_shape[self.axis] is not None, "axis", f"of known size in {input_shape}", self.axis
        )
        _require(
            self.virtual_batch_size is None or self.axis % rank > 0,
            "axis",
            "another than that of the batch, where virtual_batch_size is given",
            self.axis,
        )
        super().build(input_shape)
        if self.debias or self.momentum is None:
            self.moving_weight = self.add_weight(
                name="moving_weight",
                shape=self.moving_mean.shape,
                initializer="zeros",
                trainable=False,
                autocast=False,
            )

    def add_weight(self, *args: Any, trainable: bool = True, **kwargs: Any) -> Any:
        if not trainable:  # an average: in half precision its small steps would be lost
            kwargs["dtype"] = float_type(self.variable_dtype)
        return super().add_weight(*args, trainable=trainable, **kwargs)

    def call(
        self, inputs: Any, training: bool | None = None, mask: Any = None, sample_weight: Any = None
    ) -> Any:
        inputs = ops.convert_to_tensor(inputs)
        if mask is None:  # Keras hands it on only where inputs are the one tensor given
            mask = getattr(inputs, "_keras_mask", None)
        dtype = float_type(inputs.dtype)
        if keras.backend.standardize_dtype(inputs.dtype) != self.compute_dtype:
            inputs = ops.cast(inputs, dtype)  # integers, or half precision with autocast=False
        weights = element_weights(inputs, mask, sample_weight)
        channels = self.moving_mean.shape
        gamma = ops.cast(self.gamma, dtype) if self.scale else ops.ones(channels, dtype)
        beta = ops.cast(self.beta, dtype) if self.center else ops.zeros(channels, dtype)
        if not (training and self.trainable):
            y = self._normalize_by_averages(ops.cast(inputs, dtype), gamma, beta)
        elif self._suits_kernels(inputs, weights):
            y, *statistics = kernels.normalize(inputs, gamma, beta, self.epsilon, self.axis)
            self._move_averages(*statistics)
        else:
            y = self._normalize_by_batch(ops.cast(inputs, dtype), weights, gamma, beta)
        return ops.cast(y, self.compute_dtype)

    def _suits_kernels(self, inputs: Any, weights: Any) -> bool:
        options = self.renorm or self.synchronized or self.virtual_batch_size
        return weights is None and not options and kernels and kernels.serves()

    def _normalize_by_averages(self, x: Any, gamma: Any, beta: Any) -> Any:
        mean, variance = (ops.cast(a, x.dtype) for a in (self.moving_mean, self.moving_variance))
        if kernels:
            return kernels.affine(x, mean, variance, gamma, beta, self.epsilon, self.axis)
        scale = gamma * ops.rsqrt(variance + self.epsilon)
        mean, scale, beta = per_channel(x, self.axis, mean, scale, beta)
        # centred before scaled: folding the mean into the offset cancels where it is large
        return (x - mean) * scale + beta

    def _normalize_by_batch(self, x: Any, weights: Any, gamma: Any, beta: Any) -> Any:
        """What the kernels are not made for."""
        size, rank = ops.shape(x)[0], len(x.shape)
        if weights is not None:  # what an element without weight holds must reach no gradient
            x = ops.where(ops.isfinite(x) | (weights > 0), x, 0)
        if self.virtual_batch_size is not None:
            x, weights = self._ghosts(x, weights, self.virtual_batch_size)
        axes = [axis + len(x.shape) - rank for axis in self._reduction_axes]
        all_reduce = {"all_reduce": kernels.all_reduce} if self.synchronized else {}
        batch = moments(x, axes, weights, **all_reduce)

        # (groups, channels); one group, if there are no ghosts
        def by_group(statistic: Any) -> Any:
            statistic = ops.broadcast_to(statistic, ops.shape(batch.variance))
            return ops.reshape(statistic, (-1, *self.moving_mean.shape))

        mean, variance, count = map(
            by_group, (batch.shift + batch.residual, batch.variance, batch.count)
        )
        if self.renorm:
            gamma, beta = self._renormalized(mean[0], variance[0], gamma, beta)
        total = ops.sum(count, 0)
        share = count / ops.maximum(total, keras.config.epsilon())
        mean, variance = ops.sum(share * mean, 0), ops.sum(share * variance, 0)
        self._move_averages(mean, variance, total, ops.sum(ops.relu(count - 1), 0))

        gamma, beta = per_channel(x, self.axis % rank - rank, gamma, beta)
        scale = gamma * ops.rsqrt(batch.variance + self.epsilon)
        y = (x - batch.shift) * scale + (beta - batch.residual * scale)
        if self.virtual_batch_size is not None:
            y = ops.reshape(y, (-1, *ops.shape(y)[2:]))[:size]
        return y

    def _ghosts(self, x: Any, weights: Any, size: int) -> tuple[Any, Any]:
        """The groups, as (groups, virtual batch size, ...); the last is filled up."""
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

        def grouped(rows: Any) -> Any:
            return ops.reshape(rows, (groups, size, *ops.shape(rows)[1:]))

        return grouped(x), None if weights is None else grouped(weights)

    def _renormalized(self, mean: Any, variance: Any, gamma: Any, beta: Any) -> tuple[Any, Any]:
        """The gamma and beta that make z_norm * r + d of z_norm."""
        average, deviation = (
            ops.cast(w, mean.dtype) for w in (self.renorm_mean, self.renorm_stddev)
        )
        deviation = ops.maximum(deviation, self.epsilon**0.5)
        bounds = {"rmin": 0.0, "rmax": math.inf, "dmax": math.inf}
        bounds |= {name: b for name, b in self.renorm_clipping.items() if b is not None}
        r = ops.clip(ops.sqrt(variance + self.epsilon) / deviation, bounds["rmin"], bounds["rmax"])
        d = ops.clip((mean - average) / deviation, -bounds["dmax"], bounds["dmax"])
        r, d = ops.stop_gradient(r), ops.stop_gradient(d)
        return gamma * r, beta + gamma * d

    def _move_averages(self, mean: Any, variance: Any, count: Any, degrees: Any = None) -> None:
        """Moves the averages towards a batch.

        Args:
            mean: the batch's, (channels,).
            variance: likewise.
            count: number of elements behind them, or their weight; (channels,) or a scalar.
            degrees: degrees of freedom of the variance; likewise. None for count - 1.
        """
        if self.unbiased:
            variance = variance * count / (count - 1 if degrees is None else degrees)
        mean, variance = ops.stop_gradient(mean), ops.stop_gradient(variance)
        sound = mean + variance
        run = kernels.shared(_moved) if hasattr(kernels, "shared") else _moved

        def move(share: Any, *moves: tuple[Any, Any]) -> Any:
            averages, values = zip(*moves, strict=True)
            old = map(ops.convert_to_tensor, averages)
            new = run(sound, count, ops.cast(share, sound.dtype), *values, *old)
            for average, value in zip(averages, new, strict=True):
                average.assign(value)
            return new[0]

        share = 1.0 if self.momentum is None else 1.0 - self.momentum
        if self.moving_weight is not None:
            one = ops.ones_like(mean)
            if self.momentum is None:
                one = one + ops.convert_to_tensor(self.moving_weight)
            weight = move(share, (self.moving_weight, one))
            share = share / ops.maximum(weight, keras.config.epsilon())
        if not self.renorm:
            move(share, (self.moving_mean, mean), (self.moving_variance, variance))
            return
        deviation = ops.sqrt(variance + self.epsilon)
        move(1.0 - self.renorm_momentum, (self.renorm_mean, mean), (self.renorm_stddev, deviation))
        moving = move(share, (self.moving_stddev, deviation), (self.moving_mean, mean))
        move(1.0, (self.moving_variance, ops.relu(ops.square(moving) - self.epsilon)))


def _moved(sound: Any, count: Any, share: Any, *values_and_averages: Any) -> list[Any]:
    """The averages after they went a share of the way to the values.

    Those of a channel stay as they are where `sound` is not finite or no element counts.
    """
    valid = (ops.abs(sound) < math.inf) & (count > 0)  # and so it is not NaN either
    half = len(values_and_averages) // 2
    pairs = zip(values_and_averages[:half], values_and_averages[half:], strict=True)
    return [
        ops.where(valid, (1.0 - share) * old + share * ops.cast(value, old.dtype), old)
        for value, old in pairs
    ]


def _require(holds: bool, name: str, law: str, got: Any) -> None:
    if not holds:
        raise ValueError(f"BatchNormalization: {name} must be {law}. Got {got!r} instead.")


BatchNorm = BatchNormalization
