"""kbn, the program."""

from __future__ import annotations

import click

from kbn.cli.command import Group, debug
from kbn.cli.export import export
from kbn.cli.recipes import check, ls, schema, show
from kbn.cli.results import best, report
from kbn.cli.store import push, ui
from kbn.cli.tune import tune


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kbn")
@debug
def cli() -> None:
    """Tune Keras models without guesswork.

    \b
      kbn ls                                              recipes here, and how far they are
      kbn check recipes/digits_mlp.yaml --full            all that is wrong with one
      kbn tune recipes/digits_mlp.yaml --dry-run          what it would run
      kbn tune recipes/digits_mlp.yaml                    run it, or go on with it
      kbn tune recipes/digits_mlp.yaml search.trials=4    a quick look
      kbn best recipes/digits_mlp.yaml                    what it found
      kbn ui                                              compare the trials in MLflow
    """


for command in (ls, show, check, tune, best, report, export, ui, push, schema):
    cli.add_command(command)
