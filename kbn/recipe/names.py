"""Names: which a recipe may have, and which known one an unknown one resembles.

Without pydantic, whose import a shell that completes a name would wait for.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

MAX_NAME = 80  # characters; the directory of a search is named after recipe and variant
NAME_RULE = f"may contain only letters, digits, _ and -, at most {MAX_NAME}, and not start with -"
DEVICE_RULE = "may not be the name of a device on Windows, where no file can have it"
_NAME = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_-]{{,{MAX_NAME - 1}}}")
_DEVICE = re.compile(r"con|prn|aux|nul|(com|lpt)[1-9]", re.IGNORECASE)


def is_word(text: str) -> bool:
    """Return whether a text consists of the characters of names."""
    return _NAME.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Return whether a text can be the name of a recipe."""
    return violated_by(text) is None


def violated_by(name: str) -> str | None:
    """Return the rule that a text violates as the name of a recipe; None if it can be one."""
    if not is_word(name):
        return NAME_RULE
    return DEVICE_RULE if _DEVICE.fullmatch(name) else None


def suggest(word: object, known: Iterable[object]) -> str:
    """Return a hint for an unknown word: the most similar known one, or all known ones."""
    words = sorted(map(str, known))
    near = closest(str(word), words)
    return f"Did you mean {near}?" if near else f"Use one of: {', '.join(words)}."


def closest(word: str, known: Sequence[str]) -> str | None:
    """Return the known word that is most similar to an unknown one, if any is similar."""
    return next(iter(difflib.get_close_matches(word, known, n=1)), None)
