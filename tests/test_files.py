import json
import os
import subprocess
import sys

import pytest

from kbn.errors import DamagedError
from kbn.files import holder, locked, read_json, seal, unseal, write, write_json


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


TRY = """
import sys, pathlib
from kbn.files import locked
try:
    with locked(pathlib.Path(sys.argv[1]), shared=len(sys.argv) > 2):
        print("got it")
except BlockingIOError:
    print("taken")
"""


def another_process_tries(*arguments):
    command = [sys.executable, "-c", TRY, *map(str, arguments)]
    return subprocess.check_output(command, text=True, timeout=60).strip()


def test_a_lock_keeps_other_processes_out_and_says_who_holds_it(tmp_path):
    with locked(tmp_path / "lock"):
        assert another_process_tries(tmp_path / "lock") == "taken"
        assert f"process {os.getpid()} on " in holder(tmp_path / "lock")
    assert another_process_tries(tmp_path / "lock") == "got it"


def test_a_shared_lock_is_shared(tmp_path):
    with locked(tmp_path / "lock", shared=True):
        assert another_process_tries(tmp_path / "lock", "shared") == "got it"
        assert another_process_tries(tmp_path / "lock") == "taken"


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
