"""Listener that a search, or a comparison, keeps informed of its progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kbn.tracking.listener import Listener

if TYPE_CHECKING:
    from kbn.run.project import Project
    from kbn.search.durable import DurableOracle


class Watch(Listener):
    """A listener's events of trials, and three more; its methods do nothing."""

    def opened(self, project: Project, *, fresh: bool) -> None:
        """The project is locked, and TensorFlow is imported next.

        Args:
            project: of the search, or of the comparison.
            fresh: whether it starts anew.
        """

    def search(self, project: Project, oracle: DurableOracle) -> None:
        """A search begins or goes on; the searches of a comparison do so one after another.

        Args:
            project: of this search.
            oracle: that proposes its trials.
        """

    def stopped(self, reason: str) -> None:
        """The search ends before its last trial.

        Args:
            reason: the limit that it reached, in words.
        """
