"""Model architectures by name.

A keyword-only argument of an architecture is a hyperparameter that a recipe's space may tune.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class Norm:
    """Where batch normalization goes in a hidden layer, and whose.

    Attributes:
        layer: "kbn.BatchNormalization" or "keras.layers.BatchNormalization".
        position: "before_activation" normalizes z, "after_activation" a = g(z).
    """

    layer: str
    position: str

    def make(self, momentum: float) -> keras.layers.Layer:
        import keras

        from kbn.norm.layer import BatchNormalization

        ours = self.layer == "kbn.BatchNormalization"
        return (BatchNormalization if ours else keras.layers.BatchNormalization)(momentum=momentum)


def softmax(inputs: int, classes: int) -> keras.Model:
    """Softmax regression: z = W x + b, t = e^z, a_i = t_i / sum(t).

    For two classes it is logistic regression on the difference of the two rows of W.
    Source: Bishop, Pattern Recognition and Machine Learning (2006), section 4.3.4.

    Args:
        inputs: number of features.
        classes: number of classes, at least 2.
    """
    import keras

    output = keras.layers.Dense(classes, activation="softmax", name="output")
    return keras.Sequential([keras.Input((inputs,)), output], name="softmax")


def mlp(
    inputs: int,
    classes: int,
    norm: Norm | None = None,
    *,
    layers: int = 2,
    units: int = 64,
    dropout: float = 0.0,
    norm_momentum: float = 0.99,
) -> keras.Model:
    """Fully connected network: hidden layers of rectified linear units, then softmax.

    Args:
        inputs: number of features.
        classes: number of classes, at least 2.
        norm: batch normalization of every hidden layer; None for none.
        layers: number of hidden layers, at least 0.
        units: width of each, at least 1.
        dropout: share of each hidden layer's outputs dropped in training, in [0, 1).
        norm_momentum: share of the moving averages kept at each step, in [0, 1].
    """
    import keras

    def hidden() -> Iterator[keras.layers.Layer]:
        before = norm is not None and norm.position == "before_activation"
        yield keras.layers.Dense(units, use_bias=not before)  # beta takes the place of the bias
        if norm is not None and before:
            yield norm.make(norm_momentum)
        yield keras.layers.ReLU()
        if norm is not None and not before:
            yield norm.make(norm_momentum)
        if dropout:
            yield keras.layers.Dropout(dropout)

    body = [layer for _ in range(layers) for layer in hidden()]
    output = keras.layers.Dense(classes, activation="softmax", name="output")
    return keras.Sequential([keras.Input((inputs,)), *body, output], name="mlp")


ARCHITECTURES: dict[str, Callable[..., Any]] = {"mlp": mlp, "softmax": softmax}


def takes_norm(architecture: str) -> bool:
    """Whether it has layers to normalize."""
    return "norm" in inspect.signature(ARCHITECTURES[architecture]).parameters


def hyperparameters(architecture: str) -> dict[str, Any]:
    """{name: default} of what can be tuned in it."""
    parameters = inspect.signature(ARCHITECTURES[architecture]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
