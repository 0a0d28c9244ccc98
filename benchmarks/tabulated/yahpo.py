"""Trainings predicted by YAHPO Gym's networks, which were fitted to millions of real ones.

Each scenario is a folder with the network (model.onnx), the search space (config_space.json) and
the numbers of the categories (encoding.json). benchmarks/README.md names papers and licences.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras_tuner as kt
import numpy as np

from benchmarks.tabulated.task import Reference, Task, Values


@dataclasses.dataclass(frozen=True)
class Scenario:
    """How a scenario's network is called.

    Attributes:
        folder: name of its folder.
        numeric: its numeric inputs, in order.
        categorical: its categorical inputs, in order; the first selects the task.
        fixed: inputs that are no hyperparameters; "epoch" where a training may be cut short.
        output: index of the score among the network's outputs.
        scale: factor that makes the score a loss.
        time: index of the seconds of a training among the outputs; None if they are not asked for.
    """

    folder: str
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    fixed: Mapping[str, float]
    output: int
    scale: float
    time: int | None = None


# fmt: off
SCENARIOS = {
    "lcbench": Scenario(
        "lcbench",
        ("epoch", "batch_size", "learning_rate", "momentum", "weight_decay", "num_layers",
         "max_units", "max_dropout"),
        ("OpenML_task_id",),
        {"epoch": 52},
        output=1,  # validation accuracy in percent
        scale=-0.01,
    ),
    "xgboost": Scenario(
        "rbv2_xgboost",
        ("nrounds", "eta", "gamma", "lambda", "alpha", "subsample", "max_depth",
         "min_child_weight", "colsample_bytree", "colsample_bylevel", "rate_drop", "skip_drop",
         "trainsize", "repl"),
        ("task_id", "booster", "num.impute.selected.cpo"),
        {"trainsize": 1.0, "repl": 10},
        output=0,  # accuracy
        scale=-1.0,
        time=6,
    ),
    "rpart": Scenario(
        "rbv2_rpart",
        ("cp", "maxdepth", "minbucket", "minsplit", "trainsize", "repl"),
        ("task_id", "num.impute.selected.cpo"),
        {"trainsize": 1.0, "repl": 10},
        output=0,  # accuracy
        scale=-1.0,
        time=6,
    ),
    "glmnet": Scenario(
        "iaml_glmnet",
        ("alpha", "s", "trainsize"),
        ("task_id",),
        {"trainsize": 1.0},
        output=2,  # area under the ROC curve
        scale=-1.0,
    ),
}
# fmt: on


class YahpoTask(Task):
    """A task of one of YAHPO Gym's scenarios; numeric and conditional spaces, without noise."""

    def __init__(self, suite: str, name: str, data: Path | None = None):
        super().__init__(suite, name, data)
        if data is None:
            raise ValueError(f"The suite {suite} is read from files: name their folder by --data.")
        self._scenario = SCENARIOS[suite]
        self._network = _network(data / self._scenario.folder)
        whole = self._scenario.fixed.get("epoch")
        self.epochs = None if whole is None else int(whole)

    def names(self) -> Sequence[str]:
        return [str(name) for name in self._network.hyperparameters[self._selector]["choices"]]

    def declare(self, hp: kt.HyperParameters) -> None:
        given = {self._selector, *self._scenario.fixed}
        free = [one for name, one in self._network.hyperparameters.items() if name not in given]
        conditions = self._network.conditions
        for one in sorted(free, key=lambda one: one["name"] in conditions):
            condition = conditions.get(one["name"])
            if condition is None:
                _declare(hp, one)
            else:
                values = condition.get("values") or [condition["value"]]
                with hp.conditional_scope(condition["parent"], values):
                    _declare(hp, one)

    def losses(self, many: Sequence[Values], epochs: int | None = None) -> np.ndarray:
        changed = {} if epochs is None else {"epoch": epochs}
        return self._scenario.scale * self._outputs(many, **changed)[:, self._scenario.output]

    def seconds(self, values: Values) -> float:
        """Return how long a training with these values takes.

        Raises:
            ValueError: if the scenario's time is not known.
        """
        if self._scenario.time is None:
            raise ValueError(f"The time of a training is not known in the suite {self.suite}.")
        return float(self._outputs([values])[0, self._scenario.time])

    def _outputs(self, many: Sequence[Values], **changed: float) -> np.ndarray:
        """Return the network's outputs, shape (len(many), outputs), with other fixed inputs."""
        fixed = {**self._scenario.fixed, self._selector: self.name, **changed}
        return self._network(self._scenario, [{**values, **fixed} for values in many])

    def measure_reference(self) -> Reference:
        """The median of 20,000 random configurations; the best of them after a local search."""
        rng = np.random.default_rng(7)
        found = [self.draw(rng) for _ in range(20_000)]
        losses = self.losses(found)
        median = float(np.median(losses))
        for step in range(30):
            best = np.argsort(losses)[:50]
            found, losses = [found[i] for i in best], losses[best]
            radius = 0.3 * 0.85**step
            moved = [self._moved(values, radius, rng) for values in found for _ in range(20)]
            found, losses = found + moved, np.concatenate([losses, self.losses(moved)])
        return Reference(float(losses.min()), median)

    def _moved(self, values: Values, radius: float, rng: np.random.Generator) -> dict[str, Any]:
        """A neighbour: numbers moved by about `radius` of their axis, one value in ten anew."""

        def choose(hp: Any) -> Any:
            value = values.get(hp.name)
            if value is None or rng.random() < 0.1:
                return None
            if isinstance(hp, kt.engine.hyperparameters.Choice):
                return value
            u = hp.value_to_prob(value) + radius * rng.normal()
            return hp.prob_to_value(float(np.clip(u, 0, 1 - 1e-9)))

        return self.draw(rng, choose)

    @property
    def _selector(self) -> str:
        return self._scenario.categorical[0]


def _declare(hp: kt.HyperParameters, one: Mapping[str, Any]) -> None:
    """Declare a hyperparameter of config_space.json."""
    if one["type"] == "categorical":
        hp.Choice(one["name"], one["choices"])
        return
    number = hp.Int if one["type"] == "uniform_int" else hp.Float
    number(one["name"], one["lower"], one["upper"], sampling="log" if one["log"] else "linear")


class _Network:
    """A scenario's network and what describes its inputs.

    Attributes:
        hyperparameters: of config_space.json, by name.
        conditions: of the same file, by the name of the child.
    """

    def __init__(self, folder: Path):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.inter_op_num_threads = options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._encoding = json.loads((folder / "encoding.json").read_text(encoding="utf-8"))
        space = json.loads((folder / "config_space.json").read_text(encoding="utf-8"))
        self.hyperparameters = {one["name"]: one for one in space["hyperparameters"]}
        self.conditions = {one["child"]: one for one in space["conditions"]}

    def __call__(self, scenario: Scenario, rows: Sequence[Values]) -> np.ndarray:
        """Return each row's outputs, shape (rows, outputs); inactive inputs are 0 or "#na#"."""
        numbers = [[float(row.get(name) or 0.0) for name in scenario.numeric] for row in rows]
        categories = [
            [self._encoding[name][row.get(name) or "#na#"] for name in scenario.categorical]
            for row in rows
        ]
        first, second = (one.name for one in self._session.get_inputs())
        inputs = {first: np.array(categories, np.int32), second: np.array(numbers, np.float32)}
        scores: np.ndarray = self._session.run(None, inputs)[0]
        return scores.astype(float)


_network = functools.cache(_Network)
