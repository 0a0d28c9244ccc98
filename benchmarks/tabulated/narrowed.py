"""A task with a narrower space than that of the earlier searches from which its search learns."""

from __future__ import annotations

import copy

import keras_tuner as kt
import numpy as np

from benchmarks.tabulated.task import Task


def narrowed(task: Task, share: float, seed: int) -> Task:
    """Return a task whose numeric ranges are this share of the task's, on their own scales.

    Its regrets are still those of the whole space.

    Args:
        task: left as it is.
        share: in (0, 1].
        seed: >= 0, decides where in the whole ranges the narrower ones lie.
    """

    def declare(hp: kt.HyperParameters) -> None:
        task.declare(hp)
        rng = np.random.default_rng([seed, 77])
        for one in hp.space:
            if isinstance(one, kt.engine.hyperparameters.Float | kt.engine.hyperparameters.Int):
                low = rng.random() * (1 - share)
                ends = one.prob_to_value(low), one.prob_to_value(low + share)
                one.min_value, one.max_value = ends
                hp.values[one.name] = one.default

    narrow = copy.copy(task)
    narrow.declare = declare  # type: ignore[method-assign]
    return narrow
