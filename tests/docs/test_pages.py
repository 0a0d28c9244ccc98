"""README.md and docs/: what they show is run, and what they say is printed is what is printed.

```python     is executed
```yaml       must be a valid part of a recipe
```console    after `$ `: a command; below it: what it prints, with ... for what varies
```sh         is only checked: it needs a network, or a shell

A block of Python or YAML below a comment <!-- FILE --> is written to that file instead.
"""

import contextlib
import doctest
import re
import runpy
import shlex
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.backends.backend_agg import FigureCanvasAgg
from sklearn.datasets import load_digits
from sybil import Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser

from kbn.cli.main import cli
from kbn.recipe.loading import make_recipe
from kbn.recipe.reading import parse

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "README.md"
DOCS = REPOSITORY / "docs"
PAGES = {
    page.relative_to(REPOSITORY).as_posix(): page
    for page in (README, *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("[!_]*/*.md")))
}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

FILE = re.compile(r"<!-- (\S+) -->\s*\Z")
# what starts a server, or installs: other tests run it
ELSEWHERE = ("pip install", "make ", "mlflow ui", "mlflow models serve", "kbn ui")
# a long search shows no more than a short one
LONG_RECIPE, SHORT = "digits_mlp", ("search.trials=1", "search.epochs=1")
SHORTER = {"max_trials=20": "max_trials=2", "epochs=8": "epochs=1"}
SMALLEST = {
    "name": "part",
    "dataset": {"name": "digits"},
    "model": {"name": "mlp"},
    "objective": {"metric": "val_accuracy"},
    "search": {"trials": 4, "epochs": 2},
    "space": {"learning_rate": {"type": "float", "low": 1e-4, "high": 1}},
}


def written(example):
    """Whether a block is a file, which then is written."""
    if (named := FILE.search(example.document.text[: example.start])) is None:
        return False
    file = Path(named[1])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(example.parsed, "utf-8")
    return True


class Python(PythonCodeBlockParser):
    def __call__(self, document):
        for region in super().__call__(document):
            run = region.evaluator
            region.evaluator = lambda example, run=run: None if written(example) else run(example)
            yield region


def part_of_a_recipe(example):
    if not written(example):
        part, faults = parse(example.parsed, "page", {})
        assert faults == []
        make_recipe({**SMALLEST, **part})


def session(example):
    """Run the commands of a block, in this process."""
    for part in re.split(r"^\$ ", example.parsed, flags=re.MULTILINE)[1:]:
        command, _, wanted = part.partition("\n")
        if command.startswith(ELSEWHERE):
            continue
        printed, failed = call(*shlex.split(command, comments=True))
        if failed and not wanted.strip():
            return f"$ {command}\n{printed}"
        said = doctest.OutputChecker().check_output(wanted or "...\n", printed + "\n", FLAGS)
        if wanted.strip() and not said:
            return f"$ {command}\nExpected:\n{wanted}\nGot:\n{printed}"
    return None


def call(program, *arguments):
    """Return what kbn prints, and whether it fails."""
    assert program == "kbn"
    if arguments == ("tune", LONG_RECIPE):
        arguments += SHORT
    result = CliRunner().invoke(cli, arguments)
    return result.output, result.exit_code != 0


def only_checked(example):
    """Check the options and the recipes of commands that need a network, or several machines."""
    for line in re.findall(r"^kbn tune (.*)$", example.parsed, re.MULTILINE):
        given = cli.commands["tune"].make_context("kbn tune", shlex.split(line)).params
        printed, failed = call("kbn", "check", given["recipe"], *given["overrides"])
        if failed:
            return printed
    return None


LANGUAGES = {"yaml": part_of_a_recipe, "console": session, "sh": only_checked}
READ = Sybil(
    [
        Python(doctest_optionflags=FLAGS),
        *(CodeBlockParser(language, evaluate) for language, evaluate in LANGUAGES.items()),
    ]
)


@pytest.fixture(scope="module", autouse=True)
def _figures_are_blank():
    """They take most of the time of a short search, and tests/report draws them."""

    def draw(canvas):
        canvas.renderer = canvas.get_renderer()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FigureCanvasAgg, "draw", draw)
        yield


@pytest.fixture(scope="module", autouse=True)
def _process_as_it_was():
    """A command settles its process as it likes, which here is that of the tests."""
    terminate = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, terminate)


SEARCH = ("tune", "digits_softmax", "search.trials=2", "search.epochs=1")


@pytest.fixture(scope="module")
def searched(tmp_path_factory, empty_store):
    """A directory with the search of which several pages tell."""
    directory = tmp_path_factory.mktemp("searched")
    shutil.copy(empty_store, directory / "mlflow.db")
    with contextlib.chdir(directory):
        assert CliRunner().invoke(cli, SEARCH).exit_code == 0
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_what_a_page_shows_is_what_happens(page, workspace, empty_store, tmp_path_factory, request):
    text = page.read_text("utf-8")
    if "```" not in text:
        return
    copy = tmp_path_factory.mktemp("page") / page.name
    for long, short in SHORTER.items():
        text = text.replace(long, short)
    copy.write_text(text, "utf-8")
    if " ".join(SEARCH) in " ".join(text.split()):
        shutil.copytree(request.getfixturevalue("searched"), workspace, dirs_exist_ok=True)
    else:
        shutil.copy(empty_store, "mlflow.db")
    document = READ.parse(copy)
    pixels, digits = load_digits(return_X_y=True)
    document.namespace.update(
        x=pixels[:300], y=digits[:300], x_val=pixels[300:], y_val=digits[300:]
    )
    for example in document.examples():
        example.evaluate()


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(workspace, empty_store):
    shutil.copy(empty_store, "mlflow.db")
    names = runpy.run_path(str(DOCS / "notebooks" / "first_search.py"))
    assert len(names["tuned"].trials) == 6
    assert np.mean(names["predicted"] == names["digits"][:100]) > 0.5


def test_every_block_of_the_pages_is_of_a_language_that_is_read():
    fences = {
        fence
        for page in PAGES.values()
        for fence in re.findall(r"^```(\S+)", page.read_text("utf-8"), re.MULTILINE)
        if not fence.startswith("{")  # Sphinx'
    }
    assert fences == {"python", *LANGUAGES}


def test_the_readme_is_read_in_a_few_minutes():
    assert len(README.read_text("utf-8").splitlines()) <= 110


def test_the_links_of_the_readme_lead_to_files_of_the_repository():
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", README.read_text("utf-8"))
    assert [link for link in links if not (REPOSITORY / link).is_file()] == []
    assert any(link.startswith("docs/") for link in links)


def test_every_picture_of_the_pages_is_small_and_every_picture_is_shown():
    shown = {
        (page.parent / link).resolve()
        for page in PAGES.values()
        for link in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text("utf-8"))
    }
    pictures = {file for end in ("png", "svg") for file in (DOCS / "images").glob(f"*.{end}")}
    assert shown == pictures
    assert {file.name for file in pictures if file.stat().st_size > 200_000} == set()


def test_every_recipe_that_kbn_ships_is_listed(recipes):
    page = (DOCS / "reference" / "recipes.md").read_text("utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(listed) == sorted(file.stem for file in recipes.rglob("*.yaml"))
