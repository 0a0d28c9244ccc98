"""Model architectures by name.

A keyword-only argument of an architecture is a hyperparameter that a recipe's space may tune.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

NORM_HYPERPARAMETERS = ("norm_momentum", "virtual_batch_size")  # used only with a norm
Shape = Sequence[int]  # of one example


@dataclasses.dataclass(frozen=True)
class Norm:
    """Which batch normalization the hidden layers have, and where.

    Attributes:
        layer: "kbn.BatchNormalization" or "keras.layers.BatchNormalization".
        position: "before_activation" normalizes z, "after_activation" a = g(z).
    """

    layer: str
    position: str

    def make(self, momentum: float, virtual_batch_size: int) -> keras.layers.Layer:
        """Return a new layer; a `virtual_batch_size` of 0 means the whole mini-batch."""
        import keras

        from kbn.norm.layer import BatchNormalization

        if self.layer == "kbn.BatchNormalization":
            return BatchNormalization(
                momentum=momentum, virtual_batch_size=virtual_batch_size or None
            )
        return keras.layers.BatchNormalization(momentum=momentum)


def softmax(shape: Shape, outputs: int) -> keras.Model:
    """Return a model of softmax regression: z = W x + b, t = e^z, a_i = t_i / sum(t).

    With two classes this is logistic regression on the difference of the two rows of W.
    Source: Bishop, Pattern Recognition and Machine Learning (2006), section 4.3.4.

    Args:
        shape: shape of one example; anything but a vector is flattened.
        outputs: number of classes; 1 for a linear regression.
    """
    return _model("softmax", shape, outputs, _flat(shape))


def mlp(
    shape: Shape,
    outputs: int,
    norm: Norm | None = None,
    *,
    layers: int = 2,
    units: int = 64,
    dropout: float = 0.0,
    norm_momentum: float = 0.99,
    virtual_batch_size: int = 0,
) -> keras.Model:
    """Return a fully connected network: hidden layers of rectified linear units, then softmax.

    Args:
        shape: shape of one example; anything but a vector is flattened.
        outputs: number of classes; 1 for a regression, where the output is linear.
        norm: batch normalization of every hidden layer; None for none.
        layers: number of hidden layers, at least 0.
        units: number of units in each hidden layer, at least 1.
        dropout: share of each hidden layer's outputs dropped in training, in [0, 1).
        norm_momentum: share of the moving averages kept at each step, in [0, 1].
        virtual_batch_size: samples that are normalized together; 0 for the whole mini-batch.
    """
    hidden = _dense(layers, units, norm, dropout, norm_momentum, virtual_batch_size)
    return _model("mlp", shape, outputs, [*_flat(shape), *hidden])


def cnn(
    shape: Shape,
    outputs: int,
    norm: Norm | None = None,
    *,
    layers: int = 2,
    filters: int = 16,
    kernel_size: int = 3,
    dropout: float = 0.0,
    norm_momentum: float = 0.99,
    virtual_batch_size: int = 0,
) -> keras.Model:
    """Return a convolutional network: each layer halves the image and doubles the filters.

    A softmax over all classes follows.

    Args:
        shape: shape of one image, (height, width, channels).
        outputs: number of classes; 1 for a regression, where the output is linear.
        norm: batch normalization of every convolution; None for none.
        layers: number of convolutions, at least 0; an image of one pixel is not halved further.
        filters: number of filters of the first convolution, at least 1.
        kernel_size: side of each kernel in pixels, at least 1.
        dropout: share of each convolution's outputs dropped in training, in [0, 1).
        norm_momentum: share of the moving averages kept at each step, in [0, 1].
        virtual_batch_size: samples that are normalized together; 0 for the whole mini-batch.
    """
    import keras

    body: list[keras.layers.Layer] = []
    for index in range(layers):
        convolution = keras.layers.Conv2D(
            filters * 2**index, kernel_size, padding="same", use_bias=not _before(norm)
        )
        body += _hidden(convolution, norm, dropout, norm_momentum, virtual_batch_size)
        body.append(keras.layers.MaxPooling2D(padding="same"))
    return _model("cnn", shape, outputs, [*body, keras.layers.Flatten()])


def text(
    shape: Shape,
    outputs: int,
    vocabulary: int,
    norm: Norm | None = None,
    *,
    embedding: int = 32,
    layers: int = 0,
    units: int = 64,
    dropout: float = 0.0,
    norm_momentum: float = 0.99,
    virtual_batch_size: int = 0,
) -> keras.Model:
    """Return a bag of embeddings: the mean of the tokens' vectors, hidden layers, then softmax.

    Source: Iyyer et al., Deep Unordered Composition Rivals Syntactic Methods for Text
    Classification (ACL 2015), section 3.

    Args:
        shape: shape of one example, (tokens,); 0 is no token, and left out of the mean.
        outputs: number of classes; 1 for a regression, where the output is linear.
        vocabulary: number of different tokens.
        norm: batch normalization of every hidden layer; None for none.
        embedding: length of the vector of a token, at least 1.
        layers: number of hidden layers, at least 0.
        units: number of units in each hidden layer, at least 1.
        dropout: share of each hidden layer's outputs dropped in training, in [0, 1).
        norm_momentum: share of the moving averages kept at each step, in [0, 1].
        virtual_batch_size: samples that are normalized together; 0 for the whole mini-batch.
    """
    import keras

    mean = [
        keras.layers.Embedding(vocabulary, embedding, mask_zero=True),
        keras.layers.GlobalAveragePooling1D(),
    ]
    hidden = _dense(layers, units, norm, dropout, norm_momentum, virtual_batch_size)
    return _model("text", shape, outputs, [*mean, *hidden], "int32")


def _before(norm: Norm | None) -> bool:
    """Whether z is normalized; a bias would then be redundant with beta."""
    return norm is not None and norm.position == "before_activation"


def _dense(
    layers: int,
    units: int,
    norm: Norm | None,
    dropout: float,
    norm_momentum: float,
    virtual_batch_size: int,
) -> Iterator[keras.layers.Layer]:
    """Yield fully connected hidden layers."""
    import keras

    for _ in range(layers):
        dense = keras.layers.Dense(units, use_bias=not _before(norm))
        yield from _hidden(dense, norm, dropout, norm_momentum, virtual_batch_size)


def _hidden(
    weights: keras.layers.Layer,
    norm: Norm | None,
    dropout: float,
    norm_momentum: float,
    virtual_batch_size: int,
) -> Iterator[keras.layers.Layer]:
    """Yield a hidden layer's parts: weights, normalization, activation and dropout."""
    import keras

    yield weights
    if norm is not None and _before(norm):
        yield norm.make(norm_momentum, virtual_batch_size)
    yield keras.layers.ReLU()
    if norm is not None and not _before(norm):
        yield norm.make(norm_momentum, virtual_batch_size)
    if dropout:
        yield keras.layers.Dropout(dropout)


def _flat(shape: Shape) -> list[keras.layers.Layer]:
    import keras

    return [] if len(shape) == 1 else [keras.layers.Flatten()]


def _model(
    name: str,
    shape: Shape,
    outputs: int,
    body: Sequence[keras.layers.Layer],
    inputs: str | None = None,
) -> keras.Model:
    import keras

    layers = [keras.Input(tuple(shape), dtype=inputs), *body, output_layer(outputs)]
    return keras.Sequential(layers, name=name)


def output_layer(outputs: int) -> keras.layers.Layer:
    """Return the last layer of a model: a softmax over the classes, or a linear unit."""
    import keras

    activation = "softmax" if outputs > 1 else None
    mixed = keras.config.dtype_policy().name.startswith("mixed")
    # of 16 bits, a softmax loses the probabilities that are close to 0
    dtype = "float32" if mixed else None
    return keras.layers.Dense(outputs, activation=activation, dtype=dtype, name="output")


ARCHITECTURES: dict[str, Callable[..., keras.Model]] = {
    "cnn": cnn,
    "mlp": mlp,
    "softmax": softmax,
    "text": text,
}
TEXT = "text"  # takes tokens
IMAGE = 3  # rank of an image, which a cnn needs


def takes_norm(architecture: str) -> bool:
    """Whether an architecture has layers that can be normalized."""
    return "norm" in inspect.signature(ARCHITECTURES[architecture]).parameters


def hyperparameters(architecture: str) -> dict[str, int | float]:
    """Return {name: default} of the hyperparameters of an architecture."""
    parameters = inspect.signature(ARCHITECTURES[architecture]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
