"""Names in MLflow, and what they stand for.

MLflow allows ASCII letters and digits, `_ - . space : /` and 250 characters, and no path that
could be written shorter (`a//b`, `../a`). A character beyond these is written as the hexadecimal
digits of its UTF-8 bytes between two colons, and so is a colon itself.
"""

from __future__ import annotations

import hashlib
import posixpath
import re

MOST = 250
_ILLEGAL = re.compile(r"[^A-Za-z0-9_\-. /]+")
_MARKED = re.compile(r":((?:[0-9a-f]{2})+):")


def legal(name: str) -> str:
    """Return a name as MLflow takes it: unchanged if it is legal and has no colon.

    A name that is too long keeps its beginning and gets a hash; this alone is not reversible.
    """
    marked = _ILLEGAL.sub(_mark, name)
    if (
        marked in ("", ".")
        or marked[0] == "/"
        or posixpath.normpath(marked) != marked
        or (marked.startswith(".."))
    ):
        marked = re.sub(r"[./]+", _mark, marked) or ":00:"
    if len(marked) <= MOST:
        return marked
    return f"{marked[: MOST - 18]}:{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def original(name: str) -> str:
    """Return the name that `legal` was given."""
    return "" if name == ":00:" else _MARKED.sub(lambda m: bytes.fromhex(m[1]).decode(), name)


def _mark(match: re.Match[str]) -> str:
    return f":{match[0].encode().hex()}:"
