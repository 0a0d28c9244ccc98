"""Pages of MLflow that list runs as one wants to see them, without a click.

The trials of a search stand one below the other, the best first, each with its score and values;
the searches of a comparison in groups by variant, whose values MLflow averages.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from kbn.tracking._mlflow import SHARED_VIEW_QUERY, SHARED_VIEW_TAG, shared_view
from kbn.tracking.best_score import BEST_TRIAL
from kbn.tracking.entries import LONGEST_TAG
from kbn.tracking.journal import Journal
from kbn.tracking.names import legal
from kbn.tracking.runs import SEARCH_TAG
from kbn.tracking.stores import experiment_page, store_uri
from kbn.uris import without_credentials

SCORE, BEST_SCORE = "score", "best_score"  # metrics of a trial's run, and of a search's
VARIANT = "kbn.variant"  # tag of all runs of a comparison
VARIANTS = "kbn-variants"  # key of the view of an experiment's comparisons
ATTRIBUTES = ("attributes.`Run Name`", "attributes.`Created`")
MOST_VALUES = 30  # columns of hyperparameters: a tag must hold all their names
BOOKKEEPING = "tuner/"  # begins the names of values that are notes of KerasTuner's tuners


def trials_view(search: str, direction: str, names: Iterable[str] = ()) -> dict[str, Any]:
    """Return the state of a page that lists a search's trials.

    Args:
        search: id of the search.
        direction: "min" or "max", whichever scores are better.
        names: of the hyperparameters, of which the first have a column.
    """
    own = [legal(name) for name in names if not name.startswith(BOOKKEEPING)]
    values = [f"params.`{name}`" for name in own[:MOST_VALUES]]
    columns = [f"metrics.`{SCORE}`", *values]
    return {
        "searchFilter": f"tags.`{SEARCH_TAG}` = '{search}' and tags.`kbn.trial` != ''",
        "orderByKey": f"metrics.`{SCORE}`",
        "orderByAsc": direction == "min",
        "selectedColumns": columns,
        "columnOrder": [*ATTRIBUTES, *columns],
    }


def variants_view(direction: str) -> dict[str, Any]:
    """Return the state of a page that lists the best scores of comparisons, averaged by variant."""
    return {
        "searchFilter": f"tags.`{VARIANT}` != '' and tags.`{BEST_TRIAL}` != ''",
        "orderByKey": f"metrics.`{BEST_SCORE}`",
        "orderByAsc": direction == "min",
        "selectedColumns": [f"metrics.`{BEST_SCORE}`", f"tags.`{VARIANT}`", "tags.`kbn.seed`"],
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "tag", "groupByData": VARIANT}],
        },
    }


def as_tag(key: str, view: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the tag of an experiment by which its pages know a view; None if it is too long."""
    name, value = shared_view(key, view)
    return (name, value) if len(value) <= LONGEST_TAG else None


def page_of(journal: Journal, uri: str) -> str | None:
    """Return the page of the trials of a search, below the address of MLflow's UI.

    Of a search that belongs to a comparison, it is the page of the comparison's searches.

    Args:
        journal: of the search.
        uri: of the store.

    Returns:
        None if the search is not tracked there, or if the store does not answer soon.

    Raises:
        JournalError: if the journal cannot be read.
    """
    events = journal.events() if journal.exists() else []
    begin = next((each for each in reversed(events) if each.get("target")), None)
    store = without_credentials(store_uri(uri))
    if begin is None or store_uri(begin["target"]["tracking_uri"]) != store:
        return None
    search, direction = journal.search_id, begin["params"]["direction"]
    key, view = search, trials_view(search, direction)
    if VARIANT.removeprefix("kbn.") in begin["origin"]:
        key, view = VARIANTS, variants_view(direction)
    return experiment_page(
        begin["target"]["experiment"], uri, functools.partial(query_of, key, view)
    )


def query_of(key: str, view: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    """Return the query of the page that shows a view.

    Args:
        key: of the view.
        view: the state of the page.
        tags: of the experiment; if the view's is missing, filter and order alone are named.
    """
    if f"{SHARED_VIEW_TAG}{key}" in tags:
        return urlencode({SHARED_VIEW_QUERY: key})
    return urlencode(
        {
            "searchFilter": view["searchFilter"],
            "orderByKey": view["orderByKey"],
            "orderByAsc": str(view["orderByAsc"]).lower(),
        }
    )
