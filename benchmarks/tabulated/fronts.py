"""Searches for a front on tabulated trainings, error and seconds, beside Optuna's samplers.

    pip install -e '.[bench]'
    python -m benchmarks.tabulated.fronts --data DIR --seeds 5

The tasks are trainings of rbv2 that YAHPO Gym's networks predict: their error, and the seconds that
they take, which enter by their logarithm. Prints a Markdown table of hypervolumes: the share of the
area between the best and the worst of 1,000 random configurations that the first trials dominate.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import keras_tuner as kt
import numpy as np
import optuna

from benchmarks.pareto import hypervolume, search
from benchmarks.tabulated.peers import suggested
from benchmarks.tabulated.report import cell
from benchmarks.tabulated.task import Values
from benchmarks.tabulated.yahpo import YahpoTask

TASKS = (("rpart", "41138"), ("xgboost", "16"), ("xgboost", "1489"))
MARKS = (25, 50, 100)
Search = Callable[[YahpoTask, int], np.ndarray]  # of a task, by a seed: losses, shape (trials, 2)


def losses(task: YahpoTask, values: Values) -> tuple[float, float]:
    """Return error and seconds of a training."""
    return 1 + task.loss(values), task.seconds(values)


def ours(task: YahpoTask, seed: int) -> np.ndarray:
    """Search by `kbn.CoarseToFineOracle(pareto=True)`."""
    hp = kt.HyperParameters()
    task.declare(hp)
    with contextlib.redirect_stdout(io.StringIO()):
        return search(lambda own: losses(task, own.values), hp, max(MARKS), seed, pareto=True)


def optunas(sampler: str) -> Search:
    """Return the search of one of Optuna's samplers."""

    def run(task: YahpoTask, seed: int) -> np.ndarray:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        kind = getattr(optuna.samplers, sampler)
        study = optuna.create_study(directions=["minimize"] * 2, sampler=kind(seed=seed))
        found = []
        for _ in range(max(MARKS)):
            ask = study.ask()
            values = task.draw(np.random.default_rng(0), lambda hp: suggested(ask, hp))  # noqa: B023
            found.append(losses(task, values))
            study.tell(ask, found[-1])
        return np.array(found)

    return run


TUNERS: dict[str, Search] = {
    "random": optunas("RandomSampler"),
    "Optuna TPE": optunas("TPESampler"),
    "Optuna NSGA-II": optunas("NSGAIISampler"),
    "ours": ours,
}


def shares(found: np.ndarray, box: np.ndarray) -> list[float]:
    """Return the share of a box's area that the first trials dominate, for each of `MARKS`.

    Args:
        found: losses, shape (trials, 2).
        box: the best and the worst of each loss, shape (2, 2).
    """
    low, high = scaled(box)
    points = (scaled(found) - low) / (high - low)
    return [hypervolume(points[:mark], np.ones(2)) for mark in MARKS]


def scaled(found: np.ndarray) -> np.ndarray:
    """Return losses with the seconds by their logarithm."""
    return np.column_stack([found[:, 0], np.log(found[:, 1])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of YAHPO Gym's scenarios")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    print(f"| task | tuner |{''.join(f' @{mark} |' for mark in MARKS)}")
    print("|---" * (2 + len(MARKS)) + "|")
    for suite, name in TASKS:
        task, rng = YahpoTask(suite, name, given.data), np.random.default_rng(7)
        drawn = np.array([losses(task, task.draw(rng)) for _ in range(1000)])
        box = np.array([drawn.min(0), drawn.max(0)])
        for title, run in TUNERS.items():
            found = np.array([shares(run(task, seed), box) for seed in range(given.seeds)])
            print(f"| {suite} {name} | {title} | {' | '.join(map(cell, found.T))} |", flush=True)


if __name__ == "__main__":
    main()
