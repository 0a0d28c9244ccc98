"""The commands of kbn."""

from __future__ import annotations

import functools
import gc
import json
import os
import shlex
import shutil
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kbn.cli import console
from kbn.errors import KbnError, NoResultError, RecipeError

if TYPE_CHECKING:
    from kbn.recipe.schema import Recipe
    from kbn.report.results import Results
    from kbn.run.local import Tuned
    from kbn.tracking.journal import Attempt

DEFAULT_STORE = "mlflow.db"  # in the working directory, where a plain `mlflow ui` looks
LOCAL_UI = "http://127.0.0.1:5000"
DEBUG = "kbn.debug"
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM


class _Group(click.Group):
    """Turns errors into one line each and an exit code; `--debug` shows the traceback too."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException, click.Abort):
            raise
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except Exception as error:
            if ctx.meta.get(DEBUG):
                raise
            console.complain(str(error) or repr(error))
            if not isinstance(error, KbnError | OSError):
                console.complain("This is a fault of kbn; --debug shows where it happened.")
            ctx.exit(getattr(error, "exit_code", 1))


def _debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta[DEBUG] = ctx.meta.get(DEBUG) or value


debug = click.option(
    "--debug", is_flag=True, expose_value=False, callback=_debug, help="Show tracebacks."
)
recipe_argument = click.argument("recipe", metavar="RECIPE")
overrides_argument = click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kbn")
@debug
def cli() -> None:
    """Tune Keras models without guesswork.

    \b
      kbn ls                                              recipes here, and how far they are
      kbn tune recipes/digits_mlp.yaml                    run one
      kbn tune recipes/digits_mlp.yaml search.trials=4    a quick look
      kbn ui                                              compare the trials in MLflow
    """


@cli.command()
@recipe_argument
@overrides_argument
@click.option("--fresh", is_flag=True, help="Remove what an earlier search left; start anew.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@debug
def tune(recipe: str, overrides: tuple[str, ...], fresh: bool, as_json: bool) -> None:
    """Run a recipe's search, or go on with it.

    \b
      kbn tune recipes/digits_mlp.yaml
      kbn tune recipes/digits_mlp.yaml search.trials=96   go on to 96 trials
      kbn tune recipes/digits_mlp.yaml --fresh            start anew
    """
    from kbn.recipe.loading import load_recipe

    loaded = load_recipe(recipe, overrides)
    again = shlex.join([_program("kbn"), "tune", recipe, *overrides])
    signal.signal(signal.SIGTERM, _terminate)
    try:
        _settle_libraries()
        from kbn.run.local import tune as run

        console.tell(
            f"{loaded.name}: {loaded.search.trials} trials of {loaded.search.epochs} epochs"
        )
        tuned = run(loaded, fresh=fresh, on_trial=functools.partial(_tell_trial, loaded))
    except (KeyboardInterrupt, SystemExit) as stop:
        console.tell(f"Stopped; what has ended is saved. It goes on with: {again}", style="bold")
        sys.exit(INTERRUPTED if isinstance(stop, KeyboardInterrupt) else TERMINATED)
    if as_json:
        console.show(json.dumps(_as_json(tuned)))
    else:
        _show_tuned(tuned, recipe, overrides)


@cli.command()
@recipe_argument
@overrides_argument
@debug
def check(recipe: str, overrides: tuple[str, ...]) -> None:
    """Say all that is wrong with a recipe.

    \b
      kbn check recipes/digits_mlp.yaml
    """
    from kbn.recipe.loading import load_recipe

    loaded = load_recipe(recipe, overrides)
    console.show(
        f"{recipe}: good; {loaded.search.trials} trials of {loaded.search.epochs} epochs over "
        f"{len(loaded.space)} hyperparameters"
    )


@cli.command()
@click.argument("directory", default="recipes")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@debug
def ls(directory: str, as_json: bool) -> None:
    """List the recipes of a directory and how far their searches are.

    \b
      kbn ls
      kbn ls my/recipes
    """
    if not Path(directory).is_dir():
        law = f"no such directory: {directory}; name the one that holds your recipes"
        raise click.BadParameter(law, param_hint="DIRECTORY")
    rows = [_listed(file) for file in sorted(Path(directory).glob("*.yaml"))]
    if as_json:
        console.show(json.dumps(rows))
        return
    for line in console.columns(
        [(r["recipe"], r["state"], r["about"]) for r in rows] or [("no recipes",)]
    ):
        console.show(line)


@cli.command()
@click.argument("searches", nargs=-1, metavar="[SEARCH]...")
@debug
def push(searches: tuple[str, ...]) -> None:
    """Send to MLflow what it lacks of searches: by name, by directory, or all of them here.

    \b
      kbn push
      kbn push digits_mlp
      kbn push path/of/a/tuner/project
    """
    _quiet_environment()
    from kbn.run.local import SEARCHES, project_of
    from kbn.tracking.push import push as send

    given = [path if (path := Path(name)).is_dir() else project_of(name) for name in searches]
    projects = given or sorted(path.parent for path in Path(SEARCHES).glob("*/journal"))
    if not projects:
        raise NoResultError(f"{SEARCHES}: there is no search here. First: kbn tune RECIPE")
    for project in projects:
        for line in send(project):
            console.show(line)


@cli.command()
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
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--backend-store-uri",
        store,
        "--port",
        str(port),
    ]
    os.execv(command[0], command)  # noqa: S606  no shell is needed


def _listed(file: Path) -> dict[str, str]:
    """One recipe: its file, its first comment, and how far its search is."""
    from kbn.recipe.loading import load_recipe
    from kbn.report.results import Results
    from kbn.run.local import project_of

    try:
        recipe = load_recipe(file)
    except RecipeError as error:
        return {"recipe": str(file), "state": "wrong", "about": str(error.faults[0])}
    first = file.read_text(encoding="utf-8").partition("\n")[0]
    about = first.lstrip("# ") if first.startswith("#") else ""
    results = Results.read(project_of(recipe.name), recipe.objective.direction)
    state = f"{len(results.finished)}/{recipe.search.trials} trials"
    if results.best:
        state += f", best {console.score(results.best.score)}"
    return {"recipe": str(file), "state": state, "about": about}


def _tell_trial(recipe: Recipe, results: Results, trial: Attempt) -> None:
    metric = recipe.objective.metric
    outcome = str(trial.status).lower()
    if trial.score is not None:
        outcome = f"{metric} {console.score(trial.score)}"
    best = f"best {console.score(results.best.score)}" if results.best else "none finished"
    count = f"{len(results.trials)}/{recipe.search.trials}"
    console.tell(f"{count}  trial {trial.trial}  {outcome}  {best}  {trial.seconds:.1f} s")
    if trial.reason:
        console.complain(f"  {trial.reason}")


def _show_tuned(tuned: Tuned, recipe: str, overrides: Sequence[str]) -> None:
    best = tuned.best
    twice = 2 * max(tuned.recipe.search.trials, len(tuned.results.trials))
    score = f"{tuned.recipe.objective.metric} {console.score(best.score)}"
    finished = f"{len(tuned.results.finished)} of {len(tuned.results.trials)} trials finished"
    console.show(f"best trial {best.trial}  {score}  ({finished})", "bold green")
    for line in console.values(best.values):
        console.show(f"  {line}")
    others = [o for o in overrides if not o.startswith("search.trials=")]
    more = [_program("kbn"), "tune", recipe, *others, f"search.trials={twice}"]
    steps = [
        *(_look(tuned.recipe) if tuned.recipe.tracking.enabled else []),
        ("picture", str(tuned.figure)),
        ("load it", f'import kbn, keras; keras.models.load_model("{tuned.model}")'),
        ("go on", shlex.join(more)),
    ]
    console.show()
    for line in console.columns(steps):
        console.show(line)


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
    return [("look at it", shlex.join([_program("mlflow"), "ui", *where])), *steps]


def _program(name: str) -> str:
    """How to call a program of this environment from the shell."""
    own = Path(sys.executable).parent / name
    found = shutil.which(name)
    if found and Path(found).resolve() == own.resolve():
        return name
    return min(str(own), os.path.relpath(own), key=len)


def _as_json(tuned: Tuned) -> dict[str, Any]:
    return {
        "best": {"trial": tuned.best.trial, "score": tuned.best.score, "values": tuned.best.values},
        "model": str(tuned.model),
        "figure": str(tuned.figure),
        "trials": tuned.results.as_json(),
    }


def _quiet_environment() -> None:
    """Settings of a command's process, which a library has no business to make."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # MLflow's own numbers take four minutes to give up a dead server, two a hanging one
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")


def _settle_libraries() -> None:
    _quiet_environment()
    with console.native_silence():
        import tensorflow as tf
    tf.get_logger().setLevel("ERROR")  # it takes a search for a model that is traced too often
    warnings.filterwarnings("ignore", "All-NaN")  # KerasTuner, of a trial that diverged
    import keras_tuner.src.config as keras_tuner_config

    keras_tuner_config.DEBUG = False  # it would print the traceback of a failed trial
    # KerasTuner collects garbage before every trial: what the libraries hold need not be searched
    gc.freeze()


def _terminate(*_: Any) -> None:
    sys.exit(TERMINATED)
