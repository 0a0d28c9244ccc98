import getpass
import json

import numpy as np
import pytest

from kbn.tracking import context


@pytest.mark.parametrize("error", [KeyError("uid"), ModuleNotFoundError("pwd"), OSError("no name")])
def test_a_user_whom_the_system_cannot_name_is_unknown(monkeypatch, error):
    def getuser():
        raise error

    monkeypatch.setattr(getpass, "getuser", getuser)
    assert context._user() == "unknown"


def test_of_data_that_are_not_in_memory_the_first_examples_and_their_number_are_known():
    x, y = np.eye(4, dtype="float32"), np.arange(4)
    whole, longer, other = (
        context.dataset_of("streams", x, y, examples=examples) for examples in (4, 1000, 2000)
    )
    assert json.loads(longer["profile"]) == {"features_shape": [1000, 4], "targets_shape": [1000]}
    assert whole == context.dataset_of("streams", x, y)
    assert len({each["digest"] for each in (whole, longer, other)}) == 3
