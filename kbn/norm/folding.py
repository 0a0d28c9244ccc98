"""Batch normalization folded into the layers beside it."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from typing import Any

import keras
import numpy as np

from kbn.norm.copying import Copier, float64, is_graph, is_norm, is_plain_norm
from kbn.norm.moments import SMALL_MEAN

_LAYERS = keras.layers
_TRANSPOSED = (_LAYERS.Conv1DTranspose, _LAYERS.Conv2DTranspose, _LAYERS.Conv3DTranspose)
_DEPTHWISE = (_LAYERS.DepthwiseConv1D, _LAYERS.DepthwiseConv2D)
_SEPARABLE = (_LAYERS.SeparableConv1D, _LAYERS.SeparableConv2D)
_CONVOLUTIONS = (_LAYERS.Conv1D, _LAYERS.Conv2D, _LAYERS.Conv3D)
_ABSORBING = (_LAYERS.Dense, *_CONVOLUTIONS, *_TRANSPOSED, *_DEPTHWISE, *_SEPARABLE)
_NOTHING_AT_INFERENCE = (
    *(_LAYERS.Identity, _LAYERS.ActivityRegularization, _LAYERS.AlphaDropout, _LAYERS.Dropout),
    *(_LAYERS.GaussianDropout, _LAYERS.GaussianNoise),
    *(_LAYERS.SpatialDropout1D, _LAYERS.SpatialDropout2D, _LAYERS.SpatialDropout3D),
)


def fold_batch_norm(model: Any) -> Any:
    """A copy of `model` for inference, with its batch normalization folded into other layers.

    At inference a norm is y = a z + b with a = gamma / sqrt(moving_variance + epsilon) and
    b = beta - moving_mean a. Where z comes from a Dense or a (transposed, depthwise, separable)
    convolution without activation, a and b go into its kernel and bias; else, where y goes into a
    Dense or an unpadded convolution, into that one's. Predictions stay, up to rounding in the
    layers' type; names, sharing and frozen layers stay. The copy is not compiled. Norms that
    cannot be folded exactly stay, and one warning names each with its reason.

    Args:
        model: built Sequential or functional model, also with such models in it.

    Raises:
        ValueError: if `model` is not built or is subclassed, or if a layer cannot be cloned.

    Source: Jacob et al., arXiv:1712.05877, section 3.2.
    """
    if not model.built or (isinstance(model, keras.Sequential) and not is_graph(model)):
        raise ValueError(
            f"fold_batch_norm: `model` must be built. Got {model.name}, which is not: call it on a "
            "batch, or build it with its input's shape, first."
        )
    if not is_graph(model):
        raise ValueError(
            "fold_batch_norm: `model` must be Sequential or functional. Got the subclassed "
            f"{type(model).__name__}: its layers' order is not known. Fold the Sequential and "
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

    def renew(self, layer: Any) -> Any:
        if id(layer) not in self.absorbed:
            return super().renew(layer)
        return type(layer).from_config(layer.get_config() | {"use_bias": True})

    def transfer(self, old: Any, new: Any) -> None:
        if id(old) not in self.absorbed:
            super().transfer(old, new)
            return
        weights = {name: float64(getattr(old, name)) for name in _kernels(old)}
        weights["bias"] = float64(old.bias) if old.use_bias else np.zeros(new.bias.shape)
        for norm, before in self.absorbed[id(old)]:
            absorb = _absorb_before if before else _absorb_after
            absorb(old, weights, *_affine(norm))
        for name, value in weights.items():
            # Dense and Conv keep their kernel under _kernel; `kernel` may be computed
            getattr(new, f"_{name}" if hasattr(new, f"_{name}") else name).assign(value)


def _affine(norm: Any) -> tuple[Any, Any]:
    """The a and b, (channels,) each, with y = a z + b at inference."""
    a = 1 / np.sqrt(float64(norm.moving_variance) + norm.epsilon)
    if norm.gamma is not None:
        a *= float64(norm.gamma)
    b = -float64(norm.moving_mean) * a
    return a, b if norm.beta is None else b + float64(norm.beta)


def _kernels(layer: Any) -> tuple[str, ...]:
    if isinstance(layer, _SEPARABLE):
        return "depthwise_kernel", "pointwise_kernel"
    return ("kernel",)


def _absorb_after(layer: Any, weights: dict[str, Any], a: Any, b: Any) -> None:
    """Makes the layer's output a z + b, in place.

    Kernels are (..., in, out), of transposed convolutions (..., out, in), and of depthwise ones
    (..., in, multiplier) with out = in x multiplier, the input channel being the slower.
    """
    name = _kernels(layer)[-1]
    if isinstance(layer, _TRANSPOSED):
        weights[name] = weights[name] * a[:, None]
    elif isinstance(layer, _DEPTHWISE):
        weights[name] = weights[name] * a.reshape(weights[name].shape[-2:])
    else:
        weights[name] = weights[name] * a
    weights["bias"] = weights["bias"] * a + b


def _absorb_before(layer: Any, weights: dict[str, Any], a: Any, b: Any) -> None:
    """Makes the layer do to x what it did to a x + b, in place.

    `_reason` lets a shift b come to layers alone whose every output sees the whole kernel, so that
    b adds a constant to each output channel.
    """
    name = _kernels(layer)[0]
    kernel = weights[name]
    if isinstance(layer, _TRANSPOSED):
        weights[name] = kernel * a  # b is zero
        return
    if isinstance(layer, _CONVOLUTIONS):  # output channel o sees the inputs of its group
        a, b = (
            np.repeat(v.reshape(layer.groups, -1).T, kernel.shape[-1] // layer.groups, axis=1)
            for v in (a, b)
        )
    else:
        a, b = a[:, None], b[:, None]
    weights[name] = kernel * a
    shift = (kernel * b).sum(tuple(range(kernel.ndim - 2)))  # (in, out) or (in, multiplier)
    if isinstance(layer, _DEPTHWISE):
        shift = shift.reshape(-1)
    elif isinstance(layer, _SEPARABLE):
        shift = shift.reshape(-1) @ weights["pointwise_kernel"].reshape(shift.size, -1)
    else:
        shift = shift.sum(0)
    weights["bias"] = weights["bias"] + shift


class _Plan:
    """Which norm goes where.

    Attributes:
        absorbed: by a layer's id, the norms that it takes in, the nearest first, and whether each
            stands before it.
        stays: by a norm's id, its name and why it stays.
    """

    def __init__(self, model: Any) -> None:
        layers = model._flatten_layers()
        graphs = [_Graph(layer) for layer in layers if is_graph(layer)]
        calls = [node for graph in graphs for node in graph.nodes]
        held = [part for layer in layers if not is_graph(layer) for part in layer._layers]
        self.uses = Counter(id(layer) for layer in [*held, *(node.operation for node in calls)])
        self.training = {  # ids of what is called with training=True
            id(part)
            for node in calls
            if node.arguments.kwargs.get("training")
            for part in node.operation._flatten_layers()
        }
        self.absorbed: dict[int, list[tuple[Any, bool]]] = defaultdict(list)
        self.folded: set[int] = set()
        reasons: dict[int, list[str]] = defaultdict(list)
        for graph in graphs:
            norms = [node for node in graph.nodes if is_norm(node.operation)]
            # where a norm could go either way, it goes into the layer before it
            for before, order in ((False, norms), (True, norms[::-1])):
                for node in order:
                    if id(node.operation) not in self.folded:
                        reasons[id(node.operation)] += self._fold(graph, node, before)
        hidden = "it is in a layer that is not taken apart"
        self.stays = {
            id(layer): f"{layer.name} ({', '.join(dict.fromkeys(reasons[id(layer)])) or hidden})"
            for layer in layers
            if is_norm(layer) and id(layer) not in self.folded
        }

    def _fold(self, graph: _Graph, node: Any, before: bool) -> list[str]:
        """Folds the norm of `node` into the layer after or before it; else the reason why not."""
        norm = node.operation
        if not is_plain_norm(norm):
            return [f"its class {type(norm).__name__} may compute something else"]
        if id(norm) in self.training:
            return ["it is called with training=True"]
        if self.uses[id(norm)] > 1:
            return ["it is used more than once"]
        neighbour = self._neighbour(graph, node, before)
        if isinstance(neighbour, str):
            return [neighbour]
        if reason := self._reason(neighbour, node, before):
            way = "goes into" if before else "comes from"
            return [f"{way} {neighbour.name}, a {type(neighbour).__name__} {reason}"]
        self.folded.add(id(norm))
        self.absorbed[id(neighbour)].append((norm, before))
        return []

    def _neighbour(self, graph: _Graph, node: Any, before: bool) -> Any:
        """The operation next to a norm, past those that do nothing; else why there is none."""
        while True:
            tensor = node.outputs[0] if before else node.input_tensors[0]
            if len(graph.consumers[id(tensor)]) > 1:
                return f"its {'output' if before else 'input'} is used elsewhere too"
            node = graph.consumers[id(tensor)][0] if before else graph.producers.get(id(tensor))
            if node is None:
                return f"its {'output' if before else 'input'} is the model's"
            if not self._does_nothing(node):
                return node.operation

    def _does_nothing(self, node: Any) -> bool:
        """Whether a node passes its one input on at inference."""
        operation = node.operation
        if isinstance(operation, keras.layers.Activation):
            return operation.activation is keras.activations.linear
        skipped = type(operation) in _NOTHING_AT_INFERENCE and len(node.input_tensors) == 1
        return id(operation) in self.folded or (skipped and id(operation) not in self.training)

    def _reason(self, layer: Any, node: Any, before: bool) -> str | None:
        """Why `layer` cannot absorb the norm of `node`; None where it can."""
        norm, rank = node.operation, len(node.outputs[0].shape)
        if type(layer) not in _ABSORBING:
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
        if (padded or isinstance(layer, _TRANSPOSED)) and _affine(norm)[1].any():
            return "that pads with zeros, which the norm shifts"
        deviation = np.sqrt(float64(norm.moving_variance) + norm.epsilon)
        if (abs(float64(norm.moving_mean)) > SMALL_MEAN * deviation).any():
            return "that would cancel a mean so large beside the deviation"
        return None


class _Graph:
    """The calls in a Sequential or functional model.

    Attributes:
        nodes: all of them, from the inputs on.
        producers: the call that each tensor comes from, by the tensor's id.
        consumers: the calls that each tensor goes into, by its id; None for the model's output.
    """

    def __init__(self, model: Any) -> None:
        function = model._functional if isinstance(model, keras.Sequential) else model
        depths = sorted(function._nodes_by_depth.items(), key=lambda item: -item[0])
        self.nodes = [node for _, nodes in depths for node in nodes if not node.is_input]
        self.producers = {id(tensor): node for node in self.nodes for tensor in node.outputs}
        self.consumers: dict[int, list[Any]] = defaultdict(list)
        for node in self.nodes:
            for tensor in node.input_tensors:
                self.consumers[id(tensor)].append(node)
        for tensor in function.outputs:
            self.consumers[id(tensor)].append(None)
