# SPDX-License-Identifier: Apache-2.0
"""Three endpoints of a real chain, of which one is away, behind or lies in every way: what is read is the truth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from folkmoot.chain.amounts import UNIT
from folkmoot.chain.client import Chain
from folkmoot.chain.events import scan
from folkmoot.chain.quorum import Quorum
from folkmoot.errors import ContractRefused
from folkmoot.local.anvil import Anvil
from tests.factories import Federation, account
from tests.rpc_proxy import Lie, RpcProxy


@pytest.fixture
def proxies(anvil: Anvil) -> Iterator[list[RpcProxy]]:
    with ExitStack() as stack:
        yield [stack.enter_context(RpcProxy(anvil.url)) for _ in range(3)]


def everything(chain: Chain, who: str) -> list[Any]:
    """What a federation's programs read of a chain, of each kind."""
    head = chain.block_number()
    events = list(scan(chain, chain.deployment.block, head))
    refused = ""
    try:
        chain.ledger_reader.policy(99)
    except ContractRefused as error:
        refused = error.message
    return [
        chain.rpc.chain_id(),
        head,
        chain.rpc.latest_timestamp(),
        chain.rpc.code(chain.deployment.ledger),
        chain.head(),
        chain.round(0),
        chain.policy(1),
        chain.coordinator(),
        chain.stake_of(who),
        chain.balance_of(who),
        chain.ledger_reader.round(0, head - 1),
        refused,
        events,
        [chain.rpc.call("eth_getTransactionReceipt", ["0x" + events[0].transaction.hex()])["status"]],
    ]


@pytest.mark.parametrize("lie", Lie)
def test_a_liar_among_three_is_outvoted(federation: Federation, proxies: list[RpcProxy], lie: Lie) -> None:
    who = account("ada")
    truth = everything(federation.chain, who.address)
    chain = Chain.connect([proxy.url for proxy in proxies], federation.deployment, timeout=5)
    assert isinstance(chain.rpc, Quorum)
    proxies[1].tell(lie)
    assert everything(chain, who.address) == truth
    balance = chain.balance_of(who.address)
    receipt = chain.send(chain.token.functions.transfer(account("ben").address, UNIT), who)
    assert receipt["status"] == 1
    assert chain.balance_of(who.address) == federation.chain.balance_of(who.address) == balance - UNIT
    assert proxies[1].lies[lie], "the liar was asked"
    chain.close()
