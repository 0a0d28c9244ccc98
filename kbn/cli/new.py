"""`kbn new`: writes a recipe to start from."""

from __future__ import annotations

import os
from pathlib import Path

import click

from kbn.cli import console
from kbn.cli.command import Command, as_json, complete_recipe, debug
from kbn.cli.process import program, settle_libraries

FIRST = "digits_mlp"  # recipe that a new one is made from unless another is named


@click.command("new", cls=Command)
@click.argument("name")
@click.option(
    "--from", "source", metavar="RECIPE", shell_complete=complete_recipe,
    help=f"Start from this recipe, given by name or path.  [default: {FIRST}]",
)  # fmt: skip
@click.option(
    "--data", metavar="PATH", type=click.Path(),
    help="Start from what is found in a CSV, Parquet or NPZ file, or a folder of images.",
)  # fmt: skip
@click.option("--target", metavar="COLUMN", help="Column to predict.  [default: the last]")
@as_json
@debug
def new_command(
    name: str, source: str | None, data: str | None, target: str | None, as_json: bool
) -> None:
    """Write a recipe to start from, recipes/NAME.yaml, and print its path.

    \b
      kbn new mine                                    like digits_mlp
      kbn new mine --from digits_cnn                  like another recipe
      kbn new mine --data wine.csv                    for a table; the last column is the target
      kbn new mine --data wine.csv --target alcohol
      kbn new mine --data photos/                     for images, in a sub-folder for each class

    Another recipe's data and Python files beside it are copied with it, but not the modules that
    these import. Nothing is overwritten.
    """
    from kbn.recipe.drafting import draft
    from kbn.recipe.drafting_images import draft_images
    from kbn.recipe.names import violated_by
    from kbn.recipe.starting import copy_recipe, path_of, write_recipe

    if rule := violated_by(name):
        raise click.BadParameter(f"{rule}; got {name!r}", param_hint="NAME")
    if os.path.lexists(path_of(name)):
        rule = f"{path_of(name)} exists. Choose another name, or move it away"
        raise click.BadParameter(rule, param_hint="NAME")
    if source is not None and data is not None:
        raise click.UsageError("A recipe starts from --from or from --data. Keep one of them.")
    if target is not None and data is None:
        raise click.UsageError("--target names a column of --data. Add --data FILE.")
    if data is None:
        text, copies = copy_recipe(name, source or FIRST)
    elif Path(data).is_dir():
        if target is not None:
            raise click.UsageError("--target names a column, and images have none. Remove it.")
        settle_libraries()
        text, copies = draft_images(name, Path(data)), {}
    else:
        text, copies = draft(name, Path(data), target), {}
    file = write_recipe(name, text, copies)
    if as_json:
        console.show_json({"recipe": str(file), "copies": sorted(map(str, copies))})
        return
    for path in (file, *sorted(copies)):
        console.show(str(path))
    console.tell(f"Edit it as you like, then: {program('kbn')} tune {name}")
