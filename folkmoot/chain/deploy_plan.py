# SPDX-License-Identifier: Apache-2.0
"""A deployment under way: with it, a `folkmoot deploy` that was killed goes on with the contracts that are there.

A small folder holds `plan.json` (the first nonce, from which all addresses follow, and what was asked for) and a note
of each transaction. It is there before the first transaction, and goes away when the deployer was told of the result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from folkmoot.chain.transactions.journal import TransactionJournal
from folkmoot.errors import InputError, LocalError
from folkmoot.runtime.fault_points import fault_point
from folkmoot.runtime.files import sync_folder, write_whole

FORMAT = "folkmoot/plan/1"


@dataclass
class Plan:
    """The plan in a folder. Use `of`."""

    folder: Path
    asked: dict[str, Any] = field(default_factory=dict)
    """What is deployed, by whom and on which chain: JSON values by their names. Empty if nothing is under way."""
    nonce: int = 0
    """Nonce of the first contract; the others follow."""
    facts: list[str] | None = None
    """What was found right when all contracts were there; None before that."""
    say: Callable[[str], None] = lambda text: None
    """Is told, in words for people, what is waited for."""

    def __post_init__(self) -> None:
        self.notes = TransactionJournal(self.folder)

    @classmethod
    def of(cls, out: Path) -> Plan:
        """Return the plan of the deployment file that is to be written; it is beside that.

        Raises:
            LocalError: ``plan-damaged``: there is one that can't be read.
        """
        plan = cls(cls.folder_of(out))
        try:
            document = json.loads(plan._file.read_text(encoding="utf-8"))
            if document["format"] != FORMAT:
                raise ValueError("it has another format")
            plan.asked, plan.nonce = dict(document["asked"]), int(document["nonce"])
            plan.facts = document["facts"]
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LocalError(
                f"The plan of an interrupted deployment, {plan._file}, can't be read: {error}.",
                remedy="Give --afresh to leave its contracts and deploy new ones.",
                code="plan-damaged",
            ) from error
        return plan

    @staticmethod
    def folder_of(out: Path) -> Path:
        """Return the folder of the plan of a deployment file."""
        return out.with_name(out.name + ".plan")

    @property
    def under_way(self) -> bool:
        """Whether there is something to go on with."""
        return bool(self.asked)

    def begin(self, asked: Mapping[str, Any], nonce: int) -> int:
        """Go on with what is under way, else plan a deployment; return the nonce of its first contract.

        Args:
            asked: As the field.
            nonce: The deployer's next nonce.

        Raises:
            InputError: ``other-deployment``: something else is under way, with contracts on the chain.
        """
        differs = [name for name, value in asked.items() if self.asked.get(name) != value]
        if self.under_way and not differs:
            return self.nonce
        if self.under_way and self._has_sent():
            raise InputError(
                f"A deployment with another {' and another '.join(differs)} was interrupted: {self.folder}.",
                remedy="Call it as you did then to complete it, or give --afresh to leave its contracts and deploy "
                "new ones.",
                code="other-deployment",
                details={"differs": differs},
            )
        self.asked, self.nonce, self.facts = dict(asked), nonce, None
        self._write()
        return nonce

    def verified(self, facts: list[str]) -> None:
        """Note that all contracts are there and right: what happens to them from now on is not the deployment's."""
        self.facts = facts
        self._write()

    def forget(self) -> None:
        """Remove the plan: its deployer was told of the result, or it can't be completed."""
        fault_point("deploy.plan-removed.before")
        self.notes.close()
        try:
            if self.folder.is_dir():
                self._file.unlink(missing_ok=True)
                sync_folder(self.folder)  # first: notes without a plan mean nothing, a plan needs its notes
                for path in self.folder.iterdir():
                    path.unlink()
                self.folder.rmdir()
        except OSError as error:
            raise self._unwritable(error) from error
        fault_point("deploy.plan-removed.after")
        self.asked = {}

    @property
    def _file(self) -> Path:
        return self.folder / "plan.json"

    def _has_sent(self) -> bool:
        return any(path != self._file for path in self.folder.glob("*.json"))

    def _write(self) -> None:
        document = {"format": FORMAT, "nonce": self.nonce, "facts": self.facts, "asked": self.asked}
        fault_point("deploy.plan-written.before")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._file, (json.dumps(document, indent=1) + "\n").encode())
        except OSError as error:
            raise self._unwritable(error) from error
        fault_point("deploy.plan-written.after")

    def _unwritable(self, error: OSError) -> LocalError:
        return LocalError(
            f"The plan of the deployment can't be written in {self.folder}: {error.strerror or error}.",
            remedy="Choose another --out.",
            code="plan-unwritable",
        )
