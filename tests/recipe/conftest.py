import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def table(tmp_path):
    """A table of two features, and a target of words."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(5, 2, 60), "age": rng.integers(1, 9, 60)})
    frame["kind"] = np.where(np.arange(60) % 3, "oak", "ash")
    frame.to_csv(tmp_path / "trees.csv", index=False)
    frame.to_parquet(tmp_path / "trees.parquet")
    return frame
