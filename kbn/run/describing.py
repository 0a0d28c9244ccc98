"""The description of a search on its page in MLflow, in Markdown: what was found, and what next."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from kbn.recipe.schema import Recipe
from kbn.report.findings import findings
from kbn.report.results import Results, SearchSummary, hyperparameter_values
from kbn.report.words import number
from kbn.uris import masked


def description(recipe: Recipe, search: SearchSummary) -> str:
    """Return the findings of a search, the best values, and the commands that go on from there.

    Args:
        recipe: of the search.
        search: as its report sees it.
    """
    best = search.results.best
    values = hyperparameter_values(best) if best is not None else {}
    pairs = ", ".join(f"{name} **{_plain(number(value))}**" for name, value in values.items())
    outcome, *others = map(_plain, findings(search))
    commands = [f"    {command}" for command in _commands(recipe, search.results)]
    parts = [outcome, pairs and f"Its values: {pairs}.", *others, "\n".join(commands)]
    return "\n\n".join(filter(None, parts))


def twice_as_long(recipe: Recipe, results: Results, overrides: Iterable[str]) -> list[str]:
    """Return the overrides with which a search that has ended goes on twice as long."""
    begun = 0 if recipe.search.shares_epochs else len(results.trials)
    others = [each for each in overrides if not each.startswith("search.trials=")]
    return [*others, f"search.trials={2 * max(recipe.search.trials, begun)}"]


def _commands(recipe: Recipe, results: Results) -> Iterator[str]:
    """Yield the commands that print the best trial and that go on; none without a file."""
    if recipe.arguments:
        name, *overrides = map(masked, recipe.arguments)
        name = Path(name).name if Path(name).is_absolute() else name  # no paths of this machine
        yield shlex.join(["kbn", "best", name, *overrides])
        yield shlex.join(["kbn", "tune", name, *twice_as_long(recipe, results, overrides)])


def _plain(text: str) -> str:
    """Escape what Markdown would take for its own; `_` within words is no emphasis there."""
    return re.sub(r"([\\`*<>|\[\]#])", r"\\\1", text)
