"""Batch normalization folded into the layers next to it."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict

import keras
import numpy as np

from kbn.norm import _keras
from kbn.norm.absorbing import (
    ABSORBING,
    TRANSPOSED,
    absorb_after,
    absorb_before,
    kernel_names,
    slope_and_offset,
)
from kbn.norm.copying import Copier, float64, is_graph, is_norm, is_plain_norm
from kbn.norm.moments import SMALL_MEAN

_LAYERS = keras.layers
_NOTHING_AT_INFERENCE = (
    *(_LAYERS.Identity, _LAYERS.ActivityRegularization, _LAYERS.AlphaDropout, _LAYERS.Dropout),
    *(_LAYERS.GaussianDropout, _LAYERS.GaussianNoise),
    *(_LAYERS.SpatialDropout1D, _LAYERS.SpatialDropout2D, _LAYERS.SpatialDropout3D),
)


def fold_batch_norm(model: keras.Model) -> keras.Model:
    """Copy a model for inference, with its batch normalization folded into other layers.

    At inference a norm is y = a z + b with a = gamma / sqrt(moving_variance + epsilon) and
    b = beta - moving_mean a. If z comes from a Dense or a (transposed, depthwise, separable)
    convolution without activation, a and b go into its kernel and bias; otherwise, if y goes into a
    Dense or an unpadded convolution, they go into that one's. The copy predicts the same, up to
    rounding in the layers' type, and keeps names, shared layers and frozen layers. It is not
    compiled. Norms that cannot be folded exactly stay, and one warning names each with its reason.

    Args:
        model: built Sequential or functional model, which may contain other such models.

    Raises:
        ValueError: if `model` is not built or is subclassed, or if a layer cannot be cloned.

    Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-
    Arithmetic-Only Inference, CVPR 2018 (arXiv:1712.05877), section 3.2.
    """
    if not model.built or (isinstance(model, keras.Sequential) and not is_graph(model)):
        raise ValueError(
            f"fold_batch_norm: `model` must be built. Got {model.name}, which is not: call it on a "
            "batch, or build it with its input's shape, first."
        )
    if not is_graph(model):
        raise ValueError(
            "fold_batch_norm: `model` must be Sequential or functional. Got the subclassed "
            f"{type(model).__name__}: the order of its layers is unknown. Fold the Sequential and "
            "functional models in it one by one."
        )
    plan = _Plan(model)
    folded = _Folder(plan).model(model)
    if plan.stays:
        stays = "; ".join(plan.stays.values())
        warnings.warn(f"fold_batch_norm: not folded in {model.name}: {stays}", stacklevel=2)
    return folded


class _Folder(Copier):
    """Copies a model without the norms that other layers absorb."""

    def __init__(self, plan: _Plan) -> None:
        super().__init__()
        self.absorbed = plan.absorbed
        self.left_out = frozenset(plan.folded)

    def renew(self, layer: keras.Layer) -> keras.Layer:
        if id(layer) not in self.absorbed:
            return super().renew(layer)
        return type(layer).from_config(layer.get_config() | {"use_bias": True})

    def transfer(self, old: keras.Layer, new: keras.Layer) -> None:
        if id(old) not in self.absorbed:
            super().transfer(old, new)
            return
        weights = {name: float64(getattr(old, name)) for name in kernel_names(old)}
        weights["bias"] = float64(old.bias) if old.use_bias else np.zeros(new.bias.shape)
        for norm, before in self.absorbed[id(old)]:
            absorb = absorb_before if before else absorb_after
            absorb(old, weights, *slope_and_offset(norm))
        new.set_weights(list(weights.values()))  # kernels first, then the bias


class _Plan:
    """Decides which norm of a model goes into which layer.

    Attributes:
        absorbed: the norms that a layer takes in, nearest first, each with whether it comes before
            the layer; by the layer's id.
        folded: ids of the norms that go into a layer.
        stays: the name of a norm that stays and the reasons why; by the norm's id.
        uses: how often each operation is called, or held by a layer that is not a graph; by its id.
        training: ids of all layers that are called with `training=True`.
    """

    def __init__(self, model: keras.Model) -> None:
        layers = _keras.layers_within(model)
        graphs = [_Graph(layer) for layer in layers if is_graph(layer)]
        calls = [call for graph in graphs for call in graph.calls]
        held = [part for layer in layers if not is_graph(layer) for part in _keras.parts(layer)]
        self.uses = Counter(id(layer) for layer in [*held, *(call.operation for call in calls)])
        self.training = {
            id(part)
            for call in calls
            if call.training
            for part in _keras.layers_within(call.operation)
        }
        self.absorbed: dict[int, list[tuple[keras.Layer, bool]]] = defaultdict(list)
        self.folded: set[int] = set()
        reasons: dict[int, list[str]] = defaultdict(list)
        for graph in graphs:
            norms = [call for call in graph.calls if is_norm(call.operation)]
            # a norm that could go either way goes into the layer that it follows
            for before, order in ((False, norms), (True, norms[::-1])):
                for call in order:
                    if id(call.operation) not in self.folded:
                        reasons[id(call.operation)] += self._fold(graph, call, before)
        hidden = "it is in a layer that is not taken apart"
        self.stays = {
            id(layer): f"{layer.name} ({', '.join(dict.fromkeys(reasons[id(layer)])) or hidden})"
            for layer in layers
            if is_norm(layer) and id(layer) not in self.folded
        }

    def _fold(self, graph: _Graph, call: _keras.Call, before: bool) -> list[str]:
        """Fold the norm of a call into a layer next to it; return the reasons if that fails.

        Args:
            graph: the graph of the call.
            call: the call of the norm.
            before: whether the norm comes before the layer to fold into, or follows it.
        """
        norm = call.operation
        if not is_plain_norm(norm):
            return [f"its class {type(norm).__name__} may compute something else"]
        if id(norm) in self.training:
            return ["it is called with training=True"]
        if self.uses[id(norm)] > 1:
            return ["it is used more than once"]
        neighbour = self._neighbour(graph, call, before)
        if isinstance(neighbour, str):
            return [neighbour]
        if reason := self._reason(neighbour, call, before):
            way = "goes into" if before else "comes from"
            return [f"{way} {neighbour.name}, a {type(neighbour).__name__} {reason}"]
        self.folded.add(id(norm))
        self.absorbed[id(neighbour)].append((norm, before))
        return []

    def _neighbour(self, graph: _Graph, call: _keras.Call, before: bool) -> keras.Operation | str:
        """Find the operation next to a norm, past those that do nothing; or why there is none."""
        while True:
            tensor = call.outputs[0] if before else call.inputs[0]
            if len(graph.consumers[id(tensor)]) > 1:
                return f"its {'output' if before else 'input'} is used elsewhere too"
            consumer = graph.consumers[id(tensor)][0]
            neighbour = consumer if before else graph.producers.get(id(tensor))
            if neighbour is None:
                return f"its {'output' if before else 'input'} is the model's"
            if not self._does_nothing(neighbour):
                return neighbour.operation
            call = neighbour

    def _does_nothing(self, call: _keras.Call) -> bool:
        """Return whether a call only passes on its one input at inference."""
        operation = call.operation
        if isinstance(operation, keras.layers.Activation):
            return operation.activation is keras.activations.linear
        skipped = type(operation) in _NOTHING_AT_INFERENCE and len(call.inputs) == 1
        return id(operation) in self.folded or (skipped and id(operation) not in self.training)

    def _reason(self, layer: keras.Operation, call: _keras.Call, before: bool) -> str | None:
        """Return why `layer` cannot absorb the norm of a call; None if it can."""
        norm, rank = call.operation, len(call.outputs[0].shape)
        if type(layer) not in ABSORBING:
            return "that has no kernel to fold into"
        if self.uses[id(layer)] > 1:
            return "that is used more than once"
        if layer.quantization_mode or getattr(layer, "lora_enabled", False):
            return "that is quantized or has LoRA weights"
        if layer.compute_dtype != norm.compute_dtype:
            return f"that computes in {layer.compute_dtype}, not {norm.compute_dtype}"
        if not before and layer.activation is not keras.activations.linear:
            return "whose activation is not linear"
        first = getattr(layer, "data_format", "channels_last") == "channels_first"
        if norm.axis % rank != (1 if first else rank - 1):
            return "whose channels are on another axis"
        if not before:
            return None
        wide = max(getattr(layer, "kernel_size", (1,))) > 1
        padded = wide and getattr(layer, "padding", "valid") != "valid"
        if (padded or isinstance(layer, TRANSPOSED)) and slope_and_offset(norm)[1].any():
            return "that pads with zeros, which the norm shifts"
        deviation = np.sqrt(float64(norm.moving_variance) + norm.epsilon)
        if (abs(float64(norm.moving_mean)) > SMALL_MEAN * deviation).any():
            return "that would cancel a mean so large beside the deviation"
        return None


class _Graph:
    """The calls in a Sequential or functional model.

    Attributes:
        calls: all of them, from the inputs on.
        producers: the call that a tensor comes out of, by the tensor's id.
        consumers: the calls that a tensor goes into, by its id, with None for the model's output.
    """

    def __init__(self, model: keras.Model) -> None:
        self.calls = list(_keras.calls(model))
        self.producers = {id(tensor): call for call in self.calls for tensor in call.outputs}
        self.consumers: dict[int, list[_keras.Call | None]] = defaultdict(list)
        for call in self.calls:
            for tensor in call.inputs:
                self.consumers[id(tensor)].append(call)
        for tensor in model.outputs:
            self.consumers[id(tensor)].append(None)
