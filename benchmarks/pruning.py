"""Searches that prune trainings against searches that do not, at an equal number of epochs.

    python benchmarks/pruning.py                                  # trainings by scikit-learn
    python benchmarks/pruning.py --set quantile=0.33
    python benchmarks/pruning.py --recipes digits_mlp tabular     # whole searches by kbn

Without `--recipes`, 150 random configurations of an MLP are trained by scikit-learn for each of
three data sets, and their learning curves are replayed in random orders: random searches that spend
the epochs of `--trials` whole trainings, with and without pruning.

With `--recipes`, both searches of a recipe have the same seed, and so the same split of the data.
What changes a network's shape is fixed, so that most of the time is training, not TensorFlow's
start. All searches are in one process, and no checkpoint is written.

Prints a Markdown table: the best score of each, means over the orders or seeds; how much better the
one that prunes is in the same order or at the same seed, with standard error; how often it is
better and worse; trials and seconds of both.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kbn.run.reuse import Reuse

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

from kbn.search.pruning import is_hopeless

RECIPES = {  # -> overrides
    "digits_mlp": ["space.layers=2", "space.units=64", "space.batch_size=64"],
    "digits_softmax": ["space.batch_size=64"],
    "tabular": [
        "space.layers=2",
        "space.units=32",
        "space.batch_size=16",
        "search.final.refit=false",
    ],
}


TASKS = {"digits": (load_digits, 8), "breast_cancer": (load_breast_cancer, 15)}  # and epochs
TASKS["diabetes"] = (load_diabetes, 20)
METRICS = {  # -> what the best score is of, and 1 where higher is better
    "digits_mlp": ("val_accuracy", 1),
    "digits_softmax": ("val_accuracy", 1),
    "tabular": ("val_mae", -1),
    "digits": ("error", -1),
    "breast_cancer": ("error", -1),
    "diabetes": ("mean absolute error", -1),
}
CONFIGURATIONS = 150  # for each task


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a search found, in how many trials and seconds."""

    score: float
    trials: int
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipes", nargs="*", choices=RECIPES, default=[])
    parser.add_argument("--seeds", type=int, default=10, help="of each recipe")
    parser.add_argument("--orders", type=int, default=40, help="of the trainings by scikit-learn")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--set", nargs="*", default=[], help="of kbn.search.pruning.PRUNING")
    arguments = parser.parse_args()
    _set(arguments.set)
    print("| task | whole | pruned | better by | times better, worse | trials | seconds |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for recipe in arguments.recipes:
        pairs = [
            [searched(recipe, seed, arguments.trials, prune=prune) for prune in (False, True)]
            for seed in range(arguments.seeds)
        ]
        print(_row(recipe, pairs), flush=True)
    for name in () if arguments.recipes else TASKS:
        began = time.perf_counter()
        curves = trained(name)
        each = (time.perf_counter() - began) / curves.size  # an epoch
        rng = np.random.default_rng(0)
        orders = [rng.permutation(curves) for _ in range(arguments.orders)]
        pairs = [
            [replayed(order, arguments.trials, each, prune=prune) for prune in (False, True)]
            for order in orders
        ]
        print(_row(name, pairs), flush=True)


def trained(name: str) -> np.ndarray:
    """Train random configurations; return their validation losses, shape (trials, epochs)."""
    load, epochs = TASKS[name]
    x, y = load(return_X_y=True)
    kind, classes = MLPClassifier, {"classes": np.unique(y)}
    if name == "diabetes":
        kind, classes, y = MLPRegressor, {}, (y - y.mean()) / y.std()
    x, x_val, y, y_val = train_test_split(x, y, test_size=0.4, random_state=0)
    scaler, rng = StandardScaler().fit(x), np.random.default_rng(0)
    x, x_val = scaler.transform(x), scaler.transform(x_val)
    curves = np.full((CONFIGURATIONS, epochs), np.nan)
    for curve in curves:
        model = kind(
            solver=rng.choice(["sgd", "adam"]),
            learning_rate_init=10 ** rng.uniform(-4, 0),
            alpha=10 ** rng.uniform(-6, 0),
            batch_size=int(rng.choice([16, 32, 64, 128])),
            hidden_layer_sizes=(int(4 * 2 ** rng.uniform(0, 4)),) * int(rng.integers(1, 4)),
            momentum=rng.uniform(0.5, 0.99),
            random_state=0,
        )
        with contextlib.suppress(ValueError):  # it has diverged
            for epoch in range(epochs):
                model.partial_fit(x, y, **classes)
                wrong = np.abs(model.predict(x_val) - y_val)
                curve[epoch] = wrong.mean() if name == "diabetes" else (wrong > 0).mean()
    return curves


def replayed(order: np.ndarray, trials: int, seconds: float, *, prune: bool) -> Outcome:
    """Search at random with known learning curves.

    Args:
        order: the losses of each trial by epoch, shape (configurations, epochs).
        trials: whole trainings whose epochs may be spent.
        seconds: that an epoch takes.
        prune: whether hopeless trials are pruned.
    """
    epochs, left, best = order.shape[1], trials * order.shape[1], np.inf
    ended: list[list[float]] = []
    for whole in order.tolist():
        if left < epochs:
            break
        lengths = range(1, epochs + 1)
        ends = (n for n in lengths if prune and is_hopeless(whole[:n], ended, epochs))
        ended.append(whole[: next(ends, epochs)])
        left -= len(ended[-1])
        best = float(np.nanmin([best, *ended[-1]]))
    return Outcome(best, len(ended), (trials * epochs - left) * seconds)


def _set(changes: list[str]) -> None:
    from kbn.search import pruning

    given: dict[str, Any] = {
        name: float(value) for name, _, value in (each.partition("=") for each in changes)
    }
    pruning.PRUNING = dataclasses.replace(pruning.PRUNING, **given)


def searched(name: str, seed: int, trials: int, *, prune: bool) -> Outcome:
    """Run a search of a recipe in an empty directory."""
    from kbn import load_recipe
    from kbn.run.preflight import load_data
    from kbn.run.project import Project
    from kbn.run.search import Search
    from kbn.run.watch import Watch

    told = [f"search.trials={trials}", f"search.seed={seed}", f"search.prune={str(prune).lower()}"]
    recipe = load_recipe(name, [*RECIPES[name], *told, "tracking.enabled=false"])
    with tempfile.TemporaryDirectory() as empty:
        project = Project(recipe, Path(empty))
        with project.locked():
            began = time.perf_counter()
            search = Search(project, load_data(recipe), reuse_of(name), keeps_models=False)
            results = search.run(Watch())
            seconds = time.perf_counter() - began
        return Outcome(results.ranked[0].score or 0.0, len(results.trials), seconds)


@functools.cache
def reuse_of(recipe: str) -> Reuse:
    """Return the compiled models of a recipe."""
    from kbn.run.reuse import Reuse

    del recipe
    return Reuse()


def _row(name: str, pairs: list[list[Outcome]]) -> str:
    metric, sign = METRICS[name]
    gains = [sign * (pruned.score - whole.score) for whole, pruned in pairs]
    error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
    whole, pruned = zip(*pairs, strict=True)

    def mean(outcomes: tuple[Outcome, ...], what: str) -> float:
        return statistics.fmean(getattr(outcome, what) for outcome in outcomes)

    return (
        f"| {name}, {metric} | {mean(whole, 'score'):.4f} | {mean(pruned, 'score'):.4f} "
        f"| {statistics.fmean(gains):+.4f} ± {error:.4f} "
        f"| {sum(gain > 0 for gain in gains)}, {sum(gain < 0 for gain in gains)} "
        f"| {mean(whole, 'trials'):.0f} / {mean(pruned, 'trials'):.1f} "
        f"| {mean(whole, 'seconds'):.1f} / {mean(pruned, 'seconds'):.1f} |"
    )


if __name__ == "__main__":
    main()
