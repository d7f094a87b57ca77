# SPDX-License-Identifier: Apache-2.0
"""Three endpoints of a real chain, of which one is away, behind or lies in every way: what is read is the truth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from folkmoot.audit.history import PinnedRpc, read_history
from folkmoot.chain.client import Chain
from folkmoot.cli.main import run
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import ContractRefused, RpcError
from folkmoot.ledger.scan import scan
from folkmoot.rpc.client import Rpc
from folkmoot.rpc.quorum import Quorum, open_rpc
from folkmoot.runtime.units import UNIT
from tests.factories import Federation, account
from tests.rpc_proxy import Lie, RpcProxy, Trouble


@pytest.fixture
def proxies(chain: Anvil) -> Iterator[list[RpcProxy]]:
    with ExitStack() as stack:
        yield [stack.enter_context(RpcProxy(chain.url)) for _ in range(3)]


def everything(chain: Chain, who: str) -> list[Any]:
    """What a federation's programs read of a chain, of each kind."""
    head = chain.rpc.block_number()
    events = list(scan(chain, chain.deployment.block, head))
    refused = ""
    try:
        chain.ledger.policy(99)
    except ContractRefused as error:
        refused = error.message
    return [
        chain.rpc.chain_id(),
        head,
        chain.rpc.latest_timestamp(),
        chain.rpc.code(chain.deployment.ledger),
        chain.ledger.head(),
        chain.ledger.round(0),
        chain.ledger.policy(1),
        chain.ledger.coordinator(),
        chain.vault.stake_of(who),
        chain.token.balance_of(who),
        chain.ledger.round(0, head - 1),
        refused,
        events,
        [chain.rpc.call("eth_getTransactionReceipt", ["0x" + events[0].transaction.hex()])["status"]],
    ]


@pytest.mark.parametrize("lie", Lie)
def test_a_liar_among_three_is_outvoted(apart: Federation, proxies: list[RpcProxy], lie: Lie) -> None:
    who = account("ada")
    truth = everything(apart.chain, who.address)
    chain = Chain.connect([proxy.url for proxy in proxies], apart.deployment, timeout=5)
    assert isinstance(chain.rpc, Quorum)
    proxies[1].tell(lie)
    assert everything(chain, who.address) == truth
    balance = chain.token.balance_of(who.address)
    receipt = chain.send(chain.token.functions.transfer(account("ben").address, UNIT), who)
    assert receipt["status"] == 1
    assert chain.token.balance_of(who.address) == apart.chain.token.balance_of(who.address) == balance - UNIT
    assert proxies[1].lies[lie], "the liar was asked"
    chain.close()


@pytest.mark.parametrize("trouble", [one for one in Trouble if one is not Trouble.NONE])
def test_one_in_trouble_among_three_changes_nothing(
    apart: Federation, proxies: list[RpcProxy], trouble: Trouble
) -> None:
    who = account("ada")
    truth = everything(apart.chain, who.address)
    proxies[0].become(trouble)
    with closing(Chain.connect([proxy.url for proxy in proxies], apart.deployment, timeout=5)) as chain:
        assert everything(chain, who.address) == truth
        before = chain.token.balance_of(who.address)
        chain.send(chain.token.functions.transfer(account("ben").address, UNIT), who)
        assert chain.token.balance_of(who.address) == before - UNIT
        lied = any(endpoint.disagreed for endpoint in chain.rpc.endpoints)
        assert lied == (trouble is Trouble.NONSENSE), "no answer and an old one are no lies"
    assert proxies[0].hits[trouble]


@pytest.mark.parametrize("lie", [Lie.STORAGE, Lie.CHAIN, Lie.FORK])
def test_two_that_contradict_each_other_decide_nothing(
    apart: Federation, proxies: list[RpcProxy], lie: Lie
) -> None:
    urls = [proxy.url for proxy in proxies[:2]]
    proxies[1].tell(lie)
    with pytest.raises(RpcError) as error:
        Chain.connect(urls, apart.deployment, timeout=5)
    assert error.value.code == "rpc-no-quorum"
    assert all(url in error.value.message for url in urls)
    proxies[1].tell()
    Chain.connect(urls, apart.deployment, timeout=5).close()


@pytest.mark.parametrize("commas", [False, True])
def test_commands_take_several(
    apart: Federation,
    proxies: list[RpcProxy],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    commas: bool,
) -> None:
    proxies[0].tell(Lie.STORAGE)
    apart.deployment.save(tmp_path / "deployment.json")
    urls = [proxy.url for proxy in proxies]
    words = ["status", "--deployment", str(tmp_path / "deployment.json"), "--json"]
    if commas:
        monkeypatch.setenv("FOLKMOOT_RPC", ",".join(urls))
    else:
        words += [word for url in urls for word in ("--rpc", url)]
    assert run(words) == 0
    assert json.loads(capsys.readouterr().out)["coordinator"]["address"] == apart.coordinator.address
    assert proxies[0].lies[Lie.STORAGE]


def test_the_doctor_names_the_one_that_contradicts(
    apart: Federation, proxies: list[RpcProxy], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    apart.deployment.save(tmp_path / "deployment.json")
    words = ["doctor", "--deployment", str(tmp_path / "deployment.json"), "--json"]
    words += [word for proxy in proxies for word in ("--rpc", proxy.url)]
    proxies[2].tell(Lie.STORAGE)
    run(words)
    found = {line["check"]: line for line in json.loads(capsys.readouterr().out)["checks"]}
    assert found["contracts"]["state"] == "ok", "a majority has them"
    assert found["endpoints"]["state"] == "warning"
    assert f"{proxies[2].url} contradicted the others" in found["endpoints"]["text"]
    assert "3 of them are at 127.0.0.1" in found["endpoints"]["text"]


def test_a_whole_history_is_read_through_three(apart: Federation, proxies: list[RpcProxy]) -> None:
    with Rpc(apart.anvil.url) as rpc:
        block = rpc.block_number()
        truth = read_history(PinnedRpc(rpc, block), apart.deployment)
    proxies[0].tell(Lie.STORAGE, Lie.LOGS_CHANGED, Lie.RECEIPTS_FORGED, Lie.HEAD)
    with open_rpc([proxy.url for proxy in proxies]) as rpc:
        found = read_history(PinnedRpc(rpc, rpc.block_number()), apart.deployment)
    for part in ("head", "events", "times", "storage", "creations"):
        assert getattr(found, part) == getattr(truth, part), part
    assert proxies[0].lies, "the liar was asked; of what, depends on how long it rested after each lie"
