"""`kbn tune`: runs a recipe."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kbn.cli import console
from kbn.cli.command import Command, as_json, debug, overrides_argument, recipe_argument
from kbn.cli.process import (
    CLOSED,
    INTERRUPTED,
    TERMINATED,
    end_on_signals,
    program,
    settle_libraries,
)
from kbn.cli.searches import searches_of

if TYPE_CHECKING:
    from kbn.recipe.schema import Recipe
    from kbn.run.comparing import Compared
    from kbn.run.local import Tuned

DEFAULT_STORE = "mlflow.db"  # in the working directory, where a plain `mlflow ui` looks
LOCAL_UI = "http://127.0.0.1:5000"


@click.command(cls=Command)
@recipe_argument
@overrides_argument
@click.option("--dry-run", is_flag=True, help="Print what would be run; write nothing.")
@click.option("--fresh", is_flag=True, help="Remove what an earlier search left; start anew.")
@as_json
@debug
def tune(
    recipe: str, overrides: tuple[str, ...], dry_run: bool, fresh: bool, as_json: bool
) -> None:
    """Run a recipe's search, or go on with it where it stopped.

    \b
      kbn tune recipes/digits_mlp.yaml
      kbn tune recipes/digits_mlp.yaml --dry-run          what would be run
      kbn tune recipes/digits_mlp.yaml search.trials=96   go on to 96 trials
      kbn tune recipes/digits_mlp.yaml --fresh            start anew

    Any value of the recipe can be overridden: a dotted key, and the value as in YAML. The
    recipe's own Python runs, also with --dry-run: tune only recipes that you trust.
    """
    from kbn.recipe.loading import load_recipe
    from kbn.run.projects import check_all_unchanged

    loaded = load_recipe(recipe, overrides)
    if not fresh:
        check_all_unchanged(loaded)
    if dry_run:
        settle_libraries()
        from kbn.cli.dry_run import tell_plan

        tell_plan(loaded, as_json=as_json)
        return
    ran = _run(loaded, [recipe, *overrides], fresh=fresh)
    if as_json:
        console.show_json(_as_json(ran))
    elif loaded.compare is None:
        _show_tuned(ran, recipe, overrides)
    else:
        _show_compared(ran)


def _run(recipe: Recipe, arguments: Sequence[str], *, fresh: bool) -> Any:
    """What the search found, or the comparison.

    A stop ends the process, with the command that goes on.
    """
    from kbn.cli.watching import watching
    from kbn.run.projects import is_begun
    from kbn.tracking.stops import Stops

    end_on_signals()
    console.tell(_headline(recipe))
    searching = False
    try:
        with Stops().kept(), watching(searches_of(recipe), fresh=fresh) as watch:
            from kbn.run.tuning import tune as run

            try:
                return run(recipe, fresh=fresh, watch=watch)
            finally:
                searching = watch.searching
    except (KeyboardInterrupt, SystemExit) as stop:
        # as long as the old search is there, it is what would go on
        anew = ["--fresh"] if fresh and not searching and is_begun(recipe) else []
        again = shlex.join([program("kbn"), "tune", *arguments, *anew])
        console.tell(f"Stopped; what has ended is saved. It goes on with: {again}", style="bold")
        if isinstance(stop, KeyboardInterrupt):
            sys.exit(INTERRUPTED)
        sys.exit(CLOSED if stop.code == CLOSED else TERMINATED)


def _headline(recipe: Recipe) -> str:
    told = f"{recipe.name}: {recipe.search.trials} trials of {recipe.search.epochs} epochs"
    if recipe.compare is None:
        return told
    return f"{told} in {len(recipe.compare.variants)} variants with {recipe.compare.seeds} seeds"


def _show_tuned(tuned: Tuned, recipe: str, overrides: Sequence[str]) -> None:
    from kbn.report.words import shortened

    best = tuned.best
    twice = 2 * max(tuned.recipe.search.trials, len(tuned.results.trials))
    score = f"{tuned.recipe.objective.metric} {console.score(best.score)}"
    finished = f"{len(tuned.results.finished)} of {len(tuned.results.trials)} trials finished"
    console.show(f"best trial {best.trial}  {score}  ({finished})", "bold green")
    console.show_values(best.values)
    if tuned.results.failed:
        reason = shortened(tuned.results.commonest_failure())
        console.show(f"{len(tuned.results.failed)} failed; the commonest reason: {reason}", "red")
    if tuned.test:
        console.show(f"trained anew on all but the test part  {_scores(tuned)}", "bold green")
    others = [o for o in overrides if not o.startswith("search.trials=")]
    more = [program("kbn"), "tune", recipe, *others, f"search.trials={twice}"]
    console.show()
    console.show_columns(
        [
            ("report", str(tuned.report)),
            *(_look(tuned.recipe) if tuned.recipe.tracking.enabled else []),
            ("load it", f'import kbn; kbn.load_model("{tuned.model}")'),
            ("go on", shlex.join(more)),
        ]
    )


def _scores(tuned: Tuned) -> str:
    return "  ".join(f"{name} {console.score(value)}" for name, value in tuned.test.items())


def _show_compared(compared: Compared) -> None:
    comparison = compared.comparison
    rows = [(row.variant, str(row.mean), str(row.difference or "")) for row in comparison.table()]
    head = ("variant", comparison.measure, f"difference to {comparison.first}")
    console.show_columns([head, *rows])
    console.show()
    for sentence in comparison.sentences():
        console.show(sentence, "bold green")
    console.show()
    look = _look(compared.recipe) if compared.recipe.tracking.enabled else []
    console.show_columns([("report", str(compared.report)), *look])


def _look(recipe: Recipe) -> list[tuple[str, str]]:
    """The command that starts MLflow, and the page of the recipe's trials."""
    from kbn.tracking.stores import page_of, store_uri

    store = store_uri(recipe.tracking.uri)
    page = page_of(recipe.tracking.experiment or recipe.name, store)
    address = store if store.startswith("http") else LOCAL_UI
    steps = [("its page", address + page)] if page else []
    if store.startswith("http"):
        return steps
    database = store.removeprefix("sqlite:///")
    default = database != store and Path(database).resolve() == Path(DEFAULT_STORE).resolve()
    where = [] if default else ["--backend-store-uri", store]
    return [("look at it", shlex.join([program("mlflow"), "ui", *where])), *steps]


def _as_json(ran: Any) -> dict[str, Any]:
    if ran.recipe.compare is not None:
        return {
            "comparison": list(ran.comparison.sentences()),
            "report": str(ran.report),
            "trials": {
                name: [results.as_json() for results in of] for name, of in ran.searches.items()
            },
        }
    return {
        "best": {"trial": ran.best.trial, "score": ran.best.score, "values": ran.best.values},
        "test": dict(ran.test),
        "model": str(ran.model),
        "report": str(ran.report),
        "figure": str(ran.figure),
        "trials": ran.results.as_json(),
    }
