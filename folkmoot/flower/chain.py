# SPDX-License-Identifier: Apache-2.0
"""What a node reads of the chain before it trains, and before it signs: at its own RPC endpoint, by itself.

An endpoint that is away is asked again until a timeout, so that its restart costs no round. This module trains nothing,
and holds no key.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from logging import WARNING
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from eth_utils.address import to_checksum_address
from flwr.supercore import log

from folkmoot.flower.contributor import Contributor
from folkmoot.flower.records import UNTRAINED, NoPlaceError, RefusedError, RoundMessage
from folkmoot.rpc.client import LedgerReader, Phase, VaultReader
from folkmoot.rpc.quorum import open_rpc
from folkmoot.runtime.backoff import Backoff, retry
from folkmoot.runtime.units import format_amount

if TYPE_CHECKING:
    from folkmoot.protocol.header import RoundHeader
    from folkmoot.protocol.policy import Policy
    from folkmoot.rpc.client import RoundView

CHAIN_TIMEOUT = 120.0
"""Timeout in seconds for the node's own RPC endpoint. It covers a restart of the endpoint, so that no round is lost."""

AWAY = frozenset({"rpc-unreachable", "rpc-behind", "rpc-no-quorum"})
"""Codes of temporary failures of an endpoint."""

T = TypeVar("T")
P = ParamSpec("P")


def read_chain(look: Callable[[], T]) -> T:
    """Read the chain, and try again while the endpoint is unavailable.

    Raises:
        RpcError: The endpoint was unavailable until the timeout, or the failure is permanent.
    """
    return repeat(look, AWAY)


def repeat(call: Callable[[], T], passing: Collection[str]) -> T:
    """Call, and call again after errors with these codes, until the timeout."""
    return retry(
        call,
        Backoff(0.5, 8.0),
        CHAIN_TIMEOUT,
        lambda error: error.code in passing,
        lambda error, pause: log(WARNING, "The chain is asked again in %g s: %s", pause, error.message),
    )


def _patient(read: Callable[P, T]) -> Callable[P, T]:
    """Return a function that reads the chain as `read_chain` does."""

    @functools.wraps(read)
    def again(*arguments: P.args, **options: P.kwargs) -> T:
        return read_chain(lambda: read(*arguments, **options))

    return again


@_patient
def read_round(
    round_message: RoundMessage, header: RoundHeader, contributor: Contributor
) -> tuple[RoundView, bytes, Policy]:
    """Return the round, its base's state root and its policy.

    Raises:
        RefusedError: It is a round of another chain, ledger or manifest, or takes no commitments.
        RpcError: The endpoint failed.
    """
    if (
        round_message.chain_id != contributor.chain_id
        or round_message.ledger.lower() != contributor.ledger.lower()
    ):
        raise RefusedError(
            f"the round is on chain {round_message.chain_id}, ledger {round_message.ledger}; "
            "this node has joined another.",
            remedy="Join that federation in a folder of its own.",
            code="wrong-chain",
        )
    with open_rpc(contributor.rpc) as rpc:
        if rpc.chain_id() != contributor.chain_id:
            raise RefusedError(
                "the node's RPC endpoint serves another chain.",
                remedy="Start the node with the right --rpc.",
                code="wrong-chain",
            )
        ledger = LedgerReader(rpc, contributor.ledger)
        # An anchor is not checked when it is made: a false state could bring another manifest with it.
        if header.manifest_hash != ledger.manifest_hash():
            raise RefusedError(
                "the round's manifest is not the federation's.", remedy=UNTRAINED, code="wrong-manifest"
            )
        view = ledger.round(round_message.round)
        if view.phase is Phase.NONE:
            raise RefusedError(
                f"the ledger has no round {round_message.round}.",
                remedy="Nothing was trained; the coordinator is ahead of the chain, or lies.",
                code="unknown-round",
            )
        if ledger.phase(round_message.round) is not Phase.OPEN:
            raise RefusedError(
                f"round {round_message.round} takes no commitments any more.",
                remedy="The next round comes by itself.",
                code="round-closed",
            )
        return view, ledger.round(view.base).state_root, ledger.policy(view.policy)


@_patient
def check_place(number: int, contributor: Contributor) -> None:
    """Check that the ledger would take a commitment of the contributor: without a place, training is in vain.

    Raises:
        NoPlaceError: The account was not drawn, or enrolled when the round was open already.
        RefusedError: It is not enrolled, or not with enough stake.
        RpcError: The endpoint failed.
    """
    account = to_checksum_address(contributor.account)
    with open_rpc(contributor.rpc) as rpc:
        ledger = LedgerReader(rpc, contributor.ledger)
        if ledger.has_place(number, account):
            return
        view = ledger.round(number)
        least = ledger.policy(view.policy).min_stake
        member = VaultReader(rpc, str(contributor.deployment["vault"])).members([account])[account]
        ours = view.coordinator == account
        if not (ours or member.enrolled):
            raise RefusedError(
                f"{account} is not enrolled, so round {number} takes no update of it.",
                remedy="Nothing was trained. Run `folkmoot enrol`; it counts from the next round on.",
                code="not-enrolled",
            )
        stake = member.stake if ours else member.enrolled
        if ours or stake < least:
            raise RefusedError(
                f"{account} has {format_amount(stake)} for the round, and its policy asks for "
                f"{format_amount(least)}.",
                remedy="Nothing was trained. Run `folkmoot enrol --stake`.",
                code="stake-too-low",
            )
        if member.since >= view.opened_at:
            raise NoPlaceError(
                f"round {number} was open already when {account} enrolled, or enrolled more.",
                remedy="Nothing was trained. It takes part from the next round on.",
            )
        quota = ledger.draw(number).quota
        raise NoPlaceError(
            f"{account} was not drawn for round {number}: more stake is enrolled than the round has places, and of "
            f"{format_amount(quota)}, which have one for certain, it has {format_amount(member.enrolled)}.",
            remedy="Nothing was trained. The next round draws again.",
        )


@_patient
def check_in_time(round_id: int, contributor: Contributor) -> None:
    """Check again that the round still takes commitments: training may have lasted longer than its window.

    Raises:
        RefusedError: The round takes no more commitments.
    """
    with open_rpc(contributor.rpc) as rpc:
        still_open = LedgerReader(rpc, contributor.ledger).phase(round_id) is Phase.OPEN
    if not still_open:
        raise RefusedError(
            f"round {round_id} closed while this node trained, so its update is too late.",
            remedy="It takes part in the next round. If this happens in each round, a training, or a step of one by "
            "the clock, lasts longer than the commit window: make it shorter, or ask the voters for a longer window.",
            code="round-closed",
        )


def read_ledger(contributor: Contributor, look: Callable[[LedgerReader], T]) -> T:
    """Read the ledger as `read_chain` reads the chain."""
    with open_rpc(contributor.rpc) as rpc:
        ledger = LedgerReader(rpc, contributor.ledger)
        return read_chain(lambda: look(ledger))
