"""New recipes in `recipes/`: how they are written, and how one is made from another."""

from __future__ import annotations

import filecmp
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from kbn.errors import RecipeError, Violation
from kbn.files import write
from kbn.recipe.code import source_of
from kbn.recipe.finding import RECIPES, find
from kbn.recipe.loading import load_recipe
from kbn.recipe.reading import word
from kbn.recipe.schema import Recipe

BESIDE = "Put it into the directory of that recipe, or write an absolute path."


def path_of(name: str) -> Path:
    """Return the file of a new recipe."""
    return RECIPES / f"{name}.yaml"


def write_recipe(name: str, text: str, copies: Mapping[Path, Path]) -> Path:
    """Write a recipe, after the files that it names; return its file.

    Args:
        name: of the recipe.
        text: of its file.
        copies: {path to be written: file that it is a copy of}.

    Raises:
        OSError: if something cannot be read or written.
    """
    for target, source in copies.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        write(target, source.read_bytes())
    file = path_of(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    write(file, text.encode())
    return file


def copy_recipe(name: str, given: str) -> tuple[str, dict[Path, Path]]:
    """Return the text of a recipe under a new name, and the files to copy beside it.

    Comments stay; the commands in them take the new name. An experiment that is named after the
    recipe is renamed with it.

    Args:
        name: the new name.
        given: path or name of the recipe.

    Returns:
        The text, and {path to be written: file that it is a copy of}.

    Raises:
        RecipeError: if the recipe is not valid, or if a file that it names cannot be copied.
    """
    recipe = load_recipe(given)
    text = _renamed(recipe.written or "", recipe.name, name)
    stem = re.escape(Path(find(given)).stem)
    command = re.compile(rf"(\bkbn [a-z]+ )(?:\S*/)?{stem}(?:\.yaml)?(?![\w-])")
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        if line.lstrip().startswith("#"):
            line = command.sub(rf"\g<1>{name}", line)  # noqa: PLW2901
            lines[number] = line.replace(f"searches/{recipe.name}/", f"searches/{name}/")
    return "".join(lines), _copies(recipe)


def _renamed(text: str, old: str, new: str) -> str:
    """Return a recipe's text with another name, also of an experiment that has the old one."""
    nodes = []
    root = yaml.compose(text, yaml.BaseLoader)
    for key, value in root.value if root else ():
        if key.value == "name":
            nodes.append(value)
        elif key.value == "tracking" and isinstance(value, yaml.MappingNode):
            nodes += [v for k, v in value.value if (k.value, v.value) == ("experiment", old)]
    places = {(node.start_mark.index, node.end_mark.index) for node in nodes}
    for start, end in sorted(places, reverse=True):
        text = f"{text[:start]}{word(new)}{text[end:]}"
    return text


def _copies(recipe: Recipe) -> dict[Path, Path]:
    """Return {path to be written: file} of what a recipe names by relative paths.

    Raises:
        RecipeError: if one is missing, lies outside the recipe's directory, or would replace other
            content.
    """
    copies, faults = {}, []
    for key, relative in dict.fromkeys(_named(recipe)):
        source, target = recipe.home / relative, RECIPES / relative
        if target.exists() and source.exists() and target.samefile(source):
            continue
        if source.is_dir():
            rule, hint = "a folder is not copied with its recipe", "Write an absolute path."
        elif not source.is_file():
            rule, hint = "must be a file", "Fix the path."
        elif ".." in relative.parts:
            rule, hint = "must lie below the recipe to be copied with it", BESIDE
        elif target.exists() and not (
            target.is_file() and filecmp.cmp(source, target, shallow=False)
        ):
            rule = f"must not replace {target}, which has other content, by its copy"
            hint = "Move that one away."
        else:
            copies[target] = source
            continue
        faults.append(recipe.fault(key, Violation(rule, hint, received=str(source))))
    if faults:
        raise RecipeError(faults)
    return {target: source for target, source in copies.items() if not target.exists()}


def _named(recipe: Recipe) -> Iterator[tuple[str, Path]]:
    """Yield (key, relative path) of the data, weights and Python files that a recipe names."""
    for each in (recipe, *(seeds[0] for seeds in recipe.variants.values())):
        named = {f"dataset.{key}": file for key, file in each.dataset.files.items()}
        if each.model.weights_file is not None:
            named["model.weights"] = each.model.weights_file
        if each.model.preset is not None and (recipe.home / each.model.preset).is_dir():
            named["model.preset"] = each.model.preset
        for key, path in named.items():
            if not Path(path).is_absolute():
                yield key, Path(path)
        for key, reference in each.functions.items():
            source = source_of(reference, recipe.home)
            if source is not None and source.is_relative_to(recipe.home):
                yield key, source.relative_to(recipe.home)
