"""How long a whole `kbn tune` takes beside a bare loop that trains the same configurations.

    python benchmarks/tuning_run.py                      # digits_mlp, digits_cnn, tabular; 3 rounds
    python benchmarks/tuning_run.py --recipes digits_mlp --rounds 5

A round runs `kbn tune RECIPE search.trials=12` from an empty directory, with imports, tracking and
report, then reads the configurations back, and trains them one after the other by plain Keras:
build, compile, fit; once with the stock layer and once with kbn's, each in a process of its own.
Prints seconds, and the median ratios of `kbn tune` to the loops: below 1, `kbn tune` is faster.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
LAYERS = {"stock": "keras.layers.BatchNormalization", "ours": "kbn.BatchNormalization"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=["digits_mlp", "digits_cnn", "tabular"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--loop", choices=LAYERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.loop:
        train(arguments.recipes[0], LAYERS[arguments.loop], json.load(sys.stdin))
        return
    print("| recipe | kbn tune, s | loop, stock, s | loop, ours, s | tune / stock | tune / ours |")
    print("|---|---|---|---|---|---|", flush=True)
    for recipe in arguments.recipes:
        rounds = [one_round(recipe, arguments.trials) for _ in range(arguments.rounds)]
        tune, *loops = (statistics.median(times) for times in zip(*rounds, strict=True))
        ratios = (statistics.median(r[0] / r[i] for r in rounds) for i in (1, 2))
        cells = [*(f"{s:.1f}" for s in (tune, *loops)), *(f"{ratio:.2f}" for ratio in ratios)]
        print(f"| {recipe} | {' | '.join(cells)} |", flush=True)


def one_round(recipe: str, trials: int) -> tuple[float, ...]:
    """Seconds of `kbn tune`, of the loop with the stock layer, and of that with ours."""
    from kbn.report.results import Results

    path = str(RECIPES / f"{recipe}.yaml")
    with tempfile.TemporaryDirectory() as empty:
        kbn = str(Path(sys.executable).parent / "kbn")
        tune = timed([kbn, "tune", path, f"search.trials={trials}", "--json"], empty, "")
        trials_run = Results.read(Path(empty) / "searches" / recipe, "max").trials
        values = json.dumps([dict(trial.values) for trial in trials_run])
        loop = [sys.executable, __file__, "--recipes", path, "--loop"]
        return tune, *(timed([*loop, layer], empty, values) for layer in LAYERS)


def timed(command: list[str], directory: str, stdin: str) -> float:
    start = time.perf_counter()
    subprocess.run(  # noqa: S603
        command, cwd=directory, input=stdin, capture_output=True, text=True, check=True
    )
    return time.perf_counter() - start


def train(path: str, layer: str, configurations: list[dict[str, Any]]) -> None:
    """What one would write without kbn: a loop over configurations."""
    import keras

    from kbn.recipe.architectures import ARCHITECTURES, Norm, hyperparameters
    from kbn.recipe.datasets import load_dataset
    from kbn.recipe.loading import load_recipe
    from kbn.recipe.training import DEFAULTS, make_optimizer

    recipe = load_recipe(path)
    data = load_dataset(recipe.dataset, recipe.search.seed, recipe.home)
    name, classes = str(recipe.model.name), data.classification
    for values in configurations:
        keras.utils.set_random_seed(recipe.search.seed)
        chosen: dict[str, Any] = {k: values[k] for k in hyperparameters(name) if k in values}
        if recipe.model.norm is not None:
            chosen["norm"] = Norm(layer, recipe.model.norm.position)
        model = ARCHITECTURES[name](data.shape, data.outputs, **chosen)
        batch = {**DEFAULTS, **values}["batch_size"]
        steps = -(-len(data.y_train) // batch) * recipe.search.epochs
        model.compile(
            make_optimizer(values, steps),
            loss="sparse_categorical_crossentropy" if classes else "mse",
            metrics=["accuracy" if classes else "mae"],
        )
        model.fit(
            data.x_train,
            data.y_train,
            batch_size=batch,
            epochs=recipe.search.epochs,
            validation_data=(data.x_val, data.y_val),
            verbose=0,
        )


if __name__ == "__main__":
    main()
