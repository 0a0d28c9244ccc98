"""YAML as plain data, with the line of every value and of every fault."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterator

import yaml

from kbn.errors import Fault, RecipeError

KeyPath = tuple[str | int, ...]  # keys of mappings and indices of lists that lead to a value
Source = tuple[str, int | None]  # file and line of a value
Sources = dict[KeyPath, Source]
MAX_VALUES = 10_000  # values in a text, those behind an alias counted at every use
MAX_DEPTH = 20  # levels of mappings and lists inside each other

# part of PyYAML's message about a common slip -> hint
SLIPS = {
    "'\\t'": "Indent with spaces, not with tabs.",
    "cannot start any token": "Put the value in quotes.",
    "mapping values are not allowed": "Check the line before, or put the value in quotes.",
    "another document": "Keep one document, without ---.",
}

YAML_TAG = "tag:yaml.org,2002:"
WORD = f"{YAML_TAG}str"
# Values without quotes are those of YAML 1.2: 1e-3 is a number, 010 is ten, and `no` is a word.
SCALARS: dict[str, tuple[re.Pattern[str], Callable[[str], bool | int | float | None]]] = {
    f"{YAML_TAG}bool": (re.compile(r"(true|false)\Z"), lambda text: text == "true"),
    f"{YAML_TAG}null": (re.compile(r"(null|~|)\Z"), lambda _: None),
    # Python reads no more than 4300 digits
    f"{YAML_TAG}int": (re.compile(r"[-+]?([0-9]{1,300}|[0-9]{1,3}(_[0-9]{3}){1,99})\Z"), int),
    f"{YAML_TAG}float": (
        re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z"),
        float,
    ),
}


OF_CLASSES = ("class_weight",)  # the keys of this mapping are classes as the data name them


class _Loader(yaml.BaseLoader):
    """A loader that recognizes the values in `SCALARS` and no others."""


for _tag, (_pattern, _) in SCALARS.items():
    yaml.add_implicit_resolver(_tag, _pattern, Loader=_Loader)


def parse(text: str, file: str, sources: Sources) -> tuple[object, list[Fault]]:
    """Return the data of a YAML text, and a fault for each part that is no plain data.

    Parts that are no plain data are left out of the data.

    Args:
        text: one YAML document.
        file: name of the file that the text comes from.
        sources: receives the line of every value.

    Raises:
        RecipeError: if the text is not YAML, or has too many values or levels.
    """
    try:
        if len(text) > MAX_VALUES:  # a shorter one cannot have too many
            _check_count(yaml.parse(text, _Loader), file)
        root = yaml.compose(text, _Loader)
    except RecursionError:
        raise _too_deep(file) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        received, hint = f"the character U+{error.character:04X}", "Remove it."
        raise RecipeError([Fault(file, line, "", "must be YAML", received, hint)]) from None
    except yaml.MarkedYAMLError as error:
        raise RecipeError([_syntax_fault(error, file)]) from None
    if root is None:
        return None, []
    walk = _Walk(file, sources, [])
    return walk.visit(root, ()), walk.faults


def word(text: str) -> str:
    """Return a text as YAML writes it, in quotes unless it is certainly read as this word."""
    if re.fullmatch(r"[\w./][\w./-]*", text, re.ASCII) and not any(
        pattern.match(text) for pattern, _ in SCALARS.values()
    ):
        return text
    quoted = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf)
    return str(quoted).strip()


def dotted(path: KeyPath) -> str:
    """Return a path as it is written in overrides and messages."""
    return ".".join(map(str, path))


def _check_count(events: Iterator[yaml.Event], file: str) -> None:
    """Raise a RecipeError if a text has so many values that composing it would take long."""
    nodes = 0
    for event in events:
        nodes += isinstance(event, yaml.NodeEvent)
        if nodes > 2 * MAX_VALUES:  # keys are nodes, too
            raise _too_many(file, _line(event))


def _too_many(file: str, line: int) -> RecipeError:
    rule, hint = f"must hold at most {MAX_VALUES} values", "Use fewer aliases."
    return RecipeError([Fault(file, line, "", rule, None, hint)])


def _too_deep(file: str) -> RecipeError:
    rule, received = "values must not nest so deeply", f"more than {MAX_DEPTH} levels, or a loop"
    hint = "Remove the alias that contains itself."
    return RecipeError([Fault(file, None, "", rule, received, hint)])


def _syntax_fault(error: yaml.MarkedYAMLError, file: str) -> Fault:
    """Return PyYAML's error as a fault."""
    problem, mark, begun = error.problem or "", error.problem_mark, error.context_mark
    hint = next((hint for slip, hint in SLIPS.items() if slip in problem), "Fix the YAML here.")
    if begun and re.search("end of stream|stream end", problem):
        hint = f"Close what is opened in line {begun.line + 1}."
    received = problem.removeprefix("but ")
    return Fault(file, mark.line + 1 if mark else None, "", "must be YAML", received, hint)


def _implied_tag(node: yaml.Node) -> str:
    """Return the tag that a node has unless the text gives it another one."""
    if isinstance(node, yaml.SequenceNode):
        return f"{YAML_TAG}seq"
    if isinstance(node, yaml.MappingNode):
        return f"{YAML_TAG}map"
    if isinstance(node, yaml.ScalarNode) and node.style is None:  # neither quotes nor a block
        return next((t for t, (pattern, _) in SCALARS.items() if pattern.match(node.value)), WORD)
    return WORD


@dataclasses.dataclass(frozen=True)
class _Walk:
    """Turns nodes into data, notes the line of every value, and skips what is no plain data."""

    file: str
    sources: Sources
    faults: list[Fault]

    def visit(self, node: yaml.Node, path: KeyPath) -> object:
        """Return the data of a node; a node is visited once for each alias of it."""
        if len(path) > MAX_DEPTH:
            raise _too_deep(self.file)
        if len(self.sources) > MAX_VALUES:
            raise _too_many(self.file, _line(node))
        self.sources.setdefault(path, (self.file, _line(node)))
        self._remove_tag(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.visit(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            node.value = [pair for pair in node.value if self._is_valid_key(pair[0], path)]
            return {key.value: self.visit(item, (*path, key.value)) for key, item in node.value}
        _, convert = SCALARS.get(node.tag, (None, str))
        return convert(node.value)

    def _remove_tag(self, node: yaml.Node, path: KeyPath) -> None:
        """Remove a tag from a node that plain data would not have."""
        implied = _implied_tag(node)
        if node.tag != implied:
            tag = f"the tag {node.tag.replace(YAML_TAG, '!!')}"
            self._fault(node, path, "must be plain data", tag, "Remove the tag.")
            node.tag = implied

    def _is_valid_key(self, key: yaml.Node, path: KeyPath) -> bool:
        """Whether a key is a word that its mapping does not have yet; notes its line."""
        is_word = isinstance(key, yaml.ScalarNode) and (key.tag == WORD or path[-1:] == OF_CLASSES)
        if not is_word:
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
            self._fault(key, below, "a key may occur only once", "it again", hint)
            return False
        self.sources[below] = (self.file, _line(key))
        return True

    def _fault(self, node: yaml.Node, path: KeyPath, rule: str, received: str, hint: str) -> None:
        self.faults.append(Fault(self.file, _line(node), dotted(path), rule, received, hint))


def _line(found: yaml.Node | yaml.Event) -> int:
    """Return the line that a node or an event starts in, counted from 1."""
    return 1 + (found.start_mark.line if found.start_mark else 0)
