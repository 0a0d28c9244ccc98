"""kbn, the program."""

from __future__ import annotations

import click

from kbn.cli.command import Group, debug
from kbn.cli.export import export_command
from kbn.cli.new import new_command
from kbn.cli.recipes import check_command, ls_command, schema_command, show_command
from kbn.cli.results import best_command, report_command
from kbn.cli.store import push_command, ui_command
from kbn.cli.tune import tune_command


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kbn")
@debug
def cli() -> None:
    """Tune Keras models without guesswork.

    \b
      kbn ls                                 recipes here and shipped ones, and how far they are
      kbn new mine --data table.csv          write one to start from
      kbn check digits_mlp --full            all that is wrong with one
      kbn tune digits_mlp --dry-run          what it would run
      kbn tune digits_mlp                    run it, or go on with it
      kbn tune digits_mlp search.trials=4    a quick look
      kbn best digits_mlp                    what it found
      kbn ui                                 compare the trials in MLflow

    A recipe is given by its path, or by its name if it lies below recipes/ or is shipped.
    """


COMMANDS = (
    ls_command,
    new_command,
    show_command,
    check_command,
    tune_command,
    best_command,
    report_command,
    export_command,
    ui_command,
    push_command,
    schema_command,
)
for command in COMMANDS:
    cli.add_command(command)
