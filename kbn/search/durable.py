"""A KerasTuner oracle whose state survives a kill at any instant.

The files are those of `kbn.search.state`. A trial's file is written when the trial starts and when
a run of it ends: by this last write, and not before, the trial has ended.

Every file has a checksum, the search's id and the number of trials that had ended by then, and
trials are numbered without a gap. A file that was changed, lost, swapped, replaced by an older one
or brought from elsewhere is therefore reported, and never taken for one that does not exist.
"""

from __future__ import annotations

import json
import logging
import math
import statistics
import threading
import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np

from kbn.search._keras_tuner import OpenOracle, Trial, copied, direction_of, space_from_json
from kbn.search.faults import damaged, naming
from kbn.search.history import History
from kbn.search.hyperparameters import space_of
from kbn.search.importance import Importance, functional_anova
from kbn.search.space import Box
from kbn.search.state import read_state, reject_links, write_state
from kbn.search.zoom import Round

log = logging.getLogger(__name__)

ENDED = ("COMPLETED", "FAILED")


class DurableOracle(OpenOracle):
    """KerasTuner's oracle, made to survive kills and thousands of trials.

    A search method implements `populate_space`; what it has to remember of the search as a whole
    it adds to `get_state` and `set_state`. After `reload` every trial that had not ended is run
    again, from nothing and with the same values. A method whose draws follow from `seed`, the
    number of the trial and what `reload` restores goes on as if it had not been stopped
    (KerasTuner's `_random_values` does not: the state it draws from is not kept).

    Args:
        *args, **kwargs: as in `keras_tuner.Oracle`.
        seed: any integer, also 0; None draws one. After `reload` it is the saved one.

    Attributes:
        search_id: stands in every file of the search.
        notes: {trial id: {key: JSON value}}: what the method remembers of a trial. It sets
            `notes[trial_id]` in `populate_space`, and finds it there after `reload`.
    """

    def __init__(self, *args: Any, seed: int | None = None, **kwargs: Any):
        super().__init__(*args, seed=seed, **kwargs)
        self.notes: dict[str, dict[str, Any]] = {}
        self._places: dict[str, int] = {}  # trial id -> place in end_order
        self.search_id = uuid.uuid4().hex
        self._ends = 0  # trials that ended, as far as oracle.json knows
        self._saved: Any = None  # oracle.json and what it holds
        self._unsaved: Any = None  # a trial that was proposed and could not be written
        self._resumed = True  # whether the directory, if there is one, was looked into
        # instead of KerasTuner's `synchronized`, whose lock stays taken when a call raises
        self._lock = threading.RLock()
        self._history: History | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.RLock())

    def use_directory(self, directory: Path) -> None:
        super().use_directory(directory)
        self._resumed = False

    def _file(self, *names: str) -> Path:
        return Path(self._home, *names)

    @property
    def begun(self) -> bool:
        """Whether the directory holds a search, or what is left of one."""
        with naming(self._file()):
            return self._file("oracle.json").exists() or any(
                self._file().glob("trial_*/trial.json")
            )

    def resume(self) -> None:
        """Goes on with the search in the directory, if there is one and it was not yet reloaded.

        A KerasTuner tuner reloads only where it finds a file of its own. It lacks that when it was
        killed in its first trial, and would write over the search.
        """
        with self._lock:
            if not self._resumed and self.begun:
                self.reload()
            self._resumed = True

    def create_trial(self, tuner_id: str) -> Any:
        with self._lock:
            if tuner_id in self.ongoing_trials:
                return self.ongoing_trials[tuner_id]
            self.resume()
            self.tuner_ids.add(tuner_id)
            trial = self._retried() if self._waiting else self._proposed()
            if trial.status == "RUNNING":
                self.ongoing_trials[tuner_id] = trial
                self._shown.on_trial_begin(trial)
            elif trial.status == "STOPPED":
                self.tuner_ids.remove(tuner_id)
                self._ends = len(self.end_order)
                self.save()  # no later trial's file will tell of the last ones
            return trial

    def _retried(self) -> Any:
        trial_id = min(self._waiting, key=int)  # in the order of their start
        self._waiting.remove(trial_id)
        # anew, without the metrics of the run before: KerasTuner would take them for this one's
        trial = self.trials[trial_id] = Trial(self.trials[trial_id].hyperparameters, trial_id)
        return trial

    def _proposed(self) -> Any:
        # what the method noted of a trial that could not be written belongs to the next one
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

    def _populated(self) -> Any:
        number = len(self.trials)
        trial_id = f"{number:0{len(str(self.max_trials))}d}"  # as KerasTuner writes it
        answer: Any = {"status": "STOPPED"} if self._is_full() else self.populate_space(trial_id)
        hyperparameters = copied(self.hyperparameters, answer.get("values") or {})
        trial = Trial(hyperparameters, trial_id, answer["status"])
        self.notes.setdefault(trial_id, {})
        self._remember(trial)
        return trial

    def _is_full(self) -> bool:
        """Whether the search has all the trials that it may have."""
        return self.max_trials is not None and len(self.trials) >= self.max_trials

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Any:
        # nothing is written: a kill before the trial's end voids its metrics
        with self._lock:
            self._require_objective(metrics)
            trial, objective = self.trials[trial_id], self.objective
            # a multi-objective is no metric itself, but the sum of some
            for name, value in {**metrics, objective.name: objective.get_value(metrics)}.items():
                if not trial.metrics.exists(name):
                    own = name == objective.name
                    trial.metrics.register(name, objective.direction if own else direction_of(name))
                trial.metrics.update(name, value, step=step)
            return trial

    def end_trial(self, trial: Any) -> None:
        """Ends a run of a trial, whose status must be COMPLETED, FAILED or INVALID (try again).

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

    def _save_end(self, trial: Any) -> None:
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
        if limit and len(last) == limit and all(trial.status == "FAILED" for trial in last):
            raise RuntimeError(
                f"Number of consecutive failures exceeded the limit of {limit}.\n"
                f"{last[-1].message or ''}"
            )

    def update_space(self, hyperparameters: keras_tuner.HyperParameters) -> None:
        with self._lock:
            super().update_space(hyperparameters)

    def get_best_trials(self, num_trials: int = 1) -> list[Any]:
        """At most `num_trials` completed trials of finite score, best first, then oldest first."""
        with self._lock:
            completed = [t for t in self.trials.values() if t.status == "COMPLETED"]
        # a tuner calls its trial COMPLETED a moment before it has a score
        scored = [t for t in completed if t.score is not None and math.isfinite(t.score)]
        scored.sort(key=lambda t: t.score, reverse=self.objective.direction == "max")
        return scored[:num_trials]

    @property
    def rounds(self) -> tuple[Round, ...]:
        """The rounds that have begun; none in a method that has no rounds."""
        return ()

    def planned_rounds(self) -> list[Round]:
        """Return the rounds of the whole search as far as they are known before any score."""
        return []

    def place(self, trial_id: str) -> tuple[Round, Box | None] | None:
        """Return the round of a trial that began, and the box that holds its values.

        The box is None where no box holds them, and the whole is None in a method without rounds.
        """
        del trial_id
        return None

    def importance(self) -> tuple[Importance, ...]:
        """Return how much each hyperparameter mattered so far, the most important first.

        Each has its share of the main effects of all, on their own scales, with a 90 % interval, as
        `kbn.search.importance.functional_anova` finds them in the scores. Where trials train for
        different numbers of epochs, only those with the most common number are compared.
        """
        with self._lock:
            history = self._updated_history()
            points, levels, losses = history.known(most=history.ended)
            values = [self.trials[trial_id].hyperparameters.values for trial_id in self.end_order]
        axes, space = history.space.axes, history.space
        counts = [len(space.middles.get(j, ())) for j in range(len(axes))]
        active = np.array([[a.name in v for a in axes] for v in values[: len(points)]], bool)
        alike = levels == statistics.mode(levels) if len(levels) else levels == 1
        return functional_anova(
            [axis.name for axis in axes],
            points[alike],
            losses[alike],
            categories=np.where(space.unordered, counts, 0),
            active=active.reshape(points.shape)[alike],
            rng=np.random.default_rng(0),
        )

    def _forget(self) -> None:
        """Drop what can be made anew from the trials."""
        self._history = None

    def _updated_history(self) -> History:
        """Return the trials as arrays, with those that started or ended since the last call."""
        size = len(self.hyperparameters.space)
        if self._history is None or len(self._history.space.axes) != size:
            self._forget()
            self._history = self._new_history()
        history = self._history
        for trial_id in self.start_order[history.started :]:
            self._note_start(history, self.trials[trial_id])
        for trial_id in self.end_order[history.ended :]:
            self._note_end(history, self.trials[trial_id])
        return history

    def _new_history(self) -> History:
        return History(space_of(self.hyperparameters))

    def _note_start(self, history: History, trial: Trial) -> None:
        history.start(trial.hyperparameters.values)

    def _note_end(self, history: History, trial: Trial) -> None:
        history.end(trial.hyperparameters.values, self._loss(trial), level=1.0)

    def _loss(self, trial: Trial) -> float:
        """Return the score as a loss, smaller is better; NaN if the trial has no finite score."""
        if trial.status != "COMPLETED" or not math.isfinite(trial.score):
            return math.nan
        return float(trial.score if self.objective.direction == "min" else -trial.score)

    def get_state(self) -> dict[str, Any]:
        start = self._shown.search_start
        return {
            "search": self.search_id,
            "seed": self.seed,
            "hyperparameters": self.hyperparameters.get_config(),
            "search_start": start and start.isoformat(),
            "ends": self._ends,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        self.search_id = state["search"]
        self._use_seed(state["seed"])
        self.hyperparameters = keras_tuner.HyperParameters.from_config(state["hyperparameters"])
        self._ends = state["ends"]
        start = state["search_start"]
        self._shown.search_start = start and datetime.fromisoformat(start)

    def save(self) -> None:
        with self._lock:
            self.resume()
            current = self._file("oracle.json"), self.get_state()
            if current != self._saved:
                write_state(*current)
                self._saved = current

    def _trial_file(self, trial_id: str) -> Path:
        return self._file(f"trial_{trial_id}", "trial.json")

    def _write_trial(self, trial: Any) -> None:
        trial_id = trial.trial_id
        place = self._places.get(trial_id, len(self.end_order)) if trial.status in ENDED else None
        own = {
            "search": self.search_id,
            "ended": place,
            "ends": len(self.end_order),
            "run_times": self._runs[trial_id],
            "notes": self.notes[trial_id],
        }
        write_state(self._trial_file(trial_id), {**trial.get_state(), **own})

    def reload(self) -> None:
        """Restores the search from its directory.

        Raises:
            DamagedError: if a file there is missing, or not as this class wrote it.
            MachineError: if a file cannot be read.
        """
        with self._lock:
            self._forget()
            self._resumed = False
            file = self._file("oracle.json")
            with naming(file):
                state = read_state(file)
                self.set_state(state)
            self.trials, self.notes, self._places, self.ongoing_trials = {}, {}, {}, {}
            for directory in filter(Path.is_dir, self._file().glob("trial_*")):
                with naming(path := directory / "trial.json"):
                    reject_links(directory)
                    if path.exists():  # else the process was killed before it was written
                        self._restore(directory.name, read_state(path))
            self.start_order = sorted(self.trials, key=int)
            self.end_order = sorted(self._places, key=self._places.__getitem__)
            self._waiting = [id_ for id_ in self.start_order if id_ not in self._places]
            self._check_complete()
            self.trials = {trial_id: self.trials[trial_id] for trial_id in self.start_order}
            for trial_id, trial in self.trials.items():
                with naming(self._trial_file(trial_id)):
                    self._recall(trial)
            self._saved, self._unsaved, self._resumed = (file, state), None, True

    def _restore(self, directory: str, state: dict[str, Any]) -> None:
        if state["search"] != self.search_id:
            raise ValueError(f"a trial of search {state['search']}, not of {self.search_id}")
        hyperparameters, place = state["hyperparameters"], state["ended"]
        trial = Trial.from_state({**state, "hyperparameters": {"space": [], "values": {}}})
        space = space_from_json(json.dumps(hyperparameters["space"]))
        trial.hyperparameters = copied(space, hyperparameters["values"])
        if directory != f"trial_{trial.trial_id}" or int(trial.trial_id) < 0:
            raise ValueError(f"the state of trial {trial.trial_id}")
        if trial.status not in (("RUNNING", "INVALID") if place is None else ENDED):
            raise ValueError(f"status {trial.status!r} where 'ended' is {place!r}")
        self.trials[trial.trial_id] = trial
        self.notes[trial.trial_id] = state["notes"]
        self._runs[trial.trial_id] = state["run_times"]
        if place is not None:
            self._places[trial.trial_id] = int(place)
        self._ends = max(self._ends, state["ends"])
        self._remember(trial)

    def _check_complete(self) -> None:
        """Finds a trial whose file, or whose end, was lost."""
        ids, ends = self.start_order, len(self._places)
        gap = next((n for n, trial_id in enumerate(ids) if int(trial_id) != n), len(ids))
        width = len(ids[min(gap, len(ids) - 1)]) if ids else len(str(self.max_trials))
        missing = self._trial_file(f"{gap:0{width}d}")
        if gap < len(ids):
            raise damaged(missing, "no such file")
        if ends < self._ends:  # a file may be older than the trial's end, or the last one missing
            files = [*map(self._trial_file, self._waiting), missing]
            places = " or ".join(map(str, files))
            raise damaged(places, f"{ends} trials that ended, where there were {self._ends}")

    def _recall(self, trial: Any) -> None:
        """What a search method makes of a trial restored, one after another as they started."""
