"""Functions of a recipe's own Python code, named as module:function."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.machinery
import importlib.util
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from kbn.errors import Text, Violation, ViolationError
from kbn.recipe.names import suggest

# prefixes of files that are not a recipe's own code
_LIBRARIES = (
    "<",
    f"{Path(__file__).parents[1]}{os.sep}",
    *(
        f"{sysconfig.get_path(name)}{os.sep}"
        for name in ("stdlib", "platstdlib", "purelib", "platlib")
    ),
)


def source_of(reference: str, home: Path) -> Path | None:
    """Return the file beside the recipe that defines a function; None for an installed module.

    Args:
        reference: "module:function" or "file.py:function".
        home: the recipe's directory.
    """
    module = reference.partition(":")[0]
    file = home / (module if module.endswith(".py") else f"{module.replace('.', '/')}.py")
    return file if file.is_file() else None


def load_function(reference: str, home: Path) -> Callable[..., Any]:
    """Import a function.

    Args:
        reference: "module:function" or "file.py:function". A file beside the recipe takes
            precedence over an installed module, and can import modules beside it.
        home: the recipe's directory.

    Raises:
        ViolationError: with the key "python", if there is no such function or its module cannot
            be imported.
    """
    module, _, name = reference.partition(":")
    try:
        loaded = _import(module, home)
    except (Exception, SystemExit) as error:
        rule, hint = f"{module} must be importable", "Fix it, or the name."
        raise ViolationError(Violation(rule, hint, "python", described(error))) from error
    function = getattr(loaded, name, None)
    if not callable(function):
        own = [
            n for n, v in vars(loaded).items() if getattr(v, "__module__", "") == loaded.__name__
        ]
        hint = suggest(name, own) if own else f"Define it in {module}."
        raise ViolationError(Violation(f"must name a function of {module}", hint, "python", name))
    return function


@contextlib.contextmanager
def following(rule: str, hint: str, key: str) -> Iterator[None]:
    """Turn whatever the block raises, but for violations, into a violation of `rule`."""
    try:
        yield
    except ViolationError:
        raise
    except (Exception, SystemExit) as error:
        raise ViolationError(Violation(rule, hint, key, described(error))) from error


def described(error: BaseException) -> Text:
    """Describe an error in one line, with the line of the recipe's own code that it comes from."""
    text = str(error)
    for mark in ("\x1b[1m", "Error encountered:"):  # Keras puts what a layer raised after these
        text = text.rpartition(mark)[2]
    text = text.strip().partition("\n")[0].partition("\x1b")[0]
    text = re.sub(r"^\{\{.*?\}\} ", "", text)  # TensorFlow names its operation first
    message = f"{type(error).__name__}: {text}" if text else type(error).__name__
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_LIBRARIES)
    ]
    where = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    return Text(message + where)


def _import(module: str, home: Path) -> ModuleType:
    file = source_of(module, home)
    if file is None:
        if module.endswith(".py"):
            raise FileNotFoundError(f"there is no {home / module}")
        return importlib.import_module(module)
    # under a unique name, because two recipes may each have a model.py, and a file may be edited
    content = str(file.resolve()).encode() + file.read_bytes()
    name = f"kbn_recipe_{hashlib.sha256(content).hexdigest()[:12]}_{file.stem}"
    if name not in sys.modules:
        loader = importlib.machinery.SourceFileLoader(name, str(file))
        spec = importlib.machinery.ModuleSpec(name, loader, origin=str(file))
        spec.has_location = True  # which sets __file__
        sys.modules[name] = loaded = importlib.util.module_from_spec(spec)
        try:
            with _importable(file.parent):
                loader.exec_module(loaded)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


@contextlib.contextmanager
def _importable(directory: Path) -> Iterator[None]:
    """Make the modules in a directory importable, after all installed ones; write no bytecode."""
    path, writes_nothing = sys.path, sys.dont_write_bytecode
    sys.path = [*path, str(directory.resolve())]
    sys.dont_write_bytecode = True  # bytecode would be stale after an edit within a second
    try:
        yield
    finally:
        sys.path, sys.dont_write_bytecode = path, writes_nothing
