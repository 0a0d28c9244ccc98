import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

import kbn

REPOSITORY = Path(__file__).parents[1]


def test_the_version_is_that_of_the_installed_package():
    assert kbn.__version__ == version("kbn")
    assert "__version__" in kbn.__all__


def test_import_kbn_reads_no_metadata():
    program = "import sys, kbn; assert 'importlib.metadata' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_lowest_versions_that_are_tested_are_those_of_the_package():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = map(Requirement, project["dependencies"] + project["optional-dependencies"]["test"])
    bounds = {
        requirement.name: Version(bound.version)
        for requirement in wanted
        for bound in requirement.specifier
    }
    lines = (REPOSITORY / "constraints-lowest.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    assert {name: Version(pin) for name, pin in pins.items()} == bounds


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
