"""Pictures of pages in a browser: a search in MLflow, and its report.

Needs Debian's chromium and chromium-driver, which find each other on the PATH.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

import kbn
from kbn.run.project import Project
from kbn.tracking.journal import Journal
from kbn.tracking.views import page_of

FILES = ("digits_mlp.png", "report.png", "mlflow_table.png")
STORE = "sqlite:///mlflow.db"
SCORES = '[role=gridcell][col-id="metrics.`score`"]'
ASSISTANT = "//*[text()='MLflow Assistant']/following::button[3]"  # closes it
PATIENCE = 60.0  # seconds until a page has drawn


def pages(directory: Path) -> None:
    """Write FILES: the figure of a search, its report, and the table of its trials in MLflow."""
    recipe = kbn.load_recipe("digits_mlp")
    figure, report, table = (str(directory / name) for name in FILES)
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        tuned = kbn.tune(recipe)
        shutil.copy(tuned.figure, figure)
        trials = page_of(Journal(Project(recipe).path / "journal"), STORE)
        with _browser() as browser, _server() as server:
            _save(browser, report, Path(tuned.report).absolute().as_uri(), "svg", (1200, 1500))
            _save(browser, table, f"{server}{trials}", SCORES, (1500, 700))


def _save(browser: WebDriver, file: str, page: str, selector: str, size: tuple[int, int]) -> None:
    """Save a picture of a page as soon as it has drawn what the selector finds."""
    browser.set_window_size(*size)
    browser.get(page)
    WebDriverWait(browser, PATIENCE).until(lambda b: b.find_elements(By.CSS_SELECTOR, selector))
    for close in browser.find_elements(By.XPATH, ASSISTANT):
        close.click()
    browser.save_screenshot(file)


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
