"""A directory of files of sealed lines, in which every line but epochs is kept twice.

Every line names its file and the search: a line that is damaged, or lies in another file's place,
is never taken for what happened. What one file lost, another one still has.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from time import time_ns

from kbn import files
from kbn.errors import JournalError
from kbn.tracking import sealed
from kbn.tracking.sealed import AN_EVENT, RESTORE, Event, File, Line

SEARCH_FILE, COPY = "search.jsonl", "copy.jsonl"
ORDER = {"begin": 0, "epoch": 1, "end": 2}  # of the lines of an attempt
MADE_ANEW = " It is made anew from what the other files hold."


class LineFiles:
    """The files of a journal, in one directory, which is created on the first write.

    Args:
        directory: of the files.
        is_attempt: returns whether a name is that of an attempt's file.
    """

    def __init__(self, directory: Path, is_attempt: Callable[[str], object]):
        self._directory, self._is_attempt = directory, is_attempt

    @functools.cached_property
    def search(self) -> str:
        """The search's id, which is drawn where there is none.

        Raises:
            JournalError: if there are files, and none has a line that is whole.
        """
        found = [*self._named_by(SEARCH_FILE), *self._named_by(COPY)]
        if not found or found != [found[0]] * 2:  # then it is what most files say
            found += [search for name in self.attempts() for search in self._named_by(name)]
        if found:
            return collections.Counter(found).most_common(1)[0][0]
        if self.exist():
            raise JournalError(f"{self._directory}: {AN_EVENT} Got none at all. {RESTORE}")
        self.search = uuid.uuid4().hex
        self.append(SEARCH_FILE, "search", {})
        return self.search

    def _named_by(self, name: str) -> list[str]:
        """Return the search that the first whole line of a file names, if there is such a line."""
        with contextlib.suppress(JournalError):
            for text in sealed.content_of(self._directory / name).split(b"\n"):
                if (event := sealed.event_of(text)) is not None:
                    return [event["search"]]
        return []

    def exist(self) -> bool:
        """Return whether there is any line."""
        return any(sealed.holds_lines(file) for file in self._directory.glob("*.jsonl"))

    def append(
        self, name: str, event: str, members: Mapping[str, object], *, new: bool = False
    ) -> None:
        """Write a line to the end of a file.

        Args:
            name: of the file.
            event: kind of the line.
            members: of the line beside its own; `time` is that of the call unless it is given.
            new: whether the file must not exist.

        Raises:
            FileExistsError: if there is a file that must not exist.
            JournalError: if the line cannot be written.
        """
        line = self._line(name, event, members).text + b"\n"
        self._write(name, line, new=new)
        if event != "epoch":
            self._write(COPY, line)

    def _line(self, name: str, event: str, members: Mapping[str, object]) -> Line:
        own = {"event": event, "time": now(), "search": self.search, "file": name}
        record = sealed.encodable({**own, **members})
        return Line(files.seal(record), record)

    def _write(self, name: str, line: bytes, *, new: bool = False) -> None:
        file = self._directory / name
        try:
            if not self._directory.exists():
                self._directory.mkdir(parents=True, exist_ok=True)
                files.sync(self._directory.parent)
            made = not file.exists()
            with files.opened(file, "x+b" if new else "a+b") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - 1))
                if stream.read(1) not in (b"", b"\n"):  # rare: a write before this one was cut
                    stream.truncate(len(sealed.whole_lines(file.read_bytes())))
                stream.write(line)
                stream.flush()
                if name != COPY:  # which only repeats what is on the disk
                    os.fsync(stream.fileno())
            if made:
                files.sync(self._directory)
        except FileExistsError:
            raise
        except OSError as error:
            raise JournalError(
                f"{file}: what happens to a trial must be on the disk before the search goes on. "
                f"Got: {error.strerror}. What was recorded is whole: mend it, and start again."
            ) from error

    def read(self, name: str, *, needed: bool = False) -> File:
        """Read a file by itself.

        Args:
            name: of the file.
            needed: whether it is a fault if the file is empty.
        """
        file = self._directory / name
        try:
            content = sealed.content_of(file)
        except JournalError as error:
            return File([], str(error))
        if needed and not content:
            return File([], f"{file}: a file of a journal must hold its lines. Got an empty one.")
        lines, faults = [], []
        for number, text in enumerate(content.split(b"\n")[:-1], 1):
            event = sealed.event_of(text)
            if event is not None and self._belongs(event, name):
                lines.append(Line(text, event))
                continue
            got = repr(text[:60])
            if event is not None:
                got = f"a line of {event['file']!r} of search {event['search']!r}"
            faults.append(f"{file}:{number}: {AN_EVENT} Got {got}.")
        if not faults:
            return File(lines)
        more = f" {len(faults) - 1} more lines are no better." if faults[1:] else ""
        return File(lines, f"{faults[0]}{more} {RESTORE}", len(faults))

    def _belongs(self, event: Event, name: str) -> bool:
        own = event["file"] == name
        if name == COPY:
            own = event["file"] == SEARCH_FILE or bool(self._is_attempt(event["file"]))
        return own and event["search"] == self.search

    def attempts(self) -> list[str]:
        """Return the names of the attempts' files."""
        return [file.name for file in self._directory.glob("*.*.jsonl")]

    def known(self) -> tuple[File, dict[str, File]]:
        """Return the copy, and for every other file what it and the copy together hold."""
        if not self.exist():
            return File([]), {}
        copy = self.read(COPY, needed=True)
        copied = collections.defaultdict(list)
        for line in copy.lines:
            copied[line.event["file"]].append(line)
        names = dict.fromkeys((SEARCH_FILE, *copied, *self.attempts()))
        trusted = copy.fault is None
        return copy, {name: self._compared(name, copied[name], trusted) for name in names}

    def _compared(self, name: str, copied: list[Line], trusted: bool) -> File:
        own = self.read(name, needed=bool(copied) or name == SEARCH_FILE)
        texts = {line.text for line in own.lines}
        lost = [line for line in copied if line.text not in texts]
        fault, lines = own.fault, own.lines
        if lost and not fault:
            fault = f"{self._directory / name}: {len(lost)} of its lines are missing. {RESTORE}"
        if not fault:
            return own
        if name != SEARCH_FILE:
            lines = sorted([*lines, *lost], key=lambda line: ORDER.get(line.event["event"], 3))
            begins = bool(lines) and lines[0].event["event"] == "begin"
            return File(lines, fault, own.damaged, restorable=begins)
        if lost:
            copies = {line.text for line in copied}
            lines = copied + [line for line in lines if line.text not in copies]
        elif not lines:  # the attempts know nothing of it but the search's id
            lines = [self._line(SEARCH_FILE, "search", {})]
        complete = len(lines) >= len(own.lines) + own.damaged
        return File(lines, fault, own.damaged, restorable=complete or (trusted and bool(copied)))

    def repair(self) -> tuple[dict[str, File], list[str]]:
        """Restore what one file lost and another one has; nobody may write meanwhile.

        A damaged file is kept as NAME.damaged.

        Returns:
            What every file but the copy holds then; and what is or was wrong with files, and what
            became of them, a line each.
        """
        copy, known = self.known()
        reports = []
        for name, file in known.items():
            if file.restorable:
                self._rewrite(name, file.lines)
                known[name] = File(file.lines)
            if file.fault:
                reports.append(f"{file.fault}{MADE_ANEW if file.restorable else ''}")
        lines = [line for file in known.values() for line in file.lines]
        lines = [line for line in lines if line.event["event"] != "epoch"]
        lost = len(lines) - len(copy.lines)
        if lines and (copy.fault or lost > 0):
            self._rewrite(COPY, lines)
        if copy.fault or lost > 1:  # a kill between two writes loses one
            wrong = copy.fault or f"{self._directory / COPY}: {lost} of its lines are missing."
            reports.append(f"{wrong}{MADE_ANEW}")
        return known, reports

    def _rewrite(self, name: str, lines: list[Line]) -> None:
        file = self._directory / name
        if file.exists():
            files.replace(file, file.with_name(f"{name}.damaged"))
        files.write(file, b"".join(line.text + b"\n" for line in lines))


def now() -> int:
    """Return the milliseconds since the epoch."""
    return time_ns() // 1_000_000
