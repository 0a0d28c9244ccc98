"""`kbn push` and `ui`: the tracking store."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from kbn.cli import console
from kbn.cli.command import DEBUG, Command, as_json, debug
from kbn.cli.process import become, quiet_environment
from kbn.errors import JournalError, NoResultError

LAST_SEARCHES = 5  # whose pages `kbn ui` prints


def _complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a search in the working directory."""
    from kbn.run.project import SEARCHES

    return [CompletionItem(path.name) for path in Path(SEARCHES).glob(f"{incomplete}*")]


@click.command("push", cls=Command)
@click.argument("searches", nargs=-1, metavar="[SEARCH]...", shell_complete=_complete)
@as_json
@debug
@click.pass_context
def push_command(ctx: click.Context, searches: tuple[str, ...], as_json: bool) -> None:
    """Send to MLflow what it lacks of searches.

    \b
      kbn push                              of all that are here
      kbn push digits_mlp                   of one, by name
      kbn push path/of/a/tuner/project
    """
    quiet_environment()
    from kbn.run.project import SEARCHES
    from kbn.tracking.push import push

    if not searches and not Path(SEARCHES).is_dir():
        raise NoResultError(f"{SEARCHES}: there is no search here. First: kbn tune RECIPE")
    given = [path if (path := Path(name)).is_dir() else Path(SEARCHES, name) for name in searches]
    projects = [project for path in given or [Path(SEARCHES)] for project in _journaled(path)]
    told, codes = {}, [0]
    for project in projects:
        try:
            told[str(project)] = push(project)
        except Exception as error:
            if ctx.meta.get(DEBUG):
                raise
            codes.append(getattr(error, "exit_code", 1))
            told[str(project)] = (str(error) or repr(error)).splitlines()
            console.complain("\n".join(told[str(project)]))
        else:
            if not as_json:
                console.show("\n".join(told[str(project)]))
    if as_json:
        console.show_json(told)
    ctx.exit(max(codes))


@click.command("ui", cls=Command)
@click.option("--port", default=5000, show_default=True, help="Port on this machine.")
@debug
def ui_command(port: int) -> None:
    """Open MLflow on the trials of this directory.

    \b
      kbn ui
      kbn ui --port 5001
    """
    from kbn.tracking.stores import check_store, ui_address
    from kbn.uris import without_credentials

    store = check_store()
    address = ui_address(store)
    if address is not None:
        console.show(f"Open {address}")
        _show_pages(store, address, console.show)
        return
    shown = without_credentials(store)
    console.tell(f"MLflow at http://127.0.0.1:{port} on {shown}; Ctrl-C ends it")
    _show_pages(store, f"http://127.0.0.1:{port}", console.tell)
    # enough for one person; of MLflow's four a slow machine's time to start each may run out
    command = [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1"]
    # no option, which everybody on the machine sees
    become(command, {**os.environ, "MLFLOW_BACKEND_STORE_URI": store})


def _show_pages(store: str, address: str, show: Callable[[str], None]) -> None:
    """Print the pages of the last searches of this directory, the newest first."""
    from kbn.run.project import SEARCHES
    from kbn.tracking.journal import Journal
    from kbn.tracking.lines import SEARCH_FILE
    from kbn.tracking.views import page_of

    pages = dict[str, str]()
    files = (search / "journal" / SEARCH_FILE for search in _journaled(Path(SEARCHES)))
    found = filter(Path.exists, files)
    for file in sorted(found, key=lambda file: file.stat().st_mtime, reverse=True):
        with contextlib.suppress(JournalError):  # kbn push reports it
            if page := page_of(Journal(file.parent), store):
                pages.setdefault(page, file.parent.parent.name)
        if len(pages) == LAST_SEARCHES:
            break
    for page, name in pages.items():
        show(f"{name}: {address}{page}")


def _journaled(directory: Path) -> list[Path]:
    """Return the searches in a directory; the directory itself if there is none below it."""
    below = [*directory.glob("*/journal"), *directory.glob("*/*/journal")]
    return sorted(journal.parent for journal in below) or [directory]
