"""kbn.BatchNormalization against keras.layers.BatchNormalization: time, as ratios of paired runs.

    python benchmarks/norm.py                        # TensorFlow
    KERAS_BACKEND=jax python benchmarks/norm.py      # or torch

Every call runs for two seconds first: large batches are compiled only after some steps. What that
means for the whole of `fit` is measured by fit.py.

Prints Markdown tables. "stock" and "ours" are medians in milliseconds, "ratio" the median of
stock/ours over rounds in which both run one after the other. "bound" is the time of four copies of
the inputs: a training step has to pass over memory eight times (forward: read, read, write;
backward: read two, read two, write).
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import kbn

SHAPES = [
    (256, 512),
    (1024, 1024),
    (64, 32, 32, 64),
    (32, 56, 56, 64),
    (32, 14, 14, 256),
    (64, 128, 128),
]
WARM_UP = 2.0  # seconds; then also a slow CPU has computed 2^28 elements
LAYERS = {"stock": keras.layers.BatchNormalization, "ours": kbn.BatchNormalization}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=25)
    rounds = parser.parse_args().rounds
    steps = STEPS[keras.backend.backend()]()
    for title, step in steps.items():
        table(title, step, rounds)
    epochs(rounds)


def table(title: str, step: Callable[..., Any], rounds: int) -> None:
    print(f"\n| {title} | stock | ours | ratio | bound |\n|---|---|---|---|---|", flush=True)
    ratios = []
    for shape in SHAPES:
        rng = np.random.default_rng(0)
        x, dy = (rng.normal(0.3, 1, shape).astype("float32") for _ in range(2))
        calls = {}
        for name, kind in LAYERS.items():
            layer = kind()
            layer.build((None, *shape[1:]))
            calls[name] = step(layer, x, dy)
        calls["bound"] = COPIES[keras.backend.backend()](x)
        times = paired(calls, rounds)
        ratio = statistics.median(s / o for s, o in zip(times["stock"], times["ours"], strict=True))
        ratios.append(ratio)
        stock, ours, bound = (f"{1e3 * statistics.median(times[name]):.2f}" for name in calls)
        print(f"| {shape} | {stock} | {ours} | {ratio:.2f} | {bound} |", flush=True)
    four = statistics.geometric_mean(
        r for r, shape in zip(ratios, SHAPES, strict=True) if len(shape) == 4
    )
    print(f"| geometric mean | | | {statistics.geometric_mean(ratios):.2f} | |")
    print(f"| geometric mean of rank 4 | | | {four:.2f} | |")


def paired(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds a call, per round; each round runs every call for about 50 ms."""
    repeats = {}
    for name, call in calls.items():
        start = time.perf_counter()
        while time.perf_counter() - start < WARM_UP:
            call()
        repeats[name] = max(1, round(0.05 / seconds(call, 3)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(seconds(call, repeats[name]))
    return times


def seconds(call: Callable[[], Any], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def copies(x: Any) -> Callable[[], Any]:
    target = np.empty_like(x)
    return lambda: [np.copyto(target, x) for _ in range(4)]


def jax_copies(x: Any) -> Callable[[], Any]:
    import jax

    x = jax.numpy.asarray(x)
    return lambda: jax.block_until_ready([jax.numpy.copy(x) for _ in range(4)])


def torch_copies(x: Any) -> Callable[[], Any]:
    x = keras.ops.convert_to_tensor(x)
    target = keras.ops.zeros_like(x)
    return waited(lambda: [target.copy_(x) for _ in range(4)])


COPIES = {"tensorflow": copies, "jax": jax_copies, "torch": torch_copies}


def waited(call: Callable[[], Any]) -> Callable[[], Any]:
    """Return a call of torch that lasts until a GPU is done with it."""
    import torch

    def call_and_wait() -> Any:
        result = call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return result

    return call_and_wait


def tensorflow_steps() -> dict[str, Callable[..., Any]]:
    import tensorflow as tf

    def train(layer: Any, x: Any, dy: Any, jit: bool, batch: bool = True) -> Callable[[], Any]:
        signature = [tf.TensorSpec((len(x) if batch else None, *x.shape[1:]))] * 2

        @tf.function(jit_compile=jit, input_signature=signature)
        def step(x: Any, dy: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=True)
            return y, tape.gradient(y, [x, layer.gamma.value, layer.beta.value], dy)

        return functools.partial(step, tf.constant(x), tf.constant(dy))

    def frozen(layer: Any, x: Any, dy: Any, jit: bool) -> Callable[[], Any]:
        @tf.function(jit_compile=jit)
        def step(x: Any, dy: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=False)
            return y, tape.gradient(y, x, dy)

        return functools.partial(step, tf.constant(x), tf.constant(dy))

    def infer(layer: Any, x: Any, _: Any, jit: bool) -> Callable[[], Any]:
        call = tf.function(lambda x: layer(x, training=False), jit_compile=jit)
        return functools.partial(call, tf.constant(x))

    any_batch = functools.partial(train, jit=False, batch=False)
    return {
        f"{title}, {how}": functools.partial(step, jit=jit)
        for title, step in (("train step", train), ("inference", infer), ("frozen step", frozen))
        for how, jit in (("plain graph", False), ("jit_compile=True", True))
    } | {"train step, plain graph, batch of unknown size": any_batch}


def jax_steps() -> dict[str, Callable[..., Any]]:
    import jax

    def train(layer: Any, x: Any, dy: Any) -> Callable[[], Any]:
        def forward(x: Any, trainable: Any, rest: Any) -> Any:
            return layer.stateless_call(trainable, rest, x, training=True)

        @jax.jit
        def step(x: Any, dy: Any, trainable: Any, rest: Any) -> Any:
            y, pull, rest = jax.vjp(lambda x, t: forward(x, t, rest), x, trainable, has_aux=True)
            return y, pull(dy), rest

        arguments = [
            jax.numpy.asarray(x),
            jax.numpy.asarray(dy),
            [w.value for w in layer.trainable_variables],
            [w.value for w in layer.non_trainable_variables],
        ]
        return lambda: jax.block_until_ready(step(*arguments))

    def infer(layer: Any, x: Any, _: Any) -> Callable[[], Any]:
        weights = [w.value for w in layer.trainable_variables]
        averages = [w.value for w in layer.non_trainable_variables]
        call = jax.jit(lambda x: layer.stateless_call(weights, averages, x, training=False)[0])
        x = jax.numpy.asarray(x)
        return lambda: jax.block_until_ready(call(x))

    return {"train step, JAX": train, "inference, JAX": infer}


def torch_steps() -> dict[str, Callable[..., Any]]:
    import torch

    def train(layer: Any, x: Any, dy: Any) -> Callable[[], Any]:
        x, dy = map(keras.ops.convert_to_tensor, (x, dy))
        x.requires_grad_()
        leaves = [x, *(w.value for w in layer.trainable_variables)]

        def step() -> Any:
            y = layer(x, training=True)
            return y, torch.autograd.grad(y, leaves, dy)

        return waited(step)

    def infer(layer: Any, x: Any, _: Any) -> Callable[[], Any]:
        x = keras.ops.convert_to_tensor(x)

        def step() -> Any:
            with torch.no_grad():
                return layer(x, training=False)

        return waited(step)

    return {"train step, torch": train, "inference, torch": infer}


STEPS = {"tensorflow": tensorflow_steps, "jax": jax_steps, "torch": torch_steps}


def epochs(rounds: int) -> None:
    """Steps of `fit`, and the layer's own cost in them: a step with it less a step without."""
    print("\n| step in fit | without | stock | ours | own cost, ours / stock's |")
    print("|---|---|---|---|---|")
    rng = np.random.default_rng(0)
    for title, build, batch, shape in (
        ("CNN, batch of 64 images 32x32x3", cnn, 64, (1024, 32, 32, 3)),
        ("MLP, batch of 256 rows of 256", mlp, 256, (8192, 256)),
    ):
        x = rng.normal(size=shape).astype("float32")
        labels = rng.integers(0, 10, shape[0])
        models = {}
        for name, kind in {"without": keras.layers.Identity, **LAYERS}.items():
            model = build(kind, shape[1:])
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(keras.optimizers.SGD(0.01), loss)
            models[name] = model
        times: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(rounds + 1):
            for name, model in models.items():
                clock = Clock()
                model.fit(x, labels, batch_size=batch, verbose=0, callbacks=[clock])
                times[name].append(clock.median())
        rows = list(zip(*(column[1:] for column in times.values()), strict=True))
        share = statistics.median((ours - none) / (stock - none) for none, stock, ours in rows)
        medians = (f"{1e3 * statistics.median(column):.2f}" for column in zip(*rows, strict=True))
        print(f"| {title} | {' | '.join(medians)} | {share:.2f} |", flush=True)


class Clock(keras.callbacks.Callback):
    """Times the steps of an epoch; tf.data takes its own time at the epoch's ends."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.ends.append(time.perf_counter())

    def median(self) -> float:
        return statistics.median(np.diff(self.ends))


def cnn(norm: Callable[[], Any], shape: tuple[int, ...]) -> Any:
    layers: list[Any] = [keras.Input(shape)]
    for filters in (32, 64):
        layers += [
            keras.layers.Conv2D(filters, 3, padding="same", use_bias=False),
            norm(),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(),
        ]
    return keras.Sequential(
        [*layers, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10)]
    )


def mlp(norm: Callable[[], Any], shape: tuple[int, ...]) -> Any:
    layers: list[Any] = [keras.Input(shape)]
    for _ in range(3):
        layers += [keras.layers.Dense(512, use_bias=False), norm(), keras.layers.ReLU()]
    return keras.Sequential([*layers, keras.layers.Dense(10)])


if __name__ == "__main__":
    main()
