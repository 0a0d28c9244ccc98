"""A search with several objectives and a constraint, on the command line."""

import json
import os
import subprocess
import sys

import pytest

RECIPE = """\
# Accuracy against size.
name: two
dataset: {name: iris, validation: 0.3}
model: {name: mlp}
objectives:
  - {metric: val_accuracy}
  - {metric: parameters, direction: min}
constraints:
  parameters: {max: 100}
search: {trials: 4, epochs: 1, seed: 1}
space:
  learning_rate: 0.1
  layers: 1
  units: {type: int, low: 2, high: 64}
tracking: {enabled: false}
"""


def run(*arguments):
    environment = {**os.environ, "COLUMNS": "200"}
    command = [sys.executable, "-c", "from kbn.cli.main import cli; cli()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
def test_a_front_is_searched_printed_and_loaded_in_processes_of_their_own(workspace, kbn):
    (workspace / "two.yaml").write_text(RECIPE)
    done = run("tune", "two.yaml", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    large = [row for row in told["trials"] if row["violations"]]
    assert large
    assert all(row["metrics"]["parameters"] > 100 for row in large)
    assert all(row["status"] == "FAILED" and row["score"] is None for row in large)
    assert f"infeasible: {large[0]['violations'][0]}" in done.stderr

    front = json.loads(kbn("best", "two.yaml", "--pareto", "--json").stdout)
    rows = [row for row in told["trials"] if not row["violations"]]
    points = {
        row["trial"]: (-row["metrics"]["val_accuracy"], row["metrics"]["parameters"])
        for row in rows
    }
    expected = {
        i
        for i, (a, n) in points.items()
        if not any((b, m) != (a, n) and b <= a and m <= n for b, m in points.values())
    }
    assert {row["trial"] for row in front["front"]} == expected
    first = front["front"][0]
    assert first["objectives"] == {
        "val_accuracy": -points[first["trial"]][0],
        "parameters": points[first["trial"]][1],
    }
    assert json.loads(kbn("best", "two.yaml", "--json").stdout)["trial"] == first["trial"]

    lines = kbn("best", "two.yaml", "--pareto").stdout.splitlines()
    assert lines[0] == f"two: {len(expected)} trials on the front"
    assert lines[1].split() == [
        "trial",
        "val_accuracy",
        "parameters",
        "learning_rate",
        "layers",
        "units",
    ]
    assert [line.split()[0] for line in lines[2:]] == [row["trial"] for row in front["front"]]

    code = "import kbn; print(kbn.load_model('searches/two/best.keras').count_params())"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert int(loaded.stdout) == first["objectives"]["parameters"]


@pytest.mark.parametrize("json_too", [(), ("--json",)])
def test_a_front_needs_several_objectives(json_too, kbn, finished):
    result = kbn("best", "small.yaml", "--pareto", *json_too)
    assert result.exit_code == 2
    assert "--pareto needs a recipe with several objectives; small has one" in result.stderr
