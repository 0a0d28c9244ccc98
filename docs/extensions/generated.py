"""Reference pages that are made from the code: commands, recipe keys and docstrings.

```{kbn-commands}     the --help of every command
```{kbn-recipe-keys}  every key of a recipe, from its JSON schema
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from kbn.cli.main import cli
from kbn.recipe.schema import Recipe

SECTION = re.compile(r"(Args|Attributes|Call arguments|Raises|Returns|Yields|Examples?):$")
NAMES = re.compile(r"(?<=,)\n +(?=[*\w]+[,:])")


class Commands(SphinxDirective):
    """The help of kbn and of each of its commands, as a terminal of 80 columns shows it."""

    def run(self) -> list[nodes.Node]:
        lines = []
        for name, command in [("", cli), *cli.commands.items()]:
            title = f"kbn {name}".strip()
            with click.Context(
                command, info_name=title, terminal_width=80, **cli.context_settings
            ) as context:
                text = command.get_help(context)
            lines += [f"## `{title}`", "", "```text", text, "```", ""]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


class RecipeKeys(SphinxDirective):
    """One table for each section of a recipe: its keys, what they may be, and their defaults."""

    def run(self) -> list[nodes.Node]:
        lines = list(_sections(Recipe.model_json_schema(by_alias=True)))
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def _sections(schema: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a Markdown page on a JSON schema."""
    named = schema["$defs"]
    yield from _table("All sections", {**schema, "description": "The name, and the sections."})
    for key, of in schema["properties"].items():
        for name in _below(of, named, set()):
            title = (
                f"`{key}`: {_title(name)}"
                if name != of.get("$ref", "/").rpartition("/")[2]
                else f"`{key}`"
            )
            yield from _table(title, named[name])


def _title(name: str) -> str:
    return name.removesuffix("Spec")


def _table(title: str, of: dict[str, Any]) -> Iterator[str]:
    yield from (f"## {title}", "", of.get("description", ""), "")
    if of.get("properties"):
        yield from ("| key | may be | default |", "|---|---|---|")
        for key, value in of["properties"].items():
            default = "required" if key in of.get("required", ()) else _shown(value.get("default"))
            yield f"| `{key}` | {_allowed(value)} | {default} |"
    yield ""


def _references(of: dict[str, Any]) -> Iterator[str]:
    """Yield the names of the definitions that a part of a schema refers to, in order."""
    for key, value in of.items():
        if key == "$ref":
            yield value.rpartition("/")[2]
        elif key != "discriminator":
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, dict):
                    yield from _references(part)


def _below(of: dict[str, Any], named: dict[str, Any], seen: set[str]) -> Iterator[str]:
    """Yield the names of all definitions that a part of a schema needs, each once, outer first."""
    for name in _references(of):
        if name not in seen:
            seen.add(name)
            yield name
            yield from _below(named[name], named, seen)


def _shown(value: object) -> str:
    """Show a default; nothing where there is none, or where it is what a section's own keys say."""
    if value is None or isinstance(value, (dict, list)):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def _allowed(of: dict[str, Any]) -> str:
    """Describe in words what a value may be."""
    if "$ref" in of:
        return _title(of["$ref"].rpartition("/")[2])
    if "enum" in of or "const" in of:
        return ", ".join(f"`{each}`" for each in of.get("enum", [of.get("const")]))
    if parts := of.get("anyOf") or of.get("oneOf"):
        kinds = dict.fromkeys(_allowed(part) for part in parts if part.get("type") != "null")
        return " or ".join(kinds)
    kind = str(of.get("type", "anything"))
    if kind == "array":
        return f"list of {_allowed(of.get('items', {}))}"
    if kind == "object" and isinstance(of.get("additionalProperties"), dict):
        return f"mapping of {_allowed(of['additionalProperties'])}"
    limits = [f"{sign} {of[key]}" for key, sign in LIMITS.items() if key in of]
    return " ".join([kind, ", ".join(limits)]).strip()


def _prepare(
    app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]
) -> None:
    """Turn what docstrings have of Markdown, and of long lists of names, into what Sphinx reads.

    Indented blocks above the sections become literal. Names of arguments that share a description
    are put on one line.
    """
    above = next((n for n, line in enumerate(lines) if SECTION.match(line)), len(lines))
    marked: list[str] = []
    for before, line in zip(["", *lines], lines[:above], strict=False):
        opens = line.startswith("    ") and not before.strip()
        if opens and not (marked and _is_code(marked)):
            marked += ["::", ""]
        marked.append(line)
    text = NAMES.sub(" ", "\n".join(lines[above:]))
    lines[:] = [*marked, *text.split("\n")]


def _with_arguments(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, returned: str
) -> tuple[str, str] | None:
    """Show the arguments of a class that Keras hides behind a __new__ of its own."""
    if what != "class" or signature != "(*args, **kwargs)":
        return None
    _, *arguments = inspect.signature(obj.__init__).parameters.values()
    plain = [each.replace(annotation=each.empty) for each in arguments]
    return str(inspect.Signature(plain)), returned


def _is_code(lines: list[str]) -> bool:
    """Whether a literal block was open at the end of these lines."""
    last = next((line for line in reversed(lines) if line.strip()), "")
    return last == "::" or last.startswith("    ")


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx what is here."""
    app.add_directive("kbn-commands", Commands)
    app.add_directive("kbn-recipe-keys", RecipeKeys)
    app.connect("autodoc-process-docstring", _prepare, priority=100)
    app.connect("autodoc-process-signature", _with_arguments)
    return {"parallel_read_safe": True}
