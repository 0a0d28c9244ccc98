"""A recipe's own Python: functions named as module:function."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kbn.errors import Text, Violation, ViolationError
from kbn.recipe.rules import suggest

# what is no recipe's own code
_LIBRARIES = (
    "<",
    f"{Path(__file__).parents[1]}/",
    *(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib", "purelib", "platlib")),
)


def source_of(reference: str, home: Path) -> Path | None:
    """The file beside the recipe that holds the function; None for an installed module's.

    Args:
        reference: "module:function" or "file.py:function".
        home: the recipe's directory.
    """
    module = reference.partition(":")[0]
    file = home / (module if module.endswith(".py") else f"{module.replace('.', '/')}.py")
    return file if file.is_file() else None


def load_function(reference: str, home: Path) -> Callable[..., Any]:
    """Imports a function.

    Args:
        reference: "module:function" or "file.py:function"; a file beside the recipe comes first,
            also where an installed module has its name, and can import what lies beside it.
        home: the recipe's directory.

    Raises:
        ViolationError: of the key "python", if there is no such function or its module cannot be
            imported.
    """
    module, _, name = reference.partition(":")
    try:
        loaded = _import(module, home)
    except (Exception, SystemExit) as error:
        rule, hint = f"{module} must be importable", "Mend it, or the name."
        raise ViolationError(Violation(rule, hint, "python", described(error))) from error
    function = getattr(loaded, name, None)
    if not callable(function):
        own = [
            n for n, v in vars(loaded).items() if getattr(v, "__module__", "") == loaded.__name__
        ]
        hint = suggest(name, own) if own else f"Define it in {module}."
        raise ViolationError(Violation(f"must name a function of {module}", hint, "python", name))
    return function


def described(error: BaseException) -> Text:
    """An error in a line, with the line of the recipe's own code that it comes from."""
    text = str(error)
    for mark in ("\x1b[1m", "Error encountered:"):  # after which Keras tells what a layer raised
        text = text.rpartition(mark)[2]
    text = text.strip().partition("\n")[0].partition("\x1b")[0]
    told = f"{type(error).__name__}: {text}" if text else type(error).__name__
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_LIBRARIES)
    ]
    where = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    return Text(told + where)


def _import(module: str, home: Path) -> Any:
    file = source_of(module, home)
    if file is None:
        if module.endswith(".py"):
            raise FileNotFoundError(f"there is no {home / module}")
        return importlib.import_module(module)
    # under a name of its own: two recipes may each have a model.py, and a file may be mended
    content = str(file.resolve()).encode() + file.read_bytes()
    name = f"kbn_recipe_{hashlib.sha256(content).hexdigest()[:12]}_{file.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None  # noqa: S101  it is a .py file
        assert spec.loader is not None  # noqa: S101
        sys.modules[name] = loaded = importlib.util.module_from_spec(spec)
        try:
            with _importable(file.parent):
                spec.loader.exec_module(loaded)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


@contextlib.contextmanager
def _importable(directory: Path) -> Iterator[None]:
    """Lets modules of a directory be imported, after all that is installed, and writes nothing."""
    path, writes_none = sys.path, sys.dont_write_bytecode
    sys.path = [*path, str(directory.resolve())]
    sys.dont_write_bytecode = True  # bytecode is old if a file is mended within a second
    try:
        yield
    finally:
        sys.path, sys.dont_write_bytecode = path, writes_none
