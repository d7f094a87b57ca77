# SPDX-License-Identifier: Apache-2.0
"""Whoever reads bytes from a stranger says that they are wrong by an expected error.

Three kinds of bytes for every decoder: arbitrary ones, valid files with a few bytes changed or cut off, and valid JSON
with values replaced by ones that are large, deep or of another type. And none takes much more memory than its input is
long, as `tracemalloc` counts it (not what NumPy or scrypt take outside of it: a key file says how much, up to a limit).
"""

from __future__ import annotations

import contextlib
import copy
import json
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from folkmoot.aggregation import policy_file
from folkmoot.audit import history
from folkmoot.coordinator_api import _parse_events, commitment_from_wire, commitment_to_wire
from folkmoot.errors import FolkmootError, InputError
from folkmoot.evaluation import Measurement, Report, measure
from folkmoot.evaluation.canary import CanaryReport
from folkmoot.fraud.contracts import challenge, judges
from folkmoot.ledger.deployment import CONTRACTS, Deployment
from folkmoot.ledger.scan import ChainSource, scan
from folkmoot.protocol.codec import decode_update
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import canonical_json, parse_canonical_json, parse_json
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Carried, Manifest, Tensor
from folkmoot.protocol.state import State
from folkmoot.protocol.verdict import Artifacts, Reason, Verdict, Verdicts
from folkmoot.rpc.abi import function
from folkmoot.rpc.client import Contract, LedgerReader, Rpc, VaultReader
from folkmoot.runtime import keystore
from server.api import pages
from server.chain import indexer
from tests.unit import worlds

MANIFEST = Manifest(
    "fuzz", (Tensor("w", (3, 7)), Carried("n", "int64", (2,), bytes(16)), Tensor("s", ())), {"rate": 0.1}
)
STATE = worlds.state(MANIFEST, 3)
ALICE = worlds.account("alice").address
WORLD = worlds.World(worlds.state(worlds.MANIFEST, 1))
COMMITMENT = Commitment(ALICE, 1, bytes(32), b"\x01" * 32, 5)
MEASURED = measure({"accuracy": 0.5, "loss": 0.7}, [0, 1, 1], [0, 1, 0])
UPDATE = worlds.update_bytes(MANIFEST, 5)
DEPLOYMENT = Deployment(
    31337, 1, parent=None, **dict.fromkeys(CONTRACTS, ALICE), genesis_hash="0x" + "ab" * 32
)
SIGNATURE = COMMITMENT.sign(worlds.account("alice"), worlds.DOMAIN)


@dataclass(frozen=True)
class Decoder:
    """A decoder, and a file that it reads."""

    name: str
    read: Callable[[bytes], Any]
    valid: bytes

    def __str__(self) -> str:
        return self.name


def from_file(read: Callable[[Path], Any]) -> Callable[[bytes], Any]:
    def decode(data: bytes) -> Any:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "file.json"
            path.write_bytes(data)
            return read(path)

    return decode


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def key_file() -> bytes:
    with TemporaryDirectory() as folder:
        path = keystore.create(Path(folder) / "key", "long enough", private_key=b"\x01" * 32, work=2).path
        return path.read_bytes()


class Answers(Rpc):
    """An endpoint that answers everything with one value."""

    def __init__(self, answer: Any) -> None:
        super().__init__("http://chain.example")
        self.answer = answer

    def call(self, method: str, params: list[Any] | None = None) -> Any:
        return self.answer


def answered(read: Callable[[Rpc], Any]) -> Callable[[bytes], Any]:
    """A reader whose endpoint's answer is these bytes as JSON."""

    def decode(data: bytes) -> Any:
        try:
            answer = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InputError("no JSON") from error  # `Rpc.call` says it so
        return read(Answers(answer))

    return decode


def of_contract(read: Callable[[Rpc], Any]) -> Callable[[bytes], Any]:
    """A reader whose contract returns these bytes."""
    return lambda data: read(Answers("0x" + data.hex()))


def ledger(rpc: Rpc) -> LedgerReader:
    return LedgerReader(rpc, ALICE)


def ledger_with_policies(rpc: Rpc) -> LedgerReader:
    """A ledger that was asked before where its policies are."""
    reader = ledger(rpc)
    reader.policies = Contract(rpc, ALICE, "policies")
    return reader


def vault(rpc: Rpc) -> VaultReader:
    return VaultReader(rpc, ALICE)


CONTRACT_READERS: dict[str, tuple[Callable[[Rpc], Any], bytes]] = {
    "round": (
        lambda rpc: ledger(rpc).round(1),
        encode(
            function("ledger", "rounds").outputs,
            [(1, 3, 2, 5, 6, 7, 8, ALICE, 0, 1, *[b"\1" * 32] * 4)],
        ),
    ),
    "phase": (lambda rpc: ledger(rpc).phase(1), encode(["uint8"], [3])),
    "head": (lambda rpc: ledger(rpc).head(), encode(["uint64", "bytes32"], [1, bytes(32)])),
    "next round": (lambda rpc: ledger(rpc).next_round(), encode(["uint64"], [1])),
    "address of the policies": (lambda rpc: ledger(rpc).policies.address, encode(["address"], [ALICE])),
    "policy": (
        lambda rpc: ledger_with_policies(rpc).policy(1),
        encode(function("policies", "policies").outputs, [worlds.policy().abi_tuple()]),
    ),
    "coordinator": (lambda rpc: ledger(rpc).coordinator(), encode(["address"], [ALICE])),
    "whether committed": (lambda rpc: ledger(rpc).has_committed(1, ALICE), encode(["bool"], [True])),
    "genesis hash": (lambda rpc: ledger(rpc).genesis_hash(), encode(["bytes32"], [bytes(32)])),
    "stake": (lambda rpc: vault(rpc).stake_of(ALICE), encode(["uint256"], [5])),
    "members": (
        lambda rpc: vault(rpc).members([ALICE, worlds.account("bob").address]),
        encode(["(uint96,uint96,uint24,uint40)[]"], [[(5, 4, 1, 9), (6, 0, 0, 0)]]),
    ),
    "state of a demand": (
        lambda rpc: judges.stored_demand(rpc, ALICE, 1),
        encode(
            function("data_availability", "demands").outputs, [(1, 2, 1, 1, 0, 4, 4, 0, ALICE, bytes(32))]
        ),
    ),
    "call": (lambda rpc: rpc.eth_call(ALICE, b""), b"\1"),
}
"""Readers of what a contract returns, and something that it may return."""

HASH = "0x" + "ab" * 32
BLOCK = {"number": "0x5", "hash": HASH, "timestamp": "0x10", "baseFeePerGas": "0x7"}
RECEIPT = {
    "transactionHash": HASH,
    "blockNumber": "0x5",
    "blockHash": HASH,
    "status": "0x1",
    "gasUsed": "0x5208",
}
PLACES = {role: str(to_checksum_address(f"0x{place:040x}")) for place, role in enumerate(CONTRACTS, 1)}
FEDERATION = Deployment(31337, 1, parent=None, **PLACES, genesis_hash="0x" + "ab" * 32)
ROLES = {address: role for role, address in PLACES.items()}
FINALIZED = {
    "address": PLACES["ledger"],
    "topics": ["0x" + keccak(text="RoundFinalized(uint64,bytes32)").hex(), "0x" + "00" * 31 + "07"],
    "data": HASH,
    "blockNumber": "0x5",
    "blockHash": HASH,
    "transactionHash": HASH,
    "transactionIndex": "0x0",
    "logIndex": "0x2",
}
ANSWERED = {
    **FINALIZED,
    "address": ALICE,
    "topics": [
        "0x" + keccak(text="Answered(uint256,address,bytes,bytes32)").hex(),
        "0x" + "00" * 31 + "01",
        "0x" + "00" * 12 + ALICE[2:].lower(),
    ],
    "data": "0x" + encode(["bytes", "bytes32"], [b"a", b"b"]).hex(),
}

NODE_READERS: dict[str, tuple[Callable[[Rpc], Any], Any]] = {
    "chain id": (lambda rpc: rpc.chain_id(), "0x7a69"),
    "time": (lambda rpc: rpc.latest_timestamp(), BLOCK),
    "code": (lambda rpc: rpc.code(ALICE), "0x6001"),
    "newest block": (lambda rpc: rpc.latest(), BLOCK),
    "time for a round": (lambda rpc: rpc.fresh_block(), BLOCK),
    "block": (lambda rpc: rpc.block_at(5), BLOCK),
    "nonce": (lambda rpc: rpc.transaction_count(ALICE, "pending"), "0x5"),
    "receipt": (lambda rpc: rpc.receipt(HASH), RECEIPT),
    "gas": (lambda rpc: rpc.estimate(ALICE, ALICE, b""), "0x5208"),
    "tip": (lambda rpc: rpc.priority_fee(), "0x1"),
    "balance": (lambda rpc: rpc.balance(ALICE), "0x5"),
    "price of a proof": (challenge._price, "0x5"),
    "answer to a demand": (
        lambda rpc: judges.answer(rpc, ALICE, 1, 0),
        [ANSWERED],
    ),
    "our demands": (lambda rpc: judges.demands_of(rpc, ALICE, 1, ALICE, 0), [FINALIZED]),
    "events": (lambda rpc: list(scan(ChainSource(rpc, FEDERATION), 1, 5)), [FINALIZED]),
    "events of the index": (
        lambda rpc: [indexer.read_log(ROLES, log) for log in rpc.logs({})],
        [FINALIZED],
    ),
    "audited block": (lambda rpc: history.read_block(rpc, 5), BLOCK),
}
"""Readers of a node's answers, and an answer."""

DECODERS = [
    Decoder("json", parse_json, b'{"a":[1,2.5,null,"\xc3\x9f"]}'),
    Decoder("canonical json", parse_canonical_json, b'{"a":[1,2.5,null,"\xc3\x9f"]}'),
    Decoder("manifest", Manifest.from_json, MANIFEST.to_json()),
    Decoder("header", RoundHeader.decode, WORLD.header.encoded),
    Decoder("state", lambda data: State.from_bytes(data, MANIFEST), STATE.to_bytes()),
    Decoder("genesis", Genesis.from_json, Genesis.of(MANIFEST, STATE, (-3, 4)).to_json()),
    Decoder("update", lambda data: decode_update(data, MANIFEST), UPDATE),
    Decoder(
        "commitment on the wire",
        lambda data: commitment_from_wire(text(data)),
        commitment_to_wire(COMMITMENT, SIGNATURE).encode(),
    ),
    Decoder(
        "commitment as JSON",
        lambda data: Commitment.from_json(parse_json(data)),
        canonical_json(COMMITMENT.to_json()),
    ),
    Decoder("signature", lambda data: COMMITMENT.check_signature(data, worlds.DOMAIN), SIGNATURE),
    Decoder(
        "verdicts",
        Verdicts.from_json,
        Verdicts(4, "mean", (1,), (Verdict(0, ALICE, 1, Reason.ACCEPTED, {"krumScore": 5}),)).to_json(),
    ),
    Decoder(
        "artifacts",
        Artifacts.from_json,
        Artifacts(
            4, b"\x01", "a" * 64, "b" * 64, ("c" * 64, None), "d" * 64, "e" * 64, "f" * 64, (-3, 4)
        ).to_json(),
    ),
    Decoder(
        "measurement", lambda d: Measurement.from_json(parse_json(d)), canonical_json(MEASURED.to_json())
    ),
    Decoder("report", Report.from_bytes, Report("task", "ab" * 32, "7", "0x12", MEASURED).to_bytes()),
    Decoder(
        "canary report",
        CanaryReport.from_bytes,
        CanaryReport(7, "task", bytes(32), b"\x01" * 32, MEASURED, MEASURED).to_bytes(),
    ),
    Decoder("deployment", from_file(Deployment.load), json.dumps(DEPLOYMENT.to_json()).encode()),
    Decoder("policy", from_file(policy_file.load), json.dumps(policy_file.to_json(worlds.policy())).encode()),
    Decoder("key file", from_file(lambda path: keystore.load(path, "long enough")), key_file()),
    Decoder("cursor", lambda data: pages.decode(text(data)), pages.encode(70).encode()),
    Decoder(
        "event stream",
        lambda data: list(_parse_events([data[:9], data[9:]])),
        b'id: 7\nevent: round-opened\ndata: {"round": 1}\n\n',
    ),
]
for name, (read, valid) in CONTRACT_READERS.items():
    DECODERS.append(Decoder(f"contract: {name}", of_contract(read), valid))
for name, (read, valid) in NODE_READERS.items():
    DECODERS.append(Decoder(f"node: {name}", answered(read), json.dumps(valid).encode()))
ALL = pytest.mark.parametrize("decoder", DECODERS, ids=str)
FUZZED = settings(max_examples=30, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
HUGE = 10**12
STRANGE: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        1.5,
        1e308,
        float("inf"),
        HUGE,
        2**256,
        10**4000,
        -(10**4000),
        "",
        "0x",
        "-1",
        "1e9",
        "9" * 5000,
        "\ud800",
        "\0",
        [],
        {},
        [HUGE, HUGE],
        [2**63] * 40,
        [[[]]],
        {"a": {}},
        "0x" + "f" * 64,
        "ß" * 64,
    ]
)
"""Values that a field may be given."""


def only_expected(decoder: Decoder, data: bytes) -> None:
    with contextlib.suppress(FolkmootError):
        decoder.read(data)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a JSON value has others in it."""
    found = [path] if path else []
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        found += places(one, (*path, key))
    return found


def is_json(data: bytes) -> bool:
    try:
        parse_json(data)
    except InputError:
        return False
    return True


@ALL
def test_the_valid_file_is_read(decoder: Decoder) -> None:
    decoder.read(decoder.valid)


@ALL
@FUZZED
@given(data=st.binary(max_size=600))
def test_arbitrary_bytes_are_an_expected_error(decoder: Decoder, data: bytes) -> None:
    only_expected(decoder, data)


@ALL
@FUZZED
@given(data=st.data())
def test_damaged_files_are_an_expected_error(decoder: Decoder, data: st.DataObject) -> None:
    damaged = bytearray(decoder.valid)
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=4)):
        damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    end = data.draw(st.one_of(st.just(len(damaged)), st.integers(0, len(damaged))))
    only_expected(
        decoder, bytes(damaged[:end]) + data.draw(st.sampled_from([b"", b"", b"\0", b"}", b"[" * 99]))
    )


@pytest.mark.parametrize("decoder", [one for one in DECODERS if is_json(one.valid)], ids=str)
@FUZZED
@given(data=st.data())
def test_strange_values_are_an_expected_error(decoder: Decoder, data: st.DataObject) -> None:
    value = parse_json(decoder.valid)
    for _ in range(data.draw(st.integers(1, 2))):
        paths = places(value)
        if not paths:
            break
        *way, last = data.draw(st.sampled_from(paths))
        inside = value
        for key in way:
            inside = inside[key]
        inside[last] = copy.deepcopy(data.draw(STRANGE))  # it may be changed next
    written = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    only_expected(decoder, written.encode("utf-8", "surrogatepass"))


INPUT = 1 << 14
"""Bytes of a hostile input, about."""
PEAK_FOR_A_BYTE = 64
PEAK_AT_LEAST = 1 << 20
"""Bytes that a decoder may hold: so many for each byte of its input, and so many however short it is."""
BOMBS = [
    b"\xff" * INPUT,
    bytes(INPUT),
    b"[" * INPUT,
    b'{"a":' * (INPUT // 5),
    b"[" * 400 + b"]" * 400,
    b"[" + b"1," * (INPUT // 2) + b"1]",
    b"[" + b"[]," * (INPUT // 3) + b"[]]",
    b"[" + b"{}," * (INPUT // 3) + b"{}]",
    json.dumps({f"{key:x}": 0 for key in range(INPUT // 9)}).encode(),
    b"9" * INPUT,
    b'"' + b"\\u00e9" * (INPUT // 6) + b'"',
    ('"' + "a" * INPUT + "\U0001f600" + '"').encode(),
    b"data: 1\n\n" * (INPUT // 9),
]
"""Inputs that are small and could become large: depth, empty things, many names, wide characters."""


def bombs(decoder: Decoder) -> Iterator[bytes]:
    """Hostile inputs: those that suit all, and the valid file with lengths and values that promise a great deal."""
    yield from BOMBS
    yield decoder.valid + bytes(INPUT)
    yield decoder.valid * (INPUT // len(decoder.valid) + 1)
    if not is_json(decoder.valid):
        for place in range(min(len(decoder.valid), 48)):  # where formats keep lengths; of either byte order
            for length in (b"\x3f" + b"\xff" * 7, b"\xff" * 7 + b"\x3f", b"\xff" * 3 + b"\x3f"):
                yield decoder.valid[:place] + length + decoder.valid[place + len(length) :]
        return
    value = parse_json(decoder.valid)
    promises = cycle([2**40, [2**40, 2**40], [1] * (INPUT // 2)])
    for (*way, last), promise in zip(places(value), promises, strict=False):
        written = copy.deepcopy(value)
        inside = written
        for key in way:
            inside = inside[key]
        inside[last] = promise
        yield canonical_json(written)


@ALL
def test_no_input_takes_much_more_memory_than_it_is_long(decoder: Decoder) -> None:
    only_expected(decoder, decoder.valid)  # what is loaded once is no matter of the input
    tracemalloc.start()
    try:
        for data in bombs(decoder):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            only_expected(decoder, data)
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before <= PEAK_FOR_A_BYTE * len(data) + PEAK_AT_LEAST, (data[:60], len(data))
    finally:
        tracemalloc.stop()
