"""Ends of attempts in the journal, also of those whose process died."""

from __future__ import annotations

import collections
import logging
from collections.abc import Iterable

from keras_tuner import Oracle
from keras_tuner.engine.trial import Trial

from kbn.tracking.attempts import Attempt
from kbn.tracking.journal import Journal
from kbn.uris import without_credentials

log = logging.getLogger(__name__)

END_STATUSES = ("COMPLETED", "FAILED")
LEAST_DEATHS = 2  # one may be a user's kill -9
# KerasTuner fails a trial whose score is NaN without a message
NO_NUMBER = "The objective was not a number."


def record_end(
    journal: Journal, number: int, trial: Trial, oracle: Oracle, time: int | None = None
) -> None:
    """Record the end of a trial as its oracle knows it, at `time` if that is not now."""
    # a retried trial keeps what an earlier attempt left in these fields
    outcome = (
        {"score": trial.score, "best_step": trial.best_step}
        if trial.status == "COMPLETED"
        else {"message": without_credentials(trial.message or NO_NUMBER)}
    )
    if hasattr(oracle, "outcome"):  # one of kbn's, in this process
        outcome |= oracle.outcome(trial)
    values = trial.hyperparameters.values
    journal.end(trial.trial_id, number, trial.status, values, time=time, **outcome)


def end_orphans(journal: Journal, oracle: Oracle | None = None) -> list[Attempt]:
    """End the attempts and the session of a process that died, after repairing damaged files.

    A process may die after the oracle recorded a trial's end and before the journal did; what the
    oracle recorded is then what happened.

    Args:
        journal: of a search without an open session except this process's own.
        oracle: of the search, as it was saved; None where it is not at hand.

    Returns:
        All attempts, each of which has an end.
    """
    if not journal.exists():
        return []
    attempts, reports = journal.repair()
    for line in reports:
        log.warning("%s", line)
    last = {attempt.trial: attempt for attempt in attempts}
    for index, attempt in enumerate(attempts):
        if attempt.ended is None:
            trial = oracle.trials.get(attempt.trial) if oracle is not None else None
            known = trial is not None and trial.status in END_STATUSES
            if known and last[attempt.trial] is attempt:
                record_end(journal, attempt.number, trial, oracle, time=attempt.last_sign)
            else:
                kill(journal, attempt, died=True)
            attempts[index] = journal.attempt(attempt.trial, attempt.number)
    if journal.in_session():
        journal.note("end", status="KILLED")
    return attempts


def kill(journal: Journal, attempt: Attempt, *, died: bool = False) -> None:
    """End an attempt as KILLED, at the time of its last event.

    Args:
        journal: of its search.
        attempt: without an end.
        died: whether its process died, rather than being stopped.
    """
    time, values = attempt.last_sign, attempt.values
    journal.end(attempt.trial, attempt.number, "KILLED", values, time=time, died=died)


def deadly(attempts: Iterable[Attempt], retries: int) -> dict[str, int]:
    """Return the trials that ended their process repeatedly: {trial: in how many attempts}.

    Args:
        attempts: at all trials.
        retries: of a failed trial that the oracle allows.
    """
    deaths = collections.Counter(attempt.trial for attempt in attempts if attempt.died)
    return {trial: n for trial, n in deaths.items() if n >= max(LEAST_DEATHS, retries)}


def reconcile(
    journal: Journal, attempts: Iterable[Attempt], oracle: Oracle
) -> list[tuple[str, int]]:
    """Record the ends that only the oracle has, and warn of those that only the journal has.

    Args:
        journal: in which no attempt runs.
        attempts: of the journal, in their order.
        oracle: of KerasTuner or kbn, in this process, before it creates a trial.

    Returns:
        Trial and number of each attempt whose end was recorded.
    """
    last = {attempt.trial: attempt for attempt in attempts}
    trials = sorted(oracle.trials.items())  # KerasTuner's own order is that of the file system
    ended = {name: trial for name, trial in trials if trial.status in END_STATUSES}
    added = [name for name in ended if name not in last or last[name].status != ended[name].status]
    numbers = [journal.begin(name, ended[name].hyperparameters.values) for name in added]
    for name, number in zip(added, numbers, strict=True):
        record_end(journal, number, ended[name], oracle)
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
    lost = [name for name, a in last.items() if a.status in END_STATUSES and name not in ended]
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
