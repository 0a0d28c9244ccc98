"""Findings of a search, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from kbn.report.agreement import AGREES, LESS, MORE, UNDECIDED, agreement
from kbn.report.results import Results, SearchSummary, whole_trainings
from kbn.report.words import amount, better, number, percent, shortened
from kbn.search.fidelity import PARENT, PRUNED
from kbn.search.past import FROM, NOTHING, Past, best_of

LINEAR_ERRORS = ("mae", "mean_absolute_error", "rmse", "root_mean_squared_error")


def findings(search: SearchSummary) -> list[str]:
    """Return sentences about the best trials, failures, importance and the training."""
    return [
        _outcome(search),
        *_test_scores(search),
        *_unit(search),
        *_front(search.results),
        *_infeasible(search.results),
        *_folds(search),
        *_gain(search),
        *_past(search),
        *_epochs(search),
        *_failures(search),
        *_importance(search),
        *_training(search),
    ]


def _outcome(search: SearchSummary) -> str:
    best, finished = search.results.best, len(search.results.finished)
    count = _of(finished, len(search.results.trials))
    if best is None:
        return f"{count} finished: there is no score to compare."
    score = f"{search.metric} {number(best.score)} ({better(search.results.direction)})"
    return f"{count} finished. The best is trial {best.trial}: {score}."


def _test_scores(search: SearchSummary) -> Iterator[str]:
    """Report the test scores of the model that was trained anew."""
    if search.test:
        scores = ", ".join(f"{name} {number(value)}" for name, value in search.test.items())
        yield f"Trained anew on all but the test part, the best trial's model has {scores}."


def _unit(search: SearchSummary) -> Iterator[str]:
    """Say what the errors are in the unit of a target that was standardized."""
    deviation, best = search.deviation, search.results.best
    if deviation is None or best is None:
        return
    values = {search.metric: best.score or 0.0, **search.test}
    own = ", ".join(
        f"{name} {number(value * deviation)}"
        for name, value in values.items()
        if name.removeprefix("val_").removeprefix("test_") in LINEAR_ERRORS
    )
    sentence = (
        "The target was standardized, and all scores are of the standardized one: an error of 1 is "
        f"{number(deviation)} in the target's own unit"
    )
    yield f"{sentence}, in which the best has {own}." if own else f"{sentence}."


def _front(results: Results) -> Iterator[str]:
    """Say how many trials are on the front, and how far it reaches."""
    if not results.objectives or not results.front:
        return
    count, noun = len(results.front), f"trial{'s' * (len(results.front) != 1)}"
    ranges = []
    for name, _ in results.objectives:
        values = [trial.metrics[name] for trial in results.front]
        ends = dict.fromkeys(map(amount, (min(values), max(values))))
        between = "from " * (len(ends) > 1) + " to ".join(ends)
        ranges.append(f"{name} {between}")
    yield (
        f"{count} {noun} of {len(results.finished)} {'are' if count > 1 else 'is'} on the front, "
        f"which no trial dominates: {', '.join(ranges)}. The best is the one of them that is best "
        f"in {results.objectives[0][0]}."
    )


def _infeasible(results: Results) -> Iterator[str]:
    """Say how many trials violate which constraints."""
    if not results.infeasible:
        return
    limits = []
    for words in (each for trial in results.infeasible for each in trial.violations):
        name, _, *limit = words.rsplit(" ", 4)  # as in "parameters 25,000 > max 20,000"
        limits.append(f"{name} {' '.join(limit)}")
    counts = (f"{limits.count(limit)} by {limit}" for limit in dict.fromkeys(limits))
    untrained = sum(trial.score is None for trial in results.infeasible)
    rest = f"; {untrained} of them without training" if untrained else ""
    yield f"{len(results.infeasible)} violated a constraint{rest}: {', '.join(counts)}."


def _of(part: int, whole: int) -> str:
    if not whole:
        return "No trial"
    return f"{part or 'None'} of {whole} trial{'s' * (whole != 1)}"


def _folds(search: SearchSummary) -> Iterator[str]:
    """Say between which scores of single folds the best score is the mean."""
    best, scores = search.results.best, dict[int, float]()
    if search.folds is None or best is None:
        return
    choose = min if search.results.direction == "min" else max
    for epoch in best.epochs:
        value, before = epoch.metrics.get(search.metric), scores.get(epoch.execution)
        if value is not None:
            scores[epoch.execution] = value if before is None else choose(before, value)
    between = ""
    if scores:
        between = f", whose scores lie between {number(min(scores.values()))} and "
        between += number(max(scores.values()))
    yield (
        f"That is the mean over {search.folds} folds{between}. The saved model is trained on all "
        "of them."
    )


def _gain(search: SearchSummary) -> Iterator[str]:
    """Compare the best trial with those whose values were given."""
    results = search.results
    given = [trial for trial in results.finished if int(trial.trial) < search.given]
    if results.best is None or not given:
        return
    first = results.of(given).best
    trials = f"the {search.given} first trials" if search.given > 1 else "the first trial"
    if first is None or first.trial == results.best.trial:
        yield f"No trial is better than the best of {trials}, whose values were given."
        return
    gain = abs((results.best.score or 0.0) - (first.score or 0.0))
    yield (
        f"That is {number(gain)} better than {number(first.score)}, the best score of {trials}, "
        "whose values were given."
    )


def _past(search: SearchSummary) -> Iterator[str]:
    """Say what was taken from earlier searches, and which trials have values of theirs."""
    past = search.past or NOTHING
    taken = {t.values[FROM]: t.trial for t in search.results.trials if FROM in t.values}
    best = best_of(past.trials, search.results.direction)
    if best is not None:
        again = f", which trial {taken.pop(best.source)} repeats" if best.source in taken else ""
        yield (
            f"The search learned from {Past(past.trials)}; the best score of these is "
            f"{number(best.score)}{again}."
        )
    if past.searches:
        begun = ", ".join(f"trial {trial} with those of {of}" for of, trial in taken.items())
        yield (
            f"It looked first at values that did well in {Past((), past.searches)}"
            f"{f': {begun}' if begun else ''}."
        )


def _epochs(search: SearchSummary) -> Iterator[str]:
    """Say how trials shared the epochs, where not all trained in full."""
    if search.epochs is None:
        return
    trials = [trial for trial in search.results.trials if trial.ended is not None]
    whole = number(round(whole_trainings(trials, search.epochs), 1))
    pruned = [trial.values[PRUNED] for trial in trials if PRUNED in trial.values]
    continued = sum(PARENT in trial.values for trial in trials)
    yield f"The {len(trials)} trials took the epochs of {whole} whole trainings."
    if pruned:
        saved = sum(search.epochs - epochs for epochs in pruned)
        yield (
            f"{len(pruned)} of them were pruned, after {min(pruned)} to {max(pruned)} of "
            f"{search.epochs} epochs; the {saved} epochs that this saved went into further trials."
        )
    if continued:
        yield f"{continued} of them went on from the weights of another one."


def _failures(search: SearchSummary) -> Iterator[str]:
    results = search.results
    ended = len(results.finished) + len(results.failed) + len(results.infeasible)
    running = len(results.trials) - ended
    if results.failed:
        reason = shortened(results.commonest_failure())
        yield f"{len(results.failed)} failed; the commonest reason: {reason}"
    if running:
        yield f"{running} had not ended when this was written."


def _importance(search: SearchSummary) -> Iterator[str]:
    """Name what mattered, in order; nothing of what may as well have had no effect."""
    if not search.importance:
        return
    shown = [one for one in search.importance if one.is_shown]
    if not shown:
        yield (
            "The trials do not show which hyperparameters matter: none can be told from one "
            "without effect."
        )
        return
    first, *others = shown
    rivals = [one.name for one in others if one.high >= first.low]
    verb = "seems to have mattered most" if rivals else "mattered most"
    sentence = (
        f"{first.name} {verb}: {percent(first.share)} of the hyperparameters' individual effects "
        f"(90 % interval {percent(first.low)} to {percent(first.high)})"
    )
    if others:
        names = (f"{one.name} ({percent(one.share)})" for one in others)
        sentence += f"; then {', '.join(names)}"
    rest = len(search.importance) - len(shown)
    if rest:
        sentence += f"; {rest} cannot be told from hyperparameters without effect"
    yield f"{sentence}."
    yield from _agreement(search)


def _agreement(search: SearchSummary) -> Iterator[str]:
    verdicts = agreement(search.importance, search.tiers)
    for verdict, words in (
        (AGREES, "In line with what was believed"),
        (MORE, "More important than believed"),
        (LESS, "Less important than believed"),
        (UNDECIDED, "Not settled by these trials"),
    ):
        names = [
            f"{name} (tier {search.tiers[name]})" for name, v in verdicts.items() if v == verdict
        ]
        if names:
            yield f"{words}: {', '.join(names)}."


def _training(search: SearchSummary) -> Iterator[str]:
    if search.training:
        parts = (f"{key} {text}" for key, text in search.training.items())
        yield f"Every training had: {'; '.join(parts)}."
