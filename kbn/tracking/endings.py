"""How attempts end in the journal, also those whose process died."""

from __future__ import annotations

import collections
import logging
from collections.abc import Iterable
from typing import Any

from kbn.tracking.journal import Attempt, Journal
from kbn.uris import without_credentials

log = logging.getLogger(__name__)

ENDED = ("COMPLETED", "FAILED")
LEAST_DEATHS = 2  # one may be a user's kill -9
# KerasTuner fails a trial whose score is NaN without a word
NO_NUMBER = "The objective was not a number."


def record_end(journal: Journal, number: int, trial: Any, time: int | None = None) -> None:
    """Records what KerasTuner says of a trial's end, at `time` if that is not now."""
    # a retried trial keeps what an earlier attempt left in these fields
    outcome = (
        {"score": trial.score, "best_step": trial.best_step}
        if trial.status == "COMPLETED"
        else {"message": without_credentials(trial.message or NO_NUMBER)}
    )
    values = trial.hyperparameters.values
    journal.end(trial.trial_id, number, trial.status, values, time=time, **outcome)


def end_orphans(journal: Journal, oracle: Any = None) -> list[Attempt]:
    """Ends the attempts and the session that nobody will go on with: their process died.

    A process may die after the oracle's own record of a trial's end and before the journal's; what
    the oracle knows is then what happened. Before all, files that were damaged are repaired.

    Args:
        journal: of a search of which no session is open, or this process's own alone.
        oracle: that of the search, as it was saved; None where it is not at hand.

    Returns:
        All attempts, each of which has an end.
    """
    if not journal.exists():
        return []
    attempts, told = journal.repair()
    for line in told:
        log.warning("%s", line)
    last = {attempt.trial: attempt for attempt in attempts}
    for index, attempt in enumerate(attempts):
        if attempt.ended is None:
            trial = oracle.trials.get(attempt.trial) if oracle is not None else None
            known = trial is not None and trial.status in ENDED
            if known and last[attempt.trial] is attempt:
                record_end(journal, attempt.number, trial, time=attempt.last_sign)
            else:
                kill(journal, attempt, died=True)
            attempts[index] = journal.attempt(attempt.trial, attempt.number)
    if journal.in_session():
        journal.note("end", status="KILLED")
    return attempts


def kill(journal: Journal, attempt: Attempt, *, died: bool = False) -> None:
    """Ends an attempt as KILLED when it was last heard of.

    Args:
        journal: of its search.
        attempt: that has no end.
        died: whether its process died, rather than being stopped.
    """
    time, values = attempt.last_sign, attempt.values
    journal.end(attempt.trial, attempt.number, "KILLED", values, time=time, died=died)


def deadly(attempts: Iterable[Attempt], retries: int) -> dict[str, int]:
    """Trials that ended their process again and again: {trial: in how many attempts}.

    Args:
        attempts: at all trials.
        retries: that a failed trial is granted.
    """
    deaths = collections.Counter(attempt.trial for attempt in attempts if attempt.died)
    return {trial: n for trial, n in deaths.items() if n >= max(LEAST_DEATHS, retries)}


def reconcile(journal: Journal, attempts: Iterable[Attempt], oracle: Any) -> list[tuple[str, int]]:
    """Records the ends that only the oracle knows, and warns of those that only the journal does.

    Args:
        journal: in which no attempt runs.
        attempts: that it holds, in their order.
        oracle: any of KerasTuner's, in this process, before it gives out a trial.

    Returns:
        Trial and number of each attempt that was recorded.
    """
    last = {attempt.trial: attempt for attempt in attempts}
    trials = sorted(oracle.trials.items())  # KerasTuner's own order is that of the file system
    ended = {name: trial for name, trial in trials if trial.status in ENDED}
    added = [name for name in ended if name not in last or last[name].status != ended[name].status]
    numbers = [journal.begin(name, ended[name].hyperparameters.values) for name in added]
    for name, number in zip(added, numbers, strict=True):
        record_end(journal, number, ended[name])
    if added:
        log.warning(
            "%s: the ends of %d trials were missing, and are recorded now from the search's own "
            "state: %s.",
            journal.directory,
            len(added),
            ", ".join(added),
        )
    for name in ended.keys() & last.keys() - set(added):
        attempt, score = last[name], ended[name].score
        if attempt.status == "COMPLETED" and not _same(attempt.score, score):
            log.warning(
                "%s: attempt %d at trial %s has the score %r, but the search's own state has %r. "
                "One of the two was changed: start the search anew if you need this trial.",
                journal.directory,
                attempt.number,
                name,
                attempt.score,
                score,
            )
    lost = [name for name, a in last.items() if a.status in ENDED and name not in ended]
    if lost:
        log.warning(
            "%s: %d trials have ended, but not so in the search's own state: %s. The search goes "
            "by its state, and may run them again.",
            journal.directory,
            len(lost),
            ", ".join(lost),
        )
    return list(zip(added, numbers, strict=True))


def _same(one: float | None, other: float | None) -> bool:
    return one == other or (one != one and other != other)  # noqa: PLR0124  NaN
