# SPDX-License-Identifier: Apache-2.0
"""Who is believed among several endpoints, in cases that no real chain can be made to show at will."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.errors import ContractRefused, InputError, RpcError
from folkmoot.rpc import poll as polling
from folkmoot.rpc import quorum as quorums
from folkmoot.rpc.client import Rpc
from folkmoot.rpc.normalize import fingerprint, normalize_response
from folkmoot.rpc.quorum import Quorum, open_rpc, split_urls

ADDRESS = "0x" + "11" * 20
RAW = "0x" + "02" * 40
NAMES = st.sampled_from(["logs", "hash", "transactions", "blockNumber", "x"])
ANSWERS = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


def block(number: int, *, fork: int = 0, **more: Any) -> dict[str, Any]:
    """A block as nodes answer; of another fork, with another hash."""
    return {
        "number": hex(number),
        "hash": f"0x{fork * 10**6 + number:064x}",
        "timestamp": hex(1_000 + 12 * number),
        **more,
    }


class Node(Rpc):
    """A node with a script: a chain of so many blocks, and answers to single methods."""

    def __init__(self, place: int, height: int = 10, fork: int = 0, **answers: Any) -> None:
        super().__init__(f"http://node{place}.example/v2/{'secret' * 4}")
        self.height, self.fork, self.answers = height, fork, answers
        self.asked: list[tuple[str, list[Any]]] = []
        self.gate = threading.Event()
        self.gate.set()

    def call(self, method: str, params: list[Any] | None = None) -> Any:
        params = list(params or [])
        self.asked.append((method, params))
        assert self.gate.wait(10)
        answer = self.answers.get(method)
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            return answer(params)
        if answer is not None:
            return answer
        if method == "eth_getBlockByNumber":
            number = self.height if params[0] in ("latest", "pending") else int(params[0], 16)
            return block(number, fork=self.fork) if number <= self.height else None
        raise AssertionError(f"{method} is not in the script")

    def times(self, method: str) -> int:
        return sum(asked == method for asked, _ in self.asked)


def quorum(*nodes: Node) -> Quorum:
    made = Quorum([node.url for node in nodes], 1.0)
    for endpoint, node in zip(made.endpoints, nodes, strict=True):
        endpoint.rpc = node
    return made


def away() -> RpcError:
    return RpcError("The RPC endpoint gave no answer.", remedy="Wait.")


def refusing(text: str) -> RpcError:
    return RpcError(
        f"refused: {text}", remedy="", code="rpc-error", details={"rpcCode": -32000, "message": text}
    )


def reverted(data: str = "0x1234") -> ContractRefused:
    return ContractRefused("It reverted.", details={"data": data})


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def code_of(error: pytest.ExceptionInfo[RpcError]) -> str:
    return error.value.code


# Which URLs


def test_urls_come_one_by_one_or_with_commas() -> None:
    assert split_urls("http://a, http://b,") == ("http://a", "http://b")
    assert split_urls("http://a/rpc?keys=1,2,https://b") == ("http://a/rpc?keys=1,2", "https://b")
    assert split_urls(["http://a", "http://b,http://c"]) == ("http://a", "http://b", "http://c")
    assert type(open_rpc("http://a")) is Rpc
    many = open_rpc(["http://a", "http://b"])
    assert isinstance(many, Quorum)
    assert many.url == "http://a,http://b", "what can be given to another program"


@pytest.mark.parametrize("given", ["", " , ", []])
def test_no_url_is_an_error(given: str | list[str]) -> None:
    with pytest.raises(InputError, match="no RPC endpoint"):
        split_urls(given)


def test_an_endpoint_has_one_vote() -> None:
    with pytest.raises(InputError, match="given 2 times") as error:
        split_urls(["http://a/v2/0123456789abcdef", "http://b", "http://a/v2/0123456789abcdef/"])
    assert error.value.code == "rpc-twice"
    assert "0123456789abcdef" not in str(error.value)


# The newest block


@pytest.mark.parametrize(
    ("heights", "expected"),
    [
        ((10, 10, 10), 10),
        ((10, 11, 12), 11),
        ((12, 10, 10), 10),
        ((3, 10, 11), 10),
        ((9, 10), 9),
        ((5, 7, 7, 9), 7),
    ],
)
def test_the_newest_block_is_the_newest_that_a_majority_has(heights: tuple[int, ...], expected: int) -> None:
    assert quorum(*(Node(place, height) for place, height in enumerate(heights))).block_number() == expected


def test_a_head_that_one_invents_beside_two_that_are_not_equally_far() -> None:
    made = quorum(Node(0, 10), Node(1, 11), Node(2, 10**6, fork=1))
    assert made.block_number() == 10, "node 0 has no block 11, and nobody but the liar its block"


def test_two_chains_of_two_endpoints_decide_nothing() -> None:
    with pytest.raises(RpcError, match="No majority") as error:
        quorum(Node(0), Node(1, fork=1)).block_number()
    assert code_of(error) == "rpc-no-quorum"
    assert "secretsecret" not in str(error.value)


def test_an_endpoint_that_is_behind_is_named() -> None:
    made = quorum(Node(0, 100), Node(1, 100), Node(2, 10))
    made.block_number()
    until(lambda: made.endpoints[2].behind > 0)
    (warning,) = made.warnings
    assert "node2.example" in warning
    assert "1080 seconds behind" in warning


# What is stored


def test_state_is_read_at_the_hash_of_the_block_that_a_majority_has() -> None:
    nodes = [Node(0, 10), Node(1, 12), Node(2, 10)]
    for node in nodes:
        node.answers["eth_call"] = "0x07"
    assert quorum(*nodes).eth_call(ADDRESS, b"") == b"\x07"
    at = {"blockHash": block(10)["hash"], "requireCanonical": True}
    assert all(
        ("eth_call", [{"to": ADDRESS, "data": "0x"}, at]) in node.asked for node in nodes[:1] + nodes[2:]
    )


def test_a_reorg_between_block_and_state_is_asked_anew() -> None:
    nodes = [Node(place) for place in range(3)]

    def at_canonical(params: list[Any]) -> str:
        if params[1]["blockHash"] != block(5, fork=1)["hash"]:
            raise refusing("hash is not currently canonical")
        return "0x2a"

    for node in nodes:
        node.answers["eth_call"] = "0x01"
    made = quorum(*nodes)
    assert made.eth_call(ADDRESS, b"", 5) == b"\x01"
    for node in nodes:
        node.fork, node.answers["eth_call"] = 1, at_canonical
    assert made.eth_call(ADDRESS, b"", 5) == b"\x2a"


def test_a_block_is_not_remembered_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quorums, "PINNED_SECONDS", 0.0)
    nodes = [Node(place) for place in range(2)]
    for node in nodes:
        node.answers["eth_call"] = lambda params: params[1]["blockHash"]
    made = quorum(*nodes)
    before = made.eth_call(ADDRESS, b"", 5)
    for node in nodes:
        node.fork = 1
    assert made.eth_call(ADDRESS, b"", 5) != before


def test_a_revert_is_a_vote() -> None:
    nodes = [Node(0), Node(1), Node(2)]
    nodes[0].answers["eth_call"] = "0x07"
    nodes[1].answers["eth_call"] = nodes[2].answers["eth_call"] = reverted()
    with pytest.raises(ContractRefused):
        quorum(*nodes).eth_call(ADDRESS, b"")
    nodes[2].answers["eth_call"] = reverted("0x99")
    with pytest.raises(RpcError) as error:
        quorum(*nodes).eth_call(ADDRESS, b"")
    assert code_of(error) == "rpc-no-quorum"


# Logs


def log(number: int, place: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "address": ADDRESS,
        "topics": [],
        "data": "0xAB",
        "blockNumber": hex(number),
        "blockHash": block(number)["hash"],
        "transactionHash": "0x" + "cd" * 32,
        "logIndex": hex(place),
        **more,
    }


def test_logs_differ_in_order_case_and_what_nodes_add() -> None:
    one = Node(0, eth_getLogs=[log(4, 1, blockTimestamp="0x9"), log(4)])
    other = Node(1, eth_getLogs=[log(4, data="0xab"), log(4, 1, removed=False)])
    found = quorum(one, other).call("eth_getLogs", [{"fromBlock": "0x1", "toBlock": "0x5"}])
    assert [(each["logIndex"], each["data"]) for each in found] == [("0x0", "0xab"), ("0x1", "0xab")]
    assert all("blockTimestamp" not in each for each in found)


def test_two_that_lack_the_last_block_do_not_outvote_its_logs() -> None:
    ahead = Node(0, 10, eth_getLogs=[log(9)])
    behind = [Node(place, 8, eth_getLogs=[]) for place in (1, 2)]
    with pytest.raises(RpcError) as error:
        quorum(ahead, *behind).call("eth_getLogs", [{"fromBlock": "0x1", "toBlock": "0xa"}])
    assert code_of(error) == "rpc-no-quorum"


def test_a_range_that_is_too_large_for_one_of_two_is_refused_as_such() -> None:
    one, other = Node(0, eth_getLogs=[]), Node(1, eth_getLogs=refusing("block range too large"))
    with pytest.raises(RpcError, match="too large") as error:
        quorum(one, other).call("eth_getLogs", [{"fromBlock": "0x1", "toBlock": "0xa"}])
    assert code_of(error) == "rpc-error", "whoever scans asks for fewer blocks then"


# Receipts


def receipt(number: int, **more: Any) -> dict[str, Any]:
    return {
        "transactionHash": "0x" + "cd" * 32,
        "blockNumber": hex(number),
        "blockHash": block(number)["hash"],
        "status": "0x1",
        **more,
    }


@pytest.mark.parametrize("fellow", [True, False], ids=["of three", "of two"])
def test_a_receipt_in_a_block_that_no_majority_has_is_not_there_yet(fellow: bool) -> None:
    early = Node(0, 11, eth_getTransactionReceipt=receipt(11))
    late = [Node(place, 10) for place in ((1, 2) if fellow else (1,))]
    for node in late:
        node.answers["eth_getTransactionReceipt"] = lambda params: None
    made = quorum(early, *late)
    assert made.call("eth_getTransactionReceipt", ["0x"]) is None
    assert not any(endpoint.disagreed for endpoint in made.endpoints)


def test_a_receipt_that_one_of_two_hides_decides_nothing() -> None:
    one, other = Node(0, eth_getTransactionReceipt=receipt(4)), Node(1)
    other.answers["eth_getTransactionReceipt"] = lambda params: None
    with pytest.raises(RpcError) as error:
        quorum(one, other).call("eth_getTransactionReceipt", ["0x"])
    assert code_of(error) == "rpc-no-quorum"


# Numbers that honest nodes differ in


@pytest.mark.parametrize(
    ("method", "given", "expected"),
    [
        ("eth_estimateGas", (100, 101, 10**9), 101),
        ("eth_estimateGas", (0, 100, 101), 100),
        ("eth_estimateGas", (100, 102), 102),
        ("eth_maxPriorityFeePerGas", (5, 7), 5),
        ("eth_gasPrice", (5, 6, 10**9), 6),
    ],
)
def test_no_minority_moves_a_number_beyond_the_others(
    method: str, given: tuple[int, ...], expected: int
) -> None:
    answers: list[dict[str, Any]] = [{method: hex(number)} for number in given]
    nodes = [Node(place, **answer) for place, answer in enumerate(answers)]
    assert int(quorum(*nodes).call(method, [{}]), 16) == expected


@given(st.lists(st.integers(0, 2**64), min_size=3, max_size=7), st.data())
def test_the_middle_is_between_what_honest_nodes_say(honest: list[int], data: st.DataObject) -> None:
    lies = data.draw(st.lists(st.integers(0, 2**80), max_size=len(honest) - 1))
    nodes = [Node(place, eth_gasPrice=hex(one)) for place, one in enumerate(honest + lies)]
    found = int(quorum(*nodes).call("eth_gasPrice"), 16)
    assert min(honest) <= found <= max(honest)


def test_a_call_that_one_says_reverts_is_estimated_all_the_same() -> None:
    nodes = [
        Node(0, eth_estimateGas=reverted()),
        Node(1, eth_estimateGas="0x9"),
        Node(2, eth_estimateGas="0xa"),
    ]
    assert quorum(*nodes).call("eth_estimateGas", [{}]) == "0xa"
    nodes[1].answers["eth_estimateGas"] = reverted()
    with pytest.raises(ContractRefused):
        quorum(*nodes).call("eth_estimateGas", [{}])


@pytest.mark.parametrize(
    ("times", "expected"), [((9, 8, 7), 8), ((None, None, 9), None), ((None, 8, 9), 8), ((10**12, 8, 9), 9)]
)
def test_the_pending_block_is_the_middle_one_and_may_be_none(
    times: tuple[int | None, ...], expected: int | None
) -> None:
    nodes = [Node(place) for place in range(len(times))]
    for node, at in zip(nodes, times, strict=True):
        found = None if at is None else {"number": "0xb", "hash": None, "timestamp": hex(at)}
        node.answers["eth_getBlockByNumber"] = lambda params, found=found: found
    made = quorum(*nodes)
    answer = made.call("eth_getBlockByNumber", ["pending", False])
    assert (answer and int(answer["timestamp"], 16)) == expected
    assert all(endpoint.up for endpoint in made.endpoints)


def test_the_pending_nonce_is_the_middle_one() -> None:
    nodes = [Node(place, eth_getTransactionCount=hex(count)) for place, count in enumerate((10**6, 5, 4))]
    assert quorum(*nodes).call("eth_getTransactionCount", [ADDRESS, "pending"]) == "0x5"


# Sending


def test_a_transaction_goes_to_all_and_one_that_takes_it_is_enough() -> None:
    nodes = [
        Node(0, eth_sendRawTransaction=refusing("already known")),
        Node(1, eth_sendRawTransaction="0x00"),
        Node(2, eth_sendRawTransaction=away()),
    ]
    made = quorum(*nodes)
    assert len(made.call("eth_sendRawTransaction", [RAW])) == 66
    assert all(node.asked == [("eth_sendRawTransaction", [RAW])] for node in nodes)


def test_what_most_say_against_a_transaction_is_told() -> None:
    nodes = [
        Node(0, eth_sendRawTransaction=refusing("I do not like it")),
        Node(1, eth_sendRawTransaction=refusing("insufficient funds")),
        Node(2, eth_sendRawTransaction=refusing("insufficient funds")),
    ]
    with pytest.raises(RpcError, match="insufficient funds") as error:
        quorum(*nodes).call("eth_sendRawTransaction", [RAW])
    assert code_of(error) == "rpc-error"


def test_a_local_chain_is_changed_once() -> None:
    nodes = [Node(0, evm_mine=away()), Node(1, evm_mine="0x0"), Node(2, evm_mine="0x0")]
    quorum(*nodes).call("evm_mine", [])
    assert [node.times("evm_mine") for node in nodes] == [1, 1, 0]


# Health


def test_one_that_is_away_is_left_alone_and_comes_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(polling, "FIRST_PAUSE", 0.2)
    nodes = [Node(place, eth_chainId="0x1") for place in range(3)]
    made = quorum(*nodes)
    nodes[2].answers["eth_chainId"] = away()
    for _ in range(20):
        assert made.chain_id() == 1
        until(lambda: made.endpoints[2].open == 0)
    assert nodes[2].times("eth_chainId") < 5, "no storm of retries"
    assert "node2.example" in made.warnings[0]
    assert not made.endpoints[2].up
    nodes[2].answers["eth_chainId"] = "0x1"

    def back() -> bool:
        made.chain_id()
        return made.endpoints[2].up

    until(back)
    assert not made.warnings
    assert sum("gave no answer" in record.message for record in caplog.records) == 1


def test_one_that_is_needed_is_asked_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quorums, "FIRST_PAUSE", 0.05)
    nodes = [Node(0, eth_chainId="0x1"), Node(1, eth_chainId=away())]
    made = quorum(*nodes)
    made.endpoints[1].failures = 10
    with pytest.raises(RpcError) as error:
        made.chain_id()
    assert code_of(error) == "rpc-no-quorum"
    with pytest.raises(RpcError, match="was not asked or has not answered yet"):
        made.chain_id()
    assert nodes[1].times("eth_chainId") == 1, "and not at every call"
    nodes[1].answers["eth_chainId"] = "0x1"
    time.sleep(0.06)
    assert made.chain_id() == 1


def test_a_slow_one_is_not_waited_for_and_judged_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    nodes = [Node(0, eth_chainId="0x1"), Node(1, eth_chainId="0x1"), Node(2, eth_chainId="0x2")]
    nodes[2].gate.clear()
    made = quorum(*nodes)
    begun = time.monotonic()
    assert made.chain_id() == 1
    assert time.monotonic() - begun < 1
    nodes[2].gate.set()
    until(lambda: made.endpoints[2].disagreed == 1)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert vars(record)["folkmoot"]["event"] == "rpc-disagrees"
    assert "secretsecret" not in caplog.text
    assert "contradicted the others 1 times" in made.warnings[0]


def test_requests_do_not_pile_up_at_a_slow_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "MOST_OPEN", 3)
    nodes = [Node(place, eth_chainId="0x1") for place in range(3)]
    nodes[2].gate.clear()
    made = quorum(*nodes)
    for _ in range(10):
        made.chain_id()
    assert made.endpoints[2].open == 3
    nodes[2].gate.set()
    until(lambda: made.endpoints[2].open == 0)


def test_a_majority_is_not_waited_for_for_ever() -> None:
    nodes = [Node(0, eth_chainId="0x1"), Node(1, eth_chainId="0x1")]
    made = quorum(*nodes)
    made.timeout = 0.05
    nodes[1].gate.clear()
    with pytest.raises(RpcError) as error:
        made.chain_id()
    assert code_of(error) == "rpc-no-quorum"
    nodes[1].gate.set()


def test_no_majority_is_a_warning_until_there_is_one_again(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [Node(0, eth_chainId="0x1"), Node(1, eth_chainId="0x2")]
    made = quorum(*nodes)
    with pytest.raises(RpcError):
        made.chain_id()
    assert "rpc-no-quorum" in made.warnings[-1]
    nodes[1].answers["eth_chainId"] = "0x1"
    monkeypatch.setattr(quorums, "UNDECIDED_SECONDS", 0.0)
    assert made.chain_id() == 1
    assert not made.warnings


# What counts in an answer


@given(ANSWERS)
@pytest.mark.parametrize(
    "method", ["eth_getLogs", "eth_getBlockByNumber", "eth_getTransactionReceipt", "eth_call"]
)
def test_any_answer_has_an_essence(method: str, answer: Any) -> None:
    found = normalize_response(method, answer)
    assert normalize_response(method, found) == found
    assert len(fingerprint(found)) == 32


def test_an_answer_that_nests_too_deeply_is_no_vote() -> None:
    deep: Any = "0x1"
    for _ in range(5_000):
        deep = [deep]
    made = quorum(Node(0, eth_chainId=deep), Node(1, eth_chainId="0x1"), Node(2, eth_chainId="0x1"))
    assert made.chain_id() == 1
    until(lambda: not made.endpoints[0].up)
