"""Figures of the search: scales, random against grid, coarse to fine, importance.

They run kbn's own code on a function that takes no time: the error of a pretended training, by its
learning rate and momentum.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable

import keras_tuner
import numpy as np
from keras_tuner.engine.base_tuner import BaseTuner
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import kbn
from kbn.search.scales import SCALES
from style import BLUE, GREEN, GREY, ORANGE

RATES, MOMENTA = (1e-4, 1.0), (0.5, 0.999)


def scales() -> Figure:
    """40 samples of a learning rate and of a momentum on each scale."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.2), layout="constrained")
    u = (np.arange(40) + np.random.default_rng(0).random(40)) / 40
    for axes, (low, high), names in (
        (left, (1e-5, 0.9), ("linear", "log", "per_decade")),
        (right, MOMENTA, ("linear", "complement_log")),
    ):
        for row, name in enumerate(reversed(names)):
            values = np.array([SCALES[name].from_unit(each, low, high) for each in u])
            axes.scatter(values if axes is left else 1 - values, np.full(40, row), 9, BLUE)
        axes.set(xscale="log", yticks=range(len(names)), yticklabels=reversed(names))
        axes.set_ylim(-0.6, len(names) - 0.4)
    left.set_xlabel("learning rate")
    right.invert_xaxis()
    right.set(xlabel="momentum", xticks=[0.5, 0.1, 0.01, 0.001])
    right.set_xticklabels([".5", ".9", ".99", ".999"])
    return figure


def random_and_grid() -> Figure:
    """Nine trials of a grid and nine random ones, where only one of two hyperparameters matters."""
    figure, panels = plt.subplots(
        2, 2, figsize=(7, 3.6), height_ratios=[1, 2], sharex=True, layout="constrained"
    )
    line = np.linspace(0, 1, 300)
    rng = np.random.default_rng(4)
    strata = np.array([rng.permutation(9) for _ in range(2)])
    grid = np.stack(np.meshgrid([1 / 6, 0.5, 5 / 6], [1 / 6, 0.5, 5 / 6])).reshape(2, 9)
    for (top, below), points, title in zip(
        panels.T,
        (grid, (strata + rng.random((2, 9))) / 9),
        ("a 3x3 grid", "9 random trials"),
        strict=True,
    ):
        gain = _bump(points[0])
        top.plot(line, _bump(line), color=GREY)
        top.vlines(points[0], 0, gain, color=BLUE, lw=0.8)
        top.scatter(points[0], gain, 14, BLUE)
        top.scatter(points[0][gain.argmax()], gain.max(), 40, ORANGE, zorder=3)
        top.set(title=title, yticks=[], ylim=(0, 1.1), ylabel="gain")
        below.scatter(*points, 22, BLUE)
        below.set(xticks=[], yticks=[], xlabel="matters", ylabel="hardly matters", ylim=(0, 1))
    return figure


def _bump(x: np.ndarray) -> np.ndarray:
    return np.exp(-(((x - 0.68) / 0.14) ** 2))


def _loss(rate: float, momentum: float) -> float:
    """Pretend to train: best where rate / (1 - momentum) is .1; momentum itself is minor."""
    effective = math.log10(rate / (1 - momentum))
    return (effective + 1) ** 2 / 4 + (math.log10(1 - momentum) + 1.3) ** 2 / 30


def _searched(trials: int) -> kbn.CoarseToFineOracle:
    hp = keras_tuner.HyperParameters()
    hp.Float("learning_rate", *RATES, sampling="log")
    kbn.scales.complement_log(hp, "momentum", *MOMENTA)
    objective = keras_tuner.Objective("loss", "min")
    oracle = kbn.CoarseToFineOracle(objective, trials, seed=3, hyperparameters=hp)
    return _run(oracle, lambda values: _loss(values["learning_rate"], values["momentum"]))


def _run(
    oracle: kbn.CoarseToFineOracle, loss: Callable[[dict[str, float]], float]
) -> kbn.CoarseToFineOracle:
    """Search to the end, with a loss in place of training."""
    oracle.verbose = 0
    with tempfile.TemporaryDirectory() as directory:
        BaseTuner(oracle, directory=directory)
        for _ in range(oracle.max_trials):
            trial = oracle.create_trial("tuner")
            oracle.update_trial(trial.trial_id, {"loss": loss(trial.hyperparameters.values)})
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
    return oracle


def coarse_to_fine() -> Figure:
    """Boxes and trials of four rounds over the error that they search."""
    oracle = _searched(40)
    rounds = oracle.rounds
    shown = [rounds[round(k * (len(rounds) - 1) / 3)] for k in range(4)]
    figure, panels = plt.subplots(1, 4, figsize=(9.5, 2.6), sharey=True, layout="constrained")
    trials = [oracle.trials[each].hyperparameters.values for each in oracle.end_order]
    for axes, current in zip(panels, shown, strict=True):
        _map(axes)
        for box in current.boxes:
            (left, right), (low, high) = box["learning_rate"], box["momentum"]
            corner, width, height = (left, 1 - high), right - left, high - low
            axes.add_patch(Rectangle(corner, width, height, fill=False, ec=BLUE, lw=1.3))
        for index, values in enumerate(trials[: current.end]):
            new = index >= current.first
            axes.scatter(
                values["learning_rate"], 1 - values["momentum"], 16 if new else 6,
                ORANGE if new else GREY, zorder=3,
            )  # fmt: skip
        axes.set_title(f"round {current.number}: trials {current.first} to {current.end - 1}")
    panels[0].set(ylabel="momentum", yticks=[0.5, 0.1, 0.01, 0.001])
    panels[0].set_yticklabels([".5", ".9", ".99", ".999"])
    return figure


def _map(axes: Axes) -> None:
    """Draw the error over the space, darker where it is lower."""
    rates = np.geomspace(*RATES, 25)
    rests = np.geomspace(1 - MOMENTA[1], 1 - MOMENTA[0], 25)
    errors = [[_loss(rate, 1 - rest) for rate in rates] for rest in rests]
    axes.contourf(rates, rests, np.sqrt(errors), levels=6, cmap="Greys_r", alpha=0.45)
    axes.set(xscale="log", yscale="log", xlabel="learning rate", xticks=[1e-4, 1e-2, 1])
    axes.invert_yaxis()


def importance() -> Figure:
    """Shares of the hyperparameters of a pretended training, one of which does nothing."""
    hp = keras_tuner.HyperParameters()
    names = {"learning_rate": 1.0, "momentum": 0.9, "units": 0.4, "nothing": 0.0}
    for name in names:
        hp.Float(name, 0, 1)
    oracle = kbn.CoarseToFineOracle(
        keras_tuner.Objective("loss", "min"),
        100,
        rounds=1,
        surrogate=None,
        seed=1,
        hyperparameters=hp,
    )
    rng = np.random.default_rng(0)
    _run(
        oracle,
        lambda values: (
            sum(weight * (values[name] - 0.4) ** 2 for name, weight in names.items())
            + rng.normal(0, 0.01)
        ),
    )
    figure, axes = plt.subplots(figsize=(5, 1.8), layout="constrained")
    shares = oracle.importance()[::-1]
    for row, each in enumerate(shares):
        told = each.low > 0
        axes.barh(row, each.share, color=GREEN if told else GREY, height=0.5)
        axes.plot([each.low, each.high], [row, row], color="black", lw=1)
    axes.set(yticks=range(len(shares)), yticklabels=[each.name for each in shares], xlim=(0, 1))
    axes.set_xlabel("share of the main effects, with its 90 % interval")
    return figure


FIGURES = {
    "scales": scales,
    "random_and_grid": random_and_grid,
    "coarse_to_fine": coarse_to_fine,
    "importance": importance,
}
