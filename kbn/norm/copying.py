"""Copies of whole models, with other layers in the place of some.

Glossary: norm, a batch-normalization layer; graph, a Sequential or functional model; composite, any
other layer that holds layers (a wrapper, a subclassed model).
"""

from __future__ import annotations

import inspect
import operator
import tempfile
from typing import Any

import keras
import numpy as np
from keras import ops

from kbn.norm.layer import BatchNormalization

KINDS = {"kbn": BatchNormalization, "keras": keras.layers.BatchNormalization}


class Copier:
    """Copies a model with its weights; subclasses say which layers become something else.

    Attributes:
        left_out: ids of the layers that the copied graphs do without.
        pairs: each layer copied so far, by its id, with its copy: what is shared stays shared.
    """

    left_out: frozenset[int] = frozenset()

    def __init__(self) -> None:
        self.pairs: dict[int, tuple[Any, Any]] = {}

    def renew(self, layer: Any) -> Any:
        """A new layer, not built, in the place of `layer`."""
        if isinstance(layer, keras.layers.Lambda):  # Keras cannot bring back what it refers to
            return keras.layers.Lambda(
                layer.function,
                output_shape=layer._output_shape,
                mask=layer.mask,
                arguments=layer.arguments,
                name=layer.name,
                dtype=layer.dtype_policy,
            )
        kind = type(layer)
        if isinstance(layer, keras.Function | keras.Sequential):
            raise NotImplementedError("it overrides the call of a graph")
        if isinstance(layer, keras.Model) and kind.get_config is keras.Model.get_config:
            # Keras does not record what a subclassed model was constructed with
            if set(inspect.signature(kind).parameters) - {"name", "trainable", "dtype", "kwargs"}:
                raise NotImplementedError("its constructor's arguments are not known")
            new = kind()
            new.name = layer.name
            return new
        return kind.from_config(layer.get_config())

    def transfer(self, old: Any, new: Any) -> None:
        """Gives `new` the weights of `old`, without those of the layers in it."""
        store: dict[str, Any] = {}
        old.save_own_variables(store)
        new.load_own_variables(store)
        if hasattr(old, "save_assets"):  # a vocabulary
            with tempfile.TemporaryDirectory() as folder:
                old.save_assets(folder)
                new.load_assets(folder)

    def model(self, model: Any) -> Any:
        """The copy of a whole model."""
        new_model = self(model)
        originals = {id(new): old for old, new in self.pairs.values()}
        # from the outside in: a model's flag sets all that is in it
        for new in new_model._flatten_layers():
            if id(new) in originals:
                new.trainable = originals[id(new)].trainable
        return new_model

    def __call__(self, layer: Any) -> Any:
        """The copy of one layer, operation or model; made once."""
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

    def _sequential(self, model: Any) -> Any:
        inputs = [_same_input(x) for x in (model.inputs if is_graph(model) else ())]
        layers = [self(layer) for layer in model.layers if id(layer) not in self.left_out]
        return keras.Sequential([*inputs, *layers], name=model.name)

    def _functional(self, model: Any) -> Any:
        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            return args[0] if id(layer) in self.left_out else layer(*args, **kwargs)

        # else Keras compiles the copy as well, and fails where a loss cannot be serialized
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

    def _layer(self, layer: Any) -> Any:
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

    def _fill(self, old: Any, new: Any) -> None:
        """Builds `new` as `old` is built, with the weights of `old` and of the layers in it."""
        new.name = old.name
        if old.built and not new.built:
            if type(old).build is not keras.Layer.build:  # which leaves what is in it unbuilt
                new.build_from_config(old.get_build_config())
            new.built = True
        self.transfer(old, new)
        exchanged = {}
        for part, new_part in zip(old._layers, new._layers, strict=True):
            if id(part) in self.pairs or is_norm(part) or is_graph(part):
                exchanged[id(new_part)] = self(part)
            else:
                self.pairs[id(part)] = part, new_part
                self._fill(part, new_part)
        if exchanged:
            _exchange(new, exchanged)


def _same_input(x: Any) -> Any:
    """A new input like the one that the symbolic tensor x is; Keras would rename it."""
    config = x._keras_history.operation.get_config()
    return keras.layers.InputLayer.from_config(config).output


class CannotCopyError(ValueError):
    """A layer of the model cannot be copied; names the innermost such."""


def _exchange(layer: Any, new: dict[int, Any]) -> None:
    """Puts others in the place of the layers that `layer` holds in its attributes.

    Args:
        layer: the composite.
        new: what comes in, by the id of what goes out.
    """
    seen: set[int] = set()
    old = {name: value for name, value in vars(layer).items() if name != "_layers"}
    changed = {name: _exchanged(value, new, seen) for name, value in old.items()}
    if not seen.issuperset(new):
        raise NotImplementedError("a layer in it is in none of its attributes, lists or dicts")
    for part in list(layer._layers):
        if id(part) in new:  # in its place among the others: the weights keep their order
            layer._tracker.replace_tracked_value("layers", part, new[id(part)])
    for name, value in changed.items():
        if value is not old[name]:
            setattr(layer, name, value)


def _exchanged(value: Any, new: dict[int, Any], seen: set[int]) -> Any:
    """`value` with the layers in it exchanged, `value` itself where none is; notes those seen."""
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


def is_norm(layer: Any) -> bool:
    """Whether it is a norm, Keras', ours or a user's."""
    return isinstance(layer, keras.layers.BatchNormalization)


def is_plain_norm(layer: Any) -> bool:
    """Whether it is Keras' or our layer itself: a user's subclass may compute anything."""
    return type(layer) in KINDS.values()


def _has_stock_call(model: Any) -> bool:
    return type(model).call.__module__.startswith("keras.")


def is_graph(model: Any) -> bool:
    """Whether it is a built model whose calls are known."""
    if isinstance(model, keras.Sequential):
        return model._functional is not None and _has_stock_call(model)
    return isinstance(model, keras.Function) and _has_stock_call(model)


def float64(weight: Any) -> Any:
    """The values of a weight or tensor, as an array."""
    return np.asarray(ops.convert_to_numpy(weight), "float64")
