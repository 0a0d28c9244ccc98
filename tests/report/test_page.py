import base64
import dataclasses
import json
import math
from pathlib import Path

import pytest

from kbn import files
from kbn.report import document
from kbn.report.page import write_report
from kbn.report.results import Results
from kbn.search.axes import Discrete, Numeric
from kbn.search.scales import LOG
from kbn.search.space import Space
from report.builders import Reader, importance_of, results_of, search_of, trial

SMALL = Space((Numeric("rate", 1e-4, 1.0, LOG), Discrete("<i>kind</i>", ("a", "b"))))
FIGURES = ["boxes", "curves", "history", "importance", "parallel", "slices"]


@pytest.fixture(scope="module")
def search():
    """Six trials: three finished, one failed, one with an infinite score, one that runs."""
    results = results_of([0.5, 0.75, 0.6], space=SMALL)
    values = results.trials[0].values
    others = (
        trial(3, values, None, "FAILED", "ValueError: <script>alert('&')</script>"),
        trial(4, values, math.inf),
        trial(5, {**values, "tuner/repeats": "01"}, None, None),
    )
    found = importance_of(rate=(0.8, 0.5, 0.9), **{"<i>kind</i>": (0.2, 0.0, 0.4)})
    return search_of(
        Results((*results.trials, *others), "max"),
        SMALL,
        "A <b>title</b> & more",
        importance=found,
        tiers={"rate": 1},
    )


@pytest.fixture(scope="module")
def report(search, tmp_path_factory):
    return write_report(search, tmp_path_factory.mktemp("report") / "new")


@pytest.fixture(scope="module")
def reader(report):
    return Reader(report)


def test_the_page_is_one_file_that_asks_for_nothing_else(report, reader):
    assert all(source.startswith("data:image/png;base64,") for source in reader.having("src"))
    assert not reader.having("href")
    tags = {tag for tag, _ in reader.tags}
    assert not tags & {"link", "iframe", "object", "embed"}
    style = report.read_text().partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_its_figures_are_also_files_beside_it(report, reader):
    files = sorted((report.parent / "figures").iterdir())
    assert [file.name for file in files] == [f"{name}.png" for name in FIGURES]
    embedded = [base64.b64decode(source.partition(",")[2]) for source in reader.having("src")]
    assert sorted(embedded) == sorted(file.read_bytes() for file in files)
    assert all(png.startswith(b"\x89PNG") for png in embedded)
    assert len([tag for tag, _ in reader.tags if tag == "figcaption"]) == len(FIGURES)


def test_names_and_messages_are_text_whatever_they_hold(report, reader):
    assert {tag for tag, _ in reader.tags} & {"b", "i"} == set()
    for raw in ("A <b>title</b> & more", "<i>kind</i>", "ValueError: <script>alert('&')</script>"):
        assert raw in reader.text
        assert raw not in report.read_text()


def test_its_script_is_kbn_s_own_and_has_every_trial_on_every_axis_s_scale(search, reader):
    data, script = reader.scripts
    assert script.strip() == Path(document.__file__).with_name("page.js").read_text("utf-8").strip()
    assert "<" not in data
    data = json.loads(data)
    assert [axis["name"] for axis in data["axes"]] == ["rate", "<i>kind</i>"]
    rate = data["axes"][0]["ticks"]
    assert [label for _, label in rate] == ["0.0001", "0.001", "0.01", "0.1", "1"]
    trials = {each["id"]: each for each in data["trials"]}
    assert len(trials) == 6
    for one in search.results.trials[:3]:
        rate, _, height = trials[one.trial]["at"]
        assert rate == pytest.approx(1 + math.log10(one.values["rate"]) / 4, abs=1e-4)
        assert height == pytest.approx((one.score - 0.5) / 0.25, abs=1e-4)
    assert trials["03"]["at"][2] is None
    assert [trials[each]["rank"] for each in ("01", "02", "00", "03")] == [1, 0.5, 0, None]


def test_it_says_what_was_found_what_to_try_and_how_sure_that_is(reader):
    assert "3 of 6 trials finished. The best is trial 01: val_loss 0.75" in reader.text
    assert "2 failed; the commonest reason: ValueError: <script>" in reader.text
    assert "1 had not ended" in reader.text
    assert "are drawn" not in reader.text
    assert "rate mattered most: 80 %" in reader.text
    assert "In line with what was believed: rate (tier 1)." in reader.text
    for heading in ("What was found", "What to try next", "How sure that is"):
        assert heading in reader.text


def test_the_table_has_every_trial_the_best_first_and_failures_with_their_reason(search, reader):
    columns, *rows = reader.rows
    assert columns == ["trial", "status", "score", "seconds", "notes", "rate", "<i>kind</i>"]
    assert [row[0] for row in rows] == ["01", "02", "00", "03", "04", "05"]
    assert rows[0][1:5] == ["COMPLETED", "0.7500", "10.0", ""]
    assert rows[0][5] == f"{search.results.best.values['rate']:.4g}"
    assert rows[3][1:5] == ["FAILED", "", "10.0", "ValueError: <script>alert('&')</script>"]
    assert rows[4][2:5] == ["inf", "10.0", "its score is inf"]
    assert rows[5][1:5] == ["RUNNING", "", "", "repeats 01"]
    kinds = [attributes.get("class") for tag, attributes in reader.tags if tag == "tr"][-6:]
    assert kinds == ["best", None, None, "failed", "failed", None]


def test_a_search_without_a_finished_trial_has_sentences_in_place_of_figures(tmp_path):
    failed = trial(0, {"rate": 0.1, "<i>kind</i>": "a"}, None, "FAILED", "OSError: disk")
    reader = Reader(write_report(search_of(Results((failed,), "min"), SMALL), tmp_path))
    assert not reader.having("src")
    assert reader.text.count("No trial has finished: there is nothing to draw.") == 4
    assert [row[4] for row in reader.rows[1:]] == ["OSError: disk"]
    empty = Reader(write_report(search_of(Results((), "min"), SMALL), tmp_path))
    assert "No trial finished" in empty.text


def test_one_trial_without_a_hyperparameter_makes_a_page(tmp_path):
    results = Results((trial(0, {}, 0.5),), "max")
    reader = Reader(write_report(search_of(results, Space(())), tmp_path))
    assert [file.name for file in (tmp_path / "figures").iterdir()] == ["history.png"]
    assert "The search has no hyperparameters" in reader.text


def test_a_page_says_that_not_all_of_many_trials_are_drawn(tmp_path):
    many = search_of(results_of([i / 700 for i in range(700)], space=SMALL), SMALL)
    text = Reader(write_report(many, tmp_path)).text
    assert "Of 700 trials 600 are drawn: the best ones" in text
    assert "Of 700 trials 300 are drawn: the best ones" in text


def test_a_report_that_cannot_be_drawn_leaves_the_earlier_one(search, tmp_path):
    (tmp_path / "report.html").write_text("earlier")
    wordy = dataclasses.replace(search.results.trials[0], values={"rate": "not a number"})
    undrawable = dataclasses.replace(search, results=Results((wordy,), "max"))
    with pytest.raises(TypeError):
        write_report(undrawable, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "earlier"


def test_a_file_that_cannot_be_written_is_as_it_was_and_leaves_no_draft(tmp_path, monkeypatch):
    (tmp_path / "report.html").write_text("earlier")
    write = document.write

    def fail_at_the_page(file, content):
        if file.name == "report.html":
            monkeypatch.setattr(files.os, "fsync", no_space)
        write(file, content)

    def no_space(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr(document, "write", fail_at_the_page)
    with pytest.raises(OSError, match="no space left"):
        write_report(search_of(Results((trial(0, {}, 0.5),), "max"), Space(())), tmp_path)
    assert (tmp_path / "report.html").read_text() == "earlier"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["figures", "report.html"]
