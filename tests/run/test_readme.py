import re

import numpy as np
from mlflow import MlflowClient


def test_the_readmes_python_runs_as_it_stands(workspace, recipes):
    blocks = re.findall(
        r"```python\n(.*?)```", (recipes.parent / "README.md").read_text(), re.DOTALL
    )
    assert len(blocks) == 5
    (workspace / "recipes").symlink_to(recipes)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 64)), rng.integers(0, 10, 64)
    names = {"x": x, "y": y, "x_val": x, "y_val": y}
    for block in blocks:
        # two trials show what twenty do
        exec(block.replace("max_trials=20", "max_trials=2"), names)  # noqa: S102
    assert len(names["tuner"].oracle.end_order) == 2
    store = MlflowClient(f"sqlite:///{workspace}/mlflow.db")
    experiment = store.get_experiment_by_name("digits")
    assert len(store.search_runs([experiment.experiment_id])) == 3
    assert len(names["tuned"].trials) == 4
