import errno
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import portalocker
import pytest

from kbn import files
from kbn.errors import DamagedError, remedy
from kbn.files import holder, locked, read_json, seal, unseal, write, write_json

PACKAGE = Path(files.__file__).parent


def test_a_sealed_record_is_json_and_comes_back():
    record = {"name": 'quoted "crc": é\udce9', "values": [1, 0.1, None, float("inf")]}
    line = seal(record)
    assert b"\n" not in line
    assert unseal(line) == record
    assert set(json.loads(line)) == {*record, "crc"}


def test_every_flipped_bit_and_every_truncation_of_a_sealed_record_is_noticed():
    line = seal({"score": 0.9875, "status": "COMPLETED"})
    damaged = [line[:end] for end in range(len(line))]
    for place in range(8 * len(line)):
        flipped = bytearray(line)
        flipped[place // 8] ^= 1 << place % 8
        damaged.append(bytes(flipped))
    for case in damaged:
        with pytest.raises(ValueError, match="checksum"):
            unseal(case)


def test_a_damaged_file_is_named(tmp_path):
    write_json(tmp_path / "state.json", {"a": 1})
    assert read_json(tmp_path / "state.json") == {"a": 1}
    (tmp_path / "state.json").write_bytes(b'{"a": 2}')
    with pytest.raises(DamagedError, match=r"state\.json"):
        read_json(tmp_path / "state.json")


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch):
    write(tmp_path / "file", b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_links_are_not_followed_where_the_system_has_no_flag_for_it(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_NOFOLLOW", raising=False)
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / "file.new").symlink_to("victim")
    with pytest.raises(OSError, match="symbolic link"):
        files.opened(tmp_path / "file.new", "wb")
    assert (tmp_path / "victim").read_bytes() == b"mine"


def test_on_windows_a_file_is_replaced_once_its_reader_has_closed_it(tmp_path, monkeypatch):
    readers, slept, replace = [1, 2], [], Path.replace

    def open_elsewhere(draft, file):
        if readers:
            readers.pop()
            raise PermissionError(errno.EACCES, "The process cannot access the file")
        return replace(draft, file)

    monkeypatch.setattr(files, "WINDOWS", True)
    monkeypatch.setattr(Path, "replace", open_elsewhere)
    monkeypatch.setattr(time, "sleep", slept.append)
    write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert slept == list(files.PAUSES[:2])
    readers += [1] * 99
    with pytest.raises(PermissionError):
        write(tmp_path / "file", b"newer")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_on_windows_no_directory_is_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WINDOWS", True)
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("this needs a right that nobody has"))
    files.sync(tmp_path)


TRY = """
import sys, pathlib
from kbn import files
file, how, windows = sys.argv[1:]
files.WINDOWS = windows == "True"
try:
    with files.locked(pathlib.Path(file), shared=how == "shared"):
        print("got it")
except BlockingIOError:
    print("taken")
"""


@pytest.fixture(params=[False, True], ids=["this system", "windows"])
def _system(request, monkeypatch):
    """Locks are those of this system, or on the file that Windows would lock."""
    monkeypatch.setattr(files, "WINDOWS", request.param)


def another_process_tries(file, how="alone"):
    command = [sys.executable, "-c", TRY, str(file), how, str(files.WINDOWS)]
    return subprocess.check_output(command, text=True, timeout=60).strip()


@pytest.mark.usefixtures("_system")
def test_a_lock_keeps_other_processes_out_and_says_who_holds_it(tmp_path):
    with locked(tmp_path / "lock"):
        assert another_process_tries(tmp_path / "lock") == "taken"
        assert f"process {os.getpid()} on " in holder(tmp_path / "lock")
    assert another_process_tries(tmp_path / "lock") == "got it"


@pytest.mark.usefixtures("_system")
def test_a_shared_lock_is_shared(tmp_path):
    with locked(tmp_path / "lock", shared=True):
        assert another_process_tries(tmp_path / "lock", "shared") == "got it"
        assert another_process_tries(tmp_path / "lock") == "taken"


def test_on_windows_what_says_who_holds_a_lock_is_not_locked_itself(tmp_path, monkeypatch):
    lock = tmp_path / "lock"
    monkeypatch.setattr(files, "WINDOWS", True)
    with locked(lock):
        with lock.open("rb") as told:
            portalocker.lock(told, portalocker.LockFlags.EXCLUSIVE)  # would wait for ever
        assert sorted(tmp_path.iterdir()) == [lock, files.guard_of(lock)]
        files.remove_lock(lock)
        assert not list(tmp_path.iterdir())


def test_a_lock_that_is_waited_for_is_taken_when_windows_gives_up_waiting(tmp_path, monkeypatch):
    lock, tries = portalocker.lock, []

    def gives_up_at_first(stream, flags):
        tries.append(flags)
        if len(tries) < 3:
            raise portalocker.AlreadyLocked("36: deadlock avoided")
        lock(stream, flags)

    monkeypatch.setattr(portalocker, "lock", gives_up_at_first)
    with locked(tmp_path / "lock", waits=True):
        assert len(tries) == 3
        assert another_process_tries(tmp_path / "lock") == "taken"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EIO])
def test_a_file_system_without_locks_says_so(tmp_path, monkeypatch, number):
    def fails(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(portalocker.portalocker, "LOCKER", fails)
    with pytest.raises(OSError, match=re.escape(os.strerror(number))), locked(tmp_path / "lock"):
        pass
    assert remedy(errno.ENOLCK).startswith("Work on a disk of this machine")


def test_what_the_library_of_locks_raises_itself_is_an_error_of_the_system(tmp_path, monkeypatch):
    def fails(*_):
        raise portalocker.LockException("the network is gone")

    monkeypatch.setattr(portalocker, "lock", fails)
    with pytest.raises(OSError, match="the network is gone"), locked(tmp_path / "lock"):
        pass


def test_a_system_without_fork_has_no_children_to_mind(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    files._closed_in_children.cache_clear()
    try:
        with locked(tmp_path / "lock"):
            assert another_process_tries(tmp_path / "lock") == "taken"
    finally:
        files._closed_in_children.cache_clear()


@pytest.mark.parametrize("name", ["fcntl", "resource", "pwd", "termios"])
def test_no_module_imports_what_windows_lacks(name):
    imports = re.compile(rf"^\s*(import|from) {name}\b", re.MULTILINE)
    found = [file for file in PACKAGE.rglob("*.py") if imports.search(file.read_text("utf-8"))]
    assert found == []


@pytest.mark.posix
def test_a_lock_is_not_inherited_by_a_forked_process(tmp_path):
    read, done = os.pipe()
    up, begun = os.pipe()
    with locked(tmp_path / "lock"):
        child = os.fork()
        if child == 0:  # outlives the lock's owner, until the pipe is closed
            os.close(done)
            os.write(begun, b".")
            os.read(read, 1)
            os._exit(0)
        os.read(up, 1)
    try:
        assert another_process_tries(tmp_path / "lock") == "got it"
    finally:
        os.close(done)
        os.waitpid(child, 0)
        for descriptor in (read, up, begun):
            os.close(descriptor)
