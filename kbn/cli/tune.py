"""`kbn tune`: runs a recipe."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
    shell_line,
)
from kbn.uris import database_of, masked, without_credentials

if TYPE_CHECKING:
    from kbn.cli.progress import CommandProgress
    from kbn.recipe.schema import Recipe
    from kbn.run.comparison import Compared
    from kbn.run.project import Project
    from kbn.run.tuned import Tuned

DEFAULT_STORE = "mlflow.db"  # in the working directory, where a plain `mlflow ui` looks
LOCAL_UI = "http://127.0.0.1:5000"


def _workers(*given: Any) -> int | Literal["auto"] | None:
    """Read the option --workers; the last argument is what was given."""
    value = given[-1]
    return value if value in (None, "auto") else click.IntRange(1, 1000).convert(value, None, None)


@click.command("tune", cls=Command)
@recipe_argument
@overrides_argument
@click.option("--dry-run", is_flag=True, help="Print what would be run; write nothing.")
@click.option("--fresh", is_flag=True, help="Remove what an earlier search left; start anew.")
@click.option(
    "--workers", callback=_workers, metavar="N|auto", help="Trials at a time: a number, or auto."
)
@click.option("--gpus-per-worker", type=click.FloatRange(0), help="May be a share, such as 0.5.")
@click.option("--address", metavar="ADDRESS", help="Of a Ray cluster that trains the trials.")
@as_json
@debug
def tune_command(
    recipe: str,
    overrides: tuple[str, ...],
    dry_run: bool,
    fresh: bool,
    workers: int | Literal["auto"] | None,
    gpus_per_worker: float | None,
    address: str | None,
    as_json: bool,
) -> None:
    """Run a recipe's search, or go on with it where it stopped.

    \b
      kbn tune digits_mlp
      kbn tune digits_mlp --dry-run          what would be run
      kbn tune digits_mlp search.trials=96   go on to 96 trials
      kbn tune digits_mlp --fresh            start anew
      kbn tune digits_mlp --workers 4        four trials at a time

    Any value of the recipe can be overridden: a dotted key, and the value as in YAML. The
    recipe's own Python runs, also with --dry-run: tune only recipes that you trust.
    """
    from kbn.recipe.loading import load_recipe
    from kbn.run.comparison import compare
    from kbn.run.project import Project
    from kbn.run.search import tune

    project = Project(load_recipe(recipe, overrides))
    if dry_run:
        if not fresh:
            project.check_unchanged()
        settle_libraries()
        from kbn.cli.dry_run import tell_plan

        tell_plan(project, as_json=as_json)
        return
    options = {"workers": workers, "gpus_per_worker": gpus_per_worker, "address": address}
    placed: dict[str, Any] = {name: it for name, it in options.items() if it is not None}
    chosen = [f"--{name.replace('_', '-')}={value}" for name, value in placed.items()]
    arguments = [recipe, *overrides, *chosen]
    if project.recipe.compare is None:
        with _stoppable(project, arguments, fresh=fresh) as progress:
            tuned = tune(project.recipe, fresh=fresh, watch=progress, **placed)
        if as_json:
            console.show_json(_tuned_as_json(tuned))
        else:
            _show_tuned(tuned, recipe, overrides)
    else:
        with _stoppable(project, arguments, fresh=fresh) as progress:
            compared = compare(project.recipe, fresh=fresh, watch=progress, **placed)
        if as_json:
            console.show_json(_compared_as_json(compared))
        else:
            _show_compared(compared)


@contextlib.contextmanager
def _stoppable(
    project: Project, arguments: Sequence[str], *, fresh: bool
) -> Iterator[CommandProgress]:
    """Show progress; a stop ends the process, and prints the command that goes on."""
    from kbn.cli.watching import watching
    from kbn.tracking.stops import Stops

    end_on_signals()
    console.tell(_headline(project.recipe))
    searching = False
    try:
        with Stops().kept(), watching(project) as progress:
            try:
                yield progress
            finally:
                searching = progress.searching
    except (KeyboardInterrupt, SystemExit) as stop:
        # as long as the old search is there, it is what would go on
        anew = ["--fresh"] if fresh and not searching and project.is_begun() else []
        again = shell_line([program("kbn"), "tune", *map(masked, arguments), *anew])
        if searching and progress.best is not None:
            best = progress.best
            told = f"{progress.project.recipe.objective.metric} {console.score(best.score)}"
            console.tell(f"best so far: trial {best.trial}  {told}", style="green")
        console.tell(f"Stopped; what has ended is saved. It goes on with: {again}", style="bold")
        if isinstance(stop, KeyboardInterrupt):
            sys.exit(INTERRUPTED)
        sys.exit(CLOSED if stop.code == CLOSED else TERMINATED)


def _headline(recipe: Recipe) -> str:
    told = f"{recipe.name}: {recipe.search.extent}"
    if recipe.compare is None:
        return told
    return f"{told} in {len(recipe.compare.variants)} variants with {recipe.compare.seeds} seeds"


def _show_tuned(tuned: Tuned, recipe: str, overrides: Sequence[str]) -> None:
    from kbn.report.words import shortened
    from kbn.run.describing import twice_as_long
    from kbn.run.project import Project

    best = tuned.best
    score = f"{tuned.recipe.objective.metric} {console.score(best.score)}"
    finished = f"{len(tuned.results.finished)} of {len(tuned.results.trials)} trials finished"
    console.show(f"best trial {best.trial}  {score}  ({finished})", "bold green")
    console.show_values(best.values)
    if tuned.results.failed:
        reason = shortened(tuned.results.commonest_failure())
        console.show(f"{len(tuned.results.failed)} failed; the commonest reason: {reason}", "red")
    if wrong := tuned.results.infeasible:
        last = shortened(wrong[-1].violations[0])
        console.show(f"{len(wrong)} violated a constraint, the last: {last}", "yellow")
    if tuned.test:
        console.show(f"trained anew on all but the test part  {_scores(tuned)}", "bold green")
    longer = twice_as_long(tuned.recipe, tuned.results, map(masked, overrides))
    more = [program("kbn"), "tune", recipe, *longer]
    front = [program("kbn"), "best", recipe, *map(masked, overrides), "--pareto"]
    console.show()
    console.show_columns(
        [
            ("report", str(tuned.report)),
            *([("the front", shell_line(front))] if tuned.results.objectives else []),
            *_look(Project(tuned.recipe)),
            ("load it", f'import kbn; kbn.load_model("{Path(tuned.model).as_posix()}")'),
            ("go on", shell_line(more)),
        ]
    )


def _scores(tuned: Tuned) -> str:
    return "  ".join(f"{name} {console.score(value)}" for name, value in tuned.test.items())


def _show_compared(compared: Compared) -> None:
    from kbn.run.project import Project

    comparison = compared.comparison
    rows = [(row.variant, str(row.mean), str(row.difference or "")) for row in comparison.table()]
    head = ("variant", comparison.measure, f"difference to {comparison.first}")
    console.show_columns([head, *rows])
    console.show()
    for sentence in comparison.sentences():
        console.show(sentence, "bold green")
    console.show()
    console.show_columns([("report", str(compared.report)), *_look(Project(compared.recipe))])


def _look(project: Project) -> list[tuple[str, str]]:
    """Return the command that starts MLflow, if it takes one, and the page of the trials."""
    from kbn.errors import TrackingError
    from kbn.tracking.journal import Journal
    from kbn.tracking.stores import store_uri, ui_address
    from kbn.tracking.views import page_of

    recipe = project.recipe
    if not recipe.tracking.enabled:
        return []
    store = store_uri(recipe.tracking.uri)
    try:
        address = ui_address(store)
    except TrackingError:  # the search has warned of it
        return []
    page = page_of(Journal(project.searches[0].path / "journal"), store)
    steps = [("its page", (address or LOCAL_UI) + page)] if page else []
    if address is not None:
        return steps
    file = database_of(store)
    default = file is not None and file.resolve() == Path(DEFAULT_STORE).resolve()
    where = [] if default else ["--backend-store-uri", without_credentials(store)]
    return [("look at it", shell_line([program("mlflow"), "ui", *where])), *steps]


def _tuned_as_json(tuned: Tuned) -> dict[str, Any]:
    best = tuned.best
    return {
        "best": {"trial": best.trial, "score": best.score, "values": best.values},
        "test": dict(tuned.test),
        "model": str(tuned.model),
        "report": str(tuned.report),
        "figure": str(tuned.figure),
        "trials": tuned.results.as_json(),
    }


def _compared_as_json(compared: Compared) -> dict[str, Any]:
    return {
        "comparison": list(compared.comparison.sentences()),
        "report": str(compared.report),
        "trials": {
            name: [results.as_json() for results in of] for name, of in compared.searches.items()
        },
    }
