"""Listener for the events of a search's trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kbn.tracking.attempts import Attempt
from kbn.tracking.collecting import Collecting


class Listener:
    """Base of listeners; its methods do nothing.

    Attributes:
        collecting: spares the process its long garbage collections; None where the process is not
            there for the searches alone, as that of `kbn tune` is.
    """

    collecting: Collecting | None = None

    def began(self, trial: str, values: Mapping[str, Any]) -> None:
        """An attempt at a trial has begun, with these hyperparameters."""

    def epoch(self, trial: str, epochs: int, metrics: Mapping[str, float]) -> None:
        """The present execution of a trial has been trained for this many epochs."""

    def ended(self, attempt: Attempt) -> None:
        """An attempt has ended."""
