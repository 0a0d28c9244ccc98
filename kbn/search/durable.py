"""A KerasTuner oracle whose state survives a kill at any instant.

A trial's file is written when the trial starts and when a run of it ends: by this last write, and
not before, the trial has ended. What the files hold and how they are checked is in
`kbn.search.state`.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np

from kbn.search._keras_tuner import Trial, copied, direction_of
from kbn.search.axes import Value
from kbn.search.faults import naming
from kbn.search.history import History
from kbn.search.observed import ObservedOracle
from kbn.search.past import FROM, PastSearch, PastTrial, best_of
from kbn.search.space import Space, Values
from kbn.search.state import ENDED, SavedTrial, SearchFiles, read_state, write_state

log = logging.getLogger(__name__)


class DurableOracle(ObservedOracle):
    """KerasTuner's oracle, made to survive kills and thousands of trials.

    A search method implements `populate_space`; what it has to remember of the search as a whole
    it adds to `get_state` and `set_state`. After `reload` every trial that had not ended is run
    again, from nothing and with the same values. A method whose draws follow from `seed`, the
    number of the trial and what `reload` restores goes on as if it had not been stopped
    (KerasTuner's `_random_values` does not: the state it draws from is not kept).

    Args:
        *args, **kwargs: as in `keras_tuner.Oracle` and `ObservedOracle`.
        seed: any integer, also 0; None draws one. After `reload` it is the saved one.
        first: values of the first trials, each {hyperparameter: value}; what one lacks is drawn.
        past: trials of earlier searches. The best of them is run again, after those of `first`.
            After `reload` they are those that the search began with.

    Attributes:
        search_id: stands in every file of the search.
        notes: {trial id: {key: JSON value}}: what the method remembers of a trial. It sets
            `notes[trial_id]` in `populate_space`, and finds it there after `reload`.
        enough: ends the search before the next trial where it returns True; None never does.
    """

    def __init__(
        self,
        *args: Any,
        seed: int | None = None,
        first: Sequence[Mapping[str, Value]] = (),
        past: Sequence[PastTrial] = (),
        **kwargs: Any,
    ):
        super().__init__(*args, seed=seed, **kwargs)
        self.first = tuple(dict(values) for values in first)
        self.past = tuple(past)
        self.prior: tuple[PastSearch, ...] = ()  # a method that learns from some sets it
        self.enough: Callable[[], bool] | None = None
        self.notes: dict[str, dict[str, Any]] = {}
        self._places: dict[str, int] = {}  # trial id -> place in end_order
        self.search_id = uuid.uuid4().hex
        self._ends = 0  # trials that ended, as far as oracle.json knows
        self._saved: tuple[Path, dict[str, Any]] | None = None  # oracle.json and what it holds
        self._unsaved: Trial | None = None  # was proposed, but could not be written
        self._resumed = True  # whether the directory, if there is one, was looked into

    def use_directory(self, directory: Path) -> None:
        super().use_directory(directory)
        self._resumed = False

    @property
    def _files(self) -> SearchFiles:
        return SearchFiles(self._home)

    @property
    def begun(self) -> bool:
        """Whether the directory holds a search, or what is left of one."""
        return self._files.exist

    def resume(self) -> None:
        """Go on with the search in the directory, if there is one and it was not yet reloaded.

        A KerasTuner tuner reloads only where it finds a file of its own. It lacks that when it was
        killed in its first trial, and would write over the search.
        """
        with self._lock:
            if not self._resumed and self.begun:
                self.reload()
            self._resumed = True

    def create_trial(self, tuner_id: str) -> Trial:
        with self._lock:
            if tuner_id in self.ongoing_trials:
                return self.ongoing_trials[tuner_id]
            self.resume()
            self._adopt()
            self.tuner_ids.add(tuner_id)
            trial = self._retried() if self._waiting else self._proposed()
            if trial.status == "RUNNING":
                self.ongoing_trials[tuner_id] = trial
                self._shown.on_trial_begin(trial)
            elif trial.status == "STOPPED":
                self.tuner_ids.remove(tuner_id)
                self._ends = len(self.end_order)
                self.save()  # no later trial's file will count the last ends
            return trial

    def _adopt(self) -> None:
        """Take over trials that someone put into `trials` to start warm, as ones that ended.

        They get the next numbers as ids. Those that did not complete with a score are removed.
        """
        if len(self.trials) == len(self.start_order):
            return
        known = set(self.start_order)
        added = [trial for trial_id, trial in self.trials.items() if trial_id not in known]
        self.trials = {trial_id: self.trials[trial_id] for trial_id in self.start_order}
        for trial in added:
            if trial.status != "COMPLETED" or trial.score is None:
                continue
            trial.trial_id = trial_id = self._next_id()
            trial.hyperparameters.values |= self._whole_training
            self.update_space(trial.hyperparameters)
            self._remember(trial)
            self.trials[trial_id], self.notes[trial_id], self._runs[trial_id] = trial, {}, 1
            self.start_order.append(trial_id)
            self._save_end(trial)
            self._places[trial_id] = len(self.end_order)
            self.end_order.append(trial_id)

    @property
    def _whole_training(self) -> Values:
        """What stands among the values of a trial that trained in full, beside hyperparameters."""
        return {}

    def _next_id(self) -> str:
        """Return the id of the next trial, its number as KerasTuner writes it."""
        return f"{len(self.start_order):0{len(str(self.max_trials))}d}"

    def _retried(self) -> Trial:
        trial_id = min(self._waiting, key=int)  # in the order of their start
        self._waiting.remove(trial_id)
        # a new trial: KerasTuner would take the metrics of the run before for those of this one
        trial = self.trials[trial_id] = Trial(self.trials[trial_id].hyperparameters, trial_id)
        return trial

    def _proposed(self) -> Trial:
        # what the method noted about a trial that could not be written belongs to the next one
        trial = self._unsaved or self._populated()
        if trial.status != "RUNNING":
            self.notes.pop(trial.trial_id, None)
            return trial
        self._unsaved = trial
        self.save()  # before the trial: without the search's own file there is no reload
        self._write_trial(trial)
        self._unsaved = None
        self.trials[trial.trial_id] = trial
        self.start_order.append(trial.trial_id)
        return trial

    def _populated(self) -> Trial:
        trial_id = self._next_id()
        full = self._is_full() or (self.enough is not None and self.enough())
        answer: Any = {"status": "STOPPED"} if full else self.populate_space(trial_id)
        hyperparameters = copied(self.hyperparameters, answer.get("values") or {})
        trial = Trial(hyperparameters, trial_id, answer["status"])
        self.notes.setdefault(trial_id, {})
        self._remember(trial)
        return trial

    def _given(self, history: History) -> Iterator[Values]:
        """Yield the next of the values that the search was told to begin with, if any is left.

        Raises:
            ValueError: if one is of no hyperparameter of the search, or out of its range.
        """
        axes, number = {axis.name: axis for axis in history.space.axes}, history.fresh
        begin = [*self.first, *self._taken_over(history.space)]
        if number >= len(begin):
            return
        given = dict(begin[number])
        source = {FROM: given.pop(FROM)} if FROM in given else {}
        for name, value in given.items():
            if name not in axes or not axes[name].contains(axes[name].whole, value):
                rule = "be in its range" if name in axes else "name a hyperparameter of the search"
                raise ValueError(
                    f"The first parameter of {type(self).__name__} must {rule}. Got "
                    f"{name}={value!r} instead."
                )
        rng, space = np.random.default_rng([self.seed, history.started]), history.space
        values = space.sample(space.whole, rng.random(len(axes)).tolist(), given)
        yield {**values, **source}

    def _taken_over(self, space: Space) -> Sequence[Values]:
        """Return values of trials of earlier searches that are run again, each with its source."""
        best = best_of(self.past, self.objective.direction)
        if best is None:
            return []
        known = {axis.name for axis in space.axes}
        return [{**{k: v for k, v in best.values.items() if k in known}, FROM: best.source}]

    def _is_full(self) -> bool:
        """Whether the search has all the trials that it may have."""
        return self.max_trials is not None and len(self.trials) >= self.max_trials

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Trial:
        # nothing is written: a kill before the trial's end voids its metrics
        with self._lock:
            self._require_objective(metrics)
            self._require_goals(metrics)
            trial, objective = self.trials[trial_id], self.objective
            # a multi-objective is no metric itself, but the sum of some
            for name, value in {**metrics, objective.name: objective.get_value(metrics)}.items():
                if not trial.metrics.exists(name):
                    own = name == objective.name
                    trial.metrics.register(name, objective.direction if own else direction_of(name))
                trial.metrics.update(name, value, step=step)
            return trial

    def end_trial(self, trial: Trial) -> None:
        """End a run of a trial, whose status must be COMPLETED, FAILED or INVALID (try again).

        Raises:
            ValueError: if the status is another one.
            RuntimeError: if it is the last of `max_consecutive_failed_trials`; its end is saved.
            MachineError: if the end cannot be written; the trial then has not ended.
        """
        if trial.status not in (*ENDED, "INVALID"):
            raise ValueError(
                f"Trial {trial.trial_id}: at its end its status must be COMPLETED, FAILED or "
                f"INVALID. Got {trial.status!r} instead; set trial.status before end_trial."
            )
        with self._lock:
            reported, trial_id = trial, trial.trial_id
            trial = self.trials[trial_id]  # not the one reported if that came from afar
            tuners = [name for name, t in self.ongoing_trials.items() if t.trial_id == trial_id]
            if not tuners and trial_id not in self._waiting:
                return  # it has ended: a worker outlived a reload, after which another ran it too
            trial.hyperparameters = reported.hyperparameters
            trial.status, trial.message = reported.status, reported.message
            self.update_space(trial.hyperparameters)
            if trial.status == "COMPLETED":
                self.score_trial(trial)
                if math.isnan(trial.score):
                    trial.status = "INVALID"
            self._remember(trial)
            self._runs[trial_id] += 1
            retries = 1 + self.max_retries_per_trial - self._runs[trial_id]
            if trial.status == "INVALID" and retries <= 0:
                trial.status = "FAILED"
            self._save_end(trial)

            for name in tuners:
                del self.ongoing_trials[name]
            self._waiting = [waiting for waiting in self._waiting if waiting != trial_id]
            if trial.status == "INVALID":
                self._waiting.append(trial_id)
                log.warning("Trial %s failed and is run again; retries: %d.", trial_id, retries)
            else:
                self._places[trial_id] = len(self.end_order)
                self.end_order.append(trial_id)
            if tuners:  # else its start was shown by a process before this one
                self._shown.on_trial_end(trial)
            if trial.status == "FAILED":
                self._end_after_failures()

    def _save_end(self, trial: Trial) -> None:
        try:
            self.save()  # before the trial: the space must know all that an ended trial found
            self._write_trial(trial)
        except BaseException:
            trial.status, trial.score = "RUNNING", None
            self._runs[trial.trial_id] -= 1
            raise

    def _end_after_failures(self) -> None:
        limit = self.max_consecutive_failed_trials
        last = [self.trials[trial_id] for trial_id in self.end_order[-limit:]] if limit else []
        # one that was not trained, as it violates a constraint, is no failure
        failed = [trial for trial in last if trial.status == "FAILED" and not self._excess(trial)]
        if limit and len(failed) == limit:
            raise RuntimeError(
                f"Number of consecutive failures exceeded the limit of {limit}.\n"
                f"{last[-1].message or ''}"
            )

    def update_space(self, hyperparameters: keras_tuner.HyperParameters) -> None:
        with self._lock:
            super().update_space(hyperparameters)

    def get_state(self) -> dict[str, Any]:
        start = self._shown.search_start
        return {
            "search": self.search_id,
            "seed": self.seed,
            "hyperparameters": self.hyperparameters.get_config(),
            "search_start": start and start.isoformat(),
            "ends": self._ends,
            "past": [vars(trial) for trial in self.past],
        }

    def set_state(self, state: dict[str, Any]) -> None:
        self.search_id = state["search"]
        self._use_seed(state["seed"])
        self.hyperparameters = keras_tuner.HyperParameters.from_config(state["hyperparameters"])
        self._ends = state["ends"]
        self.past = tuple(map(PastTrial.from_config, state.get("past", ())))
        start = state["search_start"]
        self._shown.search_start = start and datetime.fromisoformat(start)

    def save(self) -> None:
        with self._lock:
            self.resume()
            current = self._files.search, self.get_state()
            if current != self._saved:
                write_state(*current)
                self._saved = current

    def _write_trial(self, trial: Trial) -> None:
        trial_id = trial.trial_id
        place = self._places.get(trial_id, len(self.end_order)) if trial.status in ENDED else None
        runs, notes = self._runs[trial_id], self.notes[trial_id]
        saved = SavedTrial(trial, place, len(self.end_order), runs, notes)
        write_state(self._files.trial(trial_id), saved.as_state(self.search_id))

    def reload(self) -> None:
        """Restore the search from its directory.

        Raises:
            DamagedError: if a file there is missing, or not as this class wrote it.
            MachineError: if a file cannot be read.
        """
        with self._lock:
            self._forget()
            self._resumed = False
            files = self._files
            with naming(files.search):
                state = read_state(files.search)
                self.set_state(state)
            trials = files.read_trials(self.search_id)
            self._ends = max([self._ends, *(saved.ends for saved in trials.values())])
            files.check_complete(trials, self._ends, width=len(str(self.max_trials)))
            self._restore(trials)
            self._saved, self._unsaved, self._resumed = (files.search, state), None, True

    def _restore(self, trials: Mapping[str, SavedTrial]) -> None:
        self.ongoing_trials = {}
        self.trials = {trial_id: saved.trial for trial_id, saved in trials.items()}
        self.notes = {trial_id: saved.notes for trial_id, saved in trials.items()}
        ended = [(saved.place, i) for i, saved in trials.items() if saved.place is not None]
        self._places = {trial_id: place for place, trial_id in ended}
        self.start_order = list(trials)
        self.end_order = [trial_id for _, trial_id in sorted(ended, key=lambda end: end[0])]
        self._waiting = [trial_id for trial_id in trials if trial_id not in self._places]
        for trial_id, saved in trials.items():
            with naming(self._files.trial(trial_id)):
                self._runs[trial_id] = saved.runs
                self._remember(saved.trial)
                self._recall(saved.trial)

    def _recall(self, trial: Trial) -> None:
        """Restore what a search method knows of a trial; called in the order of their start."""
