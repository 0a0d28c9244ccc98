"""The batch-normalization layer."""

from __future__ import annotations

from typing import Any, TypeAlias

import keras
from keras import KerasTensor, ops

from kbn.norm import averages, renormalization
from kbn.norm._keras import mask_of
from kbn.norm.arguments import check_axis, check_numbers, check_renorm, one_axis, whole_size
from kbn.norm.backend import kernels
from kbn.norm.moments import element_weights, float_type, moments, per_channel, standardized
from kbn.norm.virtual_batches import grouped, joined

Initializer: TypeAlias = str | keras.initializers.Initializer
Regularizer: TypeAlias = str | keras.regularizers.Regularizer | None
Constraint: TypeAlias = str | keras.constraints.Constraint | None


@keras.saving.register_keras_serializable(package="kbn")
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization with explicit gamma, beta and moving averages.

    A drop-in replacement for `keras.layers.BatchNormalization` with the same arguments and weights,
    faster and more exact. In training, with mu and var the mean and (biased) variance of a channel
    in the batch, that is over all axes but `axis`:

        z_norm = (z - mu) / sqrt(var + epsilon)
        y      = gamma * z_norm + beta

        moving_mean     <- momentum * moving_mean     + (1 - momentum) * mu
        moving_variance <- momentum * moving_variance + (1 - momentum) * var

    At inference, and always if `trainable` is False, the moving averages take the place of mu and
    var. Statistics are computed and averages kept in float32 or better, whatever the type of the
    inputs. A channel whose statistics are not finite, or of which no element counts, keeps its
    averages.

    Args:
        axis: the axis of the channels, also as a list of one.
        momentum: the share of the moving averages that a batch keeps, in [0, 1]. None averages over
            all batches seen with equal weight: n <- n + 1, moving_mean <- moving_mean + (mu -
            moving_mean) / n. Use it where the weights no longer change, e.g. in a last epoch with
            learning rate 0. Source: PyTorch's `BatchNorm2d(momentum=None)`.
        epsilon: added to the variance, >= 0.
        center: whether the layer has a beta.
        scale: whether the layer has a gamma.
        beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer,
        beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint: as in Keras.
        renorm: batch renormalization. In training, z_norm * r + d takes the place of z_norm, where
            r and d turn it into what inference would compute; no gradient flows through them. For
            batches that are too small, or too unlike each other, to be normalized by themselves.
            Keras 3.14 or later. Source: Ioffe, NeurIPS 2017 (arXiv:1702.03275), algorithm 1.
        renorm_clipping: the bounds "rmin", "rmax" and "dmax" of r and d.
        renorm_momentum: the momentum of the averages behind r and d, in [0, 1].
        synchronized: True takes mu and var over the batches of all replicas of a `tf.distribute`
            strategy, for replicas whose own batches are small. TensorFlow only. Source: Peng et
            al., MegDet, CVPR 2018 (arXiv:1711.07240), section 3.3.
        debias: True corrects the averages for the zeros and ones that they start from: the n-th
            batch moves them by (1 - momentum) / (1 - momentum^n) instead of 1 - momentum, so that
            they are right from the first step. For short trainings, or a momentum close to 1.
            Source: Kingma and Ba, Adam, ICLR 2015 (arXiv:1412.6980), section 3.
        unbiased: True moves the average of the variance by var * N / (N - 1), an unbiased estimate
            of the population's variance, where N is the number of elements in a channel. For small
            batches. Source: Ioffe and Szegedy, algorithm 2, step 10; PyTorch does the same.
        virtual_batch_size: in training, groups of so many examples are normalized by themselves;
            what is left of the batch is a smaller group. The averages move by the mean of the
            groups' mu and var, weighted by the groups' sizes. For large batches, whose statistics
            are too exact to regularize. Source: Hoffer, Hubara and Soudry, Train longer, generalize
            better, NeurIPS 2017 (arXiv:1705.08741), algorithm 1.

    `debias` and `momentum=None` add a third non-trainable weight, `moving_weight` (channels,): the
    total weight of all batches behind the averages.

    Call arguments:
        inputs: float tensor of rank >= 2 with the channels on `axis`, e.g. (batch, channels) or
            (batch, height, width, channels).
        training: True normalizes by the batch's statistics and moves the averages.
        mask: True where an element counts in the statistics. Its shape is that of the inputs'
            leading axes, at most all but the last: (batch, time) suits inputs (batch, time,
            channels) and (batch, time, height, width, channels). Axes of length 1 are broadcast.
        sample_weight: how often an element counts, >= 0; also of such a shape, e.g. (batch,). A row
            of weight 2 counts as two equal rows.

    Raises:
        ValueError: if an argument, a mask or a weight violates these rules.

    Source: Ioffe and Szegedy, Batch Normalization, ICML 2015 (arXiv:1502.03167), algorithms 1, 2.
    """

    def __init__(
        self,
        axis: int | list[int] | tuple[int] = -1,
        momentum: float | None = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Initializer = "zeros",
        gamma_initializer: Initializer = "ones",
        moving_mean_initializer: Initializer = "zeros",
        moving_variance_initializer: Initializer = "ones",
        beta_regularizer: Regularizer = None,
        gamma_regularizer: Regularizer = None,
        beta_constraint: Constraint = None,
        gamma_constraint: Constraint = None,
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
        axis = one_axis(axis)
        check_numbers(momentum, epsilon, renorm_momentum)
        check_renorm(renorm, offered=renormalization.OFFERED)
        size = whole_size(virtual_batch_size, whole_batch=renorm or synchronized)
        renorm_options = {
            "renorm": renorm,
            "renorm_clipping": renorm_clipping,
            "renorm_momentum": renorm_momentum,
        }
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
            synchronized=synchronized,
            **(renorm_options if renormalization.OFFERED else {}),
            **kwargs,
        )
        if not renormalization.OFFERED:
            self.renorm, self.renorm_clipping = renorm, renorm_clipping
            self.renorm_momentum = renorm_momentum
        if momentum is None:
            self.momentum = None
        self.debias = debias
        self.unbiased = unbiased
        self.virtual_batch_size = size
        self.moving_weight: keras.Variable | None = None

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "renorm": self.renorm,
            "renorm_clipping": self.renorm_clipping,
            "renorm_momentum": self.renorm_momentum,
            "debias": self.debias,
            "unbiased": self.unbiased,
            "virtual_batch_size": self.virtual_batch_size,
        }

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        check_axis(self.axis, input_shape, grouped=self.virtual_batch_size is not None)
        super().build(input_shape)
        if self.debias or self.momentum is None:
            self.moving_weight = self.add_weight(
                name="moving_weight",
                shape=self.moving_mean.shape,
                initializer="zeros",
                trainable=False,
                autocast=False,
            )

    def add_weight(self, *args: Any, trainable: bool = True, **kwargs: Any) -> keras.Variable:
        if not trainable:  # an average, whose small steps half precision would lose
            kwargs["dtype"] = float_type(self.variable_dtype)
        return super().add_weight(*args, trainable=trainable, **kwargs)

    def call(
        self,
        inputs: KerasTensor,
        training: bool | None = None,
        mask: KerasTensor | None = None,
        sample_weight: KerasTensor | None = None,
    ) -> KerasTensor:
        inputs = ops.convert_to_tensor(inputs)
        if mask is None:  # Keras passes it on only if inputs are the only tensor of the call
            mask = mask_of(inputs)
        dtype = float_type(inputs.dtype)
        if keras.backend.standardize_dtype(inputs.dtype) != self.compute_dtype:
            inputs = ops.cast(inputs, dtype)  # integers, or half precision with autocast=False
        weights = element_weights(inputs, mask, sample_weight)
        channels = self.moving_mean.shape
        gamma = ops.cast(self.gamma, dtype) if self.scale else ops.ones(channels, dtype)
        beta = ops.cast(self.beta, dtype) if self.center else ops.zeros(channels, dtype)
        if not (training and self.trainable):
            mean, variance = (ops.cast(a, dtype) for a in (self.moving_mean, self.moving_variance))
            x = ops.cast(inputs, dtype)
            y = kernels.affine(x, mean, variance, gamma, beta, self.epsilon, self.axis)
        elif self._is_plain(weights) and kernels.serves(inputs, gamma, beta):
            y, *statistics = kernels.normalize(inputs, gamma, beta, self.epsilon, self.axis)
            self._move_averages(*statistics)
        else:
            y = self._normalize_by_batch(ops.cast(inputs, dtype), weights, gamma, beta)
        return ops.cast(y, self.compute_dtype)

    def _is_plain(self, weights: KerasTensor | None) -> bool:
        options = self.renorm or self.synchronized or self.virtual_batch_size
        return weights is None and not options

    def _normalize_by_batch(
        self,
        x: KerasTensor,
        weights: KerasTensor | None,
        gamma: KerasTensor,
        beta: KerasTensor,
    ) -> KerasTensor:
        """Normalize by the batch's statistics with all options that the kernels lack."""
        size, rank = ops.shape(x)[0], len(x.shape)
        if weights is not None:  # an element that does not count must not spoil the gradient
            x = ops.where(ops.isfinite(x) | (weights > 0), x, 0)
        if self.virtual_batch_size is not None:
            x, weights = grouped(x, weights, self.virtual_batch_size)
        added = len(x.shape) - rank  # 1 where there are groups, else 0
        axes = [other + added for other in range(rank) if other != self.axis % rank]
        all_reduce = {"all_reduce": kernels.all_reduce} if self.synchronized else {}
        batch = moments(x, axes, weights, **all_reduce)

        def by_group(statistic: KerasTensor) -> KerasTensor:  # (groups, channels)
            statistic = ops.broadcast_to(statistic, ops.shape(batch.variance))
            return ops.reshape(statistic, (-1, *self.moving_mean.shape))

        mean, variance, count = map(
            by_group, (batch.shift + batch.residual, batch.variance, batch.count)
        )
        if self.renorm:
            average = ops.cast(self.renorm_mean, mean.dtype)
            deviation = ops.maximum(ops.cast(self.renorm_stddev, mean.dtype), self.epsilon**0.5)
            own = ops.sqrt(variance[0] + self.epsilon)
            gamma, beta = renormalization.renormalized(
                gamma, beta, mean[0], own, average, deviation, self.renorm_clipping or {}
            )
        total = ops.sum(count, 0)
        share = count / ops.maximum(total, keras.config.epsilon())
        mean, variance = ops.sum(share * mean, 0), ops.sum(share * variance, 0)
        self._move_averages(mean, variance, total, ops.sum(ops.relu(count - 1), 0))

        gamma, beta = per_channel(x, self.axis % rank + added, gamma, beta)
        y = standardized(x, batch, self.epsilon, gamma, beta)
        return y if self.virtual_batch_size is None else joined(y, size)

    def _move_averages(
        self,
        mean: KerasTensor,
        variance: KerasTensor,
        count: KerasTensor | int,
        degrees: KerasTensor | None = None,
    ) -> None:
        """Move the averages towards a batch.

        Args:
            mean: the batch's mean, (channels,).
            variance: the batch's biased variance, (channels,).
            count: the number or weight of the elements behind them; (channels,) or a scalar.
            degrees: the degrees of freedom of the variance, (channels,); by default count - 1.
        """
        if self.unbiased:
            variance = variance * count / (count - 1 if degrees is None else degrees)
        mean, variance = ops.stop_gradient(mean), ops.stop_gradient(variance)
        finite = mean + variance

        def move(
            share: KerasTensor | float, *moves: tuple[keras.Variable, KerasTensor]
        ) -> KerasTensor:
            variables, values = zip(*moves, strict=True)
            return averages.move(variables, values, share, finite, count)

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


BatchNorm = BatchNormalization
