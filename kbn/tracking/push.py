"""Sending what the tracking store lacks of a search that is not running."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from kbn.errors import JournalError, NoResultError, TrackingError
from kbn.tracking.endings import end_orphans
from kbn.tracking.journal import Journal
from kbn.tracking.lines import SEARCH_FILE
from kbn.tracking.pulse import Pulse
from kbn.tracking.quiet import quiet
from kbn.tracking.sending import send_all
from kbn.tracking.target import Target, connect


def push(project: str | os.PathLike[str]) -> list[str]:
    """Send a search's journal to the store that the search was tracked to.

    Args:
        project: directory of the search, or of a KerasTuner tuner's project.

    Returns:
        What was done, and what of the journal cannot be read, a line each.

    Raises:
        NoResultError: if there is no journal.
        JournalError: if the journal's file of the search is lost or damaged.
        TrackingError: if the store cannot be reached, or refuses some of it.
    """
    journal = Journal(Path(project) / "journal")
    if not journal.exists():
        raise NoResultError(
            f"{project}: a search's directory must hold its journal; there is none. Name the "
            "directory of a search that was tracked."
        )
    with journal.locks.alone() as alone:
        if not alone:
            return [f"{project}: its search is running, and sends its trials itself"]
        attempts, events = end_orphans(journal), journal.events()
        if attempts and not any(event["event"] == "begin" for event in events):
            raise JournalError(
                f"{journal.directory / SEARCH_FILE}: the file must say where the search was "
                "tracked. Got one that was lost, so that its trials cannot be sent. Restore it "
                "from a copy, or start the search again, which sends them."
            )
        targets = [event["target"] for event in events if event.get("target")]
        if not targets:
            return [f"{project}: was not tracked"]
        target = Target(**targets[-1])
        projection = None
        try:
            with journal.locks.sending(uuid.uuid4().hex, waits=False), quiet():
                projection = connect(journal, target, Pulse())
                faults = send_all(journal, projection)
        except BlockingIOError:
            return [f"{project}: another process is sending it"]
        except JournalError:
            raise
        except Exception as error:
            reason = projection.why(error) if projection else str(error)
            raise TrackingError(
                f"{project}: {reason}. The journal in {journal.directory} keeps every trial; once "
                "that is mended: kbn push"
            ) from error
    if projection.refusals:
        refused = "\n".join(f"  {refusal}" for refusal in projection.refusals)
        raise TrackingError(
            f"{project}: {projection.uri} takes all but what kbn push tries again:\n{refused}"
        )
    return [f"{project}: {len(journal.attempts())} attempts are in {projection.uri}", *faults]
