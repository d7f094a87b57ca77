# SPDX-License-Identifier: Apache-2.0
"""Who may enrol in a closed federation: what its admission contract says, asked as the ledger asks it.

Uses plain JSON-RPC.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

from folkmoot.errors import InputError
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.events import MemberSet
from folkmoot.ledger.scan import Source, scan
from folkmoot.rpc.client import LedgerReader, Rpc

NOBODY = "0x" + "0" * 40
"""Admission contract of an open federation."""

MOST_MEMBERS = 500
"""Accounts that one transaction puts on a list of members: more may not fit into its gas (EIP-7825)."""

_GAS = 200_000
"""Gas that the ledger gives an admission contract for its answer."""


class LeaveReason(IntEnum):
    """Why an account is no longer enrolled, as `IRoundLedger.LeaveReason`."""

    OWN = 0
    STAKE_TOO_LOW = 1
    ABSENT = 2
    NOT_ADMITTED = 3


def admits(rpc: Rpc, admission: str, account: str) -> bool | None:
    """Return whether an admission contract admits an account; None if it gives no answer that the ledger takes."""
    question = keccak(text="admits(address)")[:4] + encode(["address"], [account])
    answer = rpc.call("eth_call", [{"data": "0x" + _asking(admission, question).hex()}, "latest"])
    try:
        answered, word = decode(["uint256", "uint256"], bytes.fromhex(answer[2:]))
    except (DecodingError, TypeError, ValueError) as error:
        raise rpc.nonsense("eth_call", answer) from error
    return bool(word) if answered and word <= 1 else None


def _asking(admission: str, question: bytes) -> bytes:
    """Return code that asks a contract as the ledger does, and returns two words: whether it answered, and its answer.

    A node runs it as the creation of a contract, without a transaction. So every failure of the contract that is asked
    looks the same, whatever the node is: their errors differ.
    """
    asked = bytes.fromhex(admission[2:])
    before = (
        bytes.fromhex("602460366000396020604060246000") + b"\x73" + asked + b"\x62" + _GAS.to_bytes(3, "big")
    )
    # STATICCALL, and of its result and RETURNDATASIZE == 32 what is left; the two words are returned.
    return before + bytes.fromhex("fa60203d141660205260406020f3") + question


def require_admitted(rpc: Rpc, deployment: Deployment, account: str) -> None:
    """Check that the ledger would let an account enrol; an open federation lets everybody.

    Raises:
        InputError: `not-admitted`: the federation is closed, and its admission contract does not admit the account.
    """
    admission = LedgerReader(rpc, deployment.ledger).admission()
    if admission == NOBODY:
        return
    answer = admits(rpc, admission, account)
    if answer:
        return
    if admission == deployment.members:
        why, remedy = (
            f"{account} is not on its list of members, {admission}",
            f"Ask somebody with votes to run `folkmoot propose --admit {account}`. Enrol when the vote is executed.",
        )
    elif answer is None:
        why, remedy = (
            f"its admission contract {admission} gives no answer about {account}",
            "Ask those who run that contract. Who is enrolled stays so, and rounds go on meanwhile.",
        )
    else:
        why, remedy = (
            f"its admission contract {admission} does not admit {account}",
            "Do what that contract asks for, then enrol.",
        )
    raise InputError(
        f"The federation is closed: {why}.",
        remedy=remedy,
        code="not-admitted",
        details={"account": account, "admission": admission},
    )


def members(source: Source, to_block: int) -> list[str]:
    """Return the members of a closed federation with a list, checksummed and sorted."""
    listed: dict[str, bool] = {}
    for event in _changes(source, to_block):
        listed[event.account] = event.member
    return sorted(account for account, member in listed.items() if member)


def _changes(source: Source, to_block: int) -> Iterator[MemberSet]:
    for event in scan(source, source.deployment.block, to_block, contracts=("members",)):
        if isinstance(event, MemberSet):
            yield event
