"""The table of a study: mean regret and its standard error, for each tuner."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

from benchmarks.tabulated.study import Run, Runs
from benchmarks.tabulated.tuners import TUNERS


def markdown(runs: Runs, title: str, marks: Sequence[int]) -> str:
    """Return a Markdown table.

    Args:
        runs: the searches' regrets; of a tuner, all tasks with the same seeds.
        title: the table's first heading.
        marks: after how many whole trainings to report.
    """
    groups: dict[Run, Runs] = collections.defaultdict(dict)
    for run, regrets in runs.items():
        groups[dataclasses.replace(run, suite="", task="", seed=0)][run] = regrets
    lines = [f"| {title} | tasks | seeds |{''.join(f' @{mark} |' for mark in marks)}"]
    lines.append("|---" * (3 + len(marks)) + "|")
    for one, group in groups.items():
        flight = [f"{one.workers} trials in flight"] if one.workers > 1 else []
        kind = "misleading" if one.misleading else "earlier"
        learned = [f"{one.past} {kind} searches"] if one.past else []
        ranges = [f"ranges of {one.narrow:.0%}"] if one.narrow < 1 else []
        name = ", ".join([TUNERS[one.tuner].title, *flight, *learned, *ranges, *one.settings])
        tasks = len({(run.suite, run.task) for run in group})
        by_seed = regrets_by_seed(group)[:, [mark - 1 for mark in marks]]
        cells = " | ".join(cell(column) for column in by_seed.T)
        lines.append(f"| {name} | {tasks} | {len(by_seed)} | {cells} |")
    return "\n".join(lines)


def regrets_by_seed(runs: Runs) -> np.ndarray:
    """Return each seed's mean regret, shape (seeds, budget).

    It is the mean over the suites of the mean over their tasks.
    """
    suites: dict[int, dict[str, list[list[float]]]] = {}
    for run, regrets in runs.items():
        suites.setdefault(run.seed, {}).setdefault(run.suite, []).append(regrets)
    return np.array(
        [
            np.mean([np.mean(tasks, axis=0) for tasks in one.values()], axis=0)
            for one in suites.values()
        ]
    )


def cell(values: np.ndarray) -> str:
    """Return the mean over the seeds, and its standard error."""
    mean = f"{values.mean():.3f}".lstrip("0")
    if len(values) == 1:
        return mean
    error = values.std(ddof=1) / len(values) ** 0.5
    return f"{mean} ± {error:.3f}".replace("± 0", "± ")
