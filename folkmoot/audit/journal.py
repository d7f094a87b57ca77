# SPDX-License-Identifier: Apache-2.0
"""The audit's journal: a line for each round that was found right, so that an audit that was stopped goes on there.

The first line says what audit it is of; each other one a round, the digest of what the verdict depended on (`facts`),
and what was counted. A line carries the digest of the line before, so a damaged, missing or exchanged line is found.
It is on disk before the next round begins; one that a crash left unfinished is cut off. Lines whose facts are not
those of the chain any more are cut off with all that follow.

A journal is a memory, no proof: its digests find damage, not forgery. Who audits keeps it to themselves, and what an
audit owes to it says so (`report`).
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from folkmoot.audit.entries import EntryCounts
from folkmoot.audit.genesis import Origin
from folkmoot.audit.history import Block, History
from folkmoot.errors import InputError
from folkmoot.protocol.hashing import canonical_json, parse_canonical_json, sha256_hex
from folkmoot.runtime.fault_points import fault_point
from folkmoot.runtime.files import sync_folder

FORMAT = "folkmoot/audit-journal/1"

_ANEW = "Give another file by --journal, or remove this one: every round is then verified anew."


@dataclass(frozen=True, slots=True)
class Checked:
    """What was counted in a round that was found right."""

    recomputed: bool
    """Whether it has an outcome, which was recomputed."""
    updates: int
    """Update files that went into it."""
    entries: EntryCounts
    """How its entries were believed."""


@dataclass(frozen=True, slots=True)
class Line:
    """A round in a journal."""

    round: int
    """Its number."""
    facts: str
    """Digest of what the verdict depended on."""
    checked: Checked
    """What was counted."""
    at: str
    """When it was verified, UTC in ISO 8601."""
    place: int
    """First byte of the line in the file."""
    previous: str
    """Digest of the line before."""
    digest: str
    """Its own."""


@dataclass
class Journal:
    """The journal of an audit. Use `opened`."""

    block: Block
    """The audited block, which new lines name."""
    kept: list[Line] = field(default_factory=list)
    """Lines of earlier audits that this one goes by."""
    noted: list[int] = field(default_factory=list)
    """Rounds that this audit found right."""
    dropped: list[int] = field(default_factory=list)
    """Rounds whose lines were cut off, because the chain says something else by now."""
    _say: Callable[[str], None] = lambda text: None
    _path: Path = Path()
    _file: int = -1
    _unread: deque[Line] = field(default_factory=deque)
    _last: str = ""  # digest of the last line

    def take(self, number: int, facts: str) -> Checked | None:
        """Return what was counted in a round, if the next line is of it and its facts are the same.

        Any other next line is stale, and cut off with all that follow: call this for rounds in ascending order.

        Raises:
            InputError: the file can't be written.
        """
        if self._unread and (self._unread[0].round, self._unread[0].facts) != (number, facts):
            self.drop_rest()
        if not self._unread:
            return None
        self.kept.append(self._unread.popleft())
        return self.kept[-1].checked

    def drop_rest(self) -> None:
        """Cut off the lines that were not taken.

        Raises:
            InputError: the file can't be written.
        """
        if not self._unread:
            return
        fault_point("audit.lines-dropped.before")
        with _usable(self._path):
            _cut(self._file, self._unread[0].place)
        fault_point("audit.lines-dropped.after")
        first = self._unread[0].round
        self._say(
            f"The chain says something else of round {first} than when the journal was written (a reorg, a slash, or "
            f"another endpoint): its {len(self._unread)} lines from there on are cut off, and the rounds verified anew."
        )
        self._last = self._unread[0].previous
        self.dropped += [line.round for line in self._unread]
        self._unread.clear()

    def note(self, number: int, facts: str, checked: Checked) -> None:
        """Write that a round was found right; it is on disk when this returns.

        Raises:
            InputError: the file can't be written.
        """
        body = {
            "round": number,
            "facts": facts,
            "recomputed": checked.recomputed,
            "updates": checked.updates,
            "entries": [checked.entries.signed, checked.entries.own, checked.entries.relied],
            "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "block": [self.block.number, self.block.hash.hex()],
            "previous": self._last,
        }
        digest = _digest(body)
        fault_point("audit.round-noted.before")
        with _usable(self._path):
            _append(self._file, canonical_json({**body, "digest": digest}))
        fault_point("audit.round-noted.after")
        self._last = digest
        self.noted.append(number)


@contextmanager
def opened(
    path: Path, history: History, origin: Origin, from_round: int, say: Callable[[str], None]
) -> Iterator[Journal]:
    """Open the journal of an audit, which is made if it is not there; nobody else can open it meanwhile.

    Args:
        path: The file.
        history: What is audited.
        origin: Its genesis.
        from_round: First round that the audit recomputes.
        say: Told what is cut off.

    Raises:
        InputError: the file is of another audit or release, is damaged, in use, or can't be read or written
            (code `audit-journal`).
    """
    first = canonical_json(_first_line(history, origin, from_round))
    with _usable(path):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise _unusable(path, "it is not a file")
        _lock(path, file)
        with _usable(path):
            lines, tail = _split(path.read_bytes())
        if not lines and not first.startswith(tail):
            raise _unusable(path, "it is not a journal of an audit")
        read, last = _read(path, lines, first) if lines else ([], sha256_hex(first))
        with _usable(path):
            if tail:
                _cut(file, sum(len(line) + 1 for line in lines))
                say(f"The last line of the journal {path} was unfinished, and is cut off.")
            if not lines:
                _append(file, first)
                sync_folder(path.parent)
        yield Journal(history.head, _say=say, _path=path, _file=file, _unread=deque(read), _last=last)
    finally:
        os.close(file)


def _first_line(history: History, origin: Origin, from_round: int) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "folkmoot": version("folkmoot"),
        "deployment": history.deployment.to_json(),
        "manifest": origin.manifest.hash.hex(),
        "genesisStateRoot": origin.state_root.hex(),
        "fromRound": from_round,
    }


def _split(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the finished lines without their ends, and what a crash left of one more."""
    *lines, tail = data.split(b"\n")
    return lines, tail


def _read(path: Path, lines: list[bytes], first: bytes) -> tuple[list[Line], str]:
    """Read the lines of a journal; return its rounds and the digest of the last line."""
    if lines[0] != first:
        raise _unusable(path, _why_foreign(lines[0], first))
    found: list[Line] = []
    last, place = sha256_hex(first), len(first) + 1
    for number, data in enumerate(lines[1:], start=2):
        try:
            line = _line(data, place)
        except (InputError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise _unusable(path, f"line {number} is damaged ({error})") from error
        if line.previous != last:
            raise _unusable(path, f"line {number} does not follow from the line before")
        if found and line.round <= found[-1].round:
            raise _unusable(path, f"line {number} is of round {line.round}, after round {found[-1].round}")
        found.append(line)
        last, place = line.digest, place + len(data) + 1
    return found, last


def _line(data: bytes, place: int) -> Line:
    document = parse_canonical_json(data)
    digest = document.pop("digest")
    if digest != _digest(document):
        raise ValueError("its digest is not its own")
    return Line(
        int(document["round"]),
        str(document["facts"]),
        Checked(bool(document["recomputed"]), int(document["updates"]), EntryCounts(*document["entries"])),
        str(document["at"]),
        place,
        str(document["previous"]),
        digest,
    )


def _why_foreign(found: bytes, expected: bytes) -> str:
    """Say what another first line than ours is of."""
    try:
        theirs, ours = parse_canonical_json(found), parse_canonical_json(expected)
        if theirs["format"] == FORMAT:
            name = next(name for name in ours if theirs.get(name) != ours[name])
            if isinstance(ours[name], dict):
                return "it is of another deployment"
            return f"it is of another audit: its {name} is {theirs.get(name)}, and here it is {ours[name]}"
    except (InputError, TypeError, KeyError, AttributeError, StopIteration):
        pass
    return "it is not a journal of an audit, or its first line is damaged"


def _digest(body: Mapping[str, Any]) -> str:
    return sha256_hex(canonical_json(body))


def _append(file: int, line: bytes) -> None:
    data = memoryview(line + b"\n")
    while data:
        data = data[os.write(file, data) :]
    os.fsync(file)


def _cut(file: int, size: int) -> None:
    os.ftruncate(file, size)
    os.fsync(file)


def _lock(path: Path, file: int) -> None:
    try:
        # On the journal itself: it can lie anywhere, and no lock file is to lie beside it.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise _unusable(path, "another audit uses it") from error


@contextmanager
def _usable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error


def _unusable(path: Path, why: str) -> InputError:
    return InputError(
        f"The journal {path} can't be used: {why}.",
        remedy=_ANEW,
        code="audit-journal",
        details={"file": str(path)},
    )
