"""Files of a report: one self-contained HTML page, and its figures as PNG files beside it."""

from __future__ import annotations

import base64
import dataclasses
import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

from kbn.files import write
from kbn.report.words import visible

FIGURES = "figures"  # directory of the PNG files, beside the page
PAGE = "report.html"
FIGURE_DPI = 144
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
    """

    heading: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    turned: range = range(0)


@dataclasses.dataclass(frozen=True)
class Page:
    """Content of a page, from top to bottom.

    Attributes:
        title: heading of the page.
        sections: (heading, sentences) of each section of text.
        first: table that follows the text.
        pictures: the figures.
        last: table that follows the figures.
    """

    title: str
    sections: Sequence[tuple[str, Sequence[str]]]
    first: Table | None
    pictures: Sequence[Picture]
    last: Table | None = None


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
    html = TEMPLATE.render(page=page, sources=sources, widths=widths)
    (directory / FIGURES).mkdir(parents=True, exist_ok=True)
    for name, png in pngs.items():
        write(directory / FIGURES / f"{name}.png", png)
    write(directory / PAGE, html.encode())
    return directory / PAGE


def as_png(figure: Figure, dpi: int = FIGURE_DPI) -> bytes:
    """Return a figure as the content of a PNG file.

    This draws the figure once; `Figure.savefig` would draw it twice, to measure it first.
    """
    canvas, stream = FigureCanvasAgg(figure), io.BytesIO()
    figure.set_dpi(dpi)
    with warnings.catch_warnings():  # characters that the font lacks are drawn as boxes
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        canvas.draw()  # type: ignore[no-untyped-call]
    drawn = canvas.buffer_rgba()  # type: ignore[no-untyped-call]
    nameless: Any = {"Software": None}  # no version of matplotlib in the file
    imsave(stream, drawn, format="png", dpi=dpi, metadata=nameless)
    return stream.getvalue()


def _shown(value: object) -> object:
    """Make plain text `visible` before it enters the page."""
    return visible(value) if type(value) is str else value  # macros give a subclass of str


TEMPLATE = Environment(
    autoescape=True, finalize=_shown, trim_blocks=True, lstrip_blocks=True
).from_string(
    """\
{% macro tabled(table) %}
  {% if table.heading %}<h2>{{ table.heading }}</h2>{% endif %}

  <div class="wide"><table>
  <thead><tr>
  {% for name in table.columns %}
    <th{% if loop.index0 in table.turned %} class="turned"{% endif %}><span>{{ name }}</span></th>
  {% endfor %}
  </tr></thead>
  <tbody>
  {% for kind, cells in table.rows %}
    <tr{% if kind %} class="{{ kind }}"{% endif %}>
    {% for cell in cells %}
      <td{% if cell | length > 40 %} class="long"{% endif %}>{{ cell }}</td>
    {% endfor %}
    </tr>
  {% endfor %}
  </tbody>
  </table></div>
{% endmacro %}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ page.title }}</title>
<style>
  :root { color-scheme: light; }
  body { margin: 0 auto; max-width: 76rem; padding: 1rem; color: #1a1a1a; background: #fff;
    font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
  h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0 1rem; }
  h2 { font-size: 1.2rem; margin: 2.2rem 0 .3rem; }
  p { margin: .4rem 0; max-width: 48rem; }
  .wide { overflow-x: auto; }
  figure { margin: 0; }
  figure img { display: block; max-width: 100%; height: auto; }
  table { border-collapse: collapse; font-size: .85rem; line-height: 1.3; margin: .6rem 0;
    font-variant-numeric: tabular-nums; }
  th, td { padding: .2rem .55rem; text-align: left; vertical-align: top;
    border-bottom: 1px solid #ddd; white-space: nowrap; }
  th { vertical-align: bottom; border-bottom: 2px solid #555; }
  td.long { white-space: normal; min-width: 16rem; }
  .turned span { writing-mode: vertical-rl; transform: rotate(180deg); }
  .best td { font-weight: 600; background: #fdf0e6; }
  .failed td { background: #f7eaf1; }
  @media screen and (max-width: 45rem) { figure img:not(.narrow) { max-width: none; } }
  @media print {
    body { max-width: none; padding: 0; font-size: 10pt; }
    .wide { overflow: visible; }
    h2 { break-after: avoid; }
    figure, tr { break-inside: avoid; }
    figure img { max-height: 22cm; }
    table { font-size: 6.5pt; }
    th, td { padding: .1rem .25rem; }
    td.long { min-width: 8rem; }
    .best td, .failed td { print-color-adjust: exact; }
  }
</style>
</head>
<body>
<h1>{{ page.title }}</h1>
{% for heading, sentences in page.sections if sentences %}
<h2>{{ heading }}</h2>
{% for sentence in sentences %}
<p>{{ sentence }}</p>
{% endfor %}
{% endfor %}
{% if page.first %}{{ tabled(page.first) }}{% endif %}

{% for picture in page.pictures %}
<figure>
  <h2>{{ picture.heading }}</h2>
  <figcaption><p>{{ picture.caption }}</p></figcaption>
  {% if picture.name in sources %}
  <div class="wide"><img alt="{{ picture.heading }}" width="{{ widths[picture.name] }}"
    {% if widths[picture.name] < 700 %}class="narrow"{% endif %}

    src="data:image/png;base64,{{ sources[picture.name] }}"></div>
  {% endif %}
</figure>
{% endfor %}
{% if page.last %}
{{ tabled(page.last) }}
{% endif %}
</body>
</html>
"""
)
