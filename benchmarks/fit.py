"""How long `fit` takes with kbn.BatchNormalization and with the stock layer, compilation included.

    python benchmarks/fit.py                                     # all models, 5 pairs; hours
    python benchmarks/fit.py --models mlp_64 cnn --pairs 5

Every measurement is a process of its own; a pair is one with each layer, one after the other, each
layer first in turn. The time to result of `fit` starts when `fit` is called and ends with epoch 1,
2, 8 or 50. In the same process follow a second `fit` of the same model, a `fit` of a new model of
the same and of one of other widths, `predict` and `evaluate`. Prints a Markdown table of the median
ratios ours / stock: below 1, ours is faster.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

MARKS = (1, 2, 8, 50)
AFTER = ("second fit", "same widths", "other widths", "predict", "evaluate")
LAYERS = ("ours", "stock")


def mlp(layers: int, units: int) -> Callable[..., Any]:
    def build(norm: Any, scale: float) -> Any:
        import keras

        width = int(units * scale)
        body = [keras.Input((64,))]
        for _ in range(layers):
            body += [keras.layers.Dense(width, use_bias=False), norm(), keras.layers.ReLU()]
        return keras.Sequential([*body, keras.layers.Dense(10)])

    return build


def cnn(norm: Any, scale: float) -> Any:
    import keras

    body = [keras.Input((32, 32, 3))]
    for filters in (int(32 * scale), int(64 * scale)):
        convolution = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)
        body += [convolution, norm(), keras.layers.ReLU(), keras.layers.MaxPooling2D()]
    return keras.Sequential([*body, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10)])


def application(name: str) -> Callable[..., Any]:
    def build(norm: Any, scale: float) -> Any:
        import keras

        # an application takes the layer from Keras' own modules
        keras.layers.BatchNormalization = keras.src.layers.BatchNormalization = norm
        size = 64 if scale == 1 else 96
        return getattr(keras.applications, name)(
            weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None
        )

    return build


# model: how it is built, examples, batch size
MODELS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "mlp_64": (mlp(4, 64), 1437, 32),
    "mlp_512": (mlp(4, 512), 1437, 32),
    "mlp_300": (mlp(6, 300), 1437, 16),
    "cnn": (cnn, 1024, 64),
    "MobileNetV2": (application("MobileNetV2"), 320, 32),
    "ResNet50": (application("ResNet50"), 320, 32),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=MARKS[-1])
    parser.add_argument("--jit", action="store_true", help="compile(jit_compile=True)")
    parser.add_argument("--measure", choices=LAYERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        [model] = arguments.models
        measured = measure(model, arguments.measure, arguments.epochs, arguments.jit)
        print(json.dumps(measured))
        return
    marks = [mark for mark in MARKS if mark <= arguments.epochs]
    head = [*(f"{mark} epochs" for mark in marks), *AFTER]
    print(f"| ours / stock{', jit' * arguments.jit} | {' | '.join(head)} | seconds, 1 epoch |")
    print("|---" * (len(head) + 2) + "|", flush=True)
    for model in arguments.models:
        pairs = []
        for number in range(arguments.pairs):
            pair = {}
            for layer in LAYERS[:: 1 if number % 2 else -1]:
                command = [sys.executable, __file__, "--models", model, "--measure", layer]
                command += ["--epochs", str(arguments.epochs), *["--jit"] * arguments.jit]
                done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
                pair[layer] = json.loads(done.stdout.splitlines()[-1])
            pairs.append(pair)
        ratios = [statistics.median(p["ours"][k] / p["stock"][k] for p in pairs) for k in head]
        first = (statistics.median(p[layer][head[0]] for p in pairs) for layer in LAYERS)
        cells = [*(f"{ratio:.2f}" for ratio in ratios), " / ".join(f"{s:.2f}" for s in first)]
        print(f"| {model} | {' | '.join(cells)} |", flush=True)


def measure(name: str, layer: str, epochs: int, jit: bool) -> dict[str, float]:
    import keras
    import numpy as np

    import kbn

    build, examples, batch = MODELS[name]
    norm = kbn.BatchNormalization if layer == "ours" else keras.layers.BatchNormalization
    times: dict[str, float] = {}

    def clocked(title: str, call: Callable[..., Any], *args: Any, **options: Any) -> None:
        start = time.perf_counter()
        call(*args, batch_size=batch, verbose=0, **options)
        times[title] = time.perf_counter() - start

    def model_and_data(scale: float) -> tuple[Any, Any, Any]:
        keras.utils.set_random_seed(0)
        model = build(norm, scale)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss, metrics=["accuracy"], jit_compile=jit or "auto")
        rng = np.random.default_rng(0)
        x = rng.normal(size=(examples, *model.input_shape[1:])).astype("float32")
        return model, x, rng.integers(0, 10, examples)

    class Marks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch + 1 in MARKS:
                times[f"{epoch + 1} epochs"] = time.perf_counter() - start

    model, x, y = model_and_data(1)
    start = time.perf_counter()
    model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0, callbacks=[Marks()])
    clocked("second fit", model.fit, x, y)
    clocked("predict", model.predict, x)
    clocked("evaluate", model.evaluate, x, y)
    clocked("same widths", model_and_data(1)[0].fit, x, y)
    other, x, y = model_and_data(1.5)
    clocked("other widths", other.fit, x, y)
    return times


if __name__ == "__main__":
    main()
