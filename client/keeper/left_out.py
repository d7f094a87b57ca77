# SPDX-License-Identifier: Apache-2.0
"""Let the signer record a node's signed commitment if the coordinator has not, near the end of the commit window.

The keeper knows the signed updates, and the signer holds the key and looks at the chain itself. A commitment reveals
the update's root and norm and no byte of its file. Before a tenth of the window has passed since the node has the
update, and before four fifths of the window, nothing is asked for: a coordinator that records what it has by three
quarters is not disturbed. Until the window ends the signer is asked again: a reorg may take the commitment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from client.keeper.delivery import Delivery
from folkmoot.errors import FolkmootError
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.signing import SIGNER_BUSY, TOO_EARLY, Recorded, record_by_agent
from folkmoot.flower.updates import kept_rounds
from folkmoot.protocol.commitment import Domain
from folkmoot.rpc.client import LedgerReader, Phase, RoundView
from folkmoot.rpc.local_chain import LOCAL_CHAIN_ID
from folkmoot.rpc.quorum import open_rpc
from folkmoot.runtime.units import format_amount

PAUSE = 5.0
"""Seconds between two looks into the folder for a new update."""

LONGEST_PAUSE = 60.0
"""Seconds between two looks at a round whose time has not come. Clocks of local chains jump, so they are looked at more
often."""

ASK_PAUSE = 15.0
"""Seconds between two requests to the signer while the window is open."""

QUIET = (TOO_EARLY, SIGNER_BUSY, "chain-unavailable", "rpc-unreachable", "rpc-behind", "rpc-no-quorum")
"""Codes of failures that pass by themselves in a moment."""


def due(view: RoundView, since: int) -> int:
    """Return the Unix time from which the signer is asked for a commitment of a round.

    Args:
        since: Unix time since when the node has the update. A late one leaves the coordinator a tenth of the window,
            but the node's own transaction at least a quarter of the time that is left. Who trains by the clock has each
            update late.
    """
    window, left = view.commit_deadline - view.opened_at, view.commit_deadline - since
    return max(view.own_commitments_from, min(since + window // 10, view.commit_deadline - left // 4))


class LeftOut:
    """Watches the newest signed update of one node.

    Args:
        contributor: Configuration of the node.
        delivery: Its deliveries, which know what is signed.
        say: Called with an event: ``own-commitment``, or ``not-committed`` with a failure, once for each code.
    """

    def __init__(
        self, contributor: Contributor, delivery: Delivery, say: Callable[[dict[str, object]], object]
    ) -> None:
        self._contributor, self._delivery, self._say = contributor, delivery, say
        self._domain = Domain(contributor.chain_id, contributor.ledger)
        self._round, self._since = 0, 0
        """Newest round with an update, and since when this process knows the update."""
        self._over = 0
        """Newest round whose commit window is over."""
        self._asked = False
        self._transaction: str | None = None
        self._failures: set[tuple[int, str]] = set()

    def watch(self, stopped: threading.Event) -> None:
        """Look until it is stopped."""
        pause = PAUSE
        while not stopped.wait(pause):
            pause = self.look()

    def look(self) -> float:
        """Look once; return the seconds until the next look."""
        try:
            return self._look()
        except FolkmootError as error:
            if error.code not in QUIET:
                self._failed(error)
            return ASK_PAUSE

    def _look(self) -> float:
        rounds = kept_rounds(self._contributor.home)
        if max(rounds, default=0) <= self._over:
            return PAUSE
        with open_rpc(self._contributor.rpc) as rpc:
            ledger = LedgerReader(rpc, self._contributor.ledger)
            number = ledger.next_round() - 1
            if number not in rounds:
                return ASK_PAUSE
            view, phase, now = ledger.round(number), ledger.phase(number), rpc.fresh_block()[1]
        if number != self._round:
            self._round, self._since, self._transaction, self._asked = number, now, None, False
        if phase is not Phase.OPEN:
            self._over = number
            if self._asked:
                self._ask(number)
            return PAUSE
        left = due(view, self._since) - now
        if left > 0:
            return min(left, PAUSE if self._contributor.chain_id == LOCAL_CHAIN_ID else LONGEST_PAUSE)
        self._asked = True
        recorded = self._ask(number)
        if recorded.transaction is not None and recorded.transaction != self._transaction:
            self._transaction = recorded.transaction
            self._tell(number, recorded)
        return ASK_PAUSE

    def _ask(self, number: int) -> Recorded:
        commitment, signature = self._delivery.signed(number)
        return record_by_agent(self._contributor.socket, commitment, signature, self._domain)

    def _tell(self, number: int, recorded: Recorded) -> None:
        cost = format_amount(recorded.wei).removesuffix(" MOOT")
        self._say(
            {
                "event": "own-commitment",
                "round": number,
                "transaction": recorded.transaction,
                "gas": recorded.gas,
                "wei": str(recorded.wei),
                "detail": f"Round {number}: the coordinator had not recorded the update, so this node did, for "
                f"{recorded.gas:,} gas ({cost} coins of the chain). Transaction {recorded.transaction}.",
            }
        )

    def _failed(self, error: FolkmootError) -> None:
        lasting = error.code in ("own-commitments-off", "no-payer", "no-gas-money", "extra-missing")
        if (about := (0 if lasting else self._round, error.code)) in self._failures:
            return
        self._failures.add(about)
        detail = (
            f"Round {self._round}: the coordinator has not recorded the update near the end of the commit window, and "
            f"this node can't either. {error.message} {error.remedy}"
        )
        self._say(
            {"event": "not-committed", "round": self._round, "code": error.code, "detail": detail.rstrip()}
        )
