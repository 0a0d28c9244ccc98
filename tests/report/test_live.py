"""What a report does in a browser."""

import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By

from browsers import needs_browser, opened
from kbn.report.comparison import Comparison
from kbn.report.comparison_page import write_comparison
from kbn.report.page import write_report
from report.builders import SPACE, results_of, search_of

pytestmark = needs_browser

SCORES = [0.5, None, 0.75, 0.25, 0.9, 0.8]
RANKED = ["04", "05", "02", "00", "03", "01"]  # the failed one last


@pytest.fixture(scope="module")
def search():
    return search_of(results_of(SCORES), metric="val_accuracy")


@pytest.fixture(scope="module")
def browser():
    with opened(height=6000) as browser:  # all of the page at once
        yield browser


@pytest.fixture
def page(browser, search, tmp_path):
    browser.get(write_report(search, tmp_path).as_uri())
    return browser


def texts(page, selector):
    return [each.text for each in page.find_elements(By.CSS_SELECTOR, selector)]


def shown(page):
    """The trials of the table, as far as one sees them."""
    return [text for text in texts(page, ".trials tbody td:first-child") if text]


def column(page, name):
    (head,) = [h for h in page.find_elements(By.CSS_SELECTOR, ".trials th") if h.text == name]
    return head


@pytest.mark.slow
def test_the_table_is_sorted_by_the_column_that_is_clicked_and_back(page, search):
    assert shown(page) == RANKED
    column(page, "rate").click()
    by_rate = sorted(search.results.trials, key=lambda trial: trial.values["rate"])
    assert shown(page) == [trial.trial for trial in by_rate]
    column(page, "rate").click()
    assert shown(page) == [trial.trial for trial in by_rate[::-1]]
    column(page, "score").click()
    assert shown(page) == ["03", "00", "02", "05", "04", "01"]  # the one without a score is last


def test_the_table_is_filtered_by_conditions_and_words(page):
    box = page.find_element(By.CSS_SELECTOR, ".bar input")
    box.send_keys("score>=0.75 score<0.9")
    assert shown(page) == ["05", "02"]
    assert texts(page, ".bar span") == ["2 of 6 trials"]
    assert len(page.find_elements(By.CSS_SELECTOR, "#parallel path.mark:not(.out)")) == 2
    box.clear()
    box.send_keys("too large")
    assert shown(page) == ["01"]
    page.find_element(By.CSS_SELECTOR, ".bar button").click()
    assert shown(page) == RANKED


def test_the_trials_of_a_comparison_are_sorted_and_filtered_too(browser, tmp_path):
    searches = {"none": [results_of([0.5, 0.7])], "after": [results_of([0.9, 0.6])]}
    comparison = Comparison("title", "val_accuracy", "max", "best score", searches, SPACE)
    browser.get(write_comparison(comparison, tmp_path).as_uri())
    scores = ".trials tbody tr:not(.out) td:nth-child(5)"
    assert texts(browser, scores) == ["0.7000", "0.5000", "0.9000", "0.6000"]
    column(browser, "score").click()
    assert texts(browser, scores) == ["0.5000", "0.6000", "0.7000", "0.9000"]
    browser.find_element(By.CSS_SELECTOR, ".bar input").send_keys("variant=after score>0.7")
    assert texts(browser, scores) == ["0.9000"]
    assert texts(browser, ".bar span") == ["1 of 4 trials"]
    assert len(browser.find_elements(By.CSS_SELECTOR, "#slices img")) == 1  # no figure is redrawn


def test_a_brush_on_an_axis_leaves_the_trials_between_and_a_click_all_again(page):
    handle = page.find_elements(By.CSS_SELECTOR, "#parallel .handle")[-1]  # of the score
    up = -handle.size["height"] // 2
    drag = ActionChains(page).click_and_hold(handle).move_by_offset(0, up)
    drag.release().perform()  # from .575, the middle of .25 and .9, up
    assert shown(page) == ["04", "05", "02"]
    dots = page.find_elements(By.CSS_SELECTOR, "#history circle.mark:not(.out)")
    assert len(dots) == 3
    ActionChains(page).click(handle).perform()
    assert shown(page) == RANKED


def test_a_trial_under_the_pointer_stands_out_everywhere_with_its_values(page, search):
    best = search.results.best
    circle = page.find_elements(By.CSS_SELECTOR, "#history circle.mark")[-1]
    ActionChains(page).move_to_element(circle).perform()
    assert texts(page, "tr.hot td:first-child") == [best.trial]
    assert len(page.find_elements(By.CSS_SELECTOR, "#parallel path.hot")) == 1
    tip = page.find_element(By.ID, "tip").text
    assert f"trial {best.trial}" in tip
    assert f"rate {best.values['rate']:.4g}" in tip
    heading = page.find_element(By.TAG_NAME, "h1")
    ActionChains(page).move_to_element(heading).perform()
    assert not page.find_elements(By.CSS_SELECTOR, ".hot")


def test_it_follows_the_colours_of_the_system_and_fits_a_narrow_window(page):
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 600, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    colour = "return getComputedStyle(document.body).backgroundColor"
    assert page.execute_script(colour) == "rgb(22, 24, 28)"
    width = "return document.documentElement.scrollWidth"
    assert page.execute_script(width) <= 600
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": features})
    assert page.execute_script(colour) == "rgb(255, 255, 255)"  # paper
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.slow
def test_without_a_script_the_page_shows_its_figures(page):
    figures = page.find_elements(By.CSS_SELECTOR, "figure img")
    assert [each.is_displayed() for each in figures] == [False, False, False, True]
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    page.refresh()
    figures = page.find_elements(By.CSS_SELECTOR, "figure img")
    assert all(each.is_displayed() for each in figures)
    assert shown(page) == RANKED
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
