"""The built package in a fresh environment, far from the repository: make test-wheel.

The environment holds the wheel alone; what kbn depends on comes from the environment of the tests.
"""

import email
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = "Scripts" if os.name == "nt" else "bin"


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The sdist, and the wheel that is built from it."""
    directory = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", directory, REPOSITORY]
    subprocess.run(command, check=True, capture_output=True)
    (sdist,), (wheel,) = directory.glob("*.tar.gz"), directory.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="session")
def environment(built, tmp_path_factory):
    """The programs of an environment in which the wheel is installed."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    python = home / PROGRAMS / "python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", python, "install", "--no-deps"]
    subprocess.run([*pip, "--no-index", built[1]], check=True)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.check_output([python, "-c", where], text=True).strip()
    # a line of a .pth file is put behind the wheel, and none of the .pth files there is read: the
    # repository, which they make importable, stays away
    Path(packages, "dependencies.pth").write_text(sysconfig.get_path("purelib"), "utf-8")
    return home / PROGRAMS


@pytest.fixture
def run(environment, workspace):
    """Runs a program of the environment in an empty directory; returns what it printed."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def call(program, *arguments):
        command = [environment / program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


def test_both_hold_the_recipes_with_their_data_and_their_python_but_no_pictures(built, recipes):
    wanted = {
        file.relative_to(REPOSITORY).as_posix()
        for file in recipes.rglob("*.*")
        if file.suffix != ".png" and "__pycache__" not in file.parts
    }
    with tarfile.open(built[0]) as sdist, zipfile.ZipFile(built[1]) as wheel:
        names = [name.partition("/")[2] for name in sdist.getnames()]
        assert {
            name for name in names if Path(name).suffix and name.startswith("recipes/")
        } == wanted
        names = [name.partition("/")[2] for name in wheel.namelist()]
        assert {name for name in names if name.startswith("recipes/")} == wanted


def test_what_the_page_on_pypi_shows_leads_somewhere(built):
    with zipfile.ZipFile(built[1]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(wheel.read(name))
    page, urls = metadata.get_payload(), metadata.get_all("Project-URL")
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "Repository, https://github.com/kbn-dev/kbn" in urls
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert {link for link in links if not link.startswith(("https://", "#"))} == set()
    assert "![Scores and shrinking boxes of a search](https://github.com/kbn-dev/kbn/raw/" in page
    shown = {link.partition("/HEAD/")[2] for link in links} - {""}
    assert {path for path in shown if not (REPOSITORY / path).is_file()} == set()
    assert page.count("](") == (REPOSITORY / "README.md").read_text("utf-8").count("](")


def test_the_package_is_the_wheels(run, environment):
    told = run("python", "-c", "import kbn; print(kbn.__version__, kbn.__file__)")
    version, file = told.split()
    assert Path(file).is_relative_to(environment.parent)
    assert run("kbn", "--version").split()[-1] == version


def test_in_an_empty_directory_the_shipped_recipes_are_listed_checked_and_tuned(run, recipes):
    listed = [line.split()[0] for line in run("kbn", "ls").splitlines()]
    assert listed == sorted(file.stem for file in recipes.rglob("*.yaml"))
    assert run("kbn", "check", "digits_mlp").startswith("digits_mlp: good; 32 trials")
    assert "the model builds" in run("kbn", "check", "custom_model", "--full")
    told = run("kbn", "tune", "digits_softmax", "search.trials=1", "search.epochs=1")
    assert "(1 of 1 trials finished)" in told
    assert Path("searches/digits_softmax/report.html").is_file()


def test_a_new_recipe_with_its_data_is_made_from_a_shipped_one(run):
    told = run("kbn", "new", "mine", "--from", "tabular")
    assert told.splitlines() == ["recipes/mine.yaml", "recipes/data/wine.csv"]
    assert run("kbn", "check", "mine").startswith("mine: good;")
