"""The figures of docs/: each is drawn by a script."""

from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def figures(monkeypatch):
    """The script that draws them, with a training that is as short as can be."""
    monkeypatch.syspath_prepend(DOCS / "figures")
    import draw
    import of_norm

    monkeypatch.setattr(of_norm, "STEPS", (2,))
    monkeypatch.setattr(of_norm, "SEEDS", 1)
    return draw


@pytest.mark.slow
def test_every_picture_of_the_pages_is_made_by_a_script(figures, tmp_path):
    figures.draw(tmp_path)
    drawn, shown = ({file.name for file in of.iterdir()} for of in (tmp_path, DOCS / "images"))
    assert drawn.union(*figures.SCREENS.values()) == shown


def test_a_script_draws_the_same_figure_twice(figures, tmp_path):
    for directory in (tmp_path / "first", tmp_path / "second"):
        directory.mkdir()
        figures.save(figures.FIGURES["scales"](), "scales", directory)
    first, second = ((tmp_path / each / "scales.svg").read_bytes() for each in ("first", "second"))
    assert first == second
    assert b">per_decade<" in first
