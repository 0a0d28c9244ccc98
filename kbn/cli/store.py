"""`kbn push` and `ui`: the tracking store."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from kbn.cli import console
from kbn.cli.command import Command, as_json, debug
from kbn.cli.process import quiet_environment
from kbn.errors import NoResultError


def _complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of the searches here."""
    from kbn.run.projects import SEARCHES

    return [CompletionItem(path.name) for path in Path(SEARCHES).glob(f"{incomplete}*")]


@click.command(cls=Command)
@click.argument("searches", nargs=-1, metavar="[SEARCH]...", shell_complete=_complete)
@as_json
@debug
def push(searches: tuple[str, ...], as_json: bool) -> None:
    """Send to MLflow what it lacks of searches.

    \b
      kbn push                              of all that are here
      kbn push digits_mlp                   of one, by name
      kbn push path/of/a/tuner/project
    """
    quiet_environment()
    from kbn.run.projects import SEARCHES, project_of
    from kbn.tracking.push import push as send

    if not searches and not Path(SEARCHES).is_dir():
        raise NoResultError(f"{SEARCHES}: there is no search here. First: kbn tune RECIPE")
    given = [path if (path := Path(name)).is_dir() else project_of(name) for name in searches]
    projects = [project for path in given or [Path(SEARCHES)] for project in _journaled(path)]
    told = {}
    for project in projects:
        told[str(project)] = send(project)
        if not as_json:
            console.show("\n".join(told[str(project)]))
    if as_json:
        console.show_json(told)


@click.command(cls=Command)
@click.option("--port", default=5000, show_default=True, help="Port on this machine.")
@debug
def ui(port: int) -> None:
    """Open MLflow on the trials of this directory.

    \b
      kbn ui
      kbn ui --port 5001
    """
    from kbn.tracking.stores import check_store

    store = check_store()
    if store.startswith("http"):
        console.show(f"Open {store}")
        return
    console.tell(f"MLflow at http://127.0.0.1:{port} on {store}; Ctrl-C ends it")
    # enough for one person; of MLflow's four a slow machine's time to start each may run out
    options = ["--backend-store-uri", store, "--port", str(port), "--workers", "1"]
    command = [sys.executable, "-m", "mlflow", "ui", *options]
    os.execv(command[0], command)  # noqa: S606  no shell is needed


def _journaled(directory: Path) -> list[Path]:
    """The searches in a directory; itself if there is none below it."""
    below = [*directory.glob("*/journal"), *directory.glob("*/*/journal")]
    return sorted(journal.parent for journal in below) or [directory]
