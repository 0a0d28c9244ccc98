"""Numbers and texts, formatted for readers."""

from __future__ import annotations

import math
import re

MAX_MESSAGE = 300  # characters of a message in a report
MOST_DECIMALS = 8
# characters that act on a terminal or page instead of showing there: control characters and marks
# that change the writing direction; also unpaired surrogates, which cannot be encoded
UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def visible(raw: str) -> str:
    r"""Spell out invisible characters of a text, such as \x1b; spaces and line breaks stay."""
    return UNSEEN.sub(lambda found: ascii(found[0])[1:-1], raw)


def number(value: object) -> str:
    """Format a value in few digits, but enough to show how far it is from 1."""
    if not isinstance(value, float) or not math.isfinite(value):
        return visible(str(value))
    gap = 1 - value
    digits = min(max(4, 1 - math.floor(math.log10(gap))), 8) if 0 < gap < 1 else 4
    return f"{value:.{digits}g}".replace("e-0", "e-").replace("e+0", "e+")


def amount(value: float) -> str:
    """Format a measured value: a whole number with thousands separated, else in few digits."""
    return f"{value:,.0f}" if float(value).is_integer() else number(value)


def format_score(value: float) -> str:
    """Format a score with four digits, trailing zeros included."""
    return f"{value:#.4g}" if number(value) == f"{value:.4g}" else number(value)


def fixed(value: float, width: float) -> str:
    """Format a value with as many decimals as two digits of its uncertainty `width` have."""
    if not math.isfinite(value):
        return "none"
    decimals = min(max(1 - math.floor(math.log10(width)), 0), MOST_DECIMALS) if width > 0 else 2
    text = f"{round(value, decimals) + 0.0:.{decimals}f}"  # + 0.0 turns -0.0 into 0.0
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def shortened(raw: object, most: int = MAX_MESSAGE) -> str:
    """Return text as one line of at most `most` characters."""
    line = visible(" ".join(str(raw).split()))
    return line if len(line) <= most else f"{line[: most - 1]}…"


def percent(share: float) -> str:
    """Format a share in [0, 1] as whole percent."""
    return f"{100 * share:.0f} %"


def better(direction: str) -> str:
    """Return which scores are better, in words."""
    return "lower is better" if direction == "min" else "higher is better"
