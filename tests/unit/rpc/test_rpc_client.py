# SPDX-License-Identifier: Apache-2.0
"""JSON-RPC by httpx against scripted answers: whatever an endpoint does, it is an error with a remedy."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import Any

import pytest

from folkmoot.errors import ContractRefused, RpcError
from folkmoot.rpc.client import LedgerReader, Rpc
from tests.http_servers import Handler, started

ADDRESS = "0x" + "11" * 20


class _Endpoint(ThreadingHTTPServer):
    answer: bytes | None = b""
    trickle: Iterator[bytes] = iter(())
    """What follows the answer, part by part."""
    requests: list[Any]


@pytest.fixture
def endpoint() -> Iterator[_Endpoint]:
    """An HTTP server that answers every request with `answer`, or not at all if it is None."""
    over = threading.Event()

    class Scripted(Handler):
        def do_POST(self) -> None:
            server.requests.append(self.asked())
            if server.answer is None:
                over.wait(5)
                return
            self.send_response(200)
            self.end_headers()
            number = json.dumps(server.requests[-1]["id"]).encode()
            self.wfile.write(server.answer.replace(b'"ID"', number))
            try:
                for part in server.trickle:
                    self.wfile.write(part)
                    if over.wait(0.02):
                        return
            except OSError:
                return  # the other side has had enough

    server = _Endpoint(("127.0.0.1", 0), Scripted)
    server.requests = []
    with started(server):
        yield server
        over.set()


@pytest.fixture
def rpc(endpoint: _Endpoint) -> Iterator[Rpc]:
    """A client of the endpoint."""
    with Rpc(f"http://127.0.0.1:{endpoint.server_address[1]}", timeout=0.5) as client:
        yield client


def _says(endpoint: _Endpoint, **content: Any) -> None:
    endpoint.answer = json.dumps({"jsonrpc": "2.0", "id": "ID", **content}).encode()


def test_results_come_through(endpoint: _Endpoint, rpc: Rpc) -> None:
    _says(endpoint, result="0x7a69")
    assert rpc.chain_id() == 31337
    assert endpoint.requests[0]["method"] == "eth_chainId"


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[]", b"{}", b'{"jsonrpc": "2.0"}', b"\xff"])
def test_nonsense_is_an_rpc_error(endpoint: _Endpoint, rpc: Rpc, answer: bytes) -> None:
    endpoint.answer = answer
    with pytest.raises(RpcError) as caught:
        rpc.chain_id()
    assert rpc.url in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("result", [None, 5, "five", {"a": 1}])
def test_a_result_of_the_wrong_kind_is_an_rpc_error(endpoint: _Endpoint, rpc: Rpc, result: Any) -> None:
    _says(endpoint, result=result)
    for read in (rpc.chain_id, rpc.latest_timestamp, lambda: rpc.code(ADDRESS)):
        with pytest.raises(RpcError):
            read()


@pytest.mark.parametrize("number", [2, "1", None])
def test_the_answer_to_another_request_is_not_taken(endpoint: _Endpoint, rpc: Rpc, number: Any) -> None:
    _says(endpoint, id=number, result="0x1")
    with pytest.raises(RpcError, match="the answer to another request"):
        rpc.chain_id()


def test_too_much_is_not_read_to_its_end(
    endpoint: _Endpoint, rpc: Rpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("folkmoot.rpc.client.MAX_ANSWER", 1 << 20)
    sent = itertools.count()
    endpoint.trickle = (b" " * (1 << 18) for _ in iter(lambda: next(sent), 1000))
    with pytest.raises(RpcError, match="more than 1 MiB"):
        rpc.chain_id()
    assert next(sent) < 100


def test_an_answer_that_trickles_without_end_costs_bounded_time(endpoint: _Endpoint, rpc: Rpc) -> None:
    endpoint.trickle = itertools.repeat(b" ")
    with pytest.raises(RpcError, match=r"did not end its answer to eth_chainId in 1\.5 seconds"):
        rpc.chain_id()


def test_nonsense_is_shown_in_part_only(endpoint: _Endpoint, rpc: Rpc) -> None:
    _says(endpoint, result="x" * 100_000)
    with pytest.raises(RpcError, match=r"100,002 characters") as caught:
        rpc.chain_id()
    assert len(caught.value.message) < 500


def test_an_endpoint_that_never_answers_costs_bounded_time(endpoint: _Endpoint, rpc: Rpc) -> None:
    endpoint.answer = None
    with pytest.raises(RpcError, match=r"gave no answer to eth_chainId in 0\.5 seconds"):
        rpc.chain_id()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://nowhere.invalid", "nonsense", "http://[", "ftp://x"]
)
def test_endpoints_that_can_not_be_reached(url: str) -> None:
    with Rpc(url, timeout=1.0) as rpc, pytest.raises(RpcError, match="can't be reached"):
        rpc.chain_id()


def test_errors_of_the_node_keep_their_message(endpoint: _Endpoint, rpc: Rpc) -> None:
    _says(endpoint, error={"code": -32601, "message": "the method does not exist"})
    with pytest.raises(RpcError, match="the method does not exist") as caught:
        rpc.call("eth_nonsense")
    assert caught.value.code == "rpc-error"
    assert caught.value.details == {
        "method": "eth_nonsense",
        "rpcCode": -32601,
        "message": "the method does not exist",
    }


@pytest.mark.parametrize(
    "error",
    [
        {"code": 3, "message": "x", "data": "0x1"},
        {"message": "execution reverted"},
        # A call with too low a limit of gas: Anvil, go-ethereum, Hardhat, Nethermind.
        {"code": -32003, "message": "Out of gas: gas required exceeds allowance: 600000"},
        {"code": -32003, "message": "EVM error OutOfGas"},
        {"code": -32000, "message": "gas required exceeds allowance (600000)"},
        {"code": -32603, "message": "Transaction ran out of gas"},
        {
            "code": -32000,
            "message": "Cannot estimate gas, gas spent exceeded transaction and block gas limit",
        },
        {"code": -32000, "message": "Transaction execution fails"},
    ],
)
def test_reverts_are_refusals(endpoint: _Endpoint, rpc: Rpc, error: dict[str, Any]) -> None:
    _says(endpoint, error=error)
    with pytest.raises(ContractRefused):
        rpc.eth_call(ADDRESS, b"")


def test_an_address_without_code_is_noticed(endpoint: _Endpoint, rpc: Rpc) -> None:
    _says(endpoint, result="0x")
    with pytest.raises(RpcError, match="does not answer head") as caught:
        LedgerReader(rpc, ADDRESS).head()
    assert caught.value.code == "wrong-contract"


def test_a_node_needs_no_web3() -> None:
    code = (
        "import sys, folkmoot.rpc.client\n"
        "print(sorted({n.partition('.')[0] for n in sys.modules} & {'web3', 'httpx', 'flwr', 'torch', 'requests'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
