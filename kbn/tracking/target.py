"""The MLflow experiment that a search is tracked in."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from kbn.errors import KbnError, TrackingError
from kbn.tracking.journal import Journal
from kbn.tracking.machine import MachineMonitor
from kbn.tracking.pulse import Pulse
from kbn.uris import reason_of, with_credentials, without_credentials

if TYPE_CHECKING:
    from kbn.tracking.projection import Projection

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Target:
    """Where a search is tracked.

    Attributes:
        experiment: MLflow's.
        tracking_uri: MLflow's; None for its own choice.
        system_metrics: whether MLflow measures the machine meanwhile.
        directory: that a relative path in the URI starts from, wherever the process goes meanwhile.
    """

    experiment: str
    tracking_uri: str | None = None
    system_metrics: bool = False
    directory: Path = dataclasses.field(default_factory=Path.cwd)

    def for_journal(self) -> dict[str, str | None]:
        """Return the target as JSON values, without credentials."""
        uri = self.tracking_uri
        return {
            "experiment": self.experiment,
            "tracking_uri": None if uri is None else without_credentials(uri),
        }


def connect(
    journal: Journal, target: Target, pulse: Pulse, monitor: MachineMonitor | None = None
) -> Projection:
    """Open the projection of a journal into its target.

    Args:
        journal: of the search.
        target: where it is tracked.
        pulse: is informed of every call that the store answered.
        monitor: to start as soon as there is a run to log to.

    Raises:
        TrackingError: if the store cannot be used; says which store, and why.
        JournalError: if the journal cannot be read.
    """
    # MLflow takes seconds to import: in the thread that sends, not in the one that searches
    from kbn.tracking.projection import Projection
    from kbn.tracking.stores import store_uri

    uri = store_uri(with_credentials(target.tracking_uri), target.directory)
    try:
        return Projection(journal, target.experiment, uri, pulse, monitor)
    except KbnError:
        raise
    except Exception as error:
        log.debug("opening the store failed", exc_info=True)
        raise TrackingError(f"{without_credentials(uri)}: {reason_of(error)}") from error
