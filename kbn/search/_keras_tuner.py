"""The parts of KerasTuner without a documented name that kbn.search uses; no other module does.

`OpenOracle` and `OpenTuner` give what KerasTuner's classes keep to themselves names of our own.
KerasTuner calls some of its underscored methods so that subclasses can override them; here they
lead on to methods of ours, which the classes of kbn override. What stands under
`keras_tuner.engine` is exported, but documented nowhere.

tests/search/test_adapters.py has a test for each name and fails when KerasTuner changes it.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import keras
import keras_tuner
from keras_tuner.engine.hyperparameters import Boolean, Choice, Fixed, Float, HyperParameter, Int
from keras_tuner.engine.metrics_tracking import infer_metric_direction
from keras_tuner.engine.trial import Trial
from keras_tuner.engine.tuner import maybe_distribute
from keras_tuner.src.engine.conditions import Condition
from keras_tuner.src.engine.oracle import Display
from keras_tuner.src.engine.tuner_utils import SaveBestEpoch

from kbn.search.axes import Value

__all__ = [
    "Boolean",
    "Choice",
    "Fixed",
    "Float",
    "FloatMessage",
    "HyperParameter",
    "Int",
    "OpenOracle",
    "OpenTuner",
    "SaveBestEpoch",
    "Trial",
    "conditions_in",
    "copied",
    "declared_in",
    "direction_of",
    "is_distributed",
    "maybe_distribute",
    "plain_float",
    "read_floats_by",
    "redirect_saving",
    "write_best_epoch",
]

# KerasTuner looks a metric's name up in Keras at every update, which takes up to 1 ms
direction_of = functools.cache(infer_metric_direction)


class NumberedDisplay(Display):
    """KerasTuner's display, in which a trial that is run again keeps its number.

    Private because KerasTuner has no public way to change what a search prints.
    """

    search_start: datetime | None

    def on_trial_begin(self, trial: Trial) -> None:
        now = datetime.now()  # noqa: DTZ005  KerasTuner subtracts it from another one without zone
        self.search_start = self.search_start or now
        self.trial_start[trial.trial_id] = now
        self.trial_number[trial.trial_id] = number = int(trial.trial_id) + 1
        if self.verbose >= 1:
            print(f"\nSearch: Running Trial #{number}\n")  # noqa: T201
            self.show_hyperparameter_table(trial)
            print()  # noqa: T201


class OpenOracle(keras_tuner.Oracle):
    """KerasTuner's oracle with names of our own for what it keeps private.

    Args:
        *args, **kwargs: as in `keras_tuner.Oracle`.
        seed: any integer, also 0; None draws one.
    """

    objective: keras_tuner.Objective
    trials: dict[str, Trial]
    ongoing_trials: dict[str, Trial]
    start_order: list[str]
    end_order: list[str]

    def __init__(self, *args: Any, seed: int | None = None, **kwargs: Any):
        super().__init__(*args, seed=seed, **kwargs)
        if seed is not None:  # KerasTuner takes 0 for "none given"
            self._use_seed(seed)
        self._display = NumberedDisplay(oracle=self)

    def use_directory(self, directory: Path) -> None:
        """Choose the directory of the search's files, as a KerasTuner tuner does for its oracle."""
        super()._set_project_dir(directory.parent, directory.name)
        self._home = directory

    def _set_project_dir(self, directory: str | Path, project_name: str) -> None:
        """Private because a tuner tells its oracle the directory in no other way."""
        self.use_directory(Path(directory, project_name))

    def _use_seed(self, seed: int) -> None:
        """Private (`_seed_state`) because KerasTuner's own methods draw from that copy."""
        self.seed = self._seed_state = seed

    @property
    def _waiting(self) -> list[str]:
        """Ids of the trials to be run again, which has no public name (`_retry_queue`)."""
        return self._retry_queue

    @_waiting.setter
    def _waiting(self, trial_ids: list[str]) -> None:
        self._retry_queue = trial_ids

    @property
    def _runs(self) -> dict[str, int]:
        """Number of ended runs of each trial, 0 by default; no public name (`_run_times`)."""
        return self._run_times

    @property
    def _shown(self) -> NumberedDisplay:
        """What prints the search's progress, of which only `verbose` is public (`_display`)."""
        return self._display

    def _remember(self, trial: Trial) -> None:
        """Complete a trial's values at random, and note them as tried.

        Private (`_record_values`) because KerasTuner's `_random_values`, which a method may draw
        by, skips what was noted there.
        """
        self._record_values(trial)

    def _require_objective(self, metrics: Mapping[str, float]) -> None:
        """Raise ValueError if the objective is missing.

        Private (`_check_objective_found`) because a multi-objective does not say publicly which of
        its metrics are missing.
        """
        self._check_objective_found(metrics)


class OpenTuner(keras_tuner.Tuner):
    """KerasTuner's tuner with names of our own for what it keeps private."""

    def attempt(self, trial: Trial) -> None:
        """Run a trial, and set its status and message; raise what ends a search.

        Private (`_try_run_and_update_trial`) because the public `search` asks the oracle for the
        trial, and reports its end.
        """
        self._try_run_and_update_trial(trial)

    def _run_and_update_trial(self, trial: Trial, *args: Any, **kwargs: Any) -> None:
        """Private because `run_trial`, the public hook, ends before its results are checked."""
        self._run_and_report(trial, *args, **kwargs)

    def _run_and_report(self, trial: Trial, *args: Any, **kwargs: Any) -> None:
        """Run a trial and report its results to the oracle."""
        super()._run_and_update_trial(trial, *args, **kwargs)

    def _build_hypermodel(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Private because the hypermodel, which is public, belongs to the user."""
        return self._model_of(hp)

    def _model_of(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Build the model of a trial's values."""
        return super()._build_hypermodel(hp)

    def _checked_model_of(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Build a model in a cleared session and check it, as `load_model` does (`_try_build`)."""
        return self._try_build(hp)

    def _build_and_fit_model(self, trial: Trial, *args: Any, **kwargs: Any) -> Any:
        """Private because `run_trial`, the public hook, has not made the callbacks yet."""
        return self._fit(trial, *args, **kwargs)

    def _fit(self, trial: Trial, *args: Any, **kwargs: Any) -> Any:
        """Build and train the model of a trial once."""
        return super()._build_and_fit_model(trial, *args, **kwargs)

    def _populate_initial_space(self) -> None:
        """Private because the constructor calls it where it finds no file of the tuner."""
        self._find_space()

    def _find_space(self) -> None:
        """Find the hyperparameters that building a model declares."""
        super()._populate_initial_space()

    @property
    def _works_for_a_chief(self) -> bool:
        """Whether the oracle is in another process, which has no public name (`_is_worker`)."""
        return bool(self._is_worker())

    @property
    def _own_file(self) -> Path:
        """The tuner's own state. Private names decide where KerasTuner looks for its files."""
        return Path(self._get_tuner_fname())

    def _best_weights(self, trial_id: str) -> str:
        """The file of a trial's weights after its best epoch."""
        return str(self._get_checkpoint_fname(trial_id))

    def _build_config(self, trial_id: str) -> Path:
        """The file that says how a trial's model was built."""
        return Path(self._get_build_config_fname(trial_id))


def copied(
    space: keras_tuner.HyperParameters, values: Mapping[str, Value]
) -> keras_tuner.HyperParameters:
    """Return a copy of a space with values.

    Private (`_hps`, `_space`) because KerasTuner's own `copy` parses every hyperparameter anew,
    which takes 1 ms for 26.
    """
    copy = keras_tuner.HyperParameters()
    for hp in space.space:  # a hyperparameter is never changed, so it may be shared
        copy._hps[hp.name].append(hp)
        copy._space.append(hp)
    copy.values = dict(values)
    return copy


@functools.lru_cache(maxsize=8)  # most trials of a search have the same one
def space_from_json(config: str) -> keras_tuner.HyperParameters:
    """Return the space whose hyperparameters have this configuration."""
    return keras_tuner.HyperParameters.from_config({"space": json.loads(config), "values": {}})


def declared_in(
    hp: keras_tuner.HyperParameters, kind: type[HyperParameter], name: str, **settings: object
) -> Any:
    """Declare a hyperparameter of any class in `hp`, and return its value; None if inactive.

    Private (`_retrieve`, `_get_name`, `_conditions`) because `hp.Float` and the like do just this,
    each for KerasTuner's own class.
    """
    return hp._retrieve(kind(name=hp._get_name(name), conditions=hp._conditions, **settings))


class FloatMessage(Protocol):
    """The message in which KerasTuner sends a float hyperparameter to another process."""

    name: str
    min_value: float
    max_value: float
    sampling: int
    default: float
    conditions: Sequence[object]


plain_float: Callable[[FloatMessage], Float] = Float.from_proto


def read_floats_by(read: Callable[[type[Float], FloatMessage], Float]) -> None:
    """Have KerasTuner read the floats of messages from other processes by a function of ours.

    Private because a message has no room for the class of a float: KerasTuner always calls
    `Float.from_proto`. `plain_float` is what it was.
    """
    Float.from_proto = classmethod(read)


def is_distributed() -> bool:
    """Whether KerasTuner's variables make this process the chief or a worker of a search."""
    return "KERASTUNER_ORACLE_IP" in os.environ


def conditions_in(message: FloatMessage) -> list[Condition]:
    """Return the conditions in a hyperparameter's message, whose class is not exported."""
    return [Condition.from_proto(condition) for condition in message.conditions]


def redirect_saving(saver: SaveBestEpoch, save: Callable[[], None]) -> None:
    """Have KerasTuner's callback call `save` where it would save the best epoch's weights.

    Private (`_save_model`) because no public option keeps it from writing the file at every epoch
    that is the best so far.
    """
    saver._save_model = save


def write_best_epoch(saver: SaveBestEpoch) -> None:
    """Save the weights to the file of a redirected callback."""
    SaveBestEpoch._save_model(saver)
