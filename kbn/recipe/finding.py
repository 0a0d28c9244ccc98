"""Where the recipe of a name is: below `recipes/` in the working directory, or shipped with kbn."""

from __future__ import annotations

from pathlib import Path

from kbn.errors import Fault, RecipeError, Text
from kbn.recipe.names import closest, is_name

READABLE, LIST = "must be a readable file", "List the recipes here: kbn ls"  # rule and hint

RECIPES = Path("recipes")  # in the working directory
_PACKAGE = Path(__file__).parents[1]
_INSTALLED, _CHECKED_OUT = _PACKAGE / "recipes", _PACKAGE.parent / "recipes"
SHIPPED = _INSTALLED if _INSTALLED.is_dir() else _CHECKED_OUT


def local() -> list[Path]:
    """Return the recipe files below `recipes/` in the working directory, in order."""
    return sorted(RECIPES.rglob("*.yaml"))


def shipped() -> dict[str, Path]:
    """Return {name: file} of the recipes that kbn ships, in order."""
    return {file.stem: file for file in sorted(SHIPPED.rglob("*.yaml"))}


def names() -> list[str]:
    """Return all names that `find` knows, in order."""
    return sorted(filter(is_name, {*shipped(), *(file.stem for file in local())}))


def find(given: str) -> str:
    """Return the file of a recipe that is given by path or by name.

    An existing file is taken as it is. Of a name, `recipes/NAME.yaml` comes first, then a file
    further below `recipes/`, then the shipped recipe. What is none of these is returned unchanged.

    Raises:
        RecipeError: if several files further below `recipes/` have the name.
    """
    path = Path(given)
    if not is_name(given) or (path.exists() and not path.is_dir()):
        return given
    own = [file for file in local() if file.stem == given]
    direct = RECIPES / f"{given}.yaml"
    if len(own) > 1 and direct not in own:
        rule, received = "must name a single recipe", Text(", ".join(map(str, own)))
        raise RecipeError([Fault(given, None, "", rule, received, "Write the path of one.")])
    return str(direct if direct in own else (own or [shipped().get(given, path)])[0])


def missing(given: str) -> Fault:
    """Return the fault of a recipe that does not exist."""
    rule = "must be a recipe's name or a readable file" if is_name(given) else READABLE
    near = closest(Path(given).stem, names())
    meant = f"Did you mean {near}? " if near else ""
    return Fault(given, None, "", rule, "no such file or directory", f"{meant}{LIST}")
