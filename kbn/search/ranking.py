"""Which trial of a search is the best, where they differ in epochs and some were repeated."""

from __future__ import annotations

import collections
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from kbn.search.fidelity import EPOCHS

# In a trial's values: the trial that it repeats, since noise may have decided that one's score.
REPEATS = "tuner/repeats"


def best_first(trials: Iterable[tuple[str, Mapping[str, Any], float]], direction: str) -> list[str]:
    """The trials that trained longest first, and of these those with the best score.

    A trial that was repeated counts, as its repeats do, with the mean of its scores.

    Args:
        trials: of each its id, its values and its finite score, in the order of their start.
        direction: "min" or "max", which scores are better.

    Returns:
        Their ids.
    """
    scores: dict[str, list[float]] = collections.defaultdict(list)
    keys: dict[str, tuple[float, str]] = {}
    sign = -1.0 if direction == "max" else 1.0
    for trial_id, values, score in trials:
        original = values.get(REPEATS, trial_id)
        scores[original].append(sign * score)
        keys[trial_id] = (-values.get(EPOCHS, 0), original)
    means = {original: statistics.fmean(of) for original, of in scores.items()}
    return sorted(keys, key=lambda trial_id: (keys[trial_id][0], means[keys[trial_id][1]]))
