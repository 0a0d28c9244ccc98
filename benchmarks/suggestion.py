"""What a suggestion of kbn.CoarseToFineOracle costs, beside Optuna's TPE.

    pip install -e '.[bench]'
    python benchmarks/suggestion.py --suggestions 40

A suggestion is a trial's whole way through KerasTuner without the training: proposed, its score
reported, ended and, of ours, saved. Both have the same number of finished random trials before it
and take turns. Two spaces: 16 floats; 14 hyperparameters, ten of them under one of two choices.

Prints a Markdown table of medians and means in milliseconds. The means hold the fits of our model,
which are due after every tenth more trials; TPE with 10,000 trials takes minutes and is left out.
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


def make(kind: Any, build: Callable[[Any], None], directory: str) -> Any:
    hp = kt.HyperParameters()
    build(hp)
    oracle = kind(
        objective=kt.Objective("loss", "min"), max_trials=20_000, hyperparameters=hp, seed=1
    )
    oracle.verbose = 0
    kt.engine.base_tuner.BaseTuner(oracle, directory=directory, project_name=kind.__name__)
    return oracle


def fill(oracle: Any, trials: int) -> None:
    """Random finished trials."""
    if isinstance(oracle, TPEOracle):
        mended, oracle.study.sampler = oracle.study.sampler, optuna.samplers.RandomSampler(seed=1)
    else:
        rng = np.random.default_rng(1)

        def draw(_: str) -> dict[str, Any]:
            values: dict[str, Any] = {}
            for hp in oracle.hyperparameters.space:
                if all(condition.is_active(values) for condition in hp.conditions):
                    values[hp.name] = hp.prob_to_value(rng.random())
            return {"status": "RUNNING", "values": values}

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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--suggestions", type=int, default=40)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10_000])
    args = parser.parse_args()
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
