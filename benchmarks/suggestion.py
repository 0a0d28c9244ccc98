"""What a suggestion of kbn.CoarseToFineOracle costs, beside Optuna's TPE.

    pip install -e '.[bench]'
    python benchmarks/suggestion.py --suggestions 40

A suggestion is a trial's whole way through KerasTuner without the training: proposed, its score
reported, ended and, of ours, saved. Both have the same number of finished random trials before it
and take turns. Two spaces: 16 floats; 14 hyperparameters, ten of them under one of two choices.

Prints a Markdown table of medians and means in milliseconds. The means hold the fits of our model,
which are due after every tenth more trials; TPE with 10,000 trials takes minutes and is left out.

`--only ours` prints what many trials in flight and earlier searches add, without Optuna: 64 trials
run all the time, the oldest of which ends before another begins, and ten earlier searches have 100
trials each. It also prints how near each proposal lies to the nearest running trial, as a distance
in the unit cube.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from typing import Any

import keras_tuner as kt
import numpy as np
import optuna

import kbn
from kbn.search.hyperparameters import space_of
from search import TPEOracle


def floats(hp: kt.HyperParameters) -> None:
    for i in range(16):
        hp.Float(f"x{i}", 1e-4, 1.0, sampling="log")


def conditional(hp: kt.HyperParameters) -> None:
    for name in ("a", "b"):
        hp.Float(name, 1e-4, 1.0, sampling="log")
    hp.Int("layers", 1, 6)
    hp.Choice("optimizer", ["sgd", "adam"])
    for choice in ("sgd", "adam"):
        with hp.conditional_scope("optimizer", [choice]):
            for i in range(5):
                hp.Float(f"{choice}_{i}", 0.0, 1.0)


def loss_of(values: dict[str, Any]) -> float:
    return float(sum(np.sin(i + 3 * v) for i, v in enumerate(values.values()) if v is not str(v)))


def finish(oracle: Any, trial: Any) -> None:
    oracle.update_trial(trial.trial_id, {"loss": loss_of(trial.hyperparameters.values)})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)


def make(kind: Any, build: Callable[[Any], None], directory: str, earlier: int = 0) -> Any:
    hp = kt.HyperParameters()
    build(hp)
    options = {"prior": [searched(hp, number) for number in range(earlier)]} if earlier else {}
    oracle = kind(
        objective=kt.Objective("loss", "min"),
        max_trials=20_000,
        hyperparameters=hp,
        seed=1,
        **options,
    )
    oracle.verbose = 0
    kt.engine.base_tuner.BaseTuner(oracle, directory=directory, project_name=kind.__name__)
    return oracle


def drawn(hp: kt.HyperParameters, rng: np.random.Generator) -> dict[str, Any]:
    """Random values."""
    values: dict[str, Any] = {}
    for one in hp.space:
        if all(condition.is_active(values) for condition in one.conditions):
            values[one.name] = one.prob_to_value(rng.random())
    return values


def searched(hp: kt.HyperParameters, number: int) -> list[tuple[dict[str, Any], float]]:
    """An earlier search of 100 random trials, whose losses differ a little from this one's."""
    rng = np.random.default_rng(number)
    trials = [drawn(hp, rng) for _ in range(100)]
    return [(values, loss_of(values) + 0.3 * rng.normal()) for values in trials]


def fill(oracle: Any, trials: int) -> None:
    """Random finished trials."""
    if isinstance(oracle, TPEOracle):
        mended, oracle.study.sampler = oracle.study.sampler, optuna.samplers.RandomSampler(seed=1)
    else:
        rng = np.random.default_rng(1)

        def draw(_: str) -> dict[str, Any]:
            return {"status": "RUNNING", "values": drawn(oracle.hyperparameters, rng)}

        oracle.populate_space = draw
    for _ in range(trials):
        finish(oracle, oracle.create_trial("tuner"))
    if isinstance(oracle, TPEOracle):
        oracle.study.sampler = mended
    else:
        del oracle.populate_space


def milliseconds(oracles: list[Any], suggestions: int) -> np.ndarray:
    """Shape (oracles, suggestions)."""
    times = np.empty((len(oracles), suggestions))
    for j in range(suggestions):
        for i, oracle in enumerate(oracles):
            start = time.perf_counter()
            finish(oracle, oracle.create_trial("tuner"))
            times[i, j] = 1e3 * (time.perf_counter() - start)
    return times


def in_flight(oracle: Any, workers: int, suggestions: int) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds of each suggestion, and its distance from the nearest running trial."""
    space = space_of(oracle.hyperparameters)
    running = [oracle.create_trial(f"worker{i}") for i in range(workers)]
    times, nearest = [], []
    for j in range(suggestions):
        start = time.perf_counter()
        finish(oracle, running.pop(0))
        trial = oracle.create_trial(f"worker{j % workers}")
        times.append(1e3 * (time.perf_counter() - start))
        point = space.encode(trial.hyperparameters.values)
        others = [space.encode(other.hyperparameters.values) for other in running]
        nearest += [min(float(np.linalg.norm(point - other)) for other in others)] if others else []
        running.append(trial)
    return np.array(times), np.array(nearest)


def print_own(suggestions: int, sizes: list[int]) -> None:
    heads = ["space", "trials", "in flight", "earlier searches", "median", "mean", "nearest", "min"]
    print(f"| {' | '.join(heads)} |")
    print("|---" * len(heads) + "|")
    for build in (floats, conditional):
        for trials in sizes:
            for workers, earlier in ((1, 0), (16, 0), (64, 0), (256, 0), (1, 10)):
                with tempfile.TemporaryDirectory() as directory:
                    oracle = make(kbn.CoarseToFineOracle, build, directory, earlier)
                    fill(oracle, trials)
                    finish(oracle, oracle.create_trial("tuner"))
                    times, nearest = in_flight(oracle, workers, suggestions)
                near = [f"{np.median(nearest):.3f}", f"{nearest.min():.3f}"] if workers > 1 else []
                cells = [build.__name__, trials, workers, earlier]
                cells += [f"{np.median(times):.1f}", f"{times.mean():.1f}", *(near or ["", ""])]
                print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--suggestions", type=int, default=40)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--only", choices=["ours"])
    args = parser.parse_args()
    if args.only:
        print_own(args.suggestions, args.trials)
        return
    print("| space | trials | ours: median | mean | TPE: median | mean | ratio of means |")
    print("|---" * 7 + "|")
    for build in (floats, conditional):
        for trials in args.trials:
            kinds = [kbn.CoarseToFineOracle, *([TPEOracle] if trials <= 1000 else [])]
            with tempfile.TemporaryDirectory() as directory:
                oracles = [make(kind, build, directory) for kind in kinds]
                for oracle in oracles:
                    fill(oracle, trials)
                    finish(oracle, oracle.create_trial("tuner"))  # the first one fits from nothing
                times = milliseconds(oracles, args.suggestions)
            cells = [f"{f(row):.1f}" for row in times for f in (np.median, np.mean)]
            ratio = [f"{times[0].mean() / times[1].mean():.2f}"] if len(times) > 1 else []
            cells = [*cells, *ratio, "", "", ""][:5]
            print(f"| {build.__name__} | {trials} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
