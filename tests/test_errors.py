import errno
import re
import subprocess
import sys

import pytest

from kbn import errors
from kbn.errors import remedy


def test_the_picture_of_the_errors_shows_each_with_its_base_and_its_exit_code():
    from kbn.search.faults import FatalMachineError

    picture, path = {}, ["Exception"]
    for indent, name, code in re.findall(
        r"^([│ ]*)[├└]── (\w+) +(\d?)", errors.__doc__, re.MULTILINE
    ):
        path[len(indent) // 4 + 1 :] = [name]
        picture[name] = (path[-2], code)
    classes = {value for value in vars(errors).values() if isinstance(value, type)}
    raised = {one for one in classes if issubclass(one, Exception)} | {FatalMachineError}
    assert picture == {
        one.__name__: (one.__bases__[0].__name__, str(getattr(one, "exit_code", "")))
        for one in raised
    }


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "Make room on the disk"),
        (errno.EDQUOT, "Make room on the disk"),
        (errno.EACCES, "change its permissions"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENOTDIR, "Move the file"),
        (errno.ETXTBSY, "Fix that"),
        (None, "Fix that"),
    ],
)
def test_what_the_machine_denies_has_a_remedy(number, hint):
    assert hint in remedy(number)


def test_errors_that_end_a_search_have_a_remedy_of_their_own():
    from kbn.search.faults import ERRNOS

    assert not [number for number in ERRNOS if remedy(number) == remedy(None)]


def test_the_errors_import_nothing_heavy():
    program = (
        "import sys, kbn.errors\n"
        "heavy = 'tensorflow keras keras_tuner mlflow pandas numpy pydantic yaml'\n"
        "assert not set(heavy.split()) & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
