"""The files of a search: read with their checksums, replaced whole, and checked to be complete.

A search's directory holds `oracle.json`, about the search as a whole, and for every trial a
`trial_*/trial.json` with everything about that trial. Both are replaced by a rename, so a kill
leaves the old file or the new one.

Every file has a checksum, the search's id and the number of trials that had ended by then, and
trials are numbered without a gap. A file that was changed, lost, swapped, replaced by an older one
or brought from elsewhere is therefore reported, and never taken for one that does not exist.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kbn.errors import MachineError
from kbn.files import sync, unseal, write_json
from kbn.search._keras_tuner import Trial, copied, space_from_json
from kbn.search.faults import damaged, naming

ENDED = ("COMPLETED", "FAILED")  # what KerasTuner calls a trial that will not run again


@dataclasses.dataclass(frozen=True)
class SavedTrial:
    """A trial as its file has it.

    Attributes:
        trial: KerasTuner's trial.
        place: its place in the order of end; None if it has not ended.
        ends: number of trials that had ended when the file was written.
        runs: number of its runs that ended.
        notes: what the search method noted about it.
    """

    trial: Trial
    place: int | None
    ends: int
    runs: int
    notes: dict[str, Any]

    def as_state(self, search_id: str) -> dict[str, Any]:
        """Return the content of its file, the inverse of `from_state`."""
        return {
            **self.trial.get_state(),
            "search": search_id,
            "ended": self.place,
            "ends": self.ends,
            "run_times": self.runs,
            "notes": self.notes,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], search_id: str) -> SavedTrial:
        """Return the trial whose file has this content.

        Raises:
            ValueError: if it is a trial of another search, or contradicts itself.
            LookupError, TypeError: if it is no trial.
        """
        if state["search"] != search_id:
            raise ValueError(f"a trial of search {state['search']}, not of {search_id}")
        hyperparameters, place = state["hyperparameters"], state["ended"]
        trial = Trial.from_state({**state, "hyperparameters": {"space": [], "values": {}}})
        space = space_from_json(json.dumps(hyperparameters["space"]))
        trial.hyperparameters = copied(space, hyperparameters["values"])
        if trial.status not in (("RUNNING", "INVALID") if place is None else ENDED):
            raise ValueError(f"status {trial.status!r} where 'ended' is {place!r}")
        place = None if place is None else int(place)
        ends, runs = int(state["ends"]), int(state["run_times"])
        return cls(trial, place, ends, runs, dict(state["notes"]))


class SearchFiles:
    """The files of one search.

    Args:
        directory: where they are; need not exist.
    """

    def __init__(self, directory: Path):
        self.directory = directory

    @property
    def search(self) -> Path:
        """The file about the search as a whole."""
        return self.directory / "oracle.json"

    def trial(self, trial_id: str) -> Path:
        """Return the file of a trial."""
        return self.directory / f"trial_{trial_id}" / "trial.json"

    @property
    def exist(self) -> bool:
        """Whether the directory holds a search, or what is left of one."""
        with naming(self.directory):
            return self.search.exists() or any(self.directory.glob("trial_*/trial.json"))

    def read_trials(self, search_id: str) -> dict[str, SavedTrial]:
        """Return all trials by id, in the order of their start.

        Raises:
            DamagedError: if a trial's file is not as kbn wrote it.
            MachineError: if one cannot be read.
        """
        found = {}
        for directory in filter(Path.is_dir, self.directory.glob("trial_*")):
            with naming(file := directory / "trial.json"):
                _reject_links(directory)
                if file.exists():  # else the process was killed before it was written
                    saved = SavedTrial.from_state(read_state(file), search_id)
                    trial_id = saved.trial.trial_id
                    if directory.name != f"trial_{trial_id}" or int(trial_id) < 0:
                        raise ValueError(f"the state of trial {trial_id}")
                    found[trial_id] = saved
        return {trial_id: found[trial_id] for trial_id in sorted(found, key=int)}

    def check_complete(self, trials: Mapping[str, SavedTrial], ends: int, width: int) -> None:
        """Find a trial whose file, or whose end, was lost.

        Args:
            trials: all that were read, in the order of their start.
            ends: number of trials that had ended by any file.
            width: digits of the first trial's id, if there is none to read it from.

        Raises:
            DamagedError: if there is one.
        """
        ids = list(trials)
        gap = next((n for n, trial_id in enumerate(ids) if int(trial_id) != n), len(ids))
        width = len(ids[min(gap, len(ids) - 1)]) if ids else width
        missing = self.trial(f"{gap:0{width}d}")
        if gap < len(ids):
            raise damaged(missing, "no such file")
        waiting = [trial_id for trial_id, saved in trials.items() if saved.place is None]
        ended = len(ids) - len(waiting)
        if ended < ends:  # a file may be older than the trial's end, or the last one missing
            places = " or ".join(map(str, [*map(self.trial, waiting), missing]))
            raise damaged(places, f"{ended} trials that ended, where there were {ends}")


def _reject_links(directory: Path) -> None:
    """Reject symbolic links in a trial's directory, and the directory itself if it is one.

    A search may come from somebody else: what is written to it must not end up elsewhere.

    Raises:
        ValueError: if there is a link.
    """
    links = [entry.name for entry in os.scandir(directory) if entry.is_symlink()]
    if links or directory.is_symlink():
        raise ValueError(f"a symbolic link, {(links or [directory.name])[0]}")


def read_state(file: Path) -> dict[str, Any]:
    """Return what `write_state` wrote.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is not as it was written.
    """
    if file.exists() and not file.is_file():  # reading from a pipe might never end
        raise ValueError("no regular file")
    return unseal(file.read_bytes())


def write_state(file: Path, state: Mapping[str, Any]) -> None:
    """Replace a file of a search, and make its directory if there is none.

    Raises:
        MachineError: if it cannot be written; the old file is then whole.
    """
    try:
        is_new = not file.parent.exists()
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, state)
        if is_new:
            sync(file.parent.parent)
    except OSError as error:
        raise MachineError(
            f"{file}: the search's state must be written there. Got {error.strerror or error} "
            "instead. All that ended before is safe: make the file writable, then start the search "
            "again, and it goes on."
        ) from error
