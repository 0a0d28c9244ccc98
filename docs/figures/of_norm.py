"""Figures of batch norm: gamma and beta, moving averages, noise."""

from __future__ import annotations

import keras
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import kbn
from style import BLUE, GREEN, GREY, ORANGE


def gamma_and_beta() -> Figure:
    """What a channel's values are before batch norm, normalized, and scaled and shifted."""
    z = np.random.default_rng(0).gamma(3, 4, 4000) + 20
    normalized = (z - z.mean()) / z.std()
    figure, panels = plt.subplots(1, 3, figsize=(9, 1.9), sharey=True, layout="constrained")
    for axes, values, title in zip(
        panels,
        (z, normalized, 0.5 * normalized + 1),
        ("z: any mean, any variance", "normalized: mean 0, variance 1", "y: gamma = .5, beta = 1"),
        strict=True,
    ):
        axes.hist(values, bins=40, color=BLUE)
        axes.axvline(values.mean(), color=ORANGE)
        axes.set(title=title, yticks=[])
    for axes in panels[1:]:
        axes.set_xlim(-4, 5)
    return figure


STEPS = (5, 10, 20, 40, 80, 160, 320)
SEEDS = 3
MOMENTUM = 0.99


def moving_averages() -> Figure:
    """Accuracy at inference during a short training, by what takes the place of the batch."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
    steps = np.arange(1, 321)
    left.plot(steps, 1 - MOMENTUM**steps, color=ORANGE, label="moving average, momentum .99")
    left.plot(steps, np.ones(320), color=BLUE, label="debiased")
    left.set(xlabel="step", title="an average of batches whose mean is 1", xscale="log")
    left.legend()
    found = np.mean([_trained(seed) for seed in range(SEEDS)], axis=0)
    names = ("moving averages", "debiased", "recalibrated")
    for accuracies, name, color in zip(found.T, names, (ORANGE, BLUE, GREEN), strict=True):
        right.plot(STEPS, accuracies, marker="o", ms=3, color=color, label=name)
    right.set(xlabel="step", title="accuracy at inference", xscale="log", ylim=(0, 1))
    right.legend()
    return figure


def _trained(seed: int) -> list[list[float]]:
    """Train on digits; return the accuracies at each of STEPS: as usual, debiased, recalibrated."""
    x, y = load_digits(return_X_y=True)
    x = ((x - 8) / 6).astype("float32")
    x_val, y_val, x, y = x[:400], y[:400], x[400:], y[400:]
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((64,))])
    norms = [kbn.BatchNormalization(momentum=MOMENTUM, debias=True) for _ in range(2)]
    for norm in norms:
        model.add(keras.layers.Dense(64, use_bias=False))
        model.add(norm)
        model.add(keras.layers.ReLU())
    model.add(keras.layers.Dense(10, activation="softmax"))
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    rng, rows = np.random.default_rng(seed), []
    for step in range(1, STEPS[-1] + 1):
        batch = rng.integers(0, len(x), 64)
        model.train_on_batch(x[batch], y[batch])
        if step in STEPS:
            weights = model.get_weights()
            debiased = _accuracy(model, x_val, y_val)
            for (
                norm
            ) in norms:  # what the averages are without the correction: they start at 0 and 1
                start = MOMENTUM**step
                norm.moving_mean.assign((1 - start) * norm.moving_mean)
                norm.moving_variance.assign((1 - start) * norm.moving_variance + start)
            usual = _accuracy(model, x_val, y_val)
            kbn.recalibrate(model, x)
            rows.append([usual, debiased, _accuracy(model, x_val, y_val)])
            model.set_weights(weights)
    return rows


def _accuracy(model: keras.Model, x: np.ndarray, y: np.ndarray) -> float:
    return float((model(x, training=False).numpy().argmax(1) == y).mean())


def noise() -> Figure:
    """What one example is normalized to in random batches, by their size."""
    rng = np.random.default_rng(0)
    population = rng.normal(size=2000)
    figure, axes = plt.subplots(figsize=(5.5, 2.4), layout="constrained")
    for row, size in enumerate((8, 32, 128, 512)):
        others = rng.choice(population, (80, size - 1))
        batch = np.column_stack([np.ones(80), others])  # the example is at 1
        values = (1 - batch.mean(1)) / batch.std(1)
        axes.scatter(values, row + rng.uniform(-0.25, 0.25, 80), 5, BLUE, alpha=0.6)
    axes.axvline(1, color=GREY, lw=0.8)
    axes.set(yticks=range(4), yticklabels=["8", "32", "128", "512"], ylabel="batch size")
    axes.set_xlabel("normalized value of one example, in 80 random batches")
    return figure


FIGURES = {"gamma_and_beta": gamma_and_beta, "moving_averages": moving_averages, "noise": noise}
