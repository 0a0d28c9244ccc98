"""The package as a whole, and the files that lie around it."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import kbn

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]


def read(path):
    return (REPOSITORY / path).read_text("utf-8")


def pinned(file="constraints.txt"):
    """{name of a package: its exact version}."""
    return dict(line.split("==") for line in read(file).splitlines() if "==" in line)


def test_the_version_is_that_of_the_installed_package():
    assert kbn.__version__ == version("kbn")
    assert "__version__" in kbn.__all__


def test_import_kbn_reads_no_metadata():
    program = "import sys, kbn; assert 'importlib.metadata' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_lowest_versions_that_are_tested_are_those_of_the_package():
    extras = PROJECT["optional-dependencies"]
    tested = [*map(Requirement, PROJECT["dependencies"] + extras["test"])]
    own = [
        name for requirement in tested if requirement.name == "kbn" for name in requirement.extras
    ]
    wanted = [*tested, *(Requirement(line) for name in own for line in extras[name])]
    bounds = {
        requirement.name: Version(bound.version)
        for requirement in wanted
        for bound in requirement.specifier
    }
    lowest = pinned("constraints-lowest.txt")
    assert {name: Version(pin) for name, pin in lowest.items()} == bounds


def test_every_package_and_every_recipe_is_built_into_the_wheel(recipes):
    repository = recipes.parent
    setuptools = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {file.parent for file in repository.glob("kbn/**/*.py")}
    shipped = {file.parent for file in recipes.rglob("*.yaml")} | {recipes / "data"}
    paths = [
        *(path.relative_to(repository) for path in packages),
        *("kbn" / path.relative_to(repository) for path in shipped),
    ]
    assert sorted(setuptools["packages"]) == sorted(".".join(path.parts) for path in paths)
    beside = {file for file in repository.glob("kbn/*/*.*") if file.suffix not in (".py", ".pyc")}
    data = setuptools["package-data"].items()
    named = {file for of, kinds in data for kind in kinds for file in _of(repository, of, kind)}
    assert beside - named == set()
    assert len(beside) == 3  # the report's page


def _of(repository, package, kind):
    return repository.joinpath(*package.split(".")).glob(kind)


TARGET = re.compile(r"\bmake ([a-z-]+)")


def test_the_workflow_runs_all_that_ci_runs_by_targets_that_there_are():
    jobs = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]
    lines = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
    called = {target for line in lines for target in TARGET.findall(line)}
    assert called <= set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    assert called >= set(TARGET.findall(read(".ci/run"))) - {"clean"}


def test_the_workflow_runs_on_three_systems_with_the_oldest_and_a_new_python():
    workflow = yaml.safe_load(read(".github/workflows/ci.yml"))
    matrix = workflow["jobs"]["tests"]["strategy"]["matrix"]
    assert {os.partition("-")[0] for os in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert matrix["python"][0] == PROJECT["requires-python"].removeprefix(">=").split(",")[0]
    assert "schedule" in workflow[True]  # what YAML 1.1 takes `on` for


def test_pre_commit_runs_the_versions_that_lint_runs():
    versions = pinned()
    hooks, tools = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"], {"ruff", "mypy"}
    found = {hook["repo"].rpartition("/")[2].removesuffix("-pre-commit"): hook for hook in hooks}
    assert found["ruff"]["rev"] == f"v{versions['ruff']}"
    (mypy,) = found["local"]["hooks"]
    assert "mypy" in [each.split("==")[0] for each in mypy["additional_dependencies"]]
    for each in mypy["additional_dependencies"]:
        name, _, version = each.partition("==")
        assert version == versions[name]
    assert tools <= {each.split(">=")[0] for each in PROJECT["optional-dependencies"]["dev"]}


def test_every_address_of_the_repository_is_that_of_pyproject():
    address = PROJECT["urls"]["Repository"]
    others = [PROJECT["urls"]["Issues"], PROJECT["urls"]["Changelog"]]
    others += re.findall(r"https://github\.com/\S+", read(".github/ISSUE_TEMPLATE/config.yml"))
    assert others
    assert [url for url in others if not url.startswith(f"{address}/")] == []


def test_every_issue_form_says_what_it_is_for_and_asks_for_something():
    forms = sorted((REPOSITORY / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert [form.stem for form in forms] == ["bug", "config", "feature"]
    for form in forms:
        content = yaml.safe_load(form.read_text("utf-8"))
        if form.stem != "config":
            assert {"name", "description", "body"} <= content.keys()
            assert any(part["validations"]["required"] for part in content["body"][:1])


def test_the_changelog_keeps_to_the_headings_of_keep_a_changelog():
    versions, kinds = [], []
    for line in read("CHANGELOG.md").splitlines():
        if line.startswith("## "):
            versions.append(line)
        elif line.startswith("### "):
            kinds.append((versions[-1], line.removeprefix("### ")))
    allowed = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert versions[0] == "## [Unreleased]"
    assert all(re.fullmatch(r"## \[\d+\.\d+\.\d+\] - .+", version) for version in versions[1:])
    assert {kind for _, kind in kinds} <= allowed
    assert len(set(kinds)) == len(kinds)  # each once in a version
