"""What is known of the searches while they run, for whatever displays it; a line per trial."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from kbn.report.results import Results, whole_trainings
from kbn.report.words import visible
from kbn.run.project import Project
from kbn.run.watch import Watch
from kbn.search.ranking import REPEATS, original
from kbn.tracking.attempts import Attempt

if TYPE_CHECKING:
    from kbn.recipe.schema import Recipe
    from kbn.search.durable import DurableOracle
    from kbn.search.zoom import Round

RECENT = 20  # trials whose mean duration predicts that of the next ones


@dataclasses.dataclass
class Running:
    """A trial that runs.

    Attributes:
        values: its hyperparameters.
        began_at: when it began, in seconds of `time.monotonic`.
        epochs: how many it has been trained for.
        metrics: what the last one reported.
    """

    values: Mapping[str, Any]
    began_at: float
    epochs: int = 0
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)


class Progress(Watch):
    """Progress of a search, or of the searches of a comparison.

    Args:
        project: that will be run.

    Attributes:
        project: of the search that runs, or will.
        searching: whether the first search has begun.
        planned: number of trials, or of whole trainings, of all searches.
        done: how much of that has ended.
        results: of the search that runs.
        running: {trial id: trial} of those that run, in the order in which they began.
    """

    def __init__(self, project: Project):
        self.several = project.recipe.compare is not None
        self.project, self.searching = project.searches[0], False
        self.planned: float = sum(each.recipe.search.trials for each in project.searches)
        self.done, self._before = 0.0, dict[str, Results]()
        self._start(Results((), "max"))

    def tell(self, text: str, style: str = "dim") -> None:
        """Show a line beside the progress, in a style of rich; here nothing is shown."""

    def opened(self, project: Project, *, fresh: bool) -> None:
        if not fresh:
            self._before = {each.recipe.name: each.results() for each in project.searches}
            lengths = [each.recipe.search.trials for each in project.searches]
            ended = [done(each.recipe, self._before[each.recipe.name]) for each in project.searches]
            self.done = sum(ended)
            self.planned = sum(max(pair) for pair in zip(ended, lengths, strict=True))

    def _start(self, results: Results) -> None:
        self.results, self._leaders = results, _leaders(results)
        self._trials = {trial.trial: trial for trial in results.trials}
        self._oracle: DurableOracle | None = None
        self.running: dict[str, Running] = {}

    def search(self, project: Project, oracle: DurableOracle) -> None:
        from kbn.search.past import Past  # imports NumPy

        recipe = project.recipe
        self._start(self._before.get(recipe.name) or project.results().of(()))
        if learned := str(Past(oracle.past, oracle.prior)):
            self.tell(f"{recipe.name} learns from {learned}")
        self.project, self.searching, self._oracle = project, True, oracle

    def began(self, trial: str, values: Mapping[str, Any]) -> None:
        self.running[trial] = Running(values, monotonic())

    def epoch(self, trial: str, epochs: int, metrics: Mapping[str, float]) -> None:
        self.running[trial].epochs, self.running[trial].metrics = epochs, metrics

    def ended(self, attempt: Attempt) -> None:
        if attempt.status != "KILLED":  # else its worker has died, and it is run again
            self.done += share(self.project.recipe, attempt)
        self.running.pop(attempt.trial, None)
        self._trials[attempt.trial] = attempt
        self.results = self.results.of(self._trials.values())
        # one that repeats no other stands for itself: the others need not be ranked again
        alone = REPEATS not in attempt.values
        among = self.results.of((*self._leaders, attempt)) if alone else None
        self._leaders = _leaders(among or self.results)

    def stopped(self, reason: str) -> None:
        recipe = self.project.recipe
        self.tell(f"{recipe.name} ends before its {recipe.search.trials} trials: {reason}")

    @property
    def rounds(self) -> Sequence[Round]:
        """Rounds of the search that have begun."""
        return self._oracle.rounds if self._oracle is not None else ()

    @property
    def best(self) -> Attempt | None:
        """The best trial so far."""
        return self.results.of(self._leaders).best

    @property
    def seconds_left(self) -> float | None:
        """Predicted seconds until the last trial ends; None before the first one has ended."""
        recent = [trial for trial in self.results.trials if trial.seconds is not None][-RECENT:]
        if not recent:
            return None
        trainings = sum(share(self.project.recipe, trial) for trial in recent)
        each = sum(trial.seconds or 0.0 for trial in recent) / trainings
        passed = sum(min(each, monotonic() - one.began_at) for one in self.running.values())
        return (each * (self.planned - self.done) - passed) / max(1, len(self.running))


class LinePerTrial(Progress):
    """One line per trial, and one more with the reason where it failed or is infeasible."""

    def ended(self, attempt: Attempt) -> None:
        super().ended(attempt)
        recipe, outcome = self.project.recipe, str(attempt.status).lower()
        if attempt.score is not None:
            outcome = f"{recipe.objective.metric} {attempt.score:#.4g}"
        elif attempt.violations:
            outcome = "infeasible"
        best = "none finished" if self.best is None else f"best {self.best.score:#.4g}"
        parts = [
            *([recipe.name] if self.several else []),
            f"{amount(self.done)}/{amount(self.planned)}",
            f"trial {attempt.trial}",
            outcome,
            best,
            f"{attempt.seconds:.1f} s",
        ]
        leads = self.best is not None and self.best.trial == attempt.trial
        self.tell("  ".join(parts), "green" if leads else "dim")
        if attempt.violations:
            self.tell(f"  infeasible: {'; '.join(attempt.violations)}", "yellow")
        elif attempt.reason:
            self.tell(f"  {attempt.reason}", "red")

    def tell(self, text: str, style: str = "dim") -> None:
        """Print a line to stdout, without its style."""
        encoding = sys.stdout.encoding or "utf-8"
        line = visible(text).encode(encoding, "backslashreplace").decode(encoding)
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def default_watch(project: Project) -> Watch:
    """Return what informs a user who named no watch: a line per trial where a person looks on.

    That is on a terminal and in a notebook; elsewhere, as in a job's log, nothing is printed.
    """
    seen = sys.stdout is not None and (sys.stdout.isatty() or "ipykernel" in sys.modules)
    return LinePerTrial(project) if seen else Watch()


def failed(results: Results) -> list[Attempt]:
    """Return the trials that failed, without those that were stopped and will run again."""
    return [trial for trial in results.failed if trial.status != "KILLED"]


def share(recipe: Recipe, trial: Attempt) -> float:
    """Return what of a whole training a trial takes where trials differ in epochs; else 1."""
    search = recipe.search
    return whole_trainings([trial], search.whole) if search.shares_epochs else 1


def done(recipe: Recipe, results: Results) -> float:
    """Return how many of a search's trials, or whole trainings, have ended."""
    return sum(share(recipe, trial) for trial in (*results.finished, *failed(results)))


def amount(trials: float) -> str:
    """Write a number of trials, or of whole trainings."""
    return f"{trials:.1f}".removesuffix(".0")


def count_ended(results: Results) -> int:
    """Return how many trials finished, failed or turned out to be infeasible."""
    return len(results.finished) + len(failed(results)) + len(results.infeasible)


def _leaders(results: Results) -> tuple[Attempt, ...]:
    """Return the best trial and those that count with it, as it is repeated or repeats one."""
    best = results.best
    if best is None:
        return ()
    first = original(best.trial, best.values)
    return tuple(t for t in results.finished if original(t.trial, t.values) == first)
