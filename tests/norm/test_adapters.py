"""Canaries: each private name of a library that kbn.norm uses still means what it did."""

import importlib.util
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kbn.norm import _keras, _tensorflow


def nested():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="dense")], name="inner")
    x = keras.Input((2, 4))
    wrapper = layers.TimeDistributed(inner, name="wrapper")
    return keras.Model(x, wrapper(x, training=True), name="outer")


def test_keras_lists_layers_at_any_depth_with_flatten_layers():
    names = [layer.name for layer in _keras.layers_within(nested())]
    assert names[0] == "outer", "Layer._flatten_layers no longer starts with the layer itself"
    assert {"wrapper", "inner", "dense"} < set(names), (
        "Layer._flatten_layers no longer lists layers at any depth"
    )


def test_keras_keeps_the_layers_in_a_layer_under_layers():
    wrapper = nested().layers[-1]
    assert [part.name for part in _keras.parts(wrapper)] == ["inner"], (
        "Layer._layers no longer lists the layers that a layer holds directly"
    )
    found = [
        name
        for name, value in _keras.attributes(wrapper).items()
        if value is wrapper.layer or value == [wrapper.layer]
    ]
    assert found == ["layer"], "Keras keeps a list of a layer's parts under another name too"


def test_keras_replaces_a_part_in_its_place_with_its_tracker():
    class Two(keras.Layer):
        def __init__(self):
            super().__init__()
            self.one, self.other = layers.Dense(1, name="one"), layers.Dense(1, name="other")

    layer, new = Two(), layers.Dense(1, name="new")
    _keras.replace_part(layer, layer.one, new)
    assert [part.name for part in _keras.parts(layer)] == ["new", "other"], (
        "Layer._tracker no longer replaces a tracked layer in its place"
    )
    layer.one = new
    assert len(_keras.parts(layer)) == 2, "Keras no longer recognizes a replaced layer as tracked"


@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_keras_keeps_the_calls_in_a_model_under_nodes_by_depth(kind):
    x = keras.Input((4,))
    dense, drop = layers.Dense(4), layers.Dropout(0.5)
    if kind == "functional":
        model = keras.Model(x, drop(dense(x), training=True))
    else:
        model = keras.Sequential([x, dense, drop])
    first, second = _keras.calls(model)
    reason = "Function._nodes_by_depth no longer holds the calls, inputs first"
    assert [first.operation, second.operation] == [dense, drop], reason
    assert first.inputs[0] is model.inputs[0], reason
    assert first.outputs[0] is second.inputs[0], reason
    assert second.outputs[0] is model.outputs[0], reason
    assert [first.training, second.training] == [False, kind == "functional"], (
        "a node's arguments no longer say whether a call passes training=True"
    )


def test_keras_records_where_an_input_comes_from_in_its_history():
    x = keras.Input((4,), name="mine", optional=True)
    layer = _keras.input_layer(x)
    assert isinstance(layer, layers.InputLayer), "KerasTensor._keras_history has changed"
    assert layer.get_config()["optional"], "KerasTensor._keras_history has changed"


def test_keras_attaches_masks_to_tensors_as_keras_mask():
    x = layers.Masking()(np.array([[[1.0], [0.0]]], "float32"))
    mask = _keras.mask_of(x)
    assert mask is not None, "Keras no longer attaches masks to tensors as _keras_mask"
    np.testing.assert_array_equal(mask, [[True, False]])
    assert _keras.mask_of(tf.zeros(3)) is None


def test_keras_keeps_the_output_shape_of_a_lambda_under_output_shape():
    def shape(given):
        return given

    assert _keras.lambda_output_shape(layers.Lambda(abs, output_shape=shape)) is shape, (
        "Lambda._output_shape no longer holds what the layer was constructed with"
    )


def test_tensorflow_knows_what_xla_compiles():
    seen = []

    def look(x):
        seen.append(_tensorflow.inside_xla())
        return x

    tf.function(look)(1.0)
    tf.function(look, jit_compile=True)(1.0)
    tf.function(lambda x: 1 + tf.function(look)(x), jit_compile=True)(1.0)
    assert seen == [False, True, True], (
        "GraphOrParentsInXlaContext no longer tells whether XLA compiles what is traced"
    )


def test_tensorflow_does_not_inline_a_function_with_the_attribute_noinline():
    function = _tensorflow.not_inlined(lambda x: x + 1)
    attributes = function.get_concrete_function(tf.TensorSpec((), "float32")).function_def.attr
    assert attributes["_noinline"].b, "tf.function no longer sets the attribute _noinline"


def test_torch_knows_whether_a_transform_is_active():
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed: `make test-backends` installs it")
    program = textwrap.dedent("""
        import torch

        from kbn.norm._torch import inside_transform

        seen = [inside_transform()]

        def look(x):
            seen.append(inside_transform())
            return x.sum()

        torch.func.grad(look)(torch.ones(2))
        torch.func.vmap(look)(torch.ones(2, 2))
        seen.append(inside_transform())
        sentence = "_are_functorch_transforms_active no longer tells whether torch.func is at work"
        assert seen == [False, True, True, False], sentence
    """)
    # a process of its own, because kbn.norm is on TensorFlow in this one
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
