"""Search spaces of every kind, and losses on them."""

import math

import keras_tuner as kt

import kbn

MAX_EPOCHS = 9
LOSS = kt.Objective("loss", "min")


def space(hp):
    hp.Float("rate", 1e-4, 1, sampling="log")
    kbn.scales.complement_log(hp, "momentum", 0.5, 0.999)
    hp.Int("units", 8, 64)
    hp.Choice("optimizer", ["sgd", "adam"])


def loss_of(values):
    """Least at rate .01, momentum .9 and sgd; less after more epochs."""
    loss = (math.log10(values["rate"]) + 2) ** 2 + (math.log10(1 - values["momentum"]) + 1) ** 2
    loss += (values["units"] / 64 - 0.5) ** 2 + (values["optimizer"] == "adam")
    return loss + 1 / values.get("tuner/epochs", MAX_EPOCHS)


def square(hp):
    hp.Float("x", 0, 1)
    hp.Float("y", 0, 1)


def distance(values):
    """Least at x .3 and y .5."""
    return (values["x"] - 0.3) ** 2 + (values["y"] - 0.5) ** 2


def scaled(hp):
    """A hyperparameter on each scale."""
    hp.Float("linear", -1, 3)
    hp.Float("log", 1e-7, 1, sampling="log")
    hp.Float("reverse_log", 1, 100, sampling="reverse_log")
    kbn.scales.complement_log(hp, "complement_log", 0.5, 0.999)
    kbn.scales.per_decade(hp, "per_decade", 1e-3, 1)
    hp.Int("integer", -4, 5)
    hp.Int("integer_log", 64, 1024, sampling="log")


BOUNDS = {
    "linear": (-1, 3),
    "log": (1e-7, 1),
    "reverse_log": (1, 100),
    "complement_log": (0.5, 0.999),
    "per_decade": (1e-3, 1),
    "integer": (-4, 5),
    "integer_log": (64, 1024),
}
MIDDLES = {  # as much of the scale lies below as above
    "linear": 1,
    "log": 10**-3.5,
    "reverse_log": 91,
    "complement_log": 1 - math.sqrt(0.5 * 0.001),
    "per_decade": 0.055,
    "integer": 0.5,
    "integer_log": 256,
}
CONTINUOUS = ("linear", "log", "reverse_log", "complement_log", "per_decade")


def gridded(hp):
    """A hyperparameter with few values of each kind."""
    hp.Float("float_step", 0, 0.5, step=0.1)
    hp.Int("int_step", 10, 105, step=30)
    hp.Float("log_step", 1e-3, 10, step=10, sampling="log")
    hp.Int("int_log_step", 2, 64, step=2, sampling="log")
    hp.Float("reverse_log_step", 1, 100, step=10, sampling="reverse_log")
    hp.Choice("ordered", [16, 32, 64])
    hp.Choice("unordered", [3, 1, 2], ordered=False)
    hp.Choice("words", ["sgd", "adam"])
    hp.Choice("floats", [0.1, 0.5, 0.9])
    hp.Choice("flags", [True, False])
    hp.Boolean("boolean")
    hp.Fixed("fixed_int", 7)
    hp.Fixed("fixed_word", "x")
    hp.Fixed("fixed_flag", True)


GRIDS = {
    "float_step": [0, 0.1, 0.2, 0.3, 0.4, 0.5],
    "int_step": [10, 40, 70, 100],
    "log_step": [1e-3, 1e-2, 0.1, 1, 10],
    "int_log_step": [2, 4, 8, 16, 32, 64],
    "reverse_log_step": [1, 91, 100],
    "ordered": [16, 32, 64],
    "unordered": [1, 2, 3],
    "words": ["adam", "sgd"],
    "floats": [0.1, 0.5, 0.9],
    "flags": [False, True],
    "boolean": [False, True],
    "fixed_int": [7],
    "fixed_word": ["x"],
    "fixed_flag": [True],
}


def nested(hp):
    hp.Choice("a", ["x", "y", "z"])
    with hp.conditional_scope("a", ["x", "y"]):
        hp.Boolean("b")
        with hp.conditional_scope("b", [True]):
            hp.Choice("c", [1, 2])
    with hp.conditional_scope("a", ["z"]):
        hp.Int("d", 1, 3)


def active(values):
    """The names that `nested` has where `a` and `b` have these values."""
    if values["a"] == "z":
        return {"a", "d"}
    return {"a", "b", "c"} if values["b"] else {"a", "b"}


ALONE = {
    "choice": lambda hp: hp.Choice("one", ["x"]),
    "integer": lambda hp: hp.Int("one", 3, 3),
    "float": lambda hp: hp.Float("one", 0.5, 0.5),
    "log": lambda hp: hp.Float("one", 0.5, 0.5, sampling="log"),
    "reverse_log": lambda hp: hp.Float("one", 0.5, 0.5, sampling="reverse_log"),
    "integer log": lambda hp: hp.Int("one", 3, 3, sampling="log"),
    "step": lambda hp: hp.Float("one", 0.5, 0.5, step=0.1),
    "wide step": lambda hp: hp.Int("one", 3, 5, step=4),
    "complement_log": lambda hp: kbn.scales.complement_log(hp, "one", 0.5, 0.5),
    "per_decade": lambda hp: kbn.scales.per_decade(hp, "one", 0.5, 0.5),
    "fixed": lambda hp: hp.Fixed("one", 7),
}
