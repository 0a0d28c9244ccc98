"""A model of your own: residual blocks with batch norm."""

import keras
import keras_tuner

import kbn


def build(
    hp: keras_tuner.HyperParameters, input_shape: tuple[int, ...], classes: int
) -> keras.Model:
    """Each block adds what it computes to what it is given: block(x) = x + W g(norm(x)).

    Args:
        hp: holds the recipe's hyperparameters; others may be declared here, as `blocks` is.
        input_shape: of one example.
        classes: number of classes.

    Returns:
        A model that is not compiled: kbn compiles it with the recipe's optimizer.
    """
    units = hp.get("units")
    inputs = keras.Input(input_shape)
    x = keras.layers.Dense(units)(inputs)
    for _ in range(hp.Int("blocks", 1, 4)):
        block = kbn.BatchNormalization(momentum=hp.get("norm_momentum"))(x)
        block = keras.layers.Dense(units)(keras.layers.ReLU()(block))
        x = keras.layers.Add()([x, block])
    outputs = keras.layers.Dense(classes, activation="softmax")(kbn.BatchNormalization()(x))
    return keras.Model(inputs, outputs)
