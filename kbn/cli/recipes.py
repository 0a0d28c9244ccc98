"""`kbn ls`, `show`, `check` and `schema`: recipes, and how far their searches are."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kbn.cli import console
from kbn.cli.command import (
    Command,
    as_json,
    debug,
    overrides_argument,
    recipe_argument,
)
from kbn.cli.process import settle_libraries, stdout_for_results
from kbn.errors import RecipeError

if TYPE_CHECKING:
    from kbn.recipe.schema import Recipe
    from kbn.run.project import Project


@click.command("ls", cls=Command)
@click.argument("directory", required=False, type=click.Path(file_okay=False))
@as_json
@debug
def ls_command(directory: str | None, as_json: bool) -> None:
    """List recipes and how far their searches are.

    \b
      kbn ls               those below recipes/, and those that kbn ships
      kbn ls my/recipes
    """
    if directory is None:
        rows = _known()
    elif Path(directory).is_dir():
        rows = [_listed(file, str(file)) for file in sorted(Path(directory).rglob("*.yaml"))]
    else:
        rule = f"no such directory: {directory}; name the one that holds your recipes"
        raise click.BadParameter(rule, param_hint="DIRECTORY")
    if as_json:
        console.show_json(rows)
        return
    listed = [(row["recipe"], row["state"], row["about"]) for row in rows]
    console.show_columns(listed or [("no recipes",)], prose=True)


@click.command("show", cls=Command)
@recipe_argument
@overrides_argument
@as_json
@debug
def show_command(recipe: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Say what a recipe says and where its search stands.

    \b
      kbn show digits_mlp
      kbn show digits_mlp search.trials=96

    Every key that it prints can be overridden in other commands.
    """
    from kbn.recipe.loading import load_recipe
    from kbn.run.project import Project

    loaded = load_recipe(recipe, overrides)
    project = Project(loaded)
    standing = [_standing(search) for search in project.searches]
    if as_json:
        console.show_json({**loaded.shown, "searches": standing})
        return
    console.show(loaded.about or loaded.name, "bold")
    for block in (_settings(loaded), _space(loaded), _variants(loaded)):
        if block:
            console.show()
            console.show_columns(block)
    console.show()
    for row in standing:
        console.show(f"{row['directory']}: {row['state']}")
    try:
        project.check_unchanged()
    except RecipeError as error:
        console.show("Since these searches the recipe has changed:")
        console.show(str(error))


UNSEEN = "; its data and its model were not checked: add --full"


@click.command("check", cls=Command)
@recipe_argument
@overrides_argument
@click.option("--full", is_flag=True, help="Load the data and build the model, too.")
@as_json
@debug
def check_command(recipe: str, overrides: tuple[str, ...], full: bool, as_json: bool) -> None:
    """Say all that is wrong with a recipe.

    \b
      kbn check digits_mlp
      kbn check digits_mlp --full    its data and its model, too

    With --full the recipe's own Python runs; without, nothing of it is executed.
    """
    from kbn.recipe.loading import load_recipe

    try:
        loaded = load_recipe(recipe, overrides)
        told = _checked_in_full(loaded) if full else UNSEEN
    except RecipeError as error:
        if as_json:
            console.show_json({"faults": [dataclasses.asdict(fault) for fault in error.faults]})
        raise
    if as_json:
        console.show_json({"faults": []})
        return
    console.show(
        f"{recipe}: good; {loaded.search.extent} over {len(loaded.space)} hyperparameters{told}"
    )


@click.command("schema", cls=Command)
@debug
def schema_command() -> None:
    """Print the JSON schema of a recipe, for editors.

    \b
      kbn schema > recipe.schema.json

    \b
    Then, as a recipe's first line, for editors that know YAML's language server:
      # yaml-language-server: $schema=recipe.schema.json
    """
    from kbn.recipe.schema import Recipe

    draft = "https://json-schema.org/draft/2020-12/schema"
    console.show_json({"$schema": draft, **Recipe.model_json_schema()})


def _known() -> list[dict[str, str]]:
    """Describe the recipes below `recipes/` by their paths, and other shipped ones by name."""
    from kbn.recipe.finding import local, shipped

    own = local()
    named = {file.stem for file in own}
    rows = [_listed(file, str(file)) for file in own]
    return rows + [_listed(file, name) for name, file in shipped().items() if name not in named]


def _listed(file: Path, name: str) -> dict[str, str]:
    """Describe a recipe: its name or path, its first comment, and how far its searches are.

    One that cannot be read, or whose search cannot, is listed with what is wrong with it.
    """
    from kbn.recipe.loading import load_recipe

    try:
        recipe = load_recipe(file)
        return {"recipe": name, "state": _state(recipe), "about": recipe.about}
    except RecipeError as error:
        about = str(error.faults[0])
    except Exception as error:  # noqa: BLE001  whatever it is, the other recipes are listed
        about = " ".join(str(error).split()) or repr(error)
    return {"recipe": name, "state": "wrong", "about": about}


def _state(recipe: Recipe) -> str:
    """Describe in a few words how far a recipe's searches are."""
    from kbn.run.project import Project

    rows = [_standing(search) for search in Project(recipe).searches]
    if recipe.compare is None:
        return str(rows[0]["state"])
    ended, trials = sum(row["ended"] for row in rows), sum(row["trials"] for row in rows)
    if recipe.search.shares_epochs:  # the epochs of so many whole trainings
        return f"{ended} trials of {len(rows)} searches"
    return f"{ended}/{trials} trials of {len(rows)} searches"


def _standing(search: Project) -> dict[str, Any]:
    """Return how far a search is."""
    from kbn.run.progress import amount, count_ended, done, failed

    recipe, results = search.recipe, search.results()
    finished, best = len(results.finished), results.best
    wrong = len(failed(results))
    state = f"{finished}/{recipe.search.trials} trials"
    if recipe.search.shares_epochs:
        ended = f"{amount(done(recipe, results))}/{recipe.search.trials}"
        state = f"{ended} whole trainings, {finished} trials"
    if wrong:
        state += f", {wrong} failed"
    if best:
        state += f", best {console.score(best.score)}"
    return {
        "directory": str(search.path),
        "state": state,
        "trials": recipe.search.trials,
        "ended": count_ended(results),
        "failed": wrong,
        "best": best and {"trial": best.trial, "score": best.score, "values": best.values},
    }


def _settings(recipe: Recipe) -> list[tuple[str, str]]:
    """Return (dotted key, value) of everything but the hyperparameters and the variants."""
    from kbn.recipe.completing import leaves

    data = {key: value for key, value in recipe.shown.items() if key != "space"}
    if recipe.compare is None:
        del data["compare"]
    else:
        del data["compare"]["variants"]
    return [(key, _written(value)) for key, value in leaves(data)]


def _space(recipe: Recipe) -> list[tuple[str, ...]]:
    """Return one row per hyperparameter, below a headline."""
    head = ("hyperparameter", "type", "range", "scale", "tier", "when")
    rows = [(name, *_row(spec)) for name, spec in recipe.space.items()]
    return [head, *rows] if rows else []


def _row(spec: Any) -> tuple[str, ...]:
    given = spec.model_dump(mode="json")
    extent = given.get("values", [given.get("value")])
    words = " ".join(map(_written, extent))
    if "low" in given:
        words = f"{_written(given['low'])} to {_written(given['high'])}"
    when = ", ".join(
        f"{name} is {' or '.join(map(_written, values))}" for name, values in spec.conditions()
    )
    return spec.type, words, given.get("scale", ""), _written(given["tier"] or ""), when


def _variants(recipe: Recipe) -> list[tuple[str, str]]:
    """Return rows of (variant, what it sets)."""
    if recipe.compare is None:
        return []
    told = {
        name: ", ".join(f"{key}={_written(value)}" for key, value in changed.items())
        for name, changed in recipe.shown["compare"]["variants"].items()
    }
    return [("variant", "sets"), *((name, text or "nothing") for name, text in told.items())]


def _written(value: Any) -> str:
    """Write a value as YAML does, on one line."""
    if isinstance(value, str):
        return value
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("...\n").strip()


def _checked_in_full(recipe: Recipe) -> str:
    """Load the data, build the model, and describe both.

    Raises:
        RecipeError: if they are not fit for the recipe.
    """
    settle_libraries()
    from kbn.recipe.columns import described
    from kbn.run.past import past_of
    from kbn.run.preflight import prepare
    from kbn.run.project import Project

    with stdout_for_results():
        if recipe.search.names:
            past_of(Project(recipe))
        *_, data = [prepare(of[0]) for of in (recipe.variants or {"": [recipe]}).values()]
    sizes = f"{data.sizes.train} for training, {data.sizes.validation} for validation"
    if data.folds:
        sizes = f"{data.sizes.train} in {len(data.folds)} folds"
    told = f"; the model builds, the examples are of the shape {data.shape}: {sizes}"
    if data.preprocessing is not None:
        told += f"\n{described(data.preprocessing.kinds)}"
    return told
