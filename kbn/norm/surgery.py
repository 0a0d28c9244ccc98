"""Batch normalization of whole models: converted here; recalibrated and folded next door."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kbn.norm._keras import layers_within
from kbn.norm.calibration import recalibrate
from kbn.norm.copying import KINDS, Array, CannotCopyError, Copier, float64, is_plain_norm
from kbn.norm.folding import fold_batch_norm
from kbn.norm.layer import BatchNormalization

__all__ = ["convert_batch_norm", "fold_batch_norm", "norms_in", "recalibrate"]


def norms_in(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """List the batch-normalization layers in a model, kbn's and Keras', at any depth."""
    kind = keras.layers.BatchNormalization
    return [layer for layer in layers_within(model) if isinstance(layer, kind)]


def convert_batch_norm(model: keras.Model, *, to: str = "kbn", **overrides: Any) -> keras.Model:
    """Copy a model, with its batch-normalization layers turned into kbn's or back into Keras'.

    The copy predicts the same and keeps names, weights, shared layers and frozen layers. It is not
    compiled. Layers of a user's own subclass of BatchNormalization are left as they are.

    Args:
        model: Sequential, functional, nested or subclassed model. Layers in wrappers and in the
            attributes of subclassed layers are converted too, if Keras can clone their classes.
        to: "kbn" for `kbn.BatchNormalization`, "keras" for `keras.layers.BatchNormalization`.
        **overrides: constructor arguments that replace those of every converted layer, such as
            `momentum=0.9`.

    Raises:
        ValueError: if `to` is neither, if the target layer rejects an override, if an override
            would drop a weight, or if a layer cannot be cloned.
    """
    if to not in KINDS:
        raise ValueError(f"convert_batch_norm: `to` must be 'kbn' or 'keras'. Got {to!r} instead.")
    known = set(KINDS[to](name="norm").get_config())
    allowed = known - {"name", "axis", "trainable"}
    if unknown := sorted(set(overrides) - allowed):
        raise ValueError(
            f"convert_batch_norm: overrides must be among {', '.join(sorted(allowed))}. "
            f"Got {', '.join(unknown)} instead."
        )
    try:
        KINDS[to](**overrides)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"convert_batch_norm: overrides must be what {to}'s layer takes. Got {overrides}: "
            f"{error}"
        ) from error
    return _Converter(KINDS[to], known, overrides).model(model)


class _Converter(Copier):
    """Copies a model, with its norms turned into layers of another class.

    Attributes:
        kind: the class.
        known: the arguments of its constructor.
        overrides: arguments that replace those of every norm.
    """

    def __init__(self, kind: type[keras.Layer], known: set[str], overrides: dict[str, Any]) -> None:
        super().__init__()
        self.kind, self.known, self.overrides = kind, known, overrides

    def renew(self, layer: keras.Layer) -> keras.Layer:
        if not is_plain_norm(layer):
            return super().renew(layer)
        config = {key: value for key, value in layer.get_config().items() if key in self.known}
        if config["momentum"] is None and self.kind is not BatchNormalization:
            del config["momentum"]  # Keras' layer has no plain average over all batches
        return self.kind.from_config(config | self.overrides)

    def transfer(self, old: keras.Layer, new: keras.Layer) -> None:
        if not is_plain_norm(old):
            super().transfer(old, new)
        elif old.built:
            for argument, name in (("scale", "gamma"), ("center", "beta")):
                if getattr(old, name) is not None and getattr(new, name) is None:
                    raise CannotCopyError(
                        f"convert_batch_norm: {argument} must stay True where a layer has a {name}."
                        f" Got {argument}=False for {old.name}."
                    )
            for name, value in _norm_state(old, new).items():
                weight = getattr(new, name, None)
                if weight is not None:
                    weight.assign(np.broadcast_to(value, weight.shape))


_STATE = (
    *("gamma", "beta", "moving_mean", "moving_variance", "moving_weight"),
    *("moving_stddev", "renorm_mean", "renorm_stddev"),
)


def _norm_state(
    old: keras.layers.BatchNormalization, new: keras.layers.BatchNormalization
) -> dict[str, Array]:
    """Return the values that `new` starts from, by attribute: old's weights, or what they imply.

    Each is (channels,) or a scalar.
    """
    weights = {name: getattr(old, name, None) for name in _STATE}
    own = {name: float64(weight) for name, weight in weights.items() if weight is not None}
    mean, variance = own["moving_mean"], own["moving_variance"]
    deviation = np.sqrt(variance + old.epsilon)
    # averages that are still at their initial values have seen no batch
    weight = own.pop("moving_weight", np.float64((mean != 0).any() or (variance != 1).any()))
    implied = {"moving_stddev": deviation, "renorm_mean": mean, "renorm_stddev": deviation}
    return implied | own | {"moving_weight": _moving_weight(weight, old.momentum, new.momentum)}


def _moving_weight(
    weight: Array | np.float64, old: float | None, new: float | None
) -> Array | np.float64:
    """Convert the weight behind a layer's averages, so that further training does not drop them.

    After n batches, a debiased average has the weight 1 - momentum^n, and a plain one (momentum
    None) the weight n. With weight w, the first is as noisy as a plain one over
    (1 + momentum) / (1 - momentum) * w / (2 - w) batches.

    Args:
        weight: the old layer's weight, (channels,) or a scalar.
        old: the old layer's momentum.
        new: the new layer's momentum.
    """
    if old is None:
        return weight if new is None else np.minimum(weight, 1)
    if new is not None:
        return weight
    return (1 + old) / np.maximum(1 - old, 1e-7) * weight / (2 - weight)
