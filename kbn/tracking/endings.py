"""How attempts end in the journal, also those whose process died."""

from __future__ import annotations

from typing import Any

from kbn.tracking.journal import Attempt, Journal

# KerasTuner fails a trial whose score is NaN without a word
NO_NUMBER = "The objective was not a number."


def record_end(journal: Journal, number: int, trial: Any, time: int | None = None) -> None:
    """Records what KerasTuner says of a trial's end, at `time` if that is not now."""
    # a retried trial keeps what an earlier attempt left in these fields
    outcome = (
        {"score": trial.score, "best_step": trial.best_step}
        if trial.status == "COMPLETED"
        else {"message": trial.message or NO_NUMBER}
    )
    values = trial.hyperparameters.values
    journal.end(trial.trial_id, number, trial.status, values, time=time, **outcome)


def end_orphans(journal: Journal, oracle: Any = None) -> None:
    """Ends the attempts and the session that nobody will go on with: their process died.

    A process may die after the oracle's own record of a trial's end and before the journal's; what
    the oracle knows is then what happened.

    Args:
        journal: of a search of which no session is open.
        oracle: that of the search, as it was saved; None where it is not at hand.
    """
    attempts = journal.attempts()
    last = {attempt.trial: attempt for attempt in attempts}
    for attempt in attempts:
        if attempt.ended is None:
            trial = oracle.trials.get(attempt.trial) if oracle is not None else None
            known = trial is not None and trial.status in ("COMPLETED", "FAILED")
            if known and last[attempt.trial] is attempt:
                record_end(journal, attempt.number, trial, time=attempt.last_sign)
            else:
                kill(journal, attempt)
    events = journal.events() if journal.exists() else []
    if events and events[-1]["event"] not in ("search", "end"):
        journal.note("end", status="KILLED")


def kill(journal: Journal, attempt: Attempt) -> None:
    """Ends an attempt as KILLED when it was last heard of."""
    journal.end(attempt.trial, attempt.number, "KILLED", attempt.values, time=attempt.last_sign)
