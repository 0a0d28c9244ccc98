"""Files of a report: one self-contained HTML page, and its figures as PNG files beside it."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from kbn.files import write
from kbn.report.words import visible

FIGURES = "figures"  # directory of the PNG files, beside the page
PAGE = "report.html"
FIGURE_DPI = 120
CSS_PIXELS = 96  # per inch


@dataclasses.dataclass(frozen=True)
class Picture:
    """A section of a page with a figure.

    Attributes:
        name: name of its file, without suffix.
        heading: heading of its section.
        caption: how to read the figure; or, if there is none, why.
        draw: function that draws the figure; None if there is none.
    """

    name: str
    heading: str
    caption: str
    draw: Callable[[], Figure] | None


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of a page.

    Attributes:
        heading: heading of its section; "" for none.
        columns: names of the columns.
        rows: (CSS class, cells) of each row; the class is "best", "failed" or "".
        turned: indices of the columns whose names run upwards, to save width.
        of_trials: whether it is the one that the page's script sorts and filters.
    """

    heading: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    turned: range = range(0)
    of_trials: bool = False


@dataclasses.dataclass(frozen=True)
class Page:
    """Content of a page, from top to bottom.

    Attributes:
        title: heading of the page.
        sections: (heading, sentences) of each section of text.
        first: table that follows the text.
        pictures: the figures.
        last: table that follows the figures.
        data: what the page's script draws, JSON values; empty for a page without a script.
    """

    title: str
    sections: Sequence[tuple[str, Sequence[str]]]
    first: Table | None
    pictures: Sequence[Picture]
    last: Table | None = None
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def write_page(page: Page, directory: Path) -> Path:
    """Write directory/report.html and directory/figures/NAME.png.

    Everything is drawn before anything is written, and each file is replaced atomically, the page
    last: if drawing fails, an earlier report stays as it was.

    Returns:
        The page's path.

    Raises:
        OSError: if a file cannot be written.
    """
    drawn = {p.name: p.draw() for p in page.pictures if p.draw is not None}
    pngs = {name: as_png(figure) for name, figure in drawn.items()}
    widths = {name: round(f.get_figwidth() * CSS_PIXELS) for name, f in drawn.items()}
    sources = {name: base64.b64encode(png).decode() for name, png in pngs.items()}
    html = TEMPLATE.render(
        page=page,
        sources=sources,
        widths=widths,
        style=_own("page.css"),
        data=_as_script(page.data) if page.data else "",
        script=_own("page.js"),
    )
    (directory / FIGURES).mkdir(parents=True, exist_ok=True)
    for name, png in pngs.items():
        write(directory / FIGURES / f"{name}.png", png)
    write(directory / PAGE, html.encode())
    return directory / PAGE


def as_png(figure: Figure, dpi: int = FIGURE_DPI) -> bytes:
    """Return a figure as the content of a PNG file.

    This draws the figure once; `Figure.savefig` would draw it twice, to measure it first. 256
    colours, which no reader can tell from all, make the file a third as large.
    """
    canvas, stream = FigureCanvasAgg(figure), io.BytesIO()
    figure.set_dpi(dpi)
    with warnings.catch_warnings():  # characters that the font lacks are drawn as boxes
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        canvas.draw()  # type: ignore[no-untyped-call]
    pixels = canvas.buffer_rgba()  # type: ignore[no-untyped-call]
    drawn = Image.fromarray(np.asarray(pixels)).convert("RGB")
    few = drawn.quantize(method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(stream, "png", dpi=(dpi, dpi))
    return stream.getvalue()


def _own(name: str) -> Markup:
    """Return the text of a file of this package, as a part of the page."""
    return Markup((HERE / name).read_text("utf-8"))  # noqa: S704  no text of a user


def _as_script(data: Mapping[str, Any]) -> Markup:
    """Return JSON that cannot end the <script> element it stands in, whatever its texts hold."""
    raw = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        raw = raw.replace(character, f"\\u{ord(character):04x}")
    return Markup(raw)  # noqa: S704  escaped above


def _shown(value: object) -> object:
    """Make plain text `visible` before it enters the page."""
    return visible(value) if type(value) is str else value  # macros give a subclass of str


HERE = Path(__file__).parent
TEMPLATE = Environment(
    autoescape=True, finalize=_shown, trim_blocks=True, lstrip_blocks=True
).from_string((HERE / "page.html").read_text("utf-8"))
