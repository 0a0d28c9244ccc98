"""Copies of whole models in which some layers are exchanged.

Glossary:
    norm: a batch-normalization layer.
    graph: a built Sequential or functional model, whose calls are known.
    composite: any other layer that holds layers, such as a wrapper or a subclassed model.
"""

from __future__ import annotations

import inspect
import operator
import tempfile
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import KerasTensor, ops
from numpy.typing import NDArray

from kbn.norm import _keras
from kbn.norm.layer import BatchNormalization

Array: TypeAlias = NDArray[np.float64]

KINDS = {"kbn": BatchNormalization, "keras": keras.layers.BatchNormalization}


class CannotCopyError(ValueError):
    """A layer of the model cannot be copied; the message names the innermost one."""


class Copier:
    """Copies a model with its weights; subclasses decide which layers become something else.

    Attributes:
        left_out: ids of the layers that the copied graphs leave out.
        pairs: every layer copied so far with its copy, by its id, so that what is shared stays
            shared.
    """

    left_out: frozenset[int] = frozenset()

    def __init__(self) -> None:
        self.pairs: dict[int, tuple[keras.Operation, keras.Operation]] = {}

    def renew(self, layer: keras.Layer) -> keras.Layer:
        """Construct a new layer, not yet built, to take the place of `layer`."""
        if isinstance(layer, keras.layers.Lambda):  # Keras does not deserialize its function
            return keras.layers.Lambda(
                layer.function,
                output_shape=_keras.lambda_output_shape(layer),
                mask=layer.mask,
                arguments=layer.arguments,
                name=layer.name,
                dtype=layer.dtype_policy,
            )
        kind = type(layer)
        if isinstance(layer, keras.Function | keras.Sequential):
            raise NotImplementedError("it overrides the call of a graph")
        if isinstance(layer, keras.Model) and kind.get_config is keras.Model.get_config:
            # Keras does not record the arguments that a subclassed model was constructed with
            if set(inspect.signature(kind).parameters) - {"name", "trainable", "dtype", "kwargs"}:
                raise NotImplementedError("its constructor's arguments are not known")
            new = kind()
            new.name = layer.name
            return new
        return kind.from_config(layer.get_config())

    def transfer(self, old: keras.Layer, new: keras.Layer) -> None:
        """Give `new` the weights of `old`, but not those of the layers in it."""
        store: dict[str, Any] = {}
        old.save_own_variables(store)
        new.load_own_variables(store)
        if hasattr(old, "save_assets"):  # such as a vocabulary
            with tempfile.TemporaryDirectory() as folder:
                old.save_assets(folder)
                new.load_assets(folder)

    def model(self, model: keras.Model) -> keras.Model:
        """Copy a whole model."""
        new_model = self(model)
        originals = {id(new): old for old, new in self.pairs.values()}
        # from the outside in, because setting `trainable` on a model sets it on all layers in it
        for new in _keras.layers_within(new_model):
            if id(new) in originals:
                new.trainable = originals[id(new)].trainable
        return new_model

    def __call__(self, layer: keras.Operation) -> keras.Operation:
        """Copy one layer, operation or model; a second call returns the same copy."""
        if id(layer) in self.left_out:
            return layer
        if id(layer) not in self.pairs:
            if isinstance(layer, keras.Sequential) and _has_stock_call(layer):
                new = self._sequential(layer)
            elif is_graph(layer):
                new = self._functional(layer)
            elif isinstance(layer, keras.Layer):
                new = self._layer(layer)
            else:
                new = type(layer).from_config(layer.get_config())
            self.pairs[id(layer)] = layer, new
        return self.pairs[id(layer)][1]

    def _sequential(self, model: keras.Sequential) -> keras.Sequential:
        inputs = [_same_input(x) for x in (model.inputs if is_graph(model) else ())]
        layers = [self(layer) for layer in model.layers if id(layer) not in self.left_out]
        return keras.Sequential([*inputs, *layers], name=model.name)

    def _functional(self, model: keras.Model) -> keras.Model:
        def call(layer: keras.Operation, *args: Any, **kwargs: Any) -> Any:
            return args[0] if id(layer) in self.left_out else layer(*args, **kwargs)

        # otherwise Keras compiles the copy too, which fails if a loss cannot be serialized
        compiled, model.compiled = model.compiled, False
        try:
            return keras.models.clone_model(
                model,
                input_tensors=keras.tree.map_structure(_same_input, model.input),
                clone_function=self,
                call_function=call,
            )
        finally:
            model.compiled = compiled

    def _layer(self, layer: keras.Layer) -> keras.Layer:
        try:
            new = self.renew(layer)
            self._fill(layer, new)
        except CannotCopyError:
            raise
        except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
            raise CannotCopyError(
                f"{layer.name} ({type(layer).__name__}) must be a layer that Keras can clone: one "
                "whose class returns every argument of its constructor from get_config() and "
                f"creates its layers there or in build(). Got: {error}"
            ) from error
        return new

    def _fill(self, old: keras.Layer, new: keras.Layer) -> None:
        """Build `new` as `old` was built, and copy the weights of `old` and of the layers in it."""
        new.name = old.name
        if old.built and not new.built:
            if type(old).build is not keras.Layer.build:  # which builds none of the layers in it
                new.build_from_config(old.get_build_config())
            new.built = True
        self.transfer(old, new)
        exchanged = {}
        for part, new_part in zip(_keras.parts(old), _keras.parts(new), strict=True):
            if id(part) in self.pairs or is_norm(part) or is_graph(part):
                exchanged[id(new_part)] = self(part)
            else:
                self.pairs[id(part)] = part, new_part
                self._fill(part, new_part)
        if exchanged:
            _exchange(new, exchanged)


def _same_input(x: KerasTensor) -> KerasTensor:
    """Make a new input with all properties of x and its name, which Keras would change."""
    config = _keras.input_layer(x).get_config()
    return keras.layers.InputLayer.from_config(config).output


def _exchange(layer: keras.Layer, new: dict[int, keras.Layer]) -> None:
    """Exchange layers that a composite holds in its attributes.

    Args:
        layer: the composite.
        new: the layer to put in, by the id of the layer to take out.
    """
    seen: set[int] = set()
    old = _keras.attributes(layer)
    changed = {name: _exchanged(value, new, seen) for name, value in old.items()}
    if not seen.issuperset(new):
        raise NotImplementedError("a layer in it is in none of its attributes, lists or dicts")
    for part in _keras.parts(layer):
        if id(part) in new:  # at the same position, so that the weights keep their order
            _keras.replace_part(layer, part, new[id(part)])
    for name, value in changed.items():
        if value is not old[name]:
            setattr(layer, name, value)


def _exchanged(value: Any, new: dict[int, keras.Layer], seen: set[int]) -> Any:
    """Return `value` with the layers in it exchanged, and itself if there are none of `new`.

    The ids of all layers in it are added to `seen`.
    """
    if isinstance(value, keras.Layer):
        seen.add(id(value))
        return new.get(id(value), value)
    if not isinstance(value, dict | list | tuple):
        return value
    old = list(value.values() if isinstance(value, dict) else value)
    items = [_exchanged(item, new, seen) for item in old]
    if all(map(operator.is_, items, old)):
        return value
    if isinstance(value, dict):
        return dict(zip(value, items, strict=True))
    if isinstance(value, list):
        return items
    return value.__class__(*items) if hasattr(value, "_fields") else tuple(items)


def is_norm(layer: keras.Operation) -> bool:
    """Return whether a layer is a norm: Keras', ours or a user's subclass."""
    return isinstance(layer, keras.layers.BatchNormalization)


def is_plain_norm(layer: keras.Operation) -> bool:
    """Return whether a layer is Keras' or our norm itself, not a subclass that may differ."""
    return type(layer) in KINDS.values()


def is_graph(model: keras.Operation) -> bool:
    """Return whether an operation is a graph, as the glossary defines it."""
    if isinstance(model, keras.Sequential):  # which has inputs once it is built
        return hasattr(model, "inputs") and _has_stock_call(model)
    return isinstance(model, keras.Function) and _has_stock_call(model)


def _has_stock_call(model: keras.Model) -> bool:
    return type(model).call.__module__.startswith("keras.")


def float64(weight: keras.Variable | KerasTensor) -> Array:
    """Read a weight or tensor as a float64 array of the same shape."""
    return np.asarray(ops.convert_to_numpy(weight), "float64")
