import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import kbn

SUITE = Path(__file__).with_name("backend_suite.py")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_layer_is_the_same_on_another_backend(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: `make test-backends` installs it")
    rng = np.random.default_rng(0)
    layers = [keras.Input((5,)), keras.layers.Dense(4), kbn.BatchNormalization(debias=True)]
    model = keras.Sequential(layers)
    model.set_weights([rng.uniform(0.5, 2, w.shape) for w in model.get_weights()])
    x = rng.normal(size=(16, 5)).astype("float32")
    model.save_weights(tmp_path / "model.weights.h5")
    np.savez(tmp_path / "written.npz", x=x, y=model.predict(x, verbose=0))
    # a process has one backend; and conftest.py starts TensorFlow
    options = ["-q", "-p", "no:cacheprovider", "--noconftest"]
    options += ["-W", "ignore:`torch.jit.script` is deprecated:DeprecationWarning"]  # torch's own
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(SUITE)],
        env=os.environ | {"KERAS_BACKEND": backend, "WRITTEN": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    assert "passed" in done.stdout
