"""Surgery on whole models: exchange, recalibrate and fold their batch normalization."""

from __future__ import annotations

from typing import Any

import numpy as np

from kbn.norm.calibration import recalibrate
from kbn.norm.copying import KINDS, CannotCopyError, Copier, float64, is_plain_norm
from kbn.norm.folding import fold_batch_norm
from kbn.norm.layer import BatchNormalization

__all__ = ["convert_batch_norm", "fold_batch_norm", "recalibrate"]


def convert_batch_norm(model: Any, *, to: str = "kbn", **overrides: Any) -> Any:
    """A copy of `model` whose batch-normalization layers are ours, or stock again.

    Names, weights, sharing, frozen layers and predictions stay. The copy is not compiled. Layers
    of a user's own subclass of BatchNormalization stay what they are.

    Args:
        model: Sequential, functional, nested or subclassed model. Layers in wrappers and in the
            attributes of subclassed layers are converted as well; their classes must be such that
            Keras can clone them.
        to: "kbn" for `kbn.BatchNormalization`, "keras" for `keras.layers.BatchNormalization`.
        **overrides: constructor arguments that every converted layer gets instead of its own, as
            `momentum=0.9`.

    Raises:
        ValueError: if `to` is neither, if an override is no argument of the target layer or would
            drop a weight, or if a layer cannot be cloned.
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
    """Copies a model with its norms turned into another class's."""

    def __init__(self, kind: Any, known: set[str], overrides: dict[str, Any]) -> None:
        super().__init__()
        self.kind, self.known, self.overrides = kind, known, overrides

    def renew(self, layer: Any) -> Any:
        if not is_plain_norm(layer):
            return super().renew(layer)
        config = {key: value for key, value in layer.get_config().items() if key in self.known}
        if config["momentum"] is None and self.kind is not BatchNormalization:
            del config["momentum"]  # stock has no plain average over all batches
        return self.kind.from_config(config | self.overrides)

    def transfer(self, old: Any, new: Any) -> None:
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


def _norm_state(old: Any, new: Any) -> dict[str, Any]:
    """What `new` is to start with, by attribute: `old`'s own weights, or what they imply."""
    weights = {name: getattr(old, name, None) for name in _STATE}
    own = {name: float64(weight) for name, weight in weights.items() if weight is not None}
    mean, variance = own["moving_mean"], own["moving_variance"]
    deviation = np.sqrt(variance + old.epsilon)
    # averages where they started have seen nothing yet
    weight = own.pop("moving_weight", np.float64((mean != 0).any() or (variance != 1).any()))
    implied = {"moving_stddev": deviation, "renorm_mean": mean, "renorm_stddev": deviation}
    return implied | own | {"moving_weight": _moving_weight(weight, old.momentum, new.momentum)}


def _moving_weight(weight: Any, old: float | None, new: float | None) -> Any:
    """The weight behind a converted layer's averages, so that training on does not drop them.

    A debiased average weighs 1 - momentum^n after n batches, a plain one (momentum None) n. With
    weight w the first is as noisy as a plain one over (1 + m) / (1 - m) * w / (2 - w) batches.

    Args:
        weight: (channels,) or a number, so far.
        old: momentum of the layer that it comes from.
        new: momentum of the layer that it is for.
    """
    if old is None:
        return weight if new is None else np.minimum(weight, 1)
    if new is not None:
        return weight
    return (1 + old) / np.maximum(1 - old, 1e-7) * weight / (2 - weight)
