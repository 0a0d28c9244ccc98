"""YAML as plain data, with the line of every value and of every fault."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import yaml

from kbn.errors import Fault, RecipeError

KeyPath = tuple[str | int, ...]  # of a value: keys of mappings and indices of lists
Source = tuple[str, int | None]  # file and line of a value
Sources = dict[KeyPath, Source]
LARGEST = 10_000  # values of a text, aliases counted as often as they stand for something
DEEPEST = 20  # levels of values in values

# what PyYAML says of common slips, and what to do about them
CURES = {
    "'\\t'": "Indent with spaces, not with tabs.",
    "cannot start any token": "Put the value in quotes.",
    "mapping values are not allowed": "Check the line before, or put the value in quotes.",
    "another document": "Keep one document, without ---.",
}


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain values: 1e-3 is a number, no is a word."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  as declared above it

    def __init__(self, text: str, file: str):
        super().__init__(text)
        self.file, self.nodes = file, 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.nodes += 1
        if self.nodes > 2 * LARGEST:  # keys are nodes, too
            raise _too_many(self.file, self.get_mark().line + 1)
        return super().compose_node(parent, index)


_TAG = "tag:yaml.org,2002:"
for _name, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("null", r"null|~|", ["n", "~", ""]),
    ("int", r"[-+]?[0-9]{1,300}", "-+0123456789"),  # Python reads no more than 4300 digits
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), _first)
_Loader.add_constructor(_TAG + "int", lambda _, node: int(node.value))  # 010 is ten, not eight


def parse(text: str, file: str, sources: Sources) -> tuple[Any, list[Fault]]:
    """The data of a YAML text, and what of it is no plain data and was left out.

    Args:
        text: one YAML document.
        file: where it was read.
        sources: is given the line of every value.

    Raises:
        RecipeError: if it is no YAML.
    """
    try:
        loader = _Loader(text, file)
        root = loader.get_single_node()
        if root is None:
            return None, []
        walk = _Walk(loader, file, sources, [])
        walk.visit(root, ())
        return loader.construct_document(root), walk.faults
    except RecursionError:
        raise _too_deep(file) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        received, hint = f"the character U+{error.character:04X}", "Remove it."
        raise RecipeError([Fault(file, line, "", "must be YAML", received, hint)]) from None
    except yaml.MarkedYAMLError as error:
        raise RecipeError([_told(error, file)]) from None


def dotted(path: KeyPath) -> str:
    """A path as it is written in overrides and messages."""
    return ".".join(map(str, path))


def _too_many(file: str, line: int) -> RecipeError:
    rule, hint = f"must hold at most {LARGEST} values", "Use fewer aliases."
    return RecipeError([Fault(file, line, "", rule, None, hint)])


def _too_deep(file: str) -> RecipeError:
    rule, received = "values must not nest so deeply", f"more than {DEEPEST} levels, or a loop"
    hint = "Remove the alias that holds itself."
    return RecipeError([Fault(file, None, "", rule, received, hint)])


def _told(error: yaml.MarkedYAMLError, file: str) -> Fault:
    """What PyYAML found, as a fault."""
    problem, mark, begun = error.problem or "", error.problem_mark, error.context_mark
    hint = next((hint for slip, hint in CURES.items() if slip in problem), "Mend the YAML here.")
    if begun and re.search("end of stream|stream end", problem):
        hint = f"Close what is opened in line {begun.line + 1}."
    received = problem.removeprefix("but ")
    return Fault(file, mark.line + 1 if mark else None, "", "must be YAML", received, hint)


@dataclasses.dataclass(frozen=True)
class _Walk:
    """Notes the line of every value, and takes out what is no plain data."""

    loader: _Loader
    file: str
    sources: Sources
    faults: list[Fault]

    def visit(self, node: yaml.Node, path: KeyPath) -> None:
        if len(path) > DEEPEST:
            raise _too_deep(self.file)
        if len(self.sources) > LARGEST:
            raise _too_many(self.file, self._line(node))
        self.sources.setdefault(path, (self.file, self._line(node)))
        self._plain(node, path)
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.visit(item, (*path, index))
        if isinstance(node, yaml.MappingNode):
            node.value = [pair for pair in node.value if self._sound_key(pair[0], path)]
            for key, item in node.value:
                self.visit(item, (*path, key.value))

    def _plain(self, node: yaml.Node, path: KeyPath) -> None:
        """Takes a tag from a node that plain data would not have."""
        plain = getattr(node, "style", None) is None
        value = node.value if isinstance(node, yaml.ScalarNode) else None
        implied = self.loader.resolve(type(node), value, (plain, not plain))  # type: ignore[no-untyped-call]
        if node.tag != implied:
            tag = f"the tag {node.tag.replace(_TAG, '!!')}"
            self._fault(node, path, "must be plain data", tag, "Remove the tag.")
            node.tag = implied

    def _sound_key(self, key: yaml.Node, path: KeyPath) -> bool:
        """Whether a key is a word that stands for the first time; notes its line."""
        if not isinstance(key, yaml.ScalarNode) or key.tag != _TAG + "str":
            received = (isinstance(key, yaml.ScalarNode) and key.value) or "something else"
            hint = "Write a word, or put it in quotes."
            self._fault(key, path, "a key must be a word", received, hint)
            return False
        below = (*path, key.value)
        if key.value == "<<":
            hint = "Write the keys out; an alias can stand for a whole value."
            self._fault(key, path, "mappings cannot be merged", "<<", hint)
            return False
        if below in self.sources:
            hint = f"Remove one; the other is in line {self.sources[below][1]}."
            self._fault(key, below, "a key may stand once", "it again", hint)
            return False
        self.sources[below] = (self.file, self._line(key))
        return True

    def _fault(self, node: yaml.Node, path: KeyPath, rule: str, received: str, hint: str) -> None:
        self.faults.append(Fault(self.file, self._line(node), dotted(path), rule, received, hint))

    @staticmethod
    def _line(node: yaml.Node) -> int:
        return int(node.start_mark.line) + 1
