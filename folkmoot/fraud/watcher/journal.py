# SPDX-License-Identifier: Apache-2.0
"""What a watcher remembers and what it says: a small folder, and one line an event.

The folder holds `watch.json` (what was checked, with the anchor that it was checked against) and, in the layout of
docs/protocol.md section 12, the last states that were right. Losing it costs a recomputation and nothing else.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from folkmoot.artifacts.store import FolderStore, Owner
from folkmoot.errors import InputError, LocalError
from folkmoot.runtime import locks
from folkmoot.runtime.fault_points import fault_point
from folkmoot.runtime.files import write_whole
from folkmoot.runtime.logs import fields

FORMAT = "folkmoot/watch/1"
KEPT_STATES = 2
"""Right states that are kept, the newest."""


@dataclass
class Checked:
    """What came of a round."""

    anchor: str
    """Hash of the anchor that was examined, hex."""
    result: str
    """`right`, `wrong`, `disputed`, `withheld`, `proven` (by us), `proven-by-other` or `final`."""
    text: str = ""
    """What was wrong, in words."""
    transaction: str = ""
    """Our proof's transaction."""
    demands: list[int] = field(default_factory=list)
    """Numbers of the demands on the chain that we wait for: ours, and those of others for the same."""
    made: int = 0
    """How many demands we made in all."""
    settled: bool = False
    """Whether nothing is left to do about a dispute: it was opened, or can't be."""
    deposit: bool = False
    """Whether our deposit is in a dispute about it."""
    blame: int | None = None
    """Entry whose update is none, and whose contributor is to lose stake for it once the round is void."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a watcher's folder, which is made if needed: of two watchers each would overwrite what the other noted.

    Raises:
        LocalError: another watcher holds it (``already-running``).
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = locks.try_acquire(folder / "lock")
    except OSError as error:
        raise _unusable(folder, error.strerror or str(error)) from error
    if lock is None:
        raise LocalError(
            f"Another watcher uses the folder {folder}.",
            remedy="Stop it first, or give this one a folder of its own by --state.",
            code="already-running",
        )
    with lock:
        yield


@dataclass
class Journal:
    """A watcher's memory. Use `Journal.open`."""

    folder: Path
    files: FolderStore
    """The last states that were right, and the documents that were answered on the chain."""
    rounds: dict[int, Checked] = field(default_factory=dict)
    """By number."""
    states: list[str] = field(default_factory=list)
    """sha256 of the states that are kept, the newest last."""
    faults: list[str] = field(default_factory=list)
    """Faults of contributors that were dealt with: round and account."""
    _owner: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, chain_id: int, ledger: str) -> Journal:
        """Open the memory of a federation in a folder, which is made if needed.

        Raises:
            InputError: the folder is of another federation, can't be used, or its file is damaged.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / "watch.json"
            text = file.read_text(encoding="utf-8") if file.exists() else ""
        except OSError as error:
            raise _unusable(folder, error.strerror or str(error)) from error
        made = cls(folder, FolderStore(folder, Owner("watcher", 0o644)))
        made.files.clear_incoming()
        if text:
            try:
                document = json.loads(text)
                if document["format"] != FORMAT:
                    raise ValueError("another format")
                made.rounds = {int(number): Checked(**one) for number, one in document["rounds"].items()}
                made.states = [str(name) for name in document["states"]]
                made.faults = [str(name) for name in document["faults"]]
                owner = (document["chainId"], document["ledger"])
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise _unusable(folder, f"watch.json is damaged ({error})") from error
            if owner != (chain_id, ledger):
                raise _unusable(folder, f"it is of the federation {owner[1]} on chain {owner[0]}")
        made._owner = {"chainId": chain_id, "ledger": ledger}
        return made

    def note(self, number: int, checked: Checked) -> None:
        """Remember what came of a round. The file is replaced as a whole, so that no crash leaves half of one."""
        self.rounds[number] = checked
        self._save()

    def faulted(self, name: str) -> None:
        """Remember that a contributor's fault was dealt with."""
        self.faults.append(name)
        self._save()

    def unfinished(self) -> set[int]:
        """Return the rounds about which something is left to do or to say."""
        return {
            number
            for number, round_ in self.rounds.items()
            if round_.result in ("wrong", "disputed", "withheld")
            or round_.demands
            or round_.deposit
            or round_.blame is not None
        }

    def forget(self, gone: Callable[[int], bool]) -> None:
        """Forget the rounds that are over, but for what is unfinished.

        Args:
            gone: Whether a round is over for good.
        """
        kept = self.unfinished()
        rounds = {
            number: round_ for number, round_ in self.rounds.items() if number in kept or not gone(number)
        }
        faults = [name for name in self.faults if not gone(int(name.split()[0]))]
        if len(rounds) < len(self.rounds) or len(faults) < len(self.faults):
            self.rounds, self.faults = rounds, faults
            self._save()

    def keep(self, sha256: str, chunks: Iterable[bytes]) -> None:
        """Keep a state that is right, for the case that every mirror loses it.

        Args:
            sha256: Its name.
            chunks: Its bytes in pieces.
        """
        if sha256 in self.states:
            return
        self.files.put_chunks(chunks)
        self.states.append(sha256)
        for name in self.states[:-KEPT_STATES]:
            self.files.delete(name)
        self.states = self.states[-KEPT_STATES:]
        self._save()

    def _save(self) -> None:
        document = {
            "format": FORMAT,
            **self._owner,
            "states": self.states,
            "faults": self.faults,
            "rounds": {str(number): asdict(one) for number, one in sorted(self.rounds.items())},
        }
        fault_point("watcher.journal-written.before")
        try:
            write_whole(self.folder / "watch.json", json.dumps(document, indent=1).encode())
        except OSError as error:
            raise _unusable(self.folder, error.strerror or str(error)) from error
        fault_point("watcher.journal-written.after")


_logger = logging.getLogger("folkmoot.watch")
_LEVELS = {
    "wrong": logging.ERROR,
    "disputed": logging.ERROR,
    "over-budget": logging.ERROR,
    "withheld": logging.WARNING,
    "unreachable": logging.WARNING,
    "unchecked": logging.WARNING,
    "too-dear": logging.WARNING,
    "given-up": logging.WARNING,
    "endpoints-differ": logging.ERROR,
    "rpc-no-quorum": logging.ERROR,
    "endpoint-failed": logging.WARNING,
    "mirror-failed": logging.WARNING,
    "look-failed": logging.WARNING,
}


class Log:
    """Says what happens: one record of the process's log each, in the form of `folkmoot.runtime.logs`."""

    def __init__(self, logger: logging.Logger = _logger) -> None:
        self._logger = logger

    def __call__(self, event: str, text: str, **values: Any) -> None:
        """Say something.

        Args:
            event: What happened, a stable name.
            text: The same for people.
            values: What it is about, JSON types.
        """
        self._logger.log(_LEVELS.get(event, logging.INFO), "%s", text, extra=fields(event, **values))


def _unusable(folder: Path, why: str) -> InputError:
    return InputError(
        f"The watcher's folder {folder} can't be used: {why}.",
        remedy="Give another one by --state, or remove it: it is only a memory.",
        code="watch-state",
    )
