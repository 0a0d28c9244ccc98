"""The tuners of the study, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras_tuner as kt

import kbn
from benchmarks.tabulated.earlier import Past
from benchmarks.tabulated.peers import OptunaOracle
from benchmarks.tabulated.task import Task


@dataclasses.dataclass(frozen=True)
class Contender:
    """A KerasTuner oracle with its options.

    Attributes:
        title: its name in tables.
        kind: class of the oracle.
        options: arguments beside those that all oracles take.
        ends: whether it takes `max_trials`; others are stopped when the budget is spent.
        cuts: whether it trains some trials for fewer epochs, which takes a task that knows them.
    """

    title: str
    kind: Any
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    ends: bool = True
    cuts: bool = False


TUNERS = {
    "random": Contender("KerasTuner RandomSearch", kt.oracles.RandomSearchOracle),
    "bayesian": Contender("KerasTuner BayesianOptimization", kt.oracles.BayesianOptimizationOracle),
    "hyperband": Contender(
        "KerasTuner Hyperband",
        kt.oracles.HyperbandOracle,
        {"factor": 3, "hyperband_iterations": 100},
        ends=False,
        cuts=True,
    ),
    "tpe": Contender("Optuna TPE", OptunaOracle, {"sampler": "optuna.samplers:TPESampler"}),
    # the next two need torch, the second also botorch and optuna-integration
    "optuna-gp": Contender("Optuna GP", OptunaOracle, {"sampler": "optuna.samplers:GPSampler"}),
    "botorch": Contender("BoTorch", OptunaOracle, {"sampler": "optuna_integration:BoTorchSampler"}),
    "plain": Contender("ours, `surrogate=None`", kbn.CoarseToFineOracle, {"surrogate": None}),
    "ours": Contender('ours, `surrogate="gp"`', kbn.CoarseToFineOracle),
    "epochs": Contender(
        'ours, `epochs="coarse_to_fine"`',
        kbn.CoarseToFineOracle,
        {"epochs": "coarse_to_fine"},
        cuts=True,
    ),
}


def make_oracle(
    name: str, task: Task, budget: int, seed: int, directory: str, past: Sequence[Past] = ()
) -> Any:
    """Return a new oracle that saves its state under `directory`.

    Args:
        name: key of TUNERS.
        task: whose losses it is to minimize.
        budget: whole trainings that it may spend.
        seed: >= 0; the oracle's own seed is derived from it.
        directory: an empty directory.
        past: values and losses of earlier searches to learn from.

    Raises:
        ValueError: if the tuner cuts trainings short and the task only knows whole ones.
    """
    tuner = TUNERS[name]
    options = dict(tuner.options)
    if tuner.ends:
        options["max_trials"] = budget
    if tuner.cuts:
        if task.epochs is None:
            raise ValueError(
                f"The tuner {name} needs losses after fewer epochs. Got {task.suite}/{task.name}, "
                "which has only whole trainings; use --suites lcbench."
            )
        options["max_epochs"] = task.epochs
    if past:
        options["prior"] = past
    hp = kt.HyperParameters()
    task.declare(hp)
    oracle = tuner.kind(
        objective=kt.Objective("loss", "min"),
        hyperparameters=hp,
        seed=1 + 100_003 * (seed + 1),  # KerasTuner draws with seed, seed + 1, ...: keep them apart
        **options,
    )
    oracle.verbose = 0
    kt.engine.base_tuner.BaseTuner(oracle, directory=directory)  # sets where it saves
    return oracle
