# SPDX-License-Identifier: Apache-2.0
"""Reading every file of the store again, and replacing what is missing or damaged from mirrors.

What should be there is what the database lists, without what was deleted by rule. May run beside the service: a file
gets its place in one step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from folkmoot.artifacts.sources import ArtifactSource
from folkmoot.artifacts.store import Store
from folkmoot.errors import ArtifactError
from folkmoot.runtime.fault_points import fault_point
from server.db.engine import Database
from server.db.models import Artifact


@dataclass
class Lack:
    """A file that is not as it should be."""

    sha256: str
    kind: str
    round: int | None
    why: str
    """What is wrong with it; where nobody has it, what each source said."""

    def __str__(self) -> str:
        """Return it as a line for people."""
        of = f" of round {self.round}" if self.round else ""
        return f"{self.kind} {self.sha256}{of}: {self.why}"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"sha256": self.sha256, "kind": self.kind, "round": self.round, "why": self.why}


@dataclass
class Repaired:
    """What was found and done."""

    files: int = 0
    bytes: int = 0
    repaired: list[Lack] = field(default_factory=list)
    """Files that were replaced; `why` says what was wrong."""
    lacking: list[Lack] = field(default_factory=list)
    """Files that are still missing or damaged."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "files": self.files,
            "bytes": self.bytes,
            "repaired": [lack.to_json() for lack in self.repaired],
            "lacking": [lack.to_json() for lack in self.lacking],
        }


def repair(
    database: Database,
    store: Store,
    source: ArtifactSource | None,
    progress: Callable[[str], None] = lambda what: None,
) -> Repaired:
    """Read all files and replace those that are missing or damaged.

    Args:
        database: Lists what should be there.
        store: Is read whole: a bucket past all copies on this machine.
        source: Where good files come from; every byte is hashed. None to look and change nothing.
        progress: Called with each file that is not as it should be.
    """
    with database.read() as session:
        query = select(Artifact).where(Artifact.deleted.is_(None))
        rows = list(session.scalars(query.order_by(Artifact.round, Artifact.sha256)))
        session.expunge_all()
    done = Repaired()
    for row in rows:
        done.files += 1
        lack = look(store, row)
        if lack is not None:
            progress(str(lack))
        if lack is None or _replace(row, lack, store, source, done):
            done.bytes += row.size
    return done


def look(store: Store, row: Artifact) -> Lack | None:
    """Read a file in full, and its link; return what is wrong with them."""
    try:
        store.check(row.sha256)
    except ArtifactError as exc:
        return Lack(row.sha256, row.kind, row.round, exc.message)
    if row.keccak is None or _leads_to(store, row.keccak) == row.sha256:
        return None
    why = f"the link by-keccak/{row.keccak} leads to {_leads_to(store, row.keccak) or 'nothing'}."
    return Lack(row.sha256, row.kind, row.round, why)


def is_whole(store: Store, row: Artifact) -> bool:
    """Whether the bytes of a file are right, whatever becomes of its link."""
    try:
        return store.check(row.sha256) >= 0
    except ArtifactError:
        return False


def put_back(store: Store, row: Artifact, source: ArtifactSource) -> None:
    """Replace a file."""
    good = source.fetch(row.sha256, row.size)
    fault_point("repair.file-replaced.before")
    store.put_file(good)
    fault_point("repair.file-replaced.after")
    source.discard(row.sha256)


def relink(store: Store, row: Artifact) -> None:
    """Let a file be found by its keccak again, if it is one that is."""
    if row.keccak is not None and _leads_to(store, row.keccak) != row.sha256:
        fault_point("repair.link-made.before")
        store.link(row.keccak, row.sha256)
        fault_point("repair.link-made.after")


def _replace(row: Artifact, lack: Lack, store: Store, source: ArtifactSource | None, done: Repaired) -> bool:
    """Replace a file or its link, and note what became of it; whether it is good now."""
    if source is not None:
        try:
            if not is_whole(store, row):
                put_back(store, row, source)
                store.check(row.sha256)
            relink(store, row)
        except ArtifactError as exc:
            lack.why = exc.message
        else:
            done.repaired.append(lack)
            return True
    done.lacking.append(lack)
    return False


def _leads_to(store: Store, keccak: str) -> str | None:
    """sha256 to which a link leads; None if there is no such link."""
    try:
        return store.by_keccak(keccak)
    except ArtifactError:
        return None
