"""`kbn export`: the best model in the format that a program asks for."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kbn.cli import console
from kbn.cli.command import Command, as_json, debug, overrides_argument, recipe_argument
from kbn.cli.process import settle_libraries
from kbn.cli.searches import with_best
from kbn.errors import NoResultError

if TYPE_CHECKING:
    from kbn.recipe.schema import Recipe

KERAS, LITE = ".keras", ".tflite"
SAVED_MODEL = "saved_model.pb"  # what makes a directory a SavedModel


@click.command(cls=Command)
@recipe_argument
@overrides_argument
@click.option(
    "--to", "target", metavar="PATH", required=True, type=click.Path(),
    help="FILE.keras, FILE.tflite, or a directory, for a SavedModel. Is replaced.",
)  # fmt: skip
@click.option("--fold", is_flag=True, help="Fold batch norm into the layers beside it.")
@as_json
@debug
def export(recipe: str, overrides: tuple[str, ...], target: str, fold: bool, as_json: bool) -> None:
    """Write the best model in another format.

    \b
      kbn export recipes/digits_mlp.yaml --to digits.keras          Keras
      kbn export recipes/digits_mlp.yaml --to digits.tflite --fold  TF-Lite, without batch norm
      kbn export recipes/digits_mlp.yaml --to digits                SavedModel, a directory

    It takes examples, and gives targets, as the data set has them. The recipe's own Python runs.
    """
    from kbn.recipe.loading import load_recipe

    path = _checked(Path(target), is_directory=target.endswith("/"))
    loaded = load_recipe(recipe, overrides)
    file = _best_model(loaded)
    settle_libraries()
    model = _load(loaded, file)
    if fold:
        model = _folded(model)
    _write(model, path)
    if as_json:
        console.show_json({"model": str(path)})
    else:
        console.show(str(path))


def _checked(path: Path, *, is_directory: bool) -> Path:
    """The path, if what it names can be written there.

    Raises:
        click.BadParameter: if it cannot.
    """
    law = None
    if path.suffix in (KERAS, LITE) and not is_directory:
        if path.is_dir():
            law = f"must be a file, as its ending says; {path} is a directory"
    elif path.suffix and not is_directory:
        law = (
            f"must end with {KERAS} or {LITE}, or, for the directory of a SavedModel, with /; got "
            f"{path}"
        )
    elif path.is_file() or (path.is_dir() and not _replaceable(path)):
        law = f"must be a new directory, an empty one or a SavedModel; {path} is something else"
    if law is not None:
        raise click.BadParameter(law, param_hint="--to")
    return path


def _replaceable(directory: Path) -> bool:
    return (directory / SAVED_MODEL).exists() or not any(directory.iterdir())


def _best_model(recipe: Recipe) -> Path:
    """The file of the best trial's model.

    Raises:
        click.UsageError: if the recipe compares searches.
        NoResultError: if the search has not come to its end.
    """
    from kbn.run.local import BEST

    if recipe.compare is not None:
        raise click.UsageError(
            "A comparison keeps no model. Tune the variant that you want by itself, then export it "
            "with the same overrides: compare=null name=NEW and what the variant sets."
        )
    (((_, project), results),) = with_best(recipe)
    file = project / BEST
    ended = results.ranked[0].ended or 0
    if not file.exists() or file.stat().st_mtime_ns < ended * 1_000_000:
        raise NoResultError(
            f"{file}: must hold the best trial's model, which is written at the search's end; the "
            "search was stopped before. Go on with it: kbn tune RECIPE"
        )
    return file


def _load(recipe: Recipe, file: Path) -> Any:
    """The model of a file."""
    from kbn.recipe.code import load_function
    from kbn.tracking.models import load_model

    if recipe.model.python is not None:  # its module registers the layers that it defines
        with console.results_alone():
            load_function(recipe.model.python, recipe.home)
    return load_model(file)


def _folded(model: Any) -> Any:
    """The model without the norms that can be folded; tells of those that cannot."""
    from kbn.norm.surgery import fold_batch_norm

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", "fold_batch_norm: ")
        folded = fold_batch_norm(model)
    for warning in caught:
        console.tell(str(warning.message), style="yellow")
    return folded


def _write(model: Any, path: Path) -> None:
    """Writes a model; what fails leaves an earlier one as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".kbn-") as directory:
        draft = Path(directory) / path.name
        with contextlib.redirect_stdout(None), console.native_silence():
            if path.suffix == KERAS:
                model.save(draft)
            elif path.suffix == LITE:
                model.export(draft, format="litert", verbose=False)
            else:
                model.export(draft, format="tf_saved_model", verbose=False)
        if path.is_dir():
            shutil.rmtree(path)
        draft.replace(path)
