"""Writes to runs in as few calls as possible; what the store refuses holds nothing else up.

What was refused of a run is named by its tag `kbn.refused`, so that a later push sends it again.
"""

from __future__ import annotations

import collections
import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from kbn.errors import KbnError
from kbn.tracking.client import Client
from kbn.tracking.entries import LONGEST_TAG, cut
from kbn.tracking.names import legal
from kbn.tracking.runs import REFUSED, Runs
from kbn.uris import reason_of

log = logging.getLogger(__name__)

A_BATCH, PARAMS_A_BATCH = 1000, 100  # MLflow's limits of one log_batch call; of tags as of params
UNWELL = (  # codes of errors of the store, not of what it was given
    "TEMPORARILY_UNAVAILABLE",
    "REQUEST_LIMIT_EXCEEDED",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "CUSTOMER_UNAUTHORIZED",
)

Entry: TypeAlias = "Metric | Param | RunTag"


class Writer:
    """Writes to the runs of a search.

    Args:
        client: of the search's experiment.
        runs: of the search.

    Attributes:
        refusals: what the store did not take, a line each.
    """

    def __init__(self, client: Client, runs: Runs):
        self._client, self._runs = client, runs
        self.refusals: list[str] = []
        self._refused = dict.fromkeys(runs.refused, False)  # run id -> whether by this object

    def log(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        of: str = "the search",
    ) -> None:
        """Log to a run, the tags last of all.

        Args:
            run_id: of the run.
            metrics: to log.
            params: to log; their names are made legal.
            tags: to set; long ones are cut.
            of: whose run it is, for messages.
        """
        entries: list[Entry] = [Param(legal(name), str(v)) for name, v in (params or {}).items()]
        entries += [*metrics, *(RunTag(name, v) for name, v in cut(tags or {}).items())]
        while entries:
            size = _batch_size(entries)
            self._send(run_id, entries[:size], of)
            entries = entries[size:]

    @contextlib.contextmanager
    def refusable(self, key: str, what: str) -> Iterator[None]:
        """Go on after the block where the store refuses what it does.

        Args:
            key: of the run that the block writes to.
            what: it writes, for messages.
        """
        try:
            yield
        except Exception as error:
            log.debug("%s is refused", what, exc_info=True)
            self._reject(self._runs.ids.get(key), what, error)

    def take_back(self, run_id: str) -> None:
        """Remove the tag of an earlier refusal from a run of which this object had none."""
        if self._refused.get(run_id) is False:
            self._client.call("delete_tag", run_id, REFUSED)
            del self._refused[run_id]

    def _send(self, run_id: str, entries: list[Entry], of: str) -> None:
        """Send a batch, and its halves again where the store refuses something in it."""
        parts = [[e for e in entries if isinstance(e, kind)] for kind in (Metric, Param, RunTag)]
        try:
            self._client.call("log_batch", run_id, *parts)
        except MlflowException as error:
            self._check(error)
            if self._runs.is_deleted(run_id):
                raise
            if len(entries) == 1:
                kind = type(entries[0]).__name__.removeprefix("Run").lower()
                self._reject(run_id, f"{of}: {kind} {entries[0].key}", error)
                return
            half = len(entries) // 2
            self._send(run_id, entries[:half], of)
            self._send(run_id, entries[half:], of)

    def _reject(self, run_id: str | None, what: str, error: Exception) -> None:
        """Remember what the store did not take; raise the error if it takes nothing at all."""
        self._check(error)
        if run_id and self._runs.is_deleted(run_id):
            self.refusals.append(f"{what}: its run is deleted there, and is not made again")
            self._runs.complete.update(key for key, of in self._runs.ids.items() if of == run_id)
            return
        self.refusals.append(f"{what}: {reason_of(error)}")
        if run_id:
            self._refused[run_id] = True
            self._client.call("set_tag", run_id, REFUSED, what[:LONGEST_TAG])

    def _check(self, error: Exception) -> None:
        """Raise if the store itself fails, or if what the search needs is deleted there."""
        if isinstance(error, KbnError) or getattr(error, "error_code", None) in UNWELL:
            raise error
        self._client.check_experiment()
        self._runs.check_parent()


def _batch_size(entries: Sequence[Entry]) -> int:
    """Return how many of the first entries fit into one call."""
    counts = collections.Counter[type]()
    for size, entry in enumerate(entries[:A_BATCH]):
        counts[type(entry)] += 1
        if counts[type(entry)] > (A_BATCH if isinstance(entry, Metric) else PARAMS_A_BATCH):
            return size
    return min(len(entries), A_BATCH)
