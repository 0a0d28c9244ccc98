"""Pictures of pages in a browser: a search in MLflow, and its report.

Needs Debian's chromium and chromium-driver, which find each other on the PATH.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import mlflow
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

import kbn
from kbn.run.project import Project
from kbn.tracking.journal import Journal
from kbn.tracking.views import page_of

FILES = (
    "digits_mlp.png",
    "report.png",
    "mlflow_table.png",
    "mlflow_trials.png",
    "mlflow_boxes.png",
)
STORE = "sqlite:///mlflow.db"
SCORES = '[role=gridcell][col-id="metrics.`score`"]'
AXES = ("learning_rate", "norm_momentum", "optimizer", "units", "score")
TITLES = ".js-plotly-plot .axis-title"
BOX, FILTER, POINTS = "box/learning_rate", "input[type=text]", ".js-plotly-plot .point"
ASSISTANT = "//*[text()='MLflow Assistant']/following::button[3]"  # closes it
PATIENCE = 60.0  # seconds until a page has drawn


def pages(directory: Path) -> None:
    """Write FILES: the figure of a search, its report, and its pages in MLflow."""
    recipe = kbn.load_recipe("digits_mlp")
    figure, report, table, trials, boxes = (str(directory / name) for name in FILES)
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        tuned = kbn.tune(recipe)
        shutil.copy(tuned.figure, figure)
        best_first = page_of(Journal(Project(recipe).path / "journal"), STORE)
        compared, charts = _mlflow_pages(recipe.name)
        with _browser() as browser, _server() as server:
            page = Path(tuned.report).absolute().as_uri()
            _save(browser, report, page, _finds("svg"), (1200, 1500))
            _save(browser, table, server + best_first, _finds(SCORES), (1500, 700))
            _save(browser, trials, server + compared, _chooses_axes, (1500, 760))
            _save(browser, boxes, server + charts, _chooses_box, (1100, 790))


def _mlflow_pages(experiment: str) -> tuple[str, str]:
    """Return MLflow's pages that compare a search's trials and chart its rounds."""
    mlflow.set_tracking_uri(STORE)
    runs = mlflow.search_runs(experiment_names=[experiment], filter_string="metrics.score > 0")
    place, search = runs["experiment_id"][0], runs["tags.mlflow.parentRunId"][0]
    query = {"runs": json.dumps([*runs["run_id"]]), "experiments": json.dumps([place])}
    charts = f"/#/experiments/{place}/runs/{search}/model-metrics"
    return f"/#/compare-runs?{urlencode(query)}", charts


def _finds(selector: str) -> Callable[[WebDriver], bool]:
    return lambda browser: bool(browser.find_elements(By.CSS_SELECTOR, selector))


def _chooses_axes(browser: WebDriver) -> bool:
    """Let the comparison's axes be AXES, and return whether they are drawn."""
    drawn = [title.text for title in browser.find_elements(By.CSS_SELECTOR, TITLES)]
    if drawn and len(drawn) != len(AXES):
        browser.find_element(By.XPATH, "//button[.='Clear All']").click()
        parameters, metrics = browser.find_elements(By.CSS_SELECTOR, "input[role=combobox]")
        for name in AXES:
            field = metrics if name == "score" else parameters
            field.send_keys(name, Keys.ENTER)
        metrics.send_keys(Keys.ESCAPE)
    return drawn == [*AXES]


def _chooses_box(browser: WebDriver) -> bool:
    """Let a search's charts be of one box only, and return whether they are drawn."""
    for field in browser.find_elements(By.CSS_SELECTOR, FILTER):
        if field.get_attribute("value") != BOX:
            field.send_keys(BOX)
    cards = browser.find_elements(By.CSS_SELECTOR, "[data-testid$=-card]")
    return len(cards) == 2 and all(c.find_elements(By.CSS_SELECTOR, POINTS) for c in cards)


def _save(
    browser: WebDriver,
    file: str,
    page: str,
    drawn: Callable[[WebDriver], bool],
    size: tuple[int, int],
) -> None:
    """Save a picture of a page as soon as it is drawn."""
    browser.set_window_size(*size)
    browser.get(page)
    WebDriverWait(browser, PATIENCE).until(drawn)
    for close in browser.find_elements(By.XPATH, ASSISTANT):
        close.click()
    _save_small(Image.open(io.BytesIO(browser.get_screenshot_as_png())), file)


def _save_small(picture: Image.Image, file: str) -> None:
    """Save a picture with 256 colours, which no reader can tell from all."""
    picture.convert("RGB").quantize(dither=Image.Dither.NONE).save(file, optimize=True)


@contextlib.contextmanager
def _browser() -> Iterator[WebDriver]:
    options = webdriver.ChromeOptions()
    for flag in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "hide-scrollbars"):
        options.add_argument(f"--{flag}")
    with webdriver.Chrome(options) as browser:
        yield browser


@contextlib.contextmanager
def _server() -> Iterator[str]:
    """Serve the store of the working directory; yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", STORE]
    command += ["--port", str(port), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as server:  # noqa: S603
        try:
            next(line for line in server.stderr or () if b"startup complete" in line)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
