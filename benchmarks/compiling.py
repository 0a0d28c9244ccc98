"""What it gains and costs to compile the layer's two passes on TensorFlow.

    python -m benchmarks.compiling

Prints a Markdown table: milliseconds of a training step with the stock layer, with ours before a
shape is compiled and with ours after, each the median over rounds in which all run one after the
other; and the seconds by which the first step takes longer where it compiles. From this follows
after how many elements compiling pays, `RENT` in kbn/norm/tensorflow_compiling.py.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import kbn
from benchmarks.norm import paired, tensorflow_steps
from kbn.norm import tensorflow_compiling
from kbn.norm.tensorflow_tracing import traced

SHAPES = [
    (64, 32, 32, 32),
    (64, 16, 16, 64),
    (32, 32, 32, 96),
    (32, 16, 16, 144),
    (64, 56, 56, 64),
    (1024, 1024),
    (256, 1024),
]
ROUNDS = 25
# elements after which a shape is compiled
RENTS = {"stock": 0, "not compiled": 2**62, "compiled": 0}


def main() -> None:
    print(f"| shape | {' | '.join(RENTS)} | ns gained an element | compiling, s |")
    print("|---" * (3 + len(RENTS)) + "|")
    for shape in SHAPES:
        calls, first = {}, {}
        for name, rent in RENTS.items():
            calls[name] = _step(name, shape, rent)
            start = time.perf_counter()
            calls[name]()
            first[name] = time.perf_counter() - start
        times = {name: statistics.median(all_) for name, all_ in paired(calls, ROUNDS).items()}
        gained = 1e9 * (times["not compiled"] - times["compiled"]) / math.prod(shape)
        cells = " | ".join(f"{1e3 * seconds:.2f}" for seconds in times.values())
        cost = first["compiled"] - first["not compiled"]
        print(f"| {shape} | {cells} | {gained:.2f} | {cost:.2f} |", flush=True)


def _step(name: str, shape: tuple[int, ...], rent: int) -> Callable[[], Any]:
    """Return a training step that is traced at its first call, before the next one is made."""
    tensorflow_compiling.RENT = rent
    traced.cache_clear()  # layers share what is traced, and with it the number
    layer = (keras.layers.BatchNormalization if name == "stock" else kbn.BatchNormalization)()
    layer.build((None, *shape[1:]))
    rng = np.random.default_rng(0)
    x, dy = (rng.normal(0.3, 1, shape).astype("float32") for _ in range(2))
    return tensorflow_steps()["train step, plain graph, batch of unknown size"](layer, x, dy)


if __name__ == "__main__":
    main()
