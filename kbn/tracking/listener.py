"""Listener for the events of a search's trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kbn.tracking.attempts import Attempt


class Listener:
    """Base of listeners; its methods do nothing.

    Attributes:
        owns_process: whether the process is there for the search alone, as that of `kbn tune`, so
            that the search may change settings of the whole process to be faster.
    """

    owns_process = False

    def began(self, trial: str, values: Mapping[str, Any]) -> None:
        """An attempt at a trial has begun, with these hyperparameters."""

    def epoch(self, trial: str, epochs: int, metrics: Mapping[str, float]) -> None:
        """The present execution of a trial has been trained for this many epochs."""

    def ended(self, attempt: Attempt) -> None:
        """An attempt has ended."""
