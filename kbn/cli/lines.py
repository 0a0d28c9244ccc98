"""What a search prints of every trial that has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kbn.cli import console
from kbn.cli.progress import Progress, amount

if TYPE_CHECKING:
    from kbn.tracking.attempts import Attempt


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
            f"{amount(self.done)}/{amount(self.planned)}",
            f"trial {attempt.trial}",
            outcome,
            best,
            f"{attempt.seconds:.1f} s",
        ]
        leads = self.best is not None and self.best.trial == attempt.trial
        console.tell("  ".join(parts), style="green" if leads else "dim")
        if attempt.violations:
            console.tell(f"  infeasible: {'; '.join(attempt.violations)}", style="yellow")
        elif attempt.reason:
            console.complain(f"  {attempt.reason}")
