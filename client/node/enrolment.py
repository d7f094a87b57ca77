# SPDX-License-Identifier: Apache-2.0
"""Enrol the account of a node: when it joins, and again if it was removed because it had missed rounds.

Imports web3 only to send a transaction.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from folkmoot.cli.output import note

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from folkmoot.ledger.deployment import Deployment

LEAST_PAUSE = 10.0
"""Seconds between two looks. The training code can make a node's log say that it was refused, as often as it likes."""


def enrol(rpc: Sequence[str], deployment: Deployment, address: str, account: LocalAccount | None) -> None:
    """Enrol an account that can pay for it with all its unlocked stake, and say what that means for the next round.

    Print a failure and continue: the account may be enrolled while the node runs. Without its key (`account` is None),
    only say whether it is enrolled.
    """
    from folkmoot.errors import FolkmootError
    from folkmoot.ledger.stakes import chance_text, next_quota
    from folkmoot.rpc.client import LedgerReader, VaultReader
    from folkmoot.rpc.quorum import open_rpc
    from folkmoot.runtime.units import format_amount

    with open_rpc(rpc) as endpoint:
        ledger, vault = LedgerReader(endpoint, deployment.ledger), VaultReader(endpoint, deployment.vault)

        def enrolled() -> int:
            return vault.members([address])[address].enrolled if ledger.enrolled(address) else 0

        def say_enrolled(since: str) -> None:
            amount, quota = enrolled(), next_quota(ledger, vault)
            if amount < quota:
                text = (
                    "There is a crowd: more stake is enrolled than a round has places. The chance of a place in the "
                    f"next round is {chance_text(amount, quota)}. The node trains only in rounds in which it has one."
                )
            else:
                text = "Each round waits for its update, until the commit window ends."
            note(
                f"{address} {since} with {format_amount(amount)}. {text} Before a long absence, run `folkmoot leave`.",
            )

        before, least = enrolled(), ledger.policy(ledger.current_policy()).min_stake
        if before >= least:
            say_enrolled("is enrolled")
            return
        lacking = "is not enrolled: no round takes an update of it."
        if before:
            lacking = (
                f"is enrolled with {format_amount(before)}, and the policy asks for {format_amount(least)}: no round "
                "takes an update of it."
            )
        method = "eth_getBalance"
        coins = endpoint.quantity(method, endpoint.call(method, [address, "latest"]))
        if account is None:
            note(f"{address} {lacking} To enrol, run `folkmoot enrol`.")
            return
        if coins == 0:
            note(
                f"{address} {lacking} Send it some of the chain's native coin, then run `folkmoot enrol`.",
            )
            return
        try:
            from folkmoot.cli.options import require_web3

            require_web3()
            from folkmoot.chain.client import Chain

            chain = Chain.connect(rpc, deployment)
            try:
                chain.send(chain.ledger.functions.enrol(chain.vault.unlocked_of(address)), account)
            finally:
                chain.close()
        except FolkmootError as error:
            text = "To try again, run `folkmoot enrol`."
            note(f"{address} {lacking} Enrolment failed. {error} {text}")
            return
        say_enrolled("is now enrolled, from the next round on,")


@dataclass
class Reenrolment:
    """Enrols a node's account again if it was removed because it had missed rounds, for example without a connection.

    Whoever left by `folkmoot leave`, lacks stake or is not admitted any more is not enrolled again.
    """

    rpc: Sequence[str]
    """The contributor's own RPC endpoints."""
    deployment: Deployment
    """Addresses of the contracts."""
    address: str
    account: LocalAccount | None
    """Its key; None if another process has it: then the command to run is said."""
    read: int
    """Number of the last block in which it is known that the account was enrolled, or was read for why it is not."""
    pause: float = LEAST_PAUSE
    """Seconds between two looks at least."""
    _reason: int | None = None
    _looked: float | None = None

    def look(self) -> None:
        """Look whether the account was removed, and enrol it. Print a failure; the next look tries again."""
        from folkmoot.errors import FolkmootError

        if self._looked is not None and time.monotonic() < self._looked + self.pause:
            return
        self._looked = time.monotonic()
        try:
            if not self._was_removed():
                return
        except FolkmootError as error:
            note(f"Whether {self.address} is still enrolled can't be read. {error}")
            return
        note(f"{self.address} was removed from the enrolled accounts: it had missed rounds.")
        enrol(self.rpc, self.deployment, self.address, self.account)

    def _was_removed(self) -> bool:
        from folkmoot.ledger.admission import LeaveReason
        from folkmoot.ledger.events import Left
        from folkmoot.ledger.scan import ChainSource, scan
        from folkmoot.rpc.client import LedgerReader
        from folkmoot.rpc.quorum import open_rpc

        with open_rpc(self.rpc) as endpoint:
            newest = endpoint.block_number()
            if LedgerReader(endpoint, self.deployment.ledger).enrolled(self.address):
                self.read, self._reason = newest, None
                return False
            source = ChainSource(endpoint, self.deployment)
            for event in scan(source, self.read + 1, newest, contracts=("ledger",)):
                if isinstance(event, Left) and event.account == self.address:
                    self._reason = event.reason
            self.read = newest
        return self._reason == LeaveReason.ABSENT
