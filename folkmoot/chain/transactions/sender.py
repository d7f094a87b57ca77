# SPDX-License-Identifier: Apache-2.0
"""A signed transaction on its way: whether it is settled, by which of its forms, and what is done until then.

All forms have the nonce of the transaction, so at most one of them is mined. A form is noted before it leaves this
process: after a crash at any point the same bytes are sent again. What the chain node does not take, what fees leave
behind, and what blocks pass over is signed again with the same nonce and higher fees. A nonce that another transaction
took counts as lost once that one has the confirmations.

Time is the chain's. Knows the notes only by their interface, no contract, and not what a transaction is for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from hexbytes import HexBytes

from folkmoot.chain import fees
from folkmoot.chain.private import send_privately
from folkmoot.errors import ContractRefused, FolkmootError, RpcError
from folkmoot.rpc.refusals import Refusal, refusal_in

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from folkmoot.rpc.client import Block, Receipt, Rpc

LOOKS = 3
"""Looks in a row that must say the same before a nonce counts as lost, or as missing: endpoints that many machines
answer for contradict themselves for a moment."""

FEE_TOO_LOW, NONCE_USED, NO_GAS_MONEY = "fee-too-low", "nonce-used", "no-gas-money"
FEE_LIMIT = "fee-limit"

_TURNED_AWAY = (FEE_TOO_LOW, NONCE_USED, NO_GAS_MONEY, "rpc-error")
"""Codes of errors of an endpoint that is there and does not take a transaction now."""

_CODES = {
    Refusal.FEE_TOO_LOW: (FEE_TOO_LOW, "", "It is replaced by one with higher fees."),
    Refusal.NONCE_USED: (NONCE_USED, "", "Wait for the pending transactions of the account, then try again."),
    Refusal.NO_GAS_MONEY: (
        NO_GAS_MONEY,
        "The account has not enough native coins to pay the gas.",
        "Send it some (on a local chain: `folkmoot chain --fund ADDRESS`).",
    ),
}

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Form:
    """A signed form of a transaction."""

    nonce: int
    hash: str
    """0x-hex."""
    raw: bytes
    block_number: int
    """The chain's newest block when it was signed."""
    block_time: int
    """Unix time of that block."""


class Notes(Protocol[T_contra]):
    """Where signed forms are noted before they are sent."""

    def forms(self, transaction: T_contra, /) -> Sequence[Form]:
        """Return every form that was ever signed of a transaction, the newest first."""

    def write(self, transaction: T_contra, form: Form, over: Form | None = None, /) -> None:
        """Note a new form of a transaction, which may replace another one in the pool."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a transaction found, and what came of sending it again."""

    form: Form | None = None
    """The form that was mined."""
    receipt: Receipt | None = None
    """Its receipt."""
    confirmed: bool = False
    """Whether it has its confirmations."""
    lost: bool = False
    """Whether another transaction has its nonce, with as many confirmations."""
    sent: bool = False
    """Whether it was sent again."""
    refusal: RpcError | None = None
    """Why the chain node does not take it."""
    ceiling: bool = False
    """Whether it needs higher fees than are allowed."""


@dataclass
class Sender(Generic[T]):
    """Looks after the transactions of one account."""

    rpc: Rpc
    address: str
    """The account."""
    account: LocalAccount | None
    """Its key; None if nothing can be signed now."""
    chain_id: int
    """Chain that signatures are for."""
    notes: Notes[T]
    """Where forms are noted."""
    confirmations: int = 1
    """Blocks, its own included, after which a transaction is settled."""
    ceiling: int = fees.NO_CEILING
    """Most that is offered for a unit of gas, in wei."""
    _looks: Counter[str] = field(default_factory=Counter)
    _refused: set[str] = field(default_factory=set)
    """Forms whose fees the chain node did not take."""

    def look(self, transaction: T, latest: Block) -> Look:
        """See what became of a transaction. While its nonce is free, send it again, with higher fees if it needs them.

        Raises:
            RpcError: The chain gave no answer; nothing is lost, look again later.
        """
        forms = self.notes.forms(transaction)
        if (mined := self.mined(forms, latest)) is not None:
            return mined
        newest, used = forms[0], self.rpc.transaction_count(self.address)
        settled = latest.number - self.confirmations + 1
        taken = (
            used > newest.nonce
            and settled >= 0
            and self.rpc.transaction_count(self.address, settled) > newest.nonce
        )
        if taken and (mined := self.mined(forms, latest)) is not None:
            return mined  # between the two questions
        if self.often(f"lost {newest.hash}", taken):
            return Look(lost=True)
        if used > newest.nonce:
            return Look()
        form, ceiling = self._with_enough(transaction, newest, latest, first=used == newest.nonce)
        return Look(sent=True, refusal=self.hand_over(form), ceiling=ceiling)

    def mined(self, forms: Sequence[Form], latest: Block) -> Look | None:
        """Return which form was mined; None if none was. One that had its effect comes first."""
        seen: Look | None = None
        for form in forms:
            receipt = self.rpc.receipt(form.hash)
            if receipt is None:
                continue
            # A receipt may be of a block after the look at the newest.
            depth = max(latest.number, receipt.block_number) - receipt.block_number + 1
            seen = Look(form, receipt, depth >= self.confirmations)
            if receipt.succeeded:
                break  # under another nonce it may also have been mined in vain
        return seen

    def often(self, what: str, now: bool) -> bool:
        """Count looks in a row at which something was so; return whether they are enough to believe it."""
        self._looks[what] += 1
        if not now or self._looks[what] >= LOOKS:
            return self._looks.pop(what) >= LOOKS and now
        return False

    def hand_over(self, form: Form) -> RpcError | None:
        """Give a form to the private endpoint, if there is one, or else to the chain. To do so again does no harm.

        Returns:
            Why the chain node does not take it. A used nonce is seen at a look.

        Raises:
            RpcError: The endpoint is away.
        """
        raw = "0x" + form.raw.hex()
        self._refused.discard(form.hash)
        try:
            if not send_privately(raw):
                self.rpc.call("eth_sendRawTransaction", [raw])
        except RpcError as error:
            if error.code not in _TURNED_AWAY:
                raise
            refusal = named(error)
            if refusal.code == FEE_TOO_LOW:
                self._refused.add(form.hash)
            known = refusal_in(error.message) is Refusal.ALREADY_KNOWN
            return None if known or refusal.code == NONCE_USED else refusal
        return None

    def offer(self, latest: Block, over: fees.Fees | None = None) -> fees.Fees | None:
        """Return what a transaction should offer now, in place of an offer in the pool if there is one.

        Returns:
            The offer, or None if it would be above the ceiling.
        """
        tip = self.tip(latest)
        if over is None:
            return fees.offer(latest.base_fee, tip, self.ceiling)
        return fees.outbid(over, latest.base_fee, tip, self.ceiling)

    def tip(self, latest: Block) -> int:
        """Return the tip that gets a transaction in; on a chain without EIP-1559, the gas price."""
        return self.rpc.priority_fee() if latest.has_base_fee else self.rpc.gas_price()

    def sign(
        self, latest: Block, nonce: int, to: str | bytes, data: bytes, gas: int, offer: fees.Fees
    ) -> Form:
        """Return a signed form. It must be noted before it is handed over.

        Args:
            to: Whom it calls; empty for a creation.
        """
        if self.account is None:
            raise AssertionError(f"the key of {self.address} is needed to sign")
        fields: dict[str, Any] = {"gasPrice": offer.cap}
        if latest.has_base_fee:
            fields = {"type": 2, "maxPriorityFeePerGas": offer.tip, "maxFeePerGas": offer.cap}
        fields |= {"chainId": self.chain_id, "nonce": nonce, "gas": gas}
        fields |= {"to": bytes(HexBytes(to)), "value": 0, "data": data}
        signed = self.account.sign_transaction(fields)
        raw = bytes(signed.raw_transaction)
        return Form(nonce, "0x" + bytes(signed.hash).hex(), raw, latest.number, latest.timestamp)

    def sign_empty(self, latest: Block, nonce: int, over: fees.Fees | None = None) -> Form | None:
        """Return a signed form that does nothing but use up a nonce; None if it would be above the ceiling.

        Args:
            over: What was offered for the nonce before.
        """
        offer = self.offer(latest, over)
        if offer is None:
            return None
        gas = self.rpc.estimate(self.address, self.address, b"")
        return self.sign(latest, nonce, self.address, b"", gas, offer)

    def _with_enough(self, transaction: T, form: Form, latest: Block, *, first: bool) -> tuple[Form, bool]:
        """Return the form to send now, and whether it needs higher fees than are allowed.

        Args:
            first: Whether its nonce is the next that the chain takes.
        """
        passed = (latest.number - form.block_number, latest.timestamp - form.block_time)
        refused, waited = form.hash in self._refused, fees.has_waited(*passed)
        if self.account is None or not (refused or waited):
            return form, False
        signed, tip = fees.read_signed(form.raw), self.tip(latest)
        if not fees.risen(signed.fees, latest.base_fee, tip):
            if not refused and not (first and fees.passed_over(*passed)):
                return form, False
            tip = fees.doubled(signed.fees.tip)
            if tip == signed.fees.tip and not (refused and waited):
                return form, False
        new = fees.outbid(signed.fees, latest.base_fee, tip, self.ceiling)
        if new is None:
            return form, True
        replacement = self.sign(latest, form.nonce, signed.to, signed.data, signed.gas, new)
        self.notes.write(transaction, replacement, form)
        return replacement, False


def named(error: RpcError) -> RpcError:
    """Return a node's error, with a code of its own if it is a refusal that has one."""
    refusal = refusal_in(error.message) if error.code == "rpc-error" else None
    if refusal not in _CODES:
        return error
    code, message, remedy = _CODES[refusal]
    return RpcError(message or error.message, remedy=remedy, code=code, details=error.details)


def why_failed(rpc: Rpc, sender: str, raw: bytes, block: int) -> ContractRefused | None:
    """Run a transaction that was mined in vain again, to hear the reason; None if the node can't say it any more.

    Args:
        block: Number of the block that has it.
    """
    signed = fees.read_signed(raw)
    call = {"from": sender, "data": "0x" + signed.data.hex(), "gas": hex(signed.gas)}
    if signed.to:
        call["to"] = "0x" + signed.to.hex()
    for number in (block, block - 1):
        try:
            rpc.call("eth_call", [call, hex(number)])
        except ContractRefused as refusal:
            return refusal
        except FolkmootError:
            break  # the node has no state of old blocks
    return None
