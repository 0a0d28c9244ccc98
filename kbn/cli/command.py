"""Base of all commands: help that begins with examples, errors as exit codes, shared arguments."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from kbn.cli import console
from kbn.cli.process import CLOSED, INTERRUPTED, leave_closed_streams, settle_streams
from kbn.errors import KbnError, RecipeError, remedy
from kbn.tracking.collecting import collect_seldom

DEBUG = "kbn.debug"


class Command(click.Command):
    """Command whose help begins with what it does, and examples."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_help_text(ctx, formatter)
        formatter.write_paragraph()
        self.format_usage(ctx, formatter)
        self.format_options(ctx, formatter)


class Group(Command, click.Group):
    """Group that turns an error into one line and an exit code; `--debug` adds the traceback."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        near = difflib.get_close_matches(name, self.commands)
        if name not in self.commands and near and not ctx.resilient_parsing:
            ctx.fail(f"No such command '{name}'. Did you mean '{near[0]}'?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        settle_streams()
        collect_seldom()
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException, click.Abort):
            raise
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except Exception as error:
            if leave_closed_streams():
                ctx.exit(CLOSED)
            if ctx.meta.get(DEBUG):
                raise
            if isinstance(error, OSError):
                console.complain(_refused(error))
            else:
                console.complain(str(error) or repr(error))
                if not isinstance(error, KbnError):
                    console.complain("This is a fault of kbn; --debug shows where it happened.")
            ctx.exit(getattr(error, "exit_code", 1))


def _refused(error: OSError) -> str:
    """Describe in one line what the operating system denied."""
    where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    return f"{where}the machine refused it: {error.strerror or error}. {remedy(error.errno)}"


def complete_recipe(
    ctx: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete a recipe by name or by path: files here and below, and below what is typed."""
    from kbn.recipe.finding import names

    typed = incomplete.removeprefix("./")
    head = incomplete.removesuffix(typed)
    directory = Path(typed if typed.endswith("/") else Path(typed).parent)
    near = [*Path().glob("*/*.yaml"), *directory.glob("*.yaml"), *directory.glob("*/*.yaml")]
    files = sorted({file.as_posix() for file in near})
    found = [head + file for file in files if file.startswith(typed)]
    return [*map(CompletionItem, found), *_starting(names(), incomplete)]


def _complete_override(
    ctx: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete a dotted key of the recipe that is named before, or the words that it takes."""
    from kbn.recipe.completing import keys, words
    from kbn.recipe.loading import load_recipe

    match [*ctx.params.get("overrides", ()), incomplete]:
        case [*_, key, "=", typed]:  # bash takes the sign for the end of a word
            return _starting(words(key), typed)
        case [*_, key, ""] if "=" not in key:  # and click drops it at the end
            return _starting(words(key), "")
    key, sign, typed = incomplete.partition("=")
    if sign:
        return _starting((f"{key}={word}" for word in words(key)), incomplete)
    try:
        recipe = load_recipe(ctx.params["recipe"])
    except (KeyError, TypeError, RecipeError):  # there is none to take them from
        return []
    return _starting((f"{key}=" for key in keys(recipe)), incomplete)


def _starting(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def _debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta[DEBUG] = ctx.meta.get(DEBUG) or value


debug = click.option(
    "--debug", is_flag=True, expose_value=False, callback=_debug, help="Show tracebacks."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
recipe_argument = click.argument("recipe", metavar="RECIPE", shell_complete=complete_recipe)
overrides_argument = click.argument(
    "overrides", metavar="[KEY=VALUE]...", nargs=-1, shell_complete=_complete_override
)
