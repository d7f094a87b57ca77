# SPDX-License-Identifier: Apache-2.0
"""Record a signed commitment on the chain by a transaction of the contributor's own.

`folkmoot submit` does so by hand. The signer agent does so when the node asks it: near the end of the commit window,
and only for a commitment that it has signed. Both note the transaction under the same words, so that it is sent once.
Imports web3 only to send.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from client.signer.options import MAX_FEE_GWEI
from folkmoot.errors import ContractRefused, RpcError
from folkmoot.flower.signing import SIGNER_BUSY, TOO_EARLY, SignerError
from folkmoot.rpc.client import LedgerReader, Phase

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3.types import TxReceipt

    from folkmoot.chain.client import Chain
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.protocol.commitment import Commitment
    from folkmoot.rpc.client import Rpc

SEND_SECONDS = 60.0
"""Seconds for which one request waits until its transaction is mined. The next request goes on with it."""


_PURPOSE = re.compile(r"commit to round ([0-9]+)( for .*)?")


def commit(
    chain: Chain,
    account: LocalAccount,
    commitment: Commitment,
    signature: bytes,
    timeout: float | None = None,
) -> TxReceipt | None:
    """Record a signed commitment, unless it is recorded. Go on with what an earlier call sent for it.

    Args:
        account: Account that pays: the contributor, or another one if the contributor is a contract.
        timeout: Seconds for which it is waited for; `CONFIRM_TIMEOUT` if left out.

    Returns:
        The receipt of the transaction of this or of an earlier call; None if neither sent one.

    Raises:
        ChainError: As for `Chain.send`.
    """
    from folkmoot.chain.transactions import CONFIRM_TIMEOUT

    if chain.ledger.has_committed(commitment.round, commitment.contributor):
        return earlier(chain, account, commitment)
    functions = chain.ledger.functions
    if commitment.contributor == account.address:
        call = functions.commitUpdate(commitment.abi_tuple())
    else:
        call = functions.commitUpdateFor(commitment.abi_tuple(), signature)
    end, purpose = CONFIRM_TIMEOUT if timeout is None else timeout, _purpose(account, commitment)
    return chain.send(call, account, timeout=end, purpose=purpose, wait=False, once=True)


def earlier(chain: Chain, account: LocalAccount, commitment: Commitment) -> TxReceipt | None:
    """Return the receipt of what an earlier call of `commit` sent; None if there is none."""
    return chain.earlier("ledger", account.address, _purpose(account, commitment), wait=False, once=True)


def _purpose(account: LocalAccount, commitment: Commitment) -> str:
    other = "" if commitment.contributor == account.address else f" for {commitment.contributor}"
    return f"commit to round {commitment.round}{other}"


@dataclass
class OwnCommitments:
    """Records what the signer has signed, if the coordinator has not.

    The signer alone holds the key, and signs no other transaction than these.
    """

    deployment: Deployment
    """Addresses of the contracts."""
    rpc: str
    """URLs of the signer's RPC endpoints."""
    payer: LocalAccount | None
    """Account that pays: the contributor, or the first owner of a contract. None if a remote signer holds the key."""
    max_fee_gwei: float = MAX_FEE_GWEI
    """Highest fee for a unit of gas, in gwei; 0 turns this off."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def check_possible(self) -> LocalAccount:
        """Return the account that pays.

        Raises:
            SignerError: ``own-commitments-off`` or ``no-payer``.
        """
        by_hand = "If the coordinator leaves an update out, run `folkmoot submit` in the commit window."
        if not self.max_fee_gwei:
            raise SignerError(
                "This node records no update by itself: max-fee-gwei is 0.",
                remedy=by_hand,
                code="own-commitments-off",
            )
        if self.payer is None:
            raise SignerError(
                "This node records no update by itself: a remote signer holds the key, and signs commitments only.",
                remedy=f"{by_hand} It needs a key file.",
                code="no-payer",
            )
        return self.payer

    def end_notes(self, rpc: Rpc) -> None:
        """Remove the notes of settled transactions for rounds whose commit window is over.

        Nobody asks for them any more if the node was away when the window ended.

        Args:
            rpc: The signer's endpoint.

        Raises:
            ChainError: It gave no answer.
            LocalError: The notes can't be read or removed.
        """
        from folkmoot.chain.transactions.journal import TransactionJournal

        notes, ledger = TransactionJournal.of_user(), LedgerReader(rpc, self.deployment.ledger)
        place = self.deployment.chain_id, self.payer and self.payer.address, ledger.address
        for note in filter(None, (one.note for one in notes.left())):
            own = (note.intent.chain_id, note.intent.sender, note.intent.contract) == place
            purpose = _PURPOSE.match(note.intent.purpose) if own else None
            if purpose is not None and ledger.phase(int(purpose[1])) is not Phase.OPEN:
                from folkmoot.chain.transactions.connection import web3_over
                from folkmoot.chain.transactions.status import SETTLED, look

                if look(web3_over(rpc), note).fate in SETTLED:
                    notes.forget(note)

    def record(self, rpc: Rpc, commitment: Commitment, signature: bytes) -> dict[str, Any]:
        """Record a commitment that the signer has signed; return what is said of it.

        A request after the commit window only ends the note of the transaction.

        Args:
            rpc: The signer's endpoint.
            signature: Its signature, which the ledger reads only if the contributor is a contract.

        Raises:
            SignerError: ``too-early``; ``signer-busy``: another request sends; or as `check_possible`.
            ChainError: The chain takes no transaction now: ``no-gas-money``, ``fee-limit``, ``not-mined`` or another.
        """
        payer, number = self.check_possible(), commitment.round
        ledger = LedgerReader(rpc, self.deployment.ledger)
        view, is_open = ledger.round(number), ledger.phase(number) is Phase.OPEN
        if is_open and rpc.fresh_block()[1] < view.own_commitments_from:
            raise SignerError(
                f"Round {number} has time for the coordinator's transaction until {view.own_commitments_from}.",
                remedy="Ask again then.",
                code=TOO_EARLY,
            )
        if not self._lock.acquire(blocking=False):
            raise SignerError(
                "The signer sends another transaction.",
                remedy="Ask again in a few seconds.",
                code=SIGNER_BUSY,
            )
        try:
            receipt = self._sent(payer, commitment, signature, is_open=is_open)
        finally:
            self._lock.release()
        answer = {"recorded": ledger.has_committed(number, commitment.contributor), "transaction": None}
        if receipt is None:
            return answer
        return {
            **answer,
            "transaction": receipt["transactionHash"].to_0x_hex(),
            "gas": receipt["gasUsed"],
            "wei": str(receipt["gasUsed"] * receipt["effectiveGasPrice"]),
        }

    def _sent(
        self, payer: LocalAccount, commitment: Commitment, signature: bytes, *, is_open: bool
    ) -> TxReceipt | None:
        from folkmoot.cli.options import require_web3

        require_web3()
        from folkmoot.chain.client import Chain
        from folkmoot.chain.transactions.journal import TransactionJournal
        from folkmoot.chain.transactions.sender import FEE_LIMIT, NO_GAS_MONEY

        chain, notes = Chain.connect(self.rpc, self.deployment), TransactionJournal.of_user()
        chain.notes, chain.max_fee = notes, int(self.max_fee_gwei * 10**9)
        try:
            if is_open:  # A reorg may take it yet: with its note, it is sent again with the same nonce.
                return commit(chain, payer, commitment, signature, SEND_SECONDS)
            receipt = earlier(chain, payer, commitment)
            notes.acknowledge()
            return receipt
        except ContractRefused:
            if not chain.ledger.has_committed(commitment.round, commitment.contributor):
                raise
            return None  # The coordinator's transaction came first.
        except RpcError as error:
            if error.code == FEE_LIMIT:
                remedy = "It is tried again until the commit window ends. To pay more, raise max-fee-gwei."
                raise RpcError(error.message, remedy=remedy, code=FEE_LIMIT) from error
            if error.code != NO_GAS_MONEY:
                raise
            raise RpcError(
                f"The account {payer.address} can't pay the gas to record its update of round {commitment.round}.",
                remedy="Send it some of the chain's native coin. It is tried again until the commit window ends.",
                code=NO_GAS_MONEY,
            ) from error
        finally:
            notes.close()
            chain.close()
