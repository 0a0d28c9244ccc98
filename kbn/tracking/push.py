"""Sends what the tracking store lacks of a search that is not running."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from mlflow.exceptions import MlflowException

from kbn.errors import NoResultError, TrackingError
from kbn.tracking.endings import end_orphans
from kbn.tracking.journal import Journal
from kbn.tracking.sending import Pulse, Target, send_all
from kbn.tracking.stores import store_uri


def push(project: str | os.PathLike[str]) -> list[str]:
    """Sends a search's journal to the store that the search was tracked to.

    Args:
        project: directory of the search, or of a KerasTuner tuner's project.

    Returns:
        What was done, and what of the journal cannot be read, a line each.

    Raises:
        NoResultError: if there is no tracked search.
        TrackingError: if the store cannot be reached.
    """
    journal = Journal(Path(project) / "journal")
    if not journal.exists():
        raise NoResultError(
            f"{project}: a search's directory must hold its journal; there is none. Name the "
            "directory of a search that was tracked."
        )
    with journal.alone() as alone:
        if not alone:
            return [f"{project}: its search is running, and sends its trials itself"]
        end_orphans(journal)
        targets = [event["target"] for event in journal.events() if event.get("target")]
        if not targets:
            return [f"{project}: was not tracked"]
        target = Target(**targets[-1])
        uri = store_uri(target.tracking_uri)
        try:
            with journal.sending(uuid.uuid4().hex, waits=False):
                faults = send_all(journal, target.open(journal, Pulse()))
        except BlockingIOError:
            return [f"{project}: another process is sending it"]
        except (MlflowException, OSError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise TrackingError(
                f"{uri}: the tracking store must answer. Got: {reason}. The journal in "
                f"{journal.directory} keeps every trial; start the store, then: kbn push"
            ) from error
    return [f"{project}: {len(journal.attempts())} attempts are in {uri}", *faults]
