"""Training of a model: optimizers by name, and what its hyperparameters may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

_ADAM = {"beta_1": "beta_1", "beta_2": "beta_2", "adam_epsilon": "epsilon"}
_BETAS = {"beta_1": "beta_1", "beta_2": "beta_2"}
# optimizer -> {hyperparameter of a recipe: argument of the Keras optimizer}
OPTIMIZERS: dict[str, dict[str, str]] = {
    "adam": _ADAM,
    "adamw": _ADAM,
    "nadam": _ADAM,
    "adamax": _ADAM,
    "lamb": _ADAM,
    "lion": _BETAS,
    "muon": {"momentum": "momentum", "beta_1": "adam_beta_1", "beta_2": "adam_beta_2"},
    "rmsprop": {"rho": "rho", "momentum": "momentum"},
    "adagrad": {},
    "sgd": {"momentum": "momentum"},
}
_CLASSES = {  # of keras.optimizers
    "adam": "Adam",
    "adamw": "AdamW",
    "nadam": "Nadam",
    "adamax": "Adamax",
    "lamb": "Lamb",
    "lion": "Lion",
    "muon": "Muon",
    "rmsprop": "RMSprop",
    "adagrad": "Adagrad",
    "sgd": "SGD",
}
SCHEDULES = ("exponential", "cosine", "constant")
CLIPPING = ("clipnorm", "global_clipnorm", "clipvalue")
# of every optimizer; 0 for none
SHARED = ("weight_decay", *CLIPPING)
# hyperparameters that every training has, with their values where a recipe does not tune them
DEFAULTS: dict[str, str | int | float] = {
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "schedule": "exponential",
    "warmup": 0.0,
    "batch_size": 32,
}
FINAL_SHARE = {"exponential": 1.0, "cosine": 0.0}  # default of decay
# numbers that a training may have, also of the section training
OPTIONAL = ("label_smoothing", *SHARED)

# hyperparameter, also of an architecture -> rule for its values, and whether a value follows it
DOMAINS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "optimizer": (f"one of {', '.join(OPTIMIZERS)}", lambda x: x in OPTIMIZERS),
    "schedule": (f"one of {', '.join(SCHEDULES)}", lambda x: x in SCHEDULES),
    **dict.fromkeys(
        ("learning_rate", "fine_learning_rate", "decay", "adam_epsilon"), ("> 0", lambda x: x > 0)
    ),
    **dict.fromkeys(
        ("batch_size", "units", "filters", "kernel_size", "embedding"),
        (">= 1", lambda x: x >= 1),
    ),
    **dict.fromkeys(
        ("layers", "unfrozen", "virtual_batch_size", *SHARED), (">= 0", lambda x: x >= 0)
    ),
    **dict.fromkeys(("momentum", "norm_momentum"), ("in [0, 1]", lambda x: 0 <= x <= 1)),
    **dict.fromkeys(
        ("beta_1", "beta_2", "rho", "dropout", "head_share", "label_smoothing", "warmup"),
        ("in [0, 1)", lambda x: 0 <= x < 1),
    ),
}
WORDS = {"optimizer": tuple(OPTIMIZERS), "schedule": SCHEDULES}


def make_optimizer(values: Mapping[str, str | int | float], steps: int) -> keras.Optimizer:
    """Return the optimizer that hyperparameters describe.

    Args:
        values: {hyperparameter: value}; `DEFAULTS` applies to those missing.
        steps: number of steps of the whole training, at least 1.
    """
    import keras

    values = {**DEFAULTS, **values}
    chosen = str(values["optimizer"])
    names = {**OPTIMIZERS[chosen], **dict.fromkeys(SHARED)}
    arguments = {
        argument or name: values[name] for name, argument in names.items() if name in values
    }
    # 0 clips nothing, where Keras wants None
    given = {name: value for name, value in arguments.items() if value or name not in CLIPPING}
    return getattr(keras.optimizers, _CLASSES[chosen])(_learning_rate(values, steps), **given)


def _learning_rate(
    values: Mapping[str, Any], steps: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Return the learning rate, or its schedule.

    It changes from `learning_rate` to `decay` times that at the last step: exponentially, as
    learning_rate * decay^(step / steps), or as the half wave of a cosine. In the first share
    `warmup` of the steps it rises linearly to what the schedule has there.

    Source of the cosine: Loshchilov and Hutter, SGDR (ICLR 2017), section 3.
    """
    from keras.optimizers import schedules

    from kbn.recipe.warming import WarmUp

    # Keras would cast the decay rate to the type of an integer learning rate
    rate, kind = float(values["learning_rate"]), values["schedule"]
    final = values.get("decay", FINAL_SHARE.get(kind, 1.0))
    warm = round(values["warmup"] * steps)
    if kind == "constant" and not warm:
        return rate
    schedule = (
        schedules.CosineDecay(rate, decay_steps=steps, alpha=final)
        if kind == "cosine"
        else schedules.ExponentialDecay(rate, decay_steps=steps, decay_rate=final)
    )
    return WarmUp(schedule, warm) if warm else schedule
