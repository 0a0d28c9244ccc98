"""A browser without a window: Debian's chromium and chromium-driver."""

import contextlib
import shutil

import pytest
from selenium import webdriver

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no chromium, or no driver of it"
)


@contextlib.contextmanager
def opened(width=1600, height=1200):
    """A browser with a window of this many pixels."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    size = f"window-size={width},{height}"
    for flag in ("headless=new", "no-sandbox", "disable-dev-shm-usage", size):
        options.add_argument(f"--{flag}")
    with webdriver.Chrome(options, webdriver.ChromeService(DRIVER)) as browser:
        yield browser
