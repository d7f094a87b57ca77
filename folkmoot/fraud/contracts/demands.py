# SPDX-License-Identifier: Apache-2.0
"""Demand data on the chain, and close a demand whose time has expired or whose round is closed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from folkmoot.chain.client import Chain
from folkmoot.errors import InputError
from folkmoot.fraud.contracts import judges
from folkmoot.fraud.contracts.judges import Asked
from folkmoot.fraud.proofs.availability import Call, DataKind, Node, Status
from folkmoot.fraud.proofs.descent import height_of
from folkmoot.rpc.client import Phase
from folkmoot.runtime.units import format_amount, format_time

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3.types import TxReceipt


@dataclass(frozen=True)
class Settled:
    """Result of closing a demand."""

    convicted: bool
    """Whether the round is void because nobody answered. Otherwise the deposit was returned."""
    round: int
    transaction: str
    """Hash of the transaction."""
    gas: int
    """Gas used by the transaction."""


def deposit_of(chain: Chain) -> int:
    """Return the deposit of a demand in units of 1e-18 tokens."""
    return int(chain.read(chain.data_availability.functions.deposit()))


def purpose(round_: int, what: DataKind, entry: int | None) -> str:
    """Return the journal's name for a demand (`folkmoot.chain.transactions.journal`).

    Args:
        what: Kind of the demanded data.
        entry: Number of the entry; None for data without one.
    """
    return f"demand of round {round_}: {what.name.lower()}, entry {entry}"


def step_purpose(demand: int, leaf: int) -> str:
    """Return the journal's name for a step down from a demand."""
    return f"step from demand {demand} to leaf {leaf}"


def step_down(chain: Chain, demand: int, leaf: int) -> tuple[Call, Node]:
    """Return the demand for the node on a shown list that is above a leaf, and what that is about.

    Args:
        chain: Client of the federation's chain.
        demand: Number of the answered demand.
        leaf: Index of the leaf.
    """
    judge = chain.data_availability.address
    stored = judges.stored_demand(chain.rpc, judge, demand)
    about = stored.about
    if stored.status is Status.NONE:
        raise _unknown(demand)
    if stored.status is not Status.ANSWERED:
        raise InputError(
            f"Demand {demand} is {stored.status.name.lower()}: only an answered one has a list.",
            remedy=f"It can be answered until {format_time(stored.until)}; try again then.",
            code="demand-not-answered",
        )
    if about.level == 0:
        raise InputError(
            f"Demand {demand} is for {about}: nothing is below that.",
            remedy="Descend from a demand for a root, or for a node.",
            code="not-a-list",
        )
    height = height_of(about.level)
    place = (leaf >> (about.level - height)) - (about.index << height)
    if not 0 <= place < 1 << height:
        first, last = about.index << about.level, ((about.index + 1) << about.level) - 1
        raise InputError(
            f"Leaf {leaf} is not below demand {demand}, which is for {about}.",
            remedy=f"Choose one of the leaves {first} to {last}.",
            code="no-such-place",
        )
    values, _ = judges.answer(chain.rpc, judge, demand, chain.deployment.block)
    return Call("descend", (demand, values, place)), about.child(place)


def earlier(chain: Chain, sender: str, purpose: str) -> Asked | None:
    """Return the demand that an interrupted call made for the same purpose; None if there is none."""
    receipt = chain.earlier("data_availability", sender, purpose)
    if receipt is None:
        return None
    return judges.asked(chain.rpc, chain.data_availability.address, receipt, deposit_of(chain))


def ask(chain: Chain, call: Call, account: LocalAccount, purpose: str = "") -> Asked:
    """Send a demand, with the deposit.

    Args:
        chain: Client of the federation's chain.
        call: The demand, from `availability.demand_call` or `step_down`.
        account: Account that demands.
        purpose: Name in the journal, if the chain client has one.
    """
    deposit = deposit_of(chain)
    balance = chain.token.balance_of(account.address)
    if balance < deposit:
        raise InputError(
            f"A demand takes a deposit of {format_amount(deposit)}; {account.address} has {format_amount(balance)}.",
            remedy="Send the account some tokens.",
            code="balance-too-low",
        )
    judge = chain.data_availability.address
    return judges.demand(chain.rpc, chain.deployment, judge, call, account, chain.notes, purpose)


def settle(chain: Chain, demand: int, account: LocalAccount) -> Settled:
    """Close a demand: void the round if nobody answered in time, or get the deposit back if the round is closed."""
    functions, purpose = chain.data_availability.functions, f"close demand {demand}"
    receipt = chain.earlier("data_availability", account.address, purpose, once=True)
    stored = chain.read(functions.demands(demand))
    round_, answer_by, status = int(stored[0]), int(stored[1]), Status(stored[3])
    if receipt is not None:
        return _settled(status is Status.CONVICTED, round_, receipt)
    if status is Status.NONE:
        raise _unknown(demand)
    if status is not Status.OPEN:
        raise InputError(
            f"Demand {demand} is closed: it was {status.name.lower()}.",
            remedy="Nothing is left to do.",
            code="demand-closed",
        )
    over = chain.phase(round_) is not Phase.ANCHORED
    now = chain.now()
    if not over and now < answer_by:
        raise InputError(
            f"Demand {demand} can be answered until {format_time(answer_by)}.",
            remedy=f"Try again in {answer_by - now} seconds.",
            code="too-early",
            details={"demand": demand, "answerBy": answer_by, "chainTime": now},
        )
    function = functions.release(demand) if over else functions.proveWithheld(demand)
    return _settled(not over, round_, chain.send(function, account, purpose=purpose, once=True))


def _settled(convicted: bool, round_: int, receipt: TxReceipt) -> Settled:
    return Settled(convicted, round_, receipt["transactionHash"].to_0x_hex(), receipt["gasUsed"])


def _unknown(demand: int) -> InputError:
    return InputError(f"There is no demand {demand}.", remedy="They count from 1.", code="demand-unknown")
