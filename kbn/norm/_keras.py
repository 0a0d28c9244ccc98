"""The parts of Keras without a public name that kbn.norm uses; no other module of it touches them.

tests/norm/test_adapters.py has one test for each and fails when Keras changes it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
from keras import KerasTensor


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One call of an operation in a Sequential or functional model.

    Attributes:
        operation: the layer, or other operation, that is called.
        inputs: symbolic tensors that go in.
        outputs: symbolic tensors that come out.
        training: whether the call passes `training=True`.
    """

    operation: keras.Operation
    inputs: list[KerasTensor]
    outputs: list[KerasTensor]
    training: bool


def calls(model: keras.Model) -> Iterator[Call]:
    """Yield the calls in a built Sequential or functional model, from the inputs on.

    Private because Keras lists a model's operations publicly (`keras.Function.operations`), but not
    which tensors each call of a shared operation takes and gives (`_nodes_by_depth`).
    """
    graph = model
    if isinstance(model, keras.Sequential):
        graph = keras.Function(model.inputs, model.outputs)
    for _, nodes in sorted(graph._nodes_by_depth.items(), key=lambda item: -item[0]):
        for node in nodes:
            if not node.is_input:
                training = bool(node.arguments.kwargs.get("training"))
                yield Call(node.operation, node.input_tensors, node.outputs, training)


def layers_within(layer: keras.Layer) -> list[keras.Layer]:
    """List the layer itself and all layers in it, at any depth.

    Private (`_flatten_layers`) because `layers` exists only on models and is not recursive.
    """
    return list(layer._flatten_layers())


def parts(layer: keras.Layer) -> list[keras.Layer]:
    """List the layers that a layer holds directly, in the order of its weights.

    Private (`_layers`) because `layers` exists only on models, not on wrappers and other layers.
    """
    return list(layer._layers)


def attributes(layer: keras.Layer) -> dict[str, Any]:
    """Return the attributes of a layer by name, without Keras' own list of its parts.

    Private (`_layers`) because the list that `parts` reads is an attribute like any other.
    """
    return {name: value for name, value in vars(layer).items() if name != "_layers"}


def replace_part(layer: keras.Layer, old: keras.Layer, new: keras.Layer) -> None:
    """Put `new` in the place of `old` among the parts of `layer`.

    Private (`_tracker`) because assigning the attribute anew appends the new layer, which would
    change the order of the weights.
    """
    layer._tracker.replace_tracked_value("layers", old, new)


def input_layer(tensor: KerasTensor) -> keras.layers.InputLayer:
    """Return the input layer that a symbolic input of a model comes from.

    Private (`_keras_history`) because a Sequential model leaves its input layer out of `layers`,
    and a tensor does not say publicly whether it is optional.
    """
    return tensor._keras_history.operation


def mask_of(tensor: KerasTensor) -> KerasTensor | None:
    """Return the mask that an earlier layer attached to a tensor.

    Private (`_keras_mask`) because Keras passes a mask on publicly only to a layer whose inputs are
    the only tensor of its call; with `sample_weight` given as well it does not.
    """
    return getattr(tensor, "_keras_mask", None)


def lambda_output_shape(layer: keras.layers.Lambda) -> Any:
    """Return the `output_shape` that a Lambda was constructed with: None, a shape or a function.

    Private (`_output_shape`) because `get_config` gives it in serialized form, and Keras does not
    deserialize functions without being told that it is safe.
    """
    return layer._output_shape
