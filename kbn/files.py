"""Files that survive kills and reveal damage: atomic writes, checksums, and locks."""

from __future__ import annotations

import contextlib
import fcntl
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
        draft.replace(file)
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


def opened(file: Path, mode: str) -> IO[bytes]:
    """Open a file, but never through a symbolic link.

    Raises:
        OSError: if it is a link, or cannot be opened.
    """
    return open(file, mode, opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW, 0o666))


def sync(directory: Path) -> None:
    """Flush a directory's entries to the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(file: Path, *, waits: bool = False, shared: bool = False) -> Iterator[IO[bytes]]:
    """Hold a file's lock, which is released whenever the process ends.

    Processes that this one forks do not hold it. The file says who holds it: see `holder`.

    Args:
        file: is made where there is none; its directory must exist.
        waits: for another holder to let go.
        shared: with others that hold it shared.

    Returns:
        The open file.

    Raises:
        BlockingIOError: if another one holds the lock, and `waits` is false.
        OSError: if the file cannot be written.
    """
    with opened(file, "a+b") as stream:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(stream, kind if waits else kind | fcntl.LOCK_NB)
        _closed_in_children().add(stream)
        try:
            owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": int(time.time())}
            stream.truncate(0)
            stream.write(seal(owner))
            stream.flush()
            yield stream
        finally:
            _closed_in_children().discard(stream)


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

    os.register_at_fork(after_in_child=close)
    return held
