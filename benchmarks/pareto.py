"""Search for a front: hypervolume against random search and against KerasTuner's sum.

    python benchmarks/pareto.py                        # analytic problems, a minute
    python benchmarks/pareto.py --recipe digits_mlp    # real trainings, an hour

The hypervolume is the area that a search's trials dominate, up to a reference point. For the
recipe, the number of parameters enters by its logarithm.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras_tuner
import numpy as np

from kbn.search.oracle import CoarseToFineOracle

Problem = Callable[[keras_tuner.HyperParameters], tuple[float, float]]
METHODS = {
    "random": {"pareto": True, "surrogate": None, "rounds": 1},
    "sum of objectives": {},
    "ours": {"pareto": True},
}


def zdt1(hp: keras_tuner.HyperParameters) -> tuple[float, float]:
    """Zitzler, Deb and Thiele (2000), problem 1, with 6 variables; a convex front."""
    first, *rest = hp.values.values()
    g = 1 + 9 * sum(rest) / len(rest)
    return first, g * (1 - math.sqrt(first / g))


def zdt2(hp: keras_tuner.HyperParameters) -> tuple[float, float]:
    """Zitzler, Deb and Thiele (2000), problem 2, with 6 variables; a concave front."""
    first, *rest = hp.values.values()
    g = 1 + 9 * sum(rest) / len(rest)
    return first, g * (1 - (first / g) ** 2)


def sized(hp: keras_tuner.HyperParameters) -> tuple[float, float]:
    """Error and size of a pretended network: units and depth cost, other values have an optimum."""
    x = hp.values
    units, depth = 10 ** (3 * x["x0"]), 1 + 5 * x["x1"]
    off = sum((x[f"x{j}"] - 0.6) ** 2 for j in range(2, 6))
    error = 1 - 0.9 * (units * depth / (20 + units * depth)) * math.exp(-2 * off)
    return error, units * units * depth


PROBLEMS: dict[str, tuple[Problem, tuple[float, float], bool]] = {
    "ZDT1": (zdt1, (1.0, 6.0), False),
    "ZDT2": (zdt2, (1.0, 6.0), False),
    "error and size": (sized, (1.0, 6e6), True),
}


def hypervolume(losses: np.ndarray, reference: np.ndarray) -> float:
    """Return the volume between the points and a reference, by slicing the last objective.

    Args:
        losses: shape (n, m); points that are not better than the reference in all count nothing.
        reference: shape (m,).
    """
    points = losses[(losses < reference).all(1)]
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(reference[0] - points.min())
    points = points[np.argsort(points[:, -1], kind="stable")]
    ends = np.append(points[1:, -1], reference[-1])
    return sum(
        (end - point[-1]) * hypervolume(points[: i + 1, :-1], reference[:-1])
        for i, (point, end) in enumerate(zip(points, ends, strict=True))
        if end > point[-1]
    )


def search(
    problem: Problem, hp: keras_tuner.HyperParameters, trials: int, seed: int, **options: object
) -> np.ndarray:
    """Return the losses of all trials of a search, shape (trials, 2)."""
    objectives = [keras_tuner.Objective(name, "min") for name in ("first", "second")]
    oracle = CoarseToFineOracle(objectives, trials, hyperparameters=hp, seed=seed, **options)
    oracle.verbose, losses = 0, []
    with tempfile.TemporaryDirectory() as directory:
        oracle.use_directory(Path(directory) / "search")
        while (trial := oracle.create_trial("tuner")).status == "RUNNING":
            losses.append(problem(trial.hyperparameters))
            oracle.update_trial(
                trial.trial_id, dict(zip(("first", "second"), losses[-1], strict=True))
            )
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
    return np.array(losses)


def cube() -> keras_tuner.HyperParameters:
    """Six hyperparameters in [0, 1]."""
    hp = keras_tuner.HyperParameters()
    for j in range(6):
        hp.Float(f"x{j}", 0.0, 1.0)
    return hp


def trained(name: str, overrides: list[str]) -> tuple[Problem, keras_tuner.HyperParameters]:
    """Return error and number of parameters of a recipe's trainings, and its hyperparameters."""
    from kbn.recipe.loading import load_recipe
    from kbn.run.hypermodel import RecipeModel
    from kbn.run.plan import hyperparameters_of
    from kbn.run.preflight import prepare
    from kbn.run.reuse import Reuse

    recipe = load_recipe(name, overrides)
    hypermodel = RecipeModel(recipe, prepare(recipe), Reuse())

    def train(hp: keras_tuner.HyperParameters) -> tuple[float, float]:
        hypermodel.execution = 0
        model = hypermodel.build(hp)
        history = hypermodel.fit(hp, model).history
        return 1 - max(history["val_accuracy"]), float(model.count_params())

    return train, hyperparameters_of(recipe)


def row(
    name: str,
    problem: Problem,
    hp: keras_tuner.HyperParameters,
    limit: tuple[float, float],
    log: bool,
    given: argparse.Namespace,
) -> None:
    """Print the hypervolumes that the methods reach on a problem."""
    cells = []
    for options in METHODS.values():
        found = []
        for seed in range(given.seeds):
            losses = search(problem, hp, given.trials, seed, **options)
            reference = np.array(limit)
            if log:
                losses[:, 1], reference[1] = np.log10(losses[:, 1]), np.log10(reference[1])
            found.append(hypervolume(losses, reference))
        cells.append(f"{np.mean(found):.3f} ± {np.std(found, ddof=1):.3f}")
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--recipe", help="real trainings of this recipe instead")
    parser.add_argument("overrides", nargs="*", help="of the recipe, as search.epochs=4")
    given = parser.parse_args()
    title = f"hypervolume after {given.trials} trials, {given.seeds} seeds"
    print(f"| {title} | {' | '.join(METHODS)} |")
    print("|---" * (1 + len(METHODS)) + "|")
    if given.recipe:
        row(given.recipe, *trained(given.recipe, given.overrides), (0.9, 1e6), True, given)
    else:
        for name, (problem, limit, log) in PROBLEMS.items():
            row(name, problem, cube(), limit, log, given)


if __name__ == "__main__":
    main()
