"""Searches as reports see them, made up, and their pages as browsers see them."""

import html.parser

import numpy as np

from kbn.report.results import Results, SearchSummary
from kbn.search.axes import Condition, Discrete, Grid, Numeric, Stepped
from kbn.search.importance import Importance
from kbn.search.scales import COMPLEMENT_LOG, LOG
from kbn.search.space import Space
from kbn.search.zoom import Plan
from kbn.tracking.attempts import Attempt, Epoch

SGD = (Condition("optimizer", ("sgd",)),)
SPACE = Space(
    (
        Numeric("rate", 1e-4, 1.0, LOG),
        Discrete("optimizer", ("sgd", "adam")),
        Numeric("momentum", 0.5, 0.999, COMPLEMENT_LOG, conditions=SGD),
        Stepped("dropout", Grid(0.0, 0.1, 6)),
    )
)
TRACEBACK = 'Traceback:\n  File "a.py", line 1\n'


def trial(index, values, score=None, status="COMPLETED", reason=None, curve=(), metric="val_loss"):
    """An attempt of ten seconds; `curve` is its metric after each epoch."""
    epochs = tuple(Epoch(0, i, 0, {metric: value}) for i, value in enumerate(curve))
    message = None if reason is None else TRACEBACK + reason
    ended = None if status is None else 10_000
    return Attempt(f"{index:02d}", 1, values, 0, {}, epochs, ended, status, score, None, message)


def results_of(scores, direction="max", space=SPACE, seed=0):
    """A trial a score, None for one that failed, its values drawn from a space."""
    rng = np.random.default_rng(seed)
    trials = []
    for index, score in enumerate(scores):
        values = space.sample(space.whole, rng.random(len(space.axes)).tolist())
        if score is None:
            trials.append(trial(index, values, None, "FAILED", "ValueError: too large"))
        else:
            trials.append(trial(index, values, score, curve=[score / 2, score]))
    return Results(tuple(trials), direction)


def search_of(results, space=SPACE, title="a search", metric="val_loss", **given):
    """The search of some results, two rounds long."""
    plan, widths = Plan(max_trials=6, rounds=2, coarse=4, explore_every=6), np.ones(len(space.axes))
    rounds = [plan.next_round(space, np.empty((0, len(space.axes))), widths, 0, 0, 0)]
    if results.best:
        good = space.encode(results.best.values)[None]
        rounds.append(plan.next_round(space, good, widths, 1, 4, 4))
    parts = {"rounds": rounds, "tiers": {}, "importance": (), **given}
    return SearchSummary(title, results, metric, space, **parts)


def importance_of(**shares):
    """{name: (share, low, high)} as measured, the most important first."""
    found = (Importance(name, *numbers) for name, numbers in shares.items())
    return tuple(sorted(found, key=lambda one: -one.share))


class Reader(html.parser.HTMLParser):
    """What a browser finds: tags with their attributes, text, scripts, rows of the tables."""

    def __init__(self, file):
        super().__init__()
        self.tags, self.text, self.scripts, self.tables = [], "", [], []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.cdata_elem == "script":
            self.scripts[-1] += data
            return
        self.text += data
        if self.rows and self.rows[-1] and self.lasttag in ("td", "span"):
            self.rows[-1][-1] += data.strip()

    @property
    def rows(self):
        """Rows of the last table."""
        return self.tables[-1] if self.tables else []

    def having(self, name):
        return [attributes[name] for _, attributes in self.tags if name in attributes]
