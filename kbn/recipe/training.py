"""Training of a model: optimizers by name, and what its hyperparameters may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

# optimizer -> {hyperparameter of a recipe: argument of the Keras optimizer}
OPTIMIZERS = {
    "adam": {"beta_1": "beta_1", "beta_2": "beta_2", "adam_epsilon": "epsilon"},
    "sgd": {"momentum": "momentum"},
}
# hyperparameters that every training has, with their values where a recipe does not tune them
DEFAULTS: dict[str, str | int | float] = {
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "decay": 1.0,
    "batch_size": 32,
}

# hyperparameter, also of an architecture -> rule for its values, and whether a value follows it
DOMAINS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "optimizer": (f"one of {', '.join(OPTIMIZERS)}", lambda x: x in OPTIMIZERS),
    **dict.fromkeys(("learning_rate", "decay", "adam_epsilon"), ("> 0", lambda x: x > 0)),
    **dict.fromkeys(("batch_size", "units", "filters", "kernel_size"), (">= 1", lambda x: x >= 1)),
    **dict.fromkeys(("layers", "virtual_batch_size"), (">= 0", lambda x: x >= 0)),
    **dict.fromkeys(("momentum", "norm_momentum"), ("in [0, 1]", lambda x: 0 <= x <= 1)),
    **dict.fromkeys(("beta_1", "beta_2", "dropout"), ("in [0, 1)", lambda x: 0 <= x < 1)),
}


def make_optimizer(values: Mapping[str, str | int | float], steps: int) -> keras.Optimizer:
    """Return the optimizer that hyperparameters describe.

    The learning rate decays exponentially from `learning_rate` to `decay` times that at the last
    step: learning_rate * decay^(step / steps).

    Args:
        values: {hyperparameter: value}; `DEFAULTS` applies to those missing.
        steps: number of steps of the whole training, at least 1.
    """
    import keras

    values = {**DEFAULTS, **values}
    rate = keras.optimizers.schedules.ExponentialDecay(
        # Keras would cast the decay rate to the type of an integer learning rate
        float(values["learning_rate"]),
        decay_steps=steps,
        decay_rate=values["decay"],
    )
    chosen = str(values["optimizer"])
    names = OPTIMIZERS[chosen].items()
    arguments = {argument: values[name] for name, argument in names if name in values}
    optimizers = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}
    return optimizers[chosen](rate, **arguments)
