"""What MLflow's own pages draw of a search, in a browser: Debian's chromium and chromium-driver."""

import json
import re
import shutil
from pathlib import Path
from urllib.parse import urlencode

import keras
import keras_tuner as kt
import numpy as np
import pytest
from mlflow import MlflowClient
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

import kbn
from browsers import needs_browser, opened
from kbn.tracking.journal import Journal
from kbn.tracking.models import save_model
from kbn.tracking.push import push
from kbn.tracking.recorder import SAVED_MODEL
from kbn.tracking.stores import experiment_page
from kbn.tracking.target import Target
from kbn.tracking.track import record
from kbn.tracking.views import page_of
from tracking.scripted import Scripted, number_of
from tracking.searches import begun_search
from tracking.serving import Server, free_port

TRIALS = 18
STORE = "sqlite:///mlflow.db"
PATIENCE = 60  # seconds for a page, on a machine that others use too
pytestmark = needs_browser


def space():
    """A scale of MLflow's charts, one that they lack, names, and what only some trials have."""
    hp = kt.HyperParameters()
    hp.Float("rate", 1e-4, 1, sampling="log")
    hp.Choice("optimizer", ["sgd", "adam"])
    with hp.conditional_scope("optimizer", ["sgd"]):
        kbn.scales.complement_log(hp, "momentum", 0.5, 0.999)
    return hp


@pytest.fixture(scope="module")
def directory(tmp_path_factory, empty_store):
    """Where the search and its store are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("ui"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        shutil.copy(empty_store, "mlflow.db")
        yield


@pytest.fixture(scope="module")
def tuner(directory):
    """After its search."""
    tuner = kbn.track(Scripted(number_of, TRIALS, hyperparameters=space()))
    tuner.search()
    return tuner


@pytest.fixture(scope="module")
def runs(tuner):
    """Parent and children, as the store has them."""
    store = MlflowClient(STORE)
    runs = store.search_runs([store.get_experiment_by_name("scripted").experiment_id])
    parent = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    return parent, [run for run in runs if run is not parent]


@pytest.fixture(scope="module")
def server(tuner):
    server = Server(STORE, free_port())
    yield server.uri
    server.kill()


@pytest.fixture(scope="module")
def browser():
    """High enough for all that a page draws, which it does only where one looks."""
    with opened(height=3000) as browser:
        yield browser


@pytest.fixture
def look(browser, server):
    """Opens a page, and waits until a function of the browser finds something there."""

    def look(page, find):
        browser.get(server + page)
        return wait(browser, find)

    return look


def wait(browser, find):
    return WebDriverWait(browser, PATIENCE, poll_frequency=0.1).until(find)


def texts(browser, selector):
    """Of all elements that it selects, in the page's order."""
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector
    )


NAMES = '[role=row] [col-id="attributes.`Run Name`"]'


@pytest.mark.slow
def test_the_page_of_an_experiment_lists_the_search_and_below_it_its_trials(browser, look, runs):
    parent, children = runs
    page = experiment_page("scripted", STORE)
    look(page, lambda page: page.find_element(By.CSS_SELECTOR, f"{NAMES} button")).click()
    names = wait(browser, lambda page: len(found := texts(page, f"{NAMES} a")) > 1 and found)
    assert names == [run.info.run_name for run in (parent, *children)]
    assert len(texts(browser, f"{NAMES} button")) == 1  # of all rows, only the search's opens


# of the rows that are in sight: {row: {column: text}}
CELLS = """
const rows = {}
for (const cell of document.querySelectorAll('[role=gridcell][col-id]')) {
    const row = cell.closest('[row-index]').getAttribute('row-index')
    rows[row] ??= {}
    rows[row][cell.getAttribute('col-id')] = cell.textContent
}
return rows
"""


def cells_of(look, page, rows):
    """Texts of a page's table by row and column, once it has so many rows."""

    def find(browser):
        found = browser.execute_script(CELLS)
        scored = all(any(column.startswith("metrics.") for column in row) for row in found.values())
        return found if len(found) >= rows and scored else None

    found = look(page, find)
    return [found[str(index)] for index in range(rows)]


def named(cells):
    return re.sub(r"^#\w{6}", "", cells["attributes.`Run Name`"]).strip()  # without its colour


def test_the_page_of_a_search_lists_its_trials_the_best_first_with_scores_and_values(
    look, runs, tuner
):
    rows = cells_of(look, page_of(Journal(Path(tuner.project_dir) / "journal"), STORE), TRIALS)
    best_first = sorted(runs[1], key=lambda run: run.data.metrics["score"])
    assert [named(cells) for cells in rows] == [run.info.run_name for run in best_first]
    for cells, run in zip(rows, best_first, strict=True):
        assert float(cells["metrics.`score`"]) == run.data.metrics["score"]
        assert float(cells["params.`rate`"]) == pytest.approx(float(run.data.params["rate"]))
        assert cells["params.`optimizer`"] == run.data.params["optimizer"]


@pytest.mark.slow
def test_a_page_of_300_trials_begins_with_the_best_ones(directory, look):
    scores = np.random.default_rng(0).permutation(300)
    journal = begun_search(Path("many"), experiment="many")
    for trial, score in enumerate(scores):
        values = {"rate": 1 / (1 + trial)}
        number = journal.begin(f"{trial:03}", values)
        journal.end(f"{trial:03}", number, "COMPLETED", values, score=float(score))
    push("many")
    rows = cells_of(look, page_of(journal, STORE), 20)
    assert [named(cells) for cells in rows] == [f"trial {t:03}" for t in np.argsort(scores)[:20]]


def test_the_page_of_a_comparison_averages_each_variants_best_scores_over_its_seeds(
    directory, look
):
    best = {("a", 1): 0.5, ("a", 2): 1.0, ("b", 1): 3.0, ("b", 2): 4.0}
    for (variant, seed), score in best.items():

        def script(trial, score=score):
            return score + number_of(trial)

        tuner = Scripted(script, 2, project_name=f"{variant}-{seed}")
        recorder = record(tuner, Target("variants"), tags={"variant": variant})
        tuner.search()
    rows = cells_of(look, page_of(recorder.journal, STORE), 6)
    shown = [(named(cells), cells["metrics.`best_score`"].split()[0]) for cells in rows]
    groups = [(re.sub(r"\s*\d+$", "", name), score) for name, score in shown if ":" in name]
    assert [(name, float(score)) for name, score in groups] == [
        ("Group: a", 0.75),
        ("Group: b", 3.5),
    ]
    searches = [(name, float(score)) for name, score in shown if ":" not in name]
    assert searches == [(f"{variant}-{seed}", score) for (variant, seed), score in best.items()]


# plotly draws the lines twice: to be seen, and, hidden, each in a colour of its own
COUNT_LINES = """
const drawn = document.querySelector('.gl-canvas-pick')
const copy = Object.assign(document.createElement('canvas'),
                           {width: drawn.width, height: drawn.height}).getContext('2d')
copy.drawImage(drawn, 0, 0)
const pixels = copy.getImageData(0, 0, drawn.width, drawn.height).data
return new Set(new Uint32Array(pixels.buffer)).size - 1
"""


@pytest.mark.slow
def test_the_page_that_compares_all_trials_draws_a_line_each_over_the_hyperparameters(
    browser, look, runs
):
    parent, children = runs
    ids = [run.info.run_id for run in children]
    query = {"runs": json.dumps(ids), "experiments": json.dumps([parent.info.experiment_id])}
    labels = look(f"/#/compare-runs?{urlencode(query)}", lambda page: texts(page, ".axis-title"))
    assert labels == ["momentum", "optimizer", "rate", "score"]
    wait(browser, lambda page: page.execute_script(COUNT_LINES) == TRIALS)
    axes = browser.execute_script("return document.querySelector('.js-plotly-plot').data")
    _, optimizer, rate, score = axes[0]["dimensions"]
    assert optimizer["ticktext"] == ["adam", "sgd"]
    assert rate["values"] == [float(run.data.params["rate"]) for run in children]
    assert score["values"] == [run.data.metrics["score"] for run in children]


CHARTS = """
const charts = [...document.querySelectorAll('.js-plotly-plot')]
return charts.filter(chart => chart.querySelector('.point')).map(chart => [
    chart.closest('[data-testid$=-card]').textContent,
    chart.querySelector('.xtitle').textContent,
    chart.querySelectorAll('.scatterlayer .trace:first-child .point').length,
    chart.data[0].x,
    chart.data[0].y,
])
"""


def test_the_charts_of_a_search_show_how_its_boxes_shrink(look, runs, tuner):
    parent, _ = runs
    page = f"/#/experiments/{parent.info.experiment_id}/runs/{parent.info.run_id}/model-metrics"
    drawn = look(page, lambda page: len(found := page.execute_script(CHARTS)) == 6 and found)
    assert "(best/score)" in drawn[0][0]
    assert drawn[0][4] == [0] * TRIALS  # the first trial stays the best
    rounds = tuner.oracle.rounds
    assert len(rounds) > 4
    for name in ("momentum", "rate"):
        boxes = [[box[name] for box in current.boxes] for current in rounds]
        for end, hull in (
            ("low", [min(low for low, _ in ranges) for ranges in boxes]),
            ("high", [max(high for _, high in ranges) for ranges in boxes]),
        ):
            (chart,) = (chart for chart in drawn if f"(box/{name}/{end})" in chart[0])
            assert chart[1:4] == ["Step", len(rounds), [current.number for current in rounds]]
            assert chart[4] == hull
    (rate,) = (chart[4] for chart in drawn if "(box/rate/high)" in chart[0])
    assert rate[-1] < rate[0]


def test_the_pages_of_a_search_and_of_its_model_say_what_they_hold(directory, look):
    tuner = Scripted(number_of, 1, project_name="described")
    recorder = record(tuner, Target("described"))
    tuner.search()
    recorder.note("description", text="The best rate is **0.25**.\n\n    kbn tune described")
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    save_model(network, Path(tuner.project_dir) / SAVED_MODEL, np.array([[0.125, 0.5, 4.0]]))
    recorder.note("model", path=Path(tuner.project_dir) / SAVED_MODEL, trial="0", name=None)

    store = MlflowClient(STORE)
    experiment = store.get_experiment_by_name("described").experiment_id
    (parent,) = store.search_runs([experiment], "tags.`kbn.best_trial` != ''")
    home = f"/#/experiments/{experiment}"
    look(f"{home}/runs/{parent.info.run_id}", lambda page: "0.25" in texts(page, "strong"))
    (model,) = store.search_logged_models([experiment])
    page = f"{home}/models/{model.model_id}"
    for shown in ("(-1, 3)", "(-1, 2)", "[[0.125, 0.5, 4.0]]"):
        look(page, lambda page, shown=shown: shown in " ".join(texts(page, "pre")))
