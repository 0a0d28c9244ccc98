"""What is measured of a trial's model beside its training: its size, and its time to predict.

The size is known before training, so that a model that is too large is not trained at all.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Collection, Mapping

import keras
import keras_tuner
import numpy as np

from kbn.recipe.inputs import Inputs, each
from kbn.recipe.objectives import BUILT
from kbn.search.goals import Goals

PREDICTED = 32  # examples that a prediction is timed with
WARM_UPS, REPETITIONS = 3, 15  # predictions before the timed ones, and timed ones


class Infeasible(keras_tuner.errors.FailedTrialError):
    """A trial's model violates a constraint before it is trained.

    Attributes:
        metrics: what was measured of it.
    """

    def __init__(self, violations: Collection[str], metrics: Mapping[str, float]):
        super().__init__("; ".join(violations))
        self.metrics = dict(metrics)


def sizes(model: keras.Model, names: Collection[str]) -> dict[str, float]:
    """Return those of a built model's sizes that are among some names.

    `parameters` is `model.count_params()`: the numbers in all weights, trained or not.
    `model_bytes` are the bytes of these weights in their own dtype. A `.keras` file has some
    kilobytes more, for the architecture.
    """
    found = {
        "parameters": float(model.count_params()),
        "model_bytes": float(sum(_bytes(weight) for weight in model.weights)),
    }
    return {name: found[name] for name in BUILT if name in names}


def require_feasible(goals: Goals, metrics: Mapping[str, float]) -> None:
    """Check what is known of a model against the constraints.

    Raises:
        Infeasible: if it violates one.
    """
    violations = goals.violations(metrics)
    if violations:
        raise Infeasible(violations, metrics)


def inference_ms(model: keras.Model, x: Inputs) -> float:
    """Return the milliseconds in which a model predicts a batch of 32 examples, on this machine.

    It is the median of 15 predictions after 3 that are not timed. Other work on the machine adds
    noise, of a tenth or more, and every prediction includes about a millisecond of Keras' own.

    Args:
        model: built.
        x: examples, shape (n, ...), n >= 1, or a dict of such inputs; repeated if there are fewer
            than 32.
    """
    batch = each(lambda rows: np.resize(rows, (PREDICTED, *rows.shape[1:])), x)
    times = []
    for _ in range(WARM_UPS + REPETITIONS):
        began = time.perf_counter()
        model.predict_on_batch(batch)
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times[WARM_UPS:])


def _bytes(weight: keras.Variable) -> int:
    return math.prod(weight.shape) * np.dtype(str(weight.dtype)).itemsize
