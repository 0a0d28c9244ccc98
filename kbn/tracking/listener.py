"""Listener for the events of a search's trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kbn.tracking.journal import Attempt


class Listener:
    """Base of listeners; its methods do nothing."""

    def began(self, trial: str, values: Mapping[str, Any]) -> None:
        """An attempt at a trial has begun, with these hyperparameters."""

    def epoch(self, trial: str, epochs: int, metrics: Mapping[str, float]) -> None:
        """So many epochs of the present execution of a trial are trained."""

    def ended(self, attempt: Attempt) -> None:
        """An attempt has ended."""
