"""What the events of a search may say, as the journal may be somebody else's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from kbn.errors import JournalError
from kbn.tracking.sealed import AN_EVENT, RESTORE, Event
from kbn.uris import is_store

# what may be uploaded of a search, by the kind of event: paths in the search's directory
UPLOADS = {
    "file": re.compile(r"report\.(png|html)|figures/[\w.-]+\.png", re.ASCII),
    "model": re.compile("model"),
}
Types: TypeAlias = "type | tuple[type, ...]"
NUMBER, NOTHING = (int, float), type(None)
SESSION_TYPES: Mapping[str, Types] = {  # of the members of a `begin`
    "name": str,
    "params": dict,
    "origin": dict,
    "texts": dict,
    "dataset": (dict, NOTHING),
}
EVENT_TYPES: Mapping[str, Mapping[str, Types]] = {  # of the members of the other events
    "round": {"number": int, "hull": dict},
    "metrics": {"trial": str, "values": dict},
    "front": {"trials": list},
    "description": {"text": str},
    "file": {"path": str},
    "model": {"path": str, "trial": str, "name": (str, NOTHING)},
    "end": {"status": str},
}


def checked(event: Event, where: str, home: Path) -> Event:
    """Return an event with an absolute path, if it has one.

    Args:
        event: of the search, from its journal.
        where: the event stands, for messages.
        home: directory of the search.

    Raises:
        JournalError: if kbn does not write such an event.
    """
    kind, target = event["event"], event.get("target")
    if wrong := mistyped(event, SESSION_TYPES if target else EVENT_TYPES.get(kind, {})):
        raise JournalError(f"{where}: {AN_EVENT} Got {wrong}. {RESTORE}")
    if target and not is_store(str(target.get("tracking_uri") or "")):
        raise JournalError(
            f"{where}: a search may be tracked in a store of MLflow's own. Got "
            f"{target['tracking_uri']!r}. kbn did not write this: do not use the search."
        )
    return event | {"path": _upload(kind, event["path"], where, home)} if kind in UPLOADS else event


def mistyped(members: Mapping[str, Any], types: Mapping[str, Types]) -> str | None:
    """Return the first member that is not of its type, as text; None if all are."""
    wrong = (name for name, of in types.items() if not isinstance(members.get(name), of))
    return next((f"{name}: {members.get(name)!r}" for name in wrong), None)


def _upload(kind: str, path: str, where: str, home: Path) -> str:
    """Return the absolute path of a file of the search.

    Raises:
        JournalError: if kbn writes no such file, or a link leads out of the search's directory.
    """
    if UPLOADS[kind].fullmatch(path):
        file = home / path
        if all(
            each.resolve().is_relative_to(home) and (each.is_file() or each.is_dir())
            for each in (file, *file.rglob("*"))
            if each.is_symlink() or each.exists()
        ):
            return str(file)
    raise JournalError(
        f"{where}: what is sent of a search must be a report, a figure or a model that kbn "
        f"wrote into its directory, without links to elsewhere. Got {path!r}. Remove the link; "
        "if there is none, do not use this search: kbn did not write its journal."
    )
