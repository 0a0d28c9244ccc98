"""The runs of one search in MLflow, found again by their tags.

The tag `kbn.key` of a run is the search's id for the parent run, and search/trial/attempt for the
run of an attempt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mlflow.entities import Run, ViewType

from kbn.errors import TrackingError
from kbn.tracking.client import Client, pages
from kbn.tracking.sealed import Event

KEY_TAG, SEARCH_TAG = "kbn.key", "kbn.search"
EVENTS = "kbn.events"  # of the parent run: how many events of the search it has
REFUSED = "kbn.refused"  # what the store did not take of a run


class Runs:
    """The runs that a search has in an experiment.

    Args:
        client: of the experiment.
        search: the search's id, which is its key.

    Attributes:
        search: as given.
        ids: {key: run id}
        complete: keys of the attempts' runs to which nothing is to be added.
        sent: {key: how many epochs, or events of the search, the run has}.
        refused: ids of the runs of which the store had refused something.
        parent_tags: of the parent run as it was found; none if it is new.

    Raises:
        TrackingError: if a user deleted the search's run.
    """

    def __init__(self, client: Client, search: str):
        self._client, self.search = client, search
        self.ids: dict[str, str] = {}
        self.complete: set[str] = set()
        self.sent: dict[str, int] = {}
        self.refused: set[str] = set()
        self.parent_tags: Mapping[str, str] = {}
        for run in self._find():
            self._remember(run)

    def attempt_key(self, trial: str, number: int) -> str:
        """Return the key of an attempt's run."""
        return f"{self.search}/{trial}/{number}"

    def last_of(self, trial: str) -> str | None:
        """Return the id of the run of the last attempt at a trial; None if there is none."""
        own = self.attempt_key(trial, 0).removesuffix("0")
        numbers = [int(key.removeprefix(own)) for key in self.ids if key.startswith(own)]
        return self.ids[f"{own}{max(numbers)}"] if numbers else None

    def create(self, key: str, began: int, name: str, tags: Mapping[str, str]) -> str:
        """Create a run and return its id."""
        tags = {**tags, KEY_TAG: key, SEARCH_TAG: self.search}
        run = self._client.call("create_run", self._client.experiment, began, tags, name)
        self.ids[key] = run.info.run_id
        return self.ids[key]

    def parent(self, events: list[Event]) -> str:
        """Return the id of the search's run, which is created where there is none.

        Args:
            events: of the search; at least one of them begins a session.
        """
        if self.search not in self.ids:
            first = next(event for event in events if event["event"] == "begin")
            self.create(self.search, first["time"], first["name"], {})
        return self.ids[self.search]

    def is_deleted(self, run_id: str) -> bool:
        """Return whether a user deleted a run."""
        return _is_deleted(self._client.call("get_run", run_id))

    def check_parent(self) -> None:
        """Check that the search's run still exists; it is not created again against a user's will.

        Raises:
            TrackingError: if a user deleted it.
        """
        if self.search in self.ids:
            self._check_active(self._client.call("get_run", self.ids[self.search]))

    def _check_active(self, parent: Run) -> None:
        if _is_deleted(parent):
            raise TrackingError(
                f"{self._client.uri}: the run of this search is deleted there; restore "
                f"it: mlflow runs restore --run-id {parent.info.run_id}"
            )

    def _find(self) -> Iterator[Run]:
        return pages(
            self._client.call,
            "search_runs",
            [self._client.experiment],
            f"tags.`{SEARCH_TAG}` = '{self.search}'",
            ViewType.ALL,  # a run that a user deleted is not created again
        )

    def _remember(self, run: Run) -> None:
        tags, run_id = run.data.tags, run.info.run_id
        key, refused = tags[KEY_TAG], REFUSED in tags
        if key == self.search:
            self._check_active(run)
            self.parent_tags = tags
        elif _is_deleted(run) or (run.info.status != "RUNNING" and not refused):
            self.complete.add(key)
        if not _is_deleted(run):
            self.ids[key] = run_id
            self.sent[key] = 0 if refused else int(tags.get(EVENTS, 0))
        if refused:
            self.refused.add(run_id)


def _is_deleted(run: Run) -> bool:
    return bool(run.info.lifecycle_stage != "active")
