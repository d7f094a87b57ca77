# SPDX-License-Identifier: Apache-2.0
"""Read the events of all contracts as typed records, in the order in which the chain has them.

Decodes with the packaged ABIs over plain JSON-RPC; knows no web3.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from folkmoot.errors import RpcError
from folkmoot.ledger import events, packaged
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.event import Event, field_name
from folkmoot.protocol.batch import LISTED_BYTES, require_whole
from folkmoot.protocol.policy import Policy
from folkmoot.rpc.abi import decode
from folkmoot.rpc.client import PLACE_BITS, Rpc

BLOCK_STEP = 2_000
"""Blocks that the first request asks for: what public endpoints answer. It grows while they go on answering."""

MAX_BLOCK_STEP = 200_000
"""Most blocks that one request asks for."""

MANY_LOGS = 5_000
"""Logs of an answer from which the next request asks for fewer blocks: an answer is held as a whole, several times over
while it is decoded, and a long history would come in few of them."""


class Source(Protocol):
    """What events are read from: an endpoint and the addresses. `client.Chain` is one."""

    @property
    def rpc(self) -> Rpc:
        """Endpoint to ask."""

    @property
    def deployment(self) -> Deployment:
        """Addresses of the contracts."""


@dataclass(frozen=True, slots=True)
class ChainSource:
    """An endpoint and the addresses of a federation: a `Source` for those that have no other."""

    rpc: Rpc
    """Endpoint to ask."""
    deployment: Deployment
    """Addresses of the contracts."""


def scan(
    source: Source,
    from_block: int,
    to_block: int,
    *,
    step: int = BLOCK_STEP,
    contracts: Sequence[str] | None = None,
) -> Iterator[Event]:
    """Yield the events of the contracts in log order, both blocks included.

    Args:
        source: Endpoint and addresses.
        from_block: First block.
        to_block: Last block; nothing is yielded if it is before the first.
        step: Blocks that the first request asks for. It doubles after every answer, up to `MAX_BLOCK_STEP`, as long
            as answers stay below `MANY_LOGS`; it is halved where the endpoint finds an answer too large, and does not
            grow beyond that again.
        contracts: Contracts (`ledger`, ...) whose events are wanted; all of the deployment if left out.

    Raises:
        RpcError: the endpoint failed, or its logs do not fit the contracts.
    """
    wanted = source.deployment.roles if contracts is None else contracts
    roles = {getattr(source.deployment, role): role for role in wanted}
    first, ceiling = from_block, MAX_BLOCK_STEP
    while first <= to_block:
        last = min(first + step - 1, to_block)
        query = {"address": list(roles), "fromBlock": hex(first), "toBlock": hex(last)}
        try:
            logs = source.rpc.call("eth_getLogs", [query])
            if not isinstance(logs, list):
                raise source.rpc.nonsense("eth_getLogs", logs)
        except RpcError as error:
            if error.code != "rpc-error" or step == 1:
                raise
            step = ceiling = max(1, step // 2)
            continue
        decoded = [event for log in logs if (event := decode_log(log, roles)) is not None]
        yield from sorted(decoded, key=lambda event: (event.block, event.log_index))
        first = last + 1
        step = min(2 * step, ceiling, max(1, step * MANY_LOGS // max(1, len(logs))))


@dataclass(frozen=True, slots=True)
class Log:
    """A log of one of the contracts, decoded."""

    contract: str
    """Contract that emitted it, one of `Deployment.roles`."""
    entry: dict[str, Any]
    """ABI entry of the event."""
    values: dict[str, Any]
    """Arguments by their names in Solidity, in the order of the ABI: integers, bytes, texts, tuples."""
    block: int
    block_hash: bytes
    transaction: bytes
    """Hash of the transaction."""
    index: int
    """Place among the logs of its block."""


def read_log(log: Mapping[str, Any], roles: Mapping[str, str]) -> Log | None:
    """Decode one log as JSON-RPC has it.

    Args:
        log: The log, values in 0x-hex.
        roles: Contract (`ledger`, ...) by checksummed address.

    Returns:
        The log, or None for one of another contract or of no known event.

    Raises:
        RpcError: the log does not have the form of its event, or its place on the chain can't be one.
    """
    with _bad_log():
        role = roles.get(to_checksum_address(log["address"]))
        topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
        entry = _catalogue().get((role or "", topics[0] if topics else b""))
        if role is None or entry is None:
            return None
        values = _values(entry, topics[1:], bytes.fromhex(log["data"][2:]))
        if entry["name"] == "UpdatesCommitted":
            require_whole(values["entries"], LISTED_BYTES)
        block, index = int(log["blockNumber"], 16), int(log["logIndex"], 16)
        hashes = _hash(log["blockHash"]), _hash(log["transactionHash"])
        if max(block, index) >= 1 << PLACE_BITS or min(block, index) < 0 or {*map(len, hashes)} != {32}:
            raise ValueError("no log can have this place on the chain")
        return Log(role, entry, values, block, *hashes, index)


def decode_log(log: Mapping[str, Any], roles: Mapping[str, str]) -> Event | None:
    """Return the record of one log as JSON-RPC has it; see `read_log`."""
    decoded = read_log(log, roles)
    if decoded is None:
        return None
    with _bad_log():
        record: type[Event] = getattr(events, decoded.entry["name"])
        return record(
            contract=decoded.contract,
            block=decoded.block,
            block_hash=decoded.block_hash,
            transaction=decoded.transaction,
            log_index=decoded.index,
            **{
                field_name(parameter["name"]): typed(parameter, decoded.values[parameter["name"]])
                for parameter in decoded.entry["inputs"]
            },
        )


@contextmanager
def _bad_log() -> Iterator[None]:
    """Whatever an endpoint sends must not look like a defect of ours."""
    try:
        yield
    except Exception as error:
        raise RpcError(
            f"The RPC endpoint sent a log that does not have the form of its event: {error!s:.200}.",
            remedy="Check that the deployment file belongs to this chain, or use another endpoint.",
            code="bad-log",
        ) from error


@functools.lru_cache(maxsize=64)
def _hash(text: str) -> bytes:
    """Read a hash; the many logs of one transaction share it, in long histories that is much of their memory."""
    return bytes.fromhex(text[2:])


@functools.cache
def _catalogue() -> dict[tuple[str, bytes], dict[str, Any]]:
    """Return the ABI entry of every event, by contract and first topic."""
    return {
        (role, keccak(text=packaged.signature_of(entry))): entry
        for role in packaged.NAMES
        for entry in packaged.contract(role).abi
        if entry["type"] == "event"
    }


def _values(entry: dict[str, Any], topics: list[bytes], data: bytes) -> dict[str, Any]:
    indexed = [parameter for parameter in entry["inputs"] if parameter["indexed"]]
    plain = [parameter for parameter in entry["inputs"] if not parameter["indexed"]]
    values = dict(
        zip((p["name"] for p in plain), decode([packaged.type_of(p) for p in plain], data), strict=True)
    )
    for parameter, topic in zip(indexed, topics, strict=True):
        (values[parameter["name"]],) = decode([packaged.type_of(parameter)], topic)
    return {parameter["name"]: values[parameter["name"]] for parameter in entry["inputs"]}


def typed(parameter: dict[str, Any], value: Any) -> Any:
    """Return a value that the ABI decoded as a record has it."""
    kind = parameter["type"]
    if kind == "address":
        return sys.intern(value)
    if kind.endswith("[]"):
        return tuple(value)
    if kind == "tuple" and parameter["internalType"] == "struct IPolicies.Policy":
        return Policy.from_abi(value)
    if kind == "tuple":
        names = (field_name(part["name"]) for part in parameter["components"])
        parts = map(typed, parameter["components"], value)
        return events.AnchorRecord(**dict(zip(names, parts, strict=True)))
    return value
