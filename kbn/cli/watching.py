"""What a search tells while it runs: a line a trial, or a live display on a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from kbn.cli import console
from kbn.cli.process import settle_libraries, stdout_for_results
from kbn.cli.searches import Search, count_ended, results_of
from kbn.report.results import Results
from kbn.run.local import Watch
from kbn.search.ranking import REPEATS

if TYPE_CHECKING:
    from kbn.recipe.schema import Recipe
    from kbn.search.zoom import Round
    from kbn.tracking.journal import Attempt

RECENT = 20  # trials whose mean duration foretells that of the next ones


@contextlib.contextmanager
def watching(searches: Sequence[Search], *, fresh: bool) -> Iterator[Following]:
    """Tells what happens, in the manner that fits stderr; what else is printed goes there too.

    Args:
        searches: in the order in which they will run.
        fresh: they start anew.
    """
    with stdout_for_results():
        if console.has_terminal():
            from kbn.cli.live import Display

            display = Display(searches, fresh=fresh)
            with console.live(display):
                yield display
        else:
            yield Lines(searches, fresh=fresh)


class Following(Watch):
    """Knows where the searches are.

    Attributes:
        searching: whether the first search has begun.
        recipe: of the search that runs, or will.
        planned: number of trials of all searches.
        done: how many of them have ended.
        results: those of the search that runs, and `best` the best of them.
        trial: the one that runs, and `values` its hyperparameters; None between two.
        epochs: how many it has trained, and `metrics` what the last one reported.
        rounds: of the search, begun so far.
        began_at: when the trial began, in seconds.
    """

    def __init__(self, searches: Sequence[Search], *, fresh: bool):
        self.several = len(searches) > 1
        before = [0 if fresh else count_ended(results_of(search)) for search in searches]
        lengths = [recipe.search.trials for recipe, _ in searches]
        self.done, self.planned = sum(before), sum(map(max, before, lengths))
        self.search(searches[0][0], Results((), "max"))
        self.searching = False

    def opened(self) -> None:
        settle_libraries()

    def search(self, recipe: Recipe, results: Results) -> None:
        self.recipe, self.results, self.searching = recipe, results, True
        self._leaders = _leaders(results)
        self.trial: str | None = None
        self.values: Mapping[str, Any] = {}
        self.rounds: Sequence[Round] = ()
        self.epochs = 0
        self.metrics: Mapping[str, float] = {}
        self.began_at = monotonic()

    def began(self, trial: str, values: Mapping[str, Any], rounds: Sequence[Round]) -> None:
        self.trial, self.values, self.rounds = trial, values, rounds
        self.epochs, self.metrics = 0, {}
        self.began_at = monotonic()

    def epoch(self, trial: str, epochs: int, metrics: Mapping[str, float]) -> None:
        self.epochs, self.metrics = epochs, metrics

    def ended(self, results: Results, trial: Attempt) -> None:
        self.done += 1
        self.results, self.trial = results, None
        if REPEATS not in trial.values:  # then it stands for itself: the others need not be ranked
            results = Results((*self._leaders, trial), results.direction)
        self._leaders = _leaders(results)

    @property
    def best(self) -> Attempt | None:
        """The best trial so far."""
        return Results(self._leaders, self.results.direction).best

    @property
    def seconds_left(self) -> float | None:
        """Until the last trial ends, as it seems; None before the first one has ended."""
        times = [trial.seconds for trial in self.results.trials if trial.seconds is not None]
        if not times:
            return None
        recent = times[-RECENT:]
        each = sum(recent) / len(recent)
        passed = min(each, monotonic() - self.began_at) if self.trial else 0.0
        return each * (self.planned - self.done) - passed


def _leaders(results: Results) -> tuple[Attempt, ...]:
    """The best trial and those that count with it, as it is repeated or repeats one."""
    best = results.best
    if best is None:
        return ()
    return tuple(trial for trial in results.finished if _original(trial) == _original(best))


def _original(trial: Attempt) -> str:
    return str(trial.values.get(REPEATS, trial.trial))


class Lines(Following):
    """One line a trial, and one more with the reason where it failed."""

    def ended(self, results: Results, trial: Attempt) -> None:
        super().ended(results, trial)
        outcome = str(trial.status).lower()
        if trial.score is not None:
            outcome = f"{self.recipe.objective.metric} {console.score(trial.score)}"
        best = f"best {console.score(self.best.score)}" if self.best else "none finished"
        parts = [
            *([self.recipe.name] if self.several else []),
            f"{len(results.trials)}/{self.recipe.search.trials}",
            f"trial {trial.trial}",
            outcome,
            best,
            f"{trial.seconds:.1f} s",
        ]
        console.tell("  ".join(parts))
        if trial.reason:
            console.complain(f"  {trial.reason}")
