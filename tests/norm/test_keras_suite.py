import re
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import pytest

OWN_TESTS = Path(keras.__file__).parent / "src/layers/normalization/batch_normalization_test.py"


@pytest.mark.skipif(not OWN_TESTS.exists(), reason="this release of Keras ships no tests")
def test_the_stock_layers_own_tests_pass_with_ours_in_its_place(tmp_path):
    program = textwrap.dedent("""
        import pathlib
        import sys

        import keras
        import pytest
        from keras.src import layers

        import kbn

        keras.layers.BatchNormalization = layers.BatchNormalization = kbn.BatchNormalization
        suite = pathlib.Path(layers.__file__).parent / "normalization/batch_normalization_test.py"
        options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-c", "own.ini"]
        sys.exit(pytest.main([*options, str(suite)]))
    """)
    # the suite may lie below this project's own settings
    (tmp_path / "own.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    # its number of tests changes from one release of Keras to the next
    assert re.search(r"\b[1-9]\d* passed", done.stdout), done.stdout
