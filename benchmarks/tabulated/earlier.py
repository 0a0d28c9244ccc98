"""Earlier searches of a suite's other tasks, from which a search of one task learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.tabulated.task import Task

TRIALS = 25  # of an earlier search, all of them random
Past = Sequence[tuple[Mapping[str, Any], float]]  # values and loss of each trial of one search


def earlier(task: Task, count: int, seed: int, *, misleading: bool = False) -> list[Past]:
    """Return searches of other tasks of the same suite.

    Args:
        task: the task to come.
        count: number of searches; fewer where the suite has fewer other tasks.
        seed: >= 0, decides which tasks and which trials.
        misleading: whether their losses have the other sign.
    """
    others = task.others() if count else ()
    rng = np.random.default_rng([seed, 20])
    chosen = rng.permutation(len(others))[:count]
    sign = -1.0 if misleading else 1.0
    past = []
    for index in chosen.tolist():
        other = others[index]
        drawn = [other.draw(rng) for _ in range(TRIALS)]
        past.append([(values, sign * other.observe(values, rng)) for values in drawn])
    return past
