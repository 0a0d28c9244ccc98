"""Numbers and names as a reader wants them."""

from __future__ import annotations

import math
import re
from typing import Any

LONGEST = 300  # letters of a message in a report
MOST_DECIMALS = 8
# what acts on a terminal or a page instead of being seen there: control characters, marks that
# turn the direction of what follows; and halves of surrogate pairs, which no encoding has
UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def visible(raw: str) -> str:
    r"""Text in which what cannot be seen is spelt out, as \x1b; spaces and line breaks stay."""
    return UNSEEN.sub(lambda found: ascii(found[0])[1:-1], raw)


def number(value: Any) -> str:
    """A value in few digits; one close to 1 with those by which it differs from 1."""
    if not isinstance(value, float) or not math.isfinite(value):
        return visible(str(value))
    gap = 1 - value
    digits = min(max(4, 1 - math.floor(math.log10(gap))), 8) if 0 < gap < 1 else 4
    return f"{value:.{digits}g}".replace("e-0", "e-").replace("e+0", "e+")


def score(value: float) -> str:
    """A score, of four digits also where they are zeros."""
    return f"{value:#.4g}" if number(value) == f"{value:.4g}" else number(value)


def fixed(value: float, width: float) -> str:
    """A value with two digits of the width that it is uncertain by, as .012 for .016."""
    if not math.isfinite(value):
        return "none"
    decimals = min(max(1 - math.floor(math.log10(width)), 0), MOST_DECIMALS) if width > 0 else 2
    text = f"{round(value, decimals) + 0.0:.{decimals}f}"  # + 0: no minus before a zero
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def shortened(raw: Any, most: int = LONGEST) -> str:
    """Text in one line, cut if it is longer than `most` letters."""
    line = visible(" ".join(str(raw).split()))
    return line if len(line) <= most else f"{line[: most - 1]}…"


def better(direction: str) -> str:
    """Which scores are, in words."""
    return "lower is better" if direction == "min" else "higher is better"
