import errno
import os

from kbn.search import faults


def test_a_number_that_the_system_has_no_text_for_is_no_reason(monkeypatch):
    text = os.strerror
    nameless = {errno.EDQUOT: "Unknown error"}  # on Windows
    monkeypatch.setattr(os, "strerror", lambda number: nameless.get(number) or text(number))
    known = faults.reasons()
    assert "Unknown error" not in known
    assert known[text(errno.ENOSPC)] == errno.ENOSPC


def test_the_file_is_found_in_a_message_whatever_the_system_calls_it():
    reason = os.strerror(errno.ENOSPC)
    for file in ("/tmp/a b/w.h5", r"C:\Users\me\w.h5", "D:/w.h5"):  # noqa: S108
        for message in (f"Unable to write (name = '{file}', {reason})", f"{file}; {reason}"):
            error = faults.machine_error(RuntimeError(message), "another")
            assert str(error).startswith(f"{file}: the file must be usable")
