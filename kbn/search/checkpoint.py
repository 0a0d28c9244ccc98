"""Checkpoints: the weights of a trial, with a checksum that reveals damage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from kbn.files import checksum, read_json, write_json
from kbn.search._keras_tuner import SaveBestEpoch, redirect_saving, write_best_epoch
from kbn.search.faults import damaged, machine_error


def note_checksum(weights: str) -> None:
    """Write the checksum of a file of weights to a file beside it."""
    write_json(f"{weights}.json", {"crc32": checksum(weights)})


def check_weights(weights: str) -> None:
    """Compare a file of weights with the checksum beside it, if there is one.

    Raises:
        ValueError: if they differ: HDF5 itself would load most damaged files.
        DamagedError: if the checksum's own file is damaged.
        OSError: if the weights cannot be read.
    """
    try:
        noted = read_json(f"{weights}.json")["crc32"]
    except FileNotFoundError:
        return
    if checksum(weights) != noted:
        raise ValueError("another content: its checksum does not match")


def drop_weights(weights: str) -> None:
    """Remove a file of weights, and note beside it that this was done."""
    if Path(weights).exists():
        write_json(f"{weights}.json", {"dropped": True})
        Path(weights).unlink()


def are_dropped(weights: str) -> bool:
    """Return whether `drop_weights` removed a file of weights.

    Raises:
        DamagedError: if the note beside it is damaged.
    """
    try:
        return "dropped" in read_json(f"{weights}.json")
    except FileNotFoundError:
        return False


def load_weights(model: keras.Model, weights: str) -> None:
    """Load a file of weights into a model.

    Raises:
        DamagedError: if it is missing, or does not hold the model's weights.
        MachineError: if it cannot be read.
    """
    try:
        check_weights(weights)
        model.load_weights(weights)
    except (LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise machine_error(error, weights) or damaged(weights, str(error)) from error


def state_of(model: keras.Model) -> list[np.ndarray]:
    """Return copies of all variables of a model and its optimizer, in their order."""
    return [np.array(keras.ops.convert_to_numpy(each)) for each in _variables(model)]


def restore_state(model: keras.Model, state: Sequence[np.ndarray]) -> None:
    """Assign what `state_of` returned for this model, or for one that was built alike."""
    for variable, value in zip(_variables(model), state, strict=True):
        variable.assign(value)


def _variables(model: keras.Model) -> list[keras.Variable]:
    optimizer = model.optimizer
    return [*model.variables, *(optimizer.variables if optimizer is not None else ())]


class SaveAfterTraining(keras.callbacks.Callback):
    """Replacement for KerasTuner's callback, which saves the model at every epoch that is the best.

    Writing a file takes tens of milliseconds, a copy in memory one or two. Nothing is lost: a trial
    that is stopped while it trains runs again from its start.

    Args:
        saver: decides which epoch is the best, and knows the file.
    """

    def __init__(self, saver: SaveBestEpoch):
        super().__init__()
        self._saver = saver
        self._best: list[np.ndarray] | None = None
        self._optimizer: keras.Optimizer | None = None  # of the best epoch
        redirect_saving(saver, self._keep)

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self._saver.set_model(model)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._saver.on_epoch_end(epoch, logs)

    def save(self) -> None:
        """Write the file, if there was an epoch; the model keeps its weights.

        Where the model has been compiled anew since, its optimizer is saved as it is.
        """
        if self._best is not None:
            last, best = state_of(self.model), self._best
            if self.model.optimizer is not self._optimizer:
                count = len(self.model.variables)
                best = best[:count] + last[count:]
            restore_state(self.model, best)
            try:
                write_best_epoch(self._saver)
                note_checksum(self._saver.filepath)
            except OSError:
                # of no use, and the journal of the trial needs its room on a full disk
                Path(self._saver.filepath).unlink(missing_ok=True)
                raise
            restore_state(self.model, last)

    def _keep(self) -> None:
        self._best, self._optimizer = state_of(self.model), self.model.optimizer
