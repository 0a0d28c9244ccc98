"""Files that survive kills and reveal damage: atomic writes, checksums, and locks."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import socket
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from kbn.errors import DamagedError

WINDOWS = os.name == "nt"
PAUSES = (0.01, 0.03, 0.1, 0.3, 1.0)  # seconds until a rename is tried again
MARK = b', "crc": "'  # precedes the checksum, which is the last member of its JSON object
SEAL = len(MARK) + 8 + len(b'"}')


def seal(record: Mapping[str, Any]) -> bytes:
    """Return a JSON object on one line, whose last member is the CRC-32 of what precedes it.

    Args:
        record: JSON values by name; at least one.
    """
    text = json.dumps(record).encode()[:-1]
    return b'%s%s%08x"}' % (text, MARK, zlib.crc32(text))


def unseal(line: bytes) -> dict[str, Any]:
    """Return the JSON object that `seal` wrote.

    Raises:
        ValueError: if the line is not as `seal` wrote it.
    """
    text = line[:-SEAL]
    if line[len(text) :] != b'%s%08x"}' % (MARK, zlib.crc32(text)):
        raise ValueError(f"its checksum does not match: {line[:60]!r}")
    return dict(json.loads(text + b"}"))


def write_json(file: str | os.PathLike[str], record: Mapping[str, Any]) -> None:
    """Replace a file with a sealed JSON object, atomically and durably.

    Raises:
        OSError: if it cannot be written; the old file is then whole.
    """
    write(file, seal(record))


def write(file: str | os.PathLike[str], content: bytes) -> None:
    """Replace a file atomically and durably.

    Raises:
        OSError: if it cannot be written; the old file is then whole.
    """
    draft = Path(f"{os.fspath(file)}.new")
    try:
        with opened(draft, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        replace(draft, file)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    sync(draft.parent)


def read_json(file: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the JSON object that `write_json` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedError: if it is not as it was written.
    """
    try:
        return unseal(Path(file).read_bytes())
    except ValueError as error:
        raise DamagedError(
            f"{os.fspath(file)}: the file must be as kbn wrote it; {error}. Restore it from a copy."
        ) from error


def checksum(file: str | os.PathLike[str]) -> int:
    """Return the CRC-32 of a file's content.

    Raises:
        OSError: if it cannot be read.
    """
    return zlib.crc32(Path(file).read_bytes())


def replace(draft: Path, file: str | os.PathLike[str]) -> None:
    """Rename a file over another one.

    Windows does not rename over a file that is open: this waits a moment for its reader.

    Raises:
        OSError: if the file cannot be replaced.
    """
    for pause in PAUSES if WINDOWS else ():
        try:
            draft.replace(file)
        except PermissionError:
            time.sleep(pause)
        else:
            return
    draft.replace(file)


def opened(file: Path, mode: str) -> IO[bytes]:
    """Open a file, but never through a symbolic link.

    Raises:
        OSError: if it is a link, or cannot be opened.
    """
    if not hasattr(os, "O_NOFOLLOW") and file.is_symlink():  # on Windows
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(file))
    flag = getattr(os, "O_NOFOLLOW", 0)
    return open(file, mode, opener=lambda path, flags: os.open(path, flags | flag, 0o666))


def sync(directory: Path) -> None:
    """Flush a directory's entries to the disk, except on Windows, which has no way to."""
    if WINDOWS:
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(file: Path, *, waits: bool = False, shared: bool = False) -> Iterator[None]:
    """Hold a lock, which is released whenever the process ends.

    Processes that this one forks do not hold it. The file says who holds it: see `holder`.

    Args:
        file: of the lock; is created where there is none; its directory must exist.
        waits: for another holder to let go.
        shared: with others that hold it shared.

    Raises:
        BlockingIOError: if another process holds the lock, and `waits` is false.
        OSError: if the file cannot be written, or its file system has no locks.
    """
    with opened(guard_of(file), "a+b") as stream:
        _lock(stream, waits=waits, shared=shared)
        _closed_in_children().add(stream)
        try:
            owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": int(time.time())}
            with opened(file, "wb") as told:
                told.write(seal(owner))
            yield
        finally:
            _closed_in_children().discard(stream)


def guard_of(file: Path) -> Path:
    """Return the file that is locked for a lock: on Windows nobody could read the lock's own."""
    return file.with_name(f"{file.name}.held") if WINDOWS else file


def remove_lock(file: Path) -> None:
    """Remove the files of a lock that this process holds.

    Raises:
        OSError: if one cannot be removed, which on Windows is always so for what is open.
    """
    for each in {guard_of(file): None, file: None}:
        each.unlink(missing_ok=True)


def _lock(stream: IO[bytes], *, waits: bool, shared: bool) -> None:
    """Lock an open file until it is closed; see `locked` for what is raised."""
    import portalocker  # which takes 50 ms to import

    flags = portalocker.LockFlags.SHARED if shared else portalocker.LockFlags.EXCLUSIVE
    while True:
        try:
            portalocker.lock(stream, flags if waits else flags | portalocker.LockFlags.NON_BLOCKING)
        except portalocker.AlreadyLocked as error:
            if not waits:  # Windows itself waits for ten seconds only
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
        except portalocker.LockException as error:
            denied = error.__cause__
            reason = denied if isinstance(denied, OSError) else OSError(errno.EIO, str(error))
            raise reason from None
        else:
            return


def holder(file: Path) -> str:
    """Describe who holds, or last held, a lock: process, machine, and since when."""
    try:
        owner = read_json(file)
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owner["since"]))
        return f"process {owner['pid']} on {owner['host']}, since {since}"
    except (OSError, DamagedError, KeyError, TypeError):
        return "another process"


@functools.cache
def _closed_in_children() -> set[IO[bytes]]:
    """Lock files that this process holds; a forked child closes them, so that it holds none."""
    held: set[IO[bytes]] = set()

    def close() -> None:
        for stream in held:
            stream.close()
        held.clear()

    if hasattr(os, "register_at_fork"):  # Windows has no fork
        os.register_at_fork(after_in_child=close)
    return held
