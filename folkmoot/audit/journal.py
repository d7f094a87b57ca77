# SPDX-License-Identifier: Apache-2.0
"""The audit's journal: a line for each verified round, so that an interrupted audit can continue.

The first line identifies the audit. Each other line has a round, the digest of the facts for its verdict (`facts_of`),
and the counts. A line has the digest of the previous line, so that a damaged, missing or exchanged line is detected. It
is on disk before the next round begins. A line that a crash left incomplete is removed. Lines with facts that differ
from the chain are removed with all later lines.

A journal is not a proof: its digests detect damage, but not forgery. Auditors must protect it, and the report of an
audit says which rounds were taken from it (`report`).
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from folkmoot.audit.entries import EntryCounts
from folkmoot.audit.genesis import Origin
from folkmoot.audit.history import Block, History
from folkmoot.audit.ledger_state import Expired, Ledger
from folkmoot.errors import InputError
from folkmoot.ledger.replay import Round
from folkmoot.protocol.hashing import canonical_json, parse_canonical_json, sha256_hex
from folkmoot.runtime.fault_points import fault_point
from folkmoot.runtime.files import sync_folder

FORMAT = "folkmoot/audit-journal/2"

_ANEW = "Give another file with --journal, or remove this one: every round is then verified again."


@dataclass(frozen=True, slots=True)
class Checked:
    """Counts of a verified round."""

    recomputed: bool
    """Whether it has an outcome that was recomputed."""
    updates: int
    """Number of update files in the outcome."""
    entries: EntryCounts
    """Number of its entries, by how they were verified."""
    expired: Expired | None = None
    """Why its outcome was not recomputed, if update files were deleted by rule."""


@dataclass(frozen=True, slots=True)
class Line:
    """A round in a journal."""

    round: int
    """Number of the round."""
    facts: str
    """Digest of the facts for the verdict."""
    checked: Checked
    """Counts of the round."""
    at: str
    """Time of the verification, UTC in ISO 8601."""
    place: int
    """Offset in bytes of the line in the file."""
    previous: str
    """Digest of the previous line."""
    digest: str


@dataclass
class Journal:
    """The journal of an audit. Use `opened`."""

    block: Block
    """The audited block, which is recorded in new lines."""
    kept: list[Line] = field(default_factory=list)
    """Lines of earlier audits that this audit uses."""
    noted: list[int] = field(default_factory=list)
    """Rounds that this audit verified."""
    dropped: list[int] = field(default_factory=list)
    """Rounds whose lines were removed, because the data on the chain have changed."""
    _say: Callable[[str], None] = lambda text: None
    _path: Path = Path()
    _file: int = -1
    _unread: deque[Line] = field(default_factory=deque)
    _last: str = ""  # Digest of the last line.

    def take(self, number: int, facts: str) -> Checked | None:
        """Return the counts of a round, if the next line is of this round with the same facts.

        Any other next line is outdated, and is removed with all later lines. Call this for rounds in ascending order.
        """
        if self._unread and (self._unread[0].round, self._unread[0].facts) != (number, facts):
            self.drop_rest()
        if not self._unread:
            return None
        self.kept.append(self._unread.popleft())
        return self.kept[-1].checked

    def drop_rest(self) -> None:
        """Remove the lines that were not taken."""
        if not self._unread:
            return
        fault_point("audit.lines-dropped.before")
        with _usable(self._path):
            _cut(self._file, self._unread[0].place)
        fault_point("audit.lines-dropped.after")
        first = self._unread[0].round
        self._say(
            f"The chain says something else of round {first} than when the journal was written (a reorg, a slash, or "
            f"another endpoint): its {len(self._unread)} lines from there on are removed and verified again."
        )
        self._last = self._unread[0].previous
        self.dropped += [line.round for line in self._unread]
        self._unread.clear()

    def note(self, number: int, facts: str, checked: Checked) -> None:
        """Add a verified round. The line is on disk when this returns."""
        body = {
            "round": number,
            "facts": facts,
            "recomputed": checked.recomputed,
            "expired": checked.expired,
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
    path: Path,
    history: History,
    origin: Origin,
    from_round: int,
    reads_states: bool,
    say: Callable[[str], None],
) -> Iterator[Journal]:
    """Open the journal of an audit, and lock it. It is created if it does not exist.

    Args:
        path: File of the journal.
        history: The audited history.
        origin: The genesis.
        from_round: First round that the audit recomputes.
        reads_states: Whether the audit reads the files of states. One that does not has verified less.
        say: Called with a message on removed lines.
    """
    first = canonical_json(_first_line(history, origin, from_round, reads_states))
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


def _first_line(history: History, origin: Origin, from_round: int, reads_states: bool) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "folkmoot": version("folkmoot"),
        "deployment": history.deployment.to_json(),
        "manifest": origin.manifest.hash.hex(),
        "genesisStateRoot": origin.state_root.hex(),
        "fromRound": from_round,
        "readsStates": reads_states,
    }


def _split(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the complete lines without their ends, and an incomplete line that a crash left."""
    *lines, tail = data.split(b"\n")
    return lines, tail


def _read(path: Path, lines: list[bytes], first: bytes) -> tuple[list[Line], str]:
    """Read the lines of a journal; return its rounds and the digest of the last line."""
    if lines[0] != first:
        raise _unusable(path, _why_foreign(lines[0], first))
    rounds: list[Line] = []
    last, place = sha256_hex(first), len(first) + 1
    for number, data in enumerate(lines[1:], start=2):
        try:
            line = _line(data, place)
        except (InputError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise _unusable(path, f"line {number} is damaged ({error})") from error
        if line.previous != last:
            raise _unusable(path, f"line {number} does not follow from the line before")
        if rounds and line.round <= rounds[-1].round:
            raise _unusable(path, f"line {number} is of round {line.round}, after round {rounds[-1].round}")
        rounds.append(line)
        last, place = line.digest, place + len(data) + 1
    return rounds, last


def _line(data: bytes, place: int) -> Line:
    document = parse_canonical_json(data)
    digest = document.pop("digest")
    if digest != _digest(document):
        raise ValueError("its digest is not its own")
    return Line(
        int(document["round"]),
        str(document["facts"]),
        Checked(
            bool(document["recomputed"]),
            int(document["updates"]),
            EntryCounts(*document["entries"]),
            Expired(document["expired"]) if document["expired"] else None,
        ),
        str(document["at"]),
        place,
        str(document["previous"]),
        digest,
    )


def _why_foreign(first_line: bytes, expected: bytes) -> str:
    """Return why a first line differs from the expected one."""
    try:
        theirs, ours = parse_canonical_json(first_line), parse_canonical_json(expected)
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


def facts_of(history: History, ledger: Ledger, origin: Origin) -> Mapping[int, str]:
    """Return the digest (sha256) of all facts on which the verdict on each round depends, by number; 0 is the genesis.

    Equal digests mean equal verdicts. An outcome depends on the round's own events, its policy, and its lineage: so a
    digest includes that of the base. Events are included with the hashes of their blocks and transactions: if a
    reorganisation puts the same event into another block, that is another history. The files are not included, because
    the events have their hashes.
    """
    digests = {0: _facts_digest({"genesis": history.storage.genesis_hash, "stateRoot": origin.state_root})}
    for number, round_ in ledger.rounds.items():
        digests[number] = _facts_digest(_facts(history, round_, digests[round_.base]))
    return digests


def _facts(history: History, replayed: Round, base: str) -> dict[str, Any]:
    stored = history.storage.rounds[replayed.number]
    return {
        "round": replayed.number,
        "base": base,
        "policy": replayed.policy,
        "opened": replayed.opened,
        "entries": replayed.commits,
        "anchored": replayed.anchored,
        "cancelled": replayed.cancelled,
        "void": replayed.voided,
        "stored": [stored.header_hash, stored.entries_hash, stored.anchor_hash, stored.state_root],
    }


def _facts_digest(facts: Mapping[str, Any]) -> str:
    return sha256_hex(canonical_json(_plain(facts)))


def _plain(value: Any) -> Any:
    """Return a record as JSON values."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if is_dataclass(value):
        return {
            "is": type(value).__name__,
            **{one.name: _plain(getattr(value, one.name)) for one in fields(value)},
        }
    return value
