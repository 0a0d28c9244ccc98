"""Recipes and reports need no adapter modules: they use the public names of libraries alone."""

import ast
from pathlib import Path

import pytest

import kbn

HOME = Path(kbn.__file__).parent


def private(name):
    return name.startswith("_") and not name.startswith("__")


def names_in(tree):
    """Yield (line, name) of the private attributes and imports in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            yield node.lineno, node.attr
        elif isinstance(node, ast.ImportFrom | ast.Import):
            found = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            parts = [part for name in found for part in name.split(".")]
            yield from ((node.lineno, part) for part in parts if private(part))


def defined_in(tree):
    """Yield the names that a module defines itself, as functions or as annotated attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


@pytest.mark.parametrize("package", ["recipe", "report"])
def test_no_private_name_of_a_library_is_used(package):
    trees = {file: ast.parse(file.read_text()) for file in (HOME / package).glob("*.py")}
    own = {name for tree in trees.values() for name in defined_in(tree)}
    assert not [
        f"{file.name}:{line}: {name}"
        for file, tree in trees.items()
        for line, name in names_in(tree)
        if name not in own
    ]


def test_private_names_are_found():
    tree = ast.parse("import a._b\nfrom c import _d\ne._f = g.__h__\n")
    assert list(names_in(tree)) == [(1, "_b"), (2, "_d"), (3, "_f")]
