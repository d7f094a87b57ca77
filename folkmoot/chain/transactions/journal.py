# SPDX-License-Identifier: Apache-2.0
"""What somebody is about to send, noted before it is sent, so that nobody does a thing twice without wanting to.

A note says what a transaction is for, its nonce, and each form in which it was signed. It is on disk before
the first form leaves this machine, and goes away when the user was told what came of it. Whoever dies in between leaves
it; the next call for the same purpose then waits for that transaction, or signs another one *with the same nonce*:
whatever endpoints and pools remember or forget, at most one of them is mined. A note that stays is never in the way of
another purpose.

Notes hold no key, and no secret: a signed transaction is for everybody to read. Knows no chain: `connection.send` does
what is said here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eth_utils.crypto import keccak
from filelock import AcquireReturnProxy, FileLock

from folkmoot.chain.fees import offered
from folkmoot.chain.transactions.sender import Form
from folkmoot.errors import LocalError
from folkmoot.runtime import locks
from folkmoot.runtime.fault_points import fault_point
from folkmoot.runtime.files import sync_folder, write_whole
from folkmoot.runtime.units import format_gwei

FORMAT = "folkmoot/sent/2"
_NAMED = "folkmoot/sent/1"
"""The names of files follow from it in every format, so that a note of the first format is found, and refused."""

Say = Callable[[str], None]
"""Is told something in words for people."""

_NAME = re.compile(r"[0-9a-f]{32}\.json")


@dataclass(frozen=True, slots=True)
class Intent:
    """Something that a user wants once. Two calls with equal intents mean the same thing."""

    chain_id: int
    """EIP-155 id of the chain."""
    sender: str
    """Account that signs, checksummed."""
    contract: str
    """Contract that is called; empty for a creation."""
    purpose: str
    """What for, in words that stay the same when the command is called again."""

    @property
    def name(self) -> str:
        """Name of its note's file."""
        text = json.dumps([_NAMED, self.chain_id, self.sender, self.contract, self.purpose])
        return hashlib.sha256(text.encode()).hexdigest()[:32] + ".json"


@dataclass(slots=True)
class PendingTx:
    """A transaction that is signed for an intent."""

    intent: Intent
    """What it is for."""
    nonce: int
    forms: list[Form] = field(default_factory=list)
    """Each form in which it was signed, the newest last. At most one is mined."""
    noted: bool = True
    """Whether it is written down; if not, it does no harm to do it twice."""

    @property
    def hashes(self) -> list[str]:
        """Hash of each form, 0x-hex, the newest last."""
        return [form.hash for form in self.forms]


@dataclass(frozen=True, slots=True)
class Leftover:
    """A note that an interrupted call left behind."""

    name: str
    """Name of its file."""
    since: int
    """Unix time at which it was written last, by this machine's clock."""
    note: PendingTx | None
    """What it says; None if it can't be read."""


class TransactionJournal:
    """The notes in a folder of one user. One process at a time sends for an account: the others wait.

    Args:
        folder: The folder; made when the first note is written. Without one, nothing is noted.
        say: Is told, in words for people, when what an interrupted call sent is taken up, and what is waited for.
        depth: Blocks, its own included, that must hold a transaction before its user is told of it.
    """

    def __init__(self, folder: Path | None = None, say: Say = lambda text: None, depth: int = 1) -> None:
        self.folder, self.keeps = folder or Path(), folder is not None
        self.say = say
        self.depth = depth
        self._locks: dict[str, AcquireReturnProxy[FileLock]] = {}
        self._untold: dict[str, PendingTx] = {}
        self._earlier: set[str] = set()
        self._of_user = False

    @classmethod
    def of_user(cls, say: Say = lambda text: None, depth: int = 1) -> TransactionJournal:
        """Return the notes of the user who runs this process."""
        from platformdirs import user_data_path

        notes = cls(user_data_path("folkmoot") / "sent", say, depth)
        notes._of_user = True
        return notes

    def find(self, intent: Intent) -> PendingTx | None:
        """Return the note of an interrupted call with this intent; None if there is none.

        Waits for whoever sends for the same account at the moment.

        Raises:
            LocalError: ``note-damaged``: it can't be read, so nobody can say what was sent; ``note-unwritable``.
        """
        if not self.keeps:
            return None
        self._hold(intent)
        path = self.folder / intent.name
        try:
            return PendingTx(intent, *_parsed(path)[1:])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LocalError(
                f"The note {path} of an interrupted call can't be read: {error}.",
                remedy=f"See what {intent.sender} sent last ({intent.purpose}), then forget it: "
                f"`{self.way_out(path.name)}`.",
                code="note-damaged",
            ) from error

    def left(self) -> list[Leftover]:
        """Return what interrupted calls left behind, the oldest first. Other commands may be at work on it.

        Raises:
            LocalError: ``note-unreadable``: the folder can't be read.
        """
        leftovers = []
        try:
            for path in [one for one in self.folder.glob("*.json") if _NAME.fullmatch(one.name)]:
                note = _readable(path)
                with contextlib.suppress(FileNotFoundError):  # its command has told its result just now
                    leftovers.append(Leftover(path.name, int(path.stat().st_mtime), note))
        except OSError as error:
            raise LocalError(
                f"The folder {self.folder} of notes can't be read: {error.strerror or error}.",
                remedy="Check its permissions.",
                code="note-unreadable",
            ) from error
        return sorted(leftovers, key=lambda one: (one.since, one.name))

    def way_out(self, name: str) -> str:
        """Return the command that forgets a note.

        Args:
            name: A hash of its transaction, or the name of its file.
        """
        where = "" if self._of_user else f" --notes {self.folder}"
        return f"folkmoot account list --forget {name}{where}"

    def forms(self, note: PendingTx) -> list[Form]:
        """Return each form of a transaction, the newest first."""
        return note.forms[::-1]

    def write(self, note: PendingTx, form: Form, over: Form | None = None) -> None:
        """Write down a form that is about to be sent, unless it does no harm to send it twice.

        Raises:
            LocalError: ``note-unwritable``; then it must not be sent.
        """
        note.forms = [*(other for other in note.forms if other.hash != form.hash), form]
        if over is not None:
            new, old = offered(form.raw), offered(over.raw)
            self.say(
                f"The transaction {over.hash} is not mined: {form.hash} replaces it, with a tip of "
                f"{format_gwei(new.tip)} gwei instead of {format_gwei(old.tip)}, and at most {format_gwei(new.cap)} "
                "gwei a unit of gas."
            )
        if not note.noted:
            return
        document = {
            "format": FORMAT,
            **asdict(note.intent),
            "nonce": note.nonce,
            "forms": [{**asdict(one), "raw": one.raw.hex()} for one in note.forms],
        }
        self._hold(note.intent)
        fault_point("sender.note-written.before")
        try:
            content = json.dumps(document, indent=1) + "\n"
            write_whole(self.folder / note.intent.name, content.encode(), mode=0o600)
        except OSError as error:
            raise self._unwritable(error) from error
        fault_point("sender.note-written.after")

    def mined(self, note: PendingTx, transaction: str, *, earlier: bool) -> None:
        """Take note that it was mined. Its note stays until `told`.

        Args:
            transaction: Hash of the form that was mined, 0x-hex.
            earlier: Whether an interrupted call had sent it.
        """
        self._untold[transaction] = note
        if earlier:
            self._earlier.add(transaction)

    def untold(self) -> dict[str, PendingTx]:
        """Return what was mined and not told, by hash (0x-hex) as it was taken note of, in the order of nonces."""
        return dict(sorted(self._untold.items(), key=lambda item: item[1].nonce))

    def is_earlier(self, transaction: str) -> bool:
        """Whether a mined transaction (0x-hex) was sent by an interrupted call, so that this one sent nothing."""
        return transaction in self._earlier

    def forget(self, note: PendingTx) -> None:
        """Remove a note whose transaction can have no effect any more.

        Raises:
            LocalError: ``note-unwritable``.
        """
        self._untold = {name: other for name, other in self._untold.items() if other.intent != note.intent}
        self.remove(note.intent.name)

    def acknowledge(self, *transactions: str) -> None:
        """Remove the notes of what was mined: its user knows. The next call with the same intent acts anew.

        Args:
            transactions: Hashes of those that are meant, 0x-hex; all if left out, and others may send then.

        Raises:
            LocalError: ``note-unwritable``.
        """
        for transaction in transactions or list(self._untold):
            fault_point("sender.note-removed.before")
            self.remove(self._untold.pop(transaction).intent.name)
            fault_point("sender.note-removed.after")
        if not transactions:
            self.close()

    def close(self) -> None:
        """Let others send. What was not told stays noted."""
        self._untold.clear()
        for lock in self._locks.values():
            lock.lock.release()
        self._locks.clear()

    def remove(self, name: str) -> None:
        """Remove a note by the name of its file.

        Raises:
            LocalError: ``note-unwritable``.
        """
        if not self.keeps:
            return
        try:
            (self.folder / name).unlink()
            sync_folder(self.folder)
        except FileNotFoundError:
            pass  # it was harmless, and not noted
        except OSError as error:
            raise self._unwritable(error) from error

    def _hold(self, intent: Intent) -> None:
        """Hold the right to send for an account until `close`; the system takes it from whoever dies."""
        name = f"{intent.chain_id}-{intent.sender.lower()}.lock"
        if name in self._locks:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = locks.try_acquire(self.folder / name)
            if lock is None:
                self.say(f"Another command sends for {intent.sender} at the moment: waiting for it.")
                lock = locks.acquire(self.folder / name)
        except OSError as error:
            raise self._unwritable(error) from error
        self._locks[name] = lock

    def _unwritable(self, error: OSError) -> LocalError:
        return LocalError(
            f"What is sent can't be noted in {self.folder} beforehand: {error.strerror or error}.",
            remedy="Check the disk, or set XDG_DATA_HOME to a folder that can be written.",
            code="note-unwritable",
        )


def _parsed(path: Path) -> tuple[Intent, int, list[Form]]:
    """Return what a note says: for what, nonce and forms.

    Raises:
        OSError, ValueError, KeyError, TypeError: it can't be read.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    if document["format"] != FORMAT:
        raise ValueError("it has another format")
    nonce, forms = document["nonce"], [_form(form) for form in document["forms"]]
    if not forms or any(form.nonce != nonce for form in forms):
        raise ValueError("it names no transaction")
    names = ("chain_id", "sender", "contract", "purpose")
    return Intent(*(document[name] for name in names)), nonce, forms


def _form(document: dict[str, Any]) -> Form:
    form = Form(**{**document, "raw": bytes.fromhex(document["raw"])})
    numbers = (form.nonce, form.block_number, form.block_time)
    if not all(isinstance(number, int) for number in numbers) or form.hash != "0x" + keccak(form.raw).hex():
        raise ValueError("it names no transaction")
    return form


def _readable(path: Path) -> PendingTx | None:
    """Return what a note says, None if it can't be read or is not in its own file."""
    try:
        note = PendingTx(*_parsed(path))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return note if note.intent.name == path.name else None
