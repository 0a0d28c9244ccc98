"""A finished search, and calls of kbn as a user makes them."""

import contextlib
import shutil
import signal

import pytest
from click.testing import CliRunner

from kbn.cli.main import cli

RECIPE = """\
# A network that is small enough for tests.
name: small
dataset: {name: iris, validation: 0.2, test: 0.2}
model: {name: mlp, norm: {position: before_activation}}
objective: {metric: val_accuracy, direction: max}
search: {trials: 3, epochs: 1, seed: 1, final: {refit: true}}
space:
  learning_rate: {type: float, low: 1e-3, high: 1e-1, scale: log, tier: 1}
  optimizer: {type: choice, values: [sgd, adam]}
  momentum: {type: float, low: 0.5, high: 0.99, scale: complement_log, when: {optimizer: sgd}}
  layers: 1
  units: 4
tracking: {enabled: false}
"""


@pytest.fixture(scope="session", autouse=True)
def process_as_it_was():
    """A command settles its process as it likes, which here is that of the tests."""
    terminate = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, terminate)


@pytest.fixture
def kbn(workspace):
    """Calls kbn in an empty working directory."""
    return lambda *arguments: CliRunner().invoke(cli, list(map(str, arguments)))


@pytest.fixture(scope="session")
def searched(tmp_path_factory):
    """A directory with small.yaml and its finished search, and what `kbn tune` said."""
    directory = tmp_path_factory.mktemp("searched")
    (directory / "small.yaml").write_text(RECIPE)
    with contextlib.chdir(directory):
        result = CliRunner().invoke(cli, ["tune", "small.yaml", "--json"])
    assert result.exit_code == 0, result.stderr
    return directory, result


@pytest.fixture
def finished(searched, workspace):
    """The working directory, with a copy of small.yaml and its finished search."""
    shutil.copytree(searched[0], workspace, dirs_exist_ok=True)
    return workspace
