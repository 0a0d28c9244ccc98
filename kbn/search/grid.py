"""Grid search as a baseline: every combination of a few values of each hyperparameter."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from kbn.search.axes import Discrete
from kbn.search.durable import DurableOracle
from kbn.search.space import Space, Values


class GridOracle(DurableOracle):
    """Oracle that tries the points of a grid one after the other, from corner to corner.

    The grid has all values of a discrete hyperparameter. Of any other it has as many as
    `max_trials` allows, and at least two, evenly spaced on the hyperparameter's own scale from its
    lowest to its highest value. Arguments and attributes are those of `DurableOracle`.
    """

    _left: Iterator[Values] | None = None  # the rest of the grid

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_left": None}  # a generator cannot be copied

    def _forget(self) -> None:
        super()._forget()
        self._left = None

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Return the next trial's values, in the form KerasTuner asks for."""
        history = self._updated_history()
        self.notes[trial_id] = {}
        self._left = self._left or grid_points(history.space, self.max_trials or 1)
        for values in itertools.chain(self._given(history), self._left):
            if not history.tried(values):
                return {"status": "RUNNING", "values": values}
        return {"status": "STOPPED"}


def grid_points(space: Space, size: int) -> Iterator[Values]:
    """Yield every combination of values once; those of the last hyperparameter change fastest.

    Args:
        space: the axes to combine.
        size: largest number of points, unless two values of each numeric hyperparameter make more.
    """
    discrete = {j: space.middles[j] for j, a in enumerate(space.axes) if isinstance(a, Discrete)}
    combined = math.prod(map(len, discrete.values()))
    numeric = max(1, len(space.axes) - len(discrete))
    each = max(2, math.floor((size / combined) ** (1 / numeric) + 1e-9))
    even = np.linspace(0, 1, each)
    seen = set()
    for u in itertools.product(*(discrete.get(j, even) for j in range(len(space.axes)))):
        values = space.sample(space.whole, u)
        if (key := tuple(values.items())) not in seen:
            seen.add(key)
            yield values
