# SPDX-License-Identifier: Apache-2.0
"""What web3's failures say in public: an RPC provider's URL holds a key, and errors end in logs and in bug reports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import Any

import pytest

from folkmoot.audit.history import read_block
from folkmoot.chain.client import check_deployment
from folkmoot.chain.transactions.connection import chain_errors, connect_web3
from folkmoot.errors import ChainError, RpcError, WrongChainError
from folkmoot.ledger.deployment import CONTRACTS, Deployment
from folkmoot.rpc.client import Rpc
from tests.http_servers import Handler, started

KEY = "0123456789abcdef0123456789abcdef"
DEPLOYMENT = Deployment(
    2, 1, parent=None, **dict.fromkeys(CONTRACTS, "0x" + "11" * 20), genesis_hash="0x" + "ab" * 32
)


class _Provider(ThreadingHTTPServer):
    status = 200
    answer: dict[str, Any]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v2/{KEY}"


@pytest.fixture
def provider() -> Iterator[_Provider]:
    """A provider whose URL has a key; it answers as it is told to."""

    class Provider(Handler):
        def do_POST(self) -> None:
            self.answer({"jsonrpc": "2.0", "id": self.asked()["id"], **server.answer}, server.status)

    server = _Provider(("127.0.0.1", 0), Provider)
    with started(server):
        yield server


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (403, {}),
        (200, {"error": {"code": -32000, "message": "no more"}}),
    ],
    ids=["refused by HTTP", "refused by the node"],
)
def test_no_failure_of_web3_tells_the_key(provider: _Provider, status: int, answer: dict[str, Any]) -> None:
    provider.status, provider.answer = status, answer
    w3 = connect_web3(provider.url)
    with pytest.raises(RpcError) as caught, chain_errors("the call"):
        w3.eth.get_block_number()
    _tells_no_key(caught.value)


def test_a_wrong_chain_is_told_without_the_key(provider: _Provider) -> None:
    """The coordinator shows it in its public health, and ends with it in its log."""
    provider.answer = {"result": "0x1"}
    with Rpc(provider.url) as rpc, pytest.raises(WrongChainError) as caught:
        check_deployment(rpc, DEPLOYMENT)
    _tells_no_key(caught.value)


def test_an_audit_that_lacks_a_block_tells_no_key(provider: _Provider) -> None:
    provider.answer = {"result": None}
    with Rpc(provider.url) as rpc, pytest.raises(RpcError) as caught:
        read_block(rpc, 7)
    _tells_no_key(caught.value)


def _tells_no_key(error: ChainError) -> None:
    said = f"{error} {json.dumps(error.details)}"
    assert KEY not in said
    assert "127.0.0.1" in said
