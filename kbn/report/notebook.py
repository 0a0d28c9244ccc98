"""What a notebook shows of a result: a headline, a small table and a figure of the report."""

from __future__ import annotations

import base64
from pathlib import Path

from jinja2 import Environment

from kbn.report.document import FIGURES, Table
from kbn.report.results import Results, hyperparameter_values
from kbn.report.words import format_score, number

BEST_TRIALS = 5  # in the table


def best_trials(results: Results, metric: str) -> Table:
    """Return the best trials with their scores and values, the best one first."""
    trials = results.ranked[:BEST_TRIALS]
    names = list(dict.fromkeys(name for trial in trials for name in hyperparameter_values(trial)))
    rows = [
        (
            "",
            [
                trial.trial,
                "" if trial.score is None else format_score(trial.score),
                *(number(trial.values[name]) if name in trial.values else "" for name in names),
            ],
        )
        for trial in trials
    ]
    return Table("", ["trial", metric, *names], rows)


def as_html(headline: str, table: Table, report: Path, figure: str) -> str:
    """Return a result as HTML.

    Args:
        headline: the outcome in a line.
        table: shown below it.
        report: the result's page; where it is not there any more, there is no figure.
        figure: the name of the report's figure to show.
    """
    file = report.parent / FIGURES / f"{figure}.png"
    picture = base64.b64encode(file.read_bytes()).decode() if file.exists() else None
    return TEMPLATE.render(headline=headline, table=table, picture=picture, report=report)


TEMPLATE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """\
<p><b>{{ headline }}</b></p>
<table>
<thead><tr>{% for name in table.columns %}<th>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for _, cells in table.rows %}
<tr>{% for cell in cells %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
{% if picture %}
<img alt="Figure of the report" style="max-width: min(100%, 40em)"
  src="data:image/png;base64,{{ picture }}">
{% endif %}
<p>The whole report: {{ report }}</p>
"""
)
