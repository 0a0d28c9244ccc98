"""Errors about the files of a search: a file is damaged, or the machine rejects its use."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

import keras_tuner

from kbn.errors import DamagedError, MachineError, remedy

ANEW = "begin anew (kbn tune --fresh, or overwrite=True)"  # on the command line, or in Python
# errors of the machine, for which no trial is to blame
ERRNOS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.ENFILE,  # whose text begins as that of EMFILE
    errno.EMFILE,
    errno.EROFS,
    errno.EIO,
)
# what Windows says of a number that it has no text for, such as EDQUOT
UNKNOWN = "Unknown error"
# how HDF5 and TensorFlow name the file in an error's message
FILE = re.compile(r"name = '([^']+)'|^((?:/|[A-Za-z]:)[^;]+);")


def reasons() -> dict[str, int]:
    """Return {text: number} of the errors of the machine that this system has a text for."""
    texts = {os.strerror(number): number for number in ERRNOS}
    return {text: number for text, number in texts.items() if not text.startswith(UNKNOWN)}


REASONS = reasons()


class FatalMachineError(MachineError, keras_tuner.errors.FatalError):
    """A MachineError that ends KerasTuner's search; any other exception only fails the trial."""


def machine_error(error: BaseException | None, file: str) -> FatalMachineError | None:
    """Return the error to raise for an exception that the machine caused; None for any other.

    HDF5 and TensorFlow often lose the number of such an error, but not its text.

    Args:
        error: the exception as it was caught.
        file: the file in use, unless the exception names another one.
    """
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        number = error.errno if isinstance(error, OSError) else None
        text = f"{error} {os.strerror(number or 0)}"
        reason = next((reason for reason in REASONS if reason in text), None)
        if reason is not None:
            found = FILE.search(str(error))
            file = getattr(error, "filename", None) or (found and (found[1] or found[2])) or file
            return FatalMachineError(
                f"{file}: the file must be usable. Got {reason!r} instead. All trials that ended "
                f"are safe, and the search continues from there. {remedy(REASONS[reason])}"
            )
        seen.append(error)
        error = error.__cause__ or error.__context__
    return None


@contextlib.contextmanager
def naming(file: Path) -> Iterator[None]:
    """Turn an exception about a file of a search into an error that names the file, with a hint.

    Raises:
        DamagedError: if the file is missing or its content wrong.
        MachineError: if it cannot be read.
    """
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise damaged(file, str(error.strerror)) from error
    except OSError as error:
        raise MachineError(
            f"{file}: the file must be readable. Got {error.strerror or error} instead. Nothing "
            "was changed: make it readable, then start again."
        ) from error
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        missing = isinstance(error, KeyError)
        raise damaged(file, f"no {error}" if missing else str(error)) from error


def damaged(file: Path | str, received: str) -> DamagedError:
    """Return the error about a file that is not as it was written."""
    return DamagedError(
        f"{file}: the file must be as kbn wrote it. Got {received} instead. Restore it from a "
        f"copy, or {ANEW}."
    )
