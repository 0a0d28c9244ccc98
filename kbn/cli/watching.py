"""What a search prints while it runs: a line per trial, or a live display on a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kbn.cli import console
from kbn.cli.process import stdout_for_results
from kbn.cli.progress import Progress, amount, done

if TYPE_CHECKING:
    from kbn.run.project import Project
    from kbn.tracking.attempts import Attempt


@contextlib.contextmanager
def watching(project: Project) -> Iterator[Progress]:
    """Show progress in the manner that fits stderr; what else is printed goes there too."""
    with stdout_for_results():
        if console.has_terminal():
            from kbn.cli.live import Display

            display = Display(project)
            with console.live(display):
                yield display
        else:
            yield LinePerTrial(project)


class LinePerTrial(Progress):
    """One line per trial, and one more with the reason where it failed or is infeasible."""

    def ended(self, attempt: Attempt) -> None:
        super().ended(attempt)
        recipe, outcome = self.project.recipe, str(attempt.status).lower()
        if attempt.score is not None:
            outcome = f"{recipe.objective.metric} {console.score(attempt.score)}"
        elif attempt.violations:
            outcome = "infeasible"
        best = f"best {console.score(self.best.score)}" if self.best else "none finished"
        parts = [
            *([recipe.name] if self.several else []),
            f"{amount(done(recipe, self.results))}/{recipe.search.trials}",
            f"trial {attempt.trial}",
            outcome,
            best,
            f"{attempt.seconds:.1f} s",
        ]
        console.tell("  ".join(parts))
        if attempt.violations:
            console.tell(f"  infeasible: {'; '.join(attempt.violations)}", style="yellow")
        elif attempt.reason:
            console.complain(f"  {attempt.reason}")
