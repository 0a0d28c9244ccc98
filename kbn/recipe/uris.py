"""URIs of tracking stores: which MLflow knows, and how to show one without its password."""

from __future__ import annotations

import re
import urllib.parse
from typing import Any

from kbn.errors import Broken
from kbn.recipe.laws import refuse, suggest

DATABASES = ("mssql", "mysql", "postgresql", "sqlite")  # of which SQLAlchemy takes a +driver
OTHERS = ("databricks", "databricks-uc", "file", "http", "https", "uc")
MASK = "***"
# user and password, which end at the last @ of the word; then what queries call secrets
SECRETS = re.compile(
    r"(?P<before>://)\S*(?P<after>@)"
    r"|(?P<name>[?&][\w.-]*(?:key|passwd|password|pwd|secret|token)=)[^&\s\"']+",
    re.IGNORECASE,
)


def masked(shown: Any) -> Any:
    """Text, or JSON values, with stars in place of the user, password and tokens of every URI."""
    if isinstance(shown, str):
        return SECRETS.sub(_stars, shown)
    if isinstance(shown, dict):
        return {masked(key): masked(value) for key, value in shown.items()}
    return [masked(value) for value in shown] if isinstance(shown, list) else shown


def known(uri: str) -> str:
    """Refuses a URI of a scheme that MLflow has no store for; a plain path has none."""
    law = "must be the URI of a tracking store that MLflow knows, or a path"
    try:
        scheme = urllib.parse.urlsplit(uri).scheme
    except ValueError as error:
        raise refuse(Broken(law, f"Mend it: {error}.", received=masked(uri))) from None
    if scheme and re.search(r"\s", uri):  # where it ends could not be told, nor what to mask
        raise refuse(Broken("a URI must hold no spaces", "Write %20 for a space."))
    base, plus, driver = scheme.partition("+")
    if scheme in ("", *OTHERS) or (base in DATABASES and bool(plus) == bool(driver)):
        return uri
    hint = "Did you mean postgresql?" if base == "postgres" else suggest(base, DATABASES + OTHERS)
    cure = f"{hint} A store at an address begins with http://."
    raise refuse(Broken(law, cure, received=masked(uri)))


def _stars(found: re.Match[str]) -> str:
    before, after, name = found.group("before", "after", "name")
    return f"{before}{MASK}{after}" if before else f"{name}{MASK}"
