import getpass

import pytest

from kbn.tracking import context


@pytest.mark.parametrize("error", [KeyError("uid"), ModuleNotFoundError("pwd"), OSError("no name")])
def test_a_user_whom_the_system_cannot_name_is_unknown(monkeypatch, error):
    def getuser():
        raise error

    monkeypatch.setattr(getpass, "getuser", getuser)
    assert context._user() == "unknown"
