# SPDX-License-Identifier: Apache-2.0
"""Read records from the chain and the files to which it commits, without a coordinator.

Trusts the RPC endpoint and hashes the files. Reported metrics and refusals are not on the chain, so these records lack
them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from folkmoot.artifacts.sources import ArtifactSource
from folkmoot.chain.client import Chain
from folkmoot.errors import ArtifactError
from folkmoot.export.rounds import FederationRecord, RoundRecord
from folkmoot.ledger.entries import entries_of
from folkmoot.ledger.events import (
    Event,
    RewardCredited,
    RoundAnchored,
    RoundCancelled,
    RoundFinalized,
    RoundOpened,
    RoundSettled,
    RoundSlashed,
    UpdatesCommitted,
)
from folkmoot.ledger.scan import fold_ledger
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.verdict import Artifacts, Verdicts

MANIFEST_LIMIT = 128 << 20
"""Maximum size in bytes of a manifest."""

_OF_ROUND = (
    RoundOpened,
    UpdatesCommitted,
    RoundAnchored,
    RoundFinalized,
    RoundSettled,
    RoundCancelled,
    RoundSlashed,
)


@dataclass
class _Round:
    """A round while its events are read."""

    opened: RoundOpened
    contributors: list[str] = field(default_factory=list)
    anchor: RoundAnchored | None = None
    phase: str = ""
    rewards: dict[str, int] = field(default_factory=dict)
    transactions: set[bytes] = field(default_factory=set)


def read(chain: Chain, source: ArtifactSource, name: str) -> FederationRecord:
    """Read all rounds of a federation.

    Args:
        chain: Endpoint and addresses of the contracts.
        source: Source of the files.
        name: Name of the source.

    Raises:
        RpcError: The endpoint failed, or its events do not fit together.
        ArtifactError: The source can't be read. A file that it lacks is a warning.
    """
    rounds = fold_ledger(chain, _folded)
    now = chain.rpc.latest_timestamp()
    warnings: list[str] = []
    times: dict[int, int] = {}
    records = [
        _record(chain, source, number, one, now, times, warnings) for number, one in sorted(rounds.items())
    ]
    return FederationRecord(
        task=_task(chain, source, warnings),
        chain_id=chain.deployment.chain_id,
        ledger=chain.deployment.ledger,
        source=name,
        rounds=tuple(records),
        warnings=tuple(warnings),
    )


def _folded(events: Iterable[Event]) -> dict[int, _Round]:
    rounds: dict[int, _Round] = {}
    for event in events:
        if isinstance(event, RoundOpened):
            rounds[event.round] = _Round(event)
        if isinstance(event, _OF_ROUND):
            rounds[event.round].transactions.add(event.transaction)
        match event:
            case UpdatesCommitted():
                rounds[event.round].contributors += [entry.contributor for entry in entries_of(event)]
            case RoundAnchored():
                rounds[event.round].anchor = event
                rounds[event.round].phase = "anchored"
            case RoundFinalized():
                rounds[event.round].phase = "final"
            case RoundCancelled():
                rounds[event.round].phase = "cancelled"
            case RoundSlashed():
                rounds[event.round].phase = "slashed"
            case RewardCredited():
                rounds[event.round].rewards[event.contributor] = event.amount
            case _:
                pass
    return rounds


def _record(
    chain: Chain,
    source: ArtifactSource,
    number: int,
    events: _Round,
    now: int,
    times: dict[int, int],
    warnings: list[str],
) -> RoundRecord:
    opened = events.opened
    opened_at = _time(chain, opened, times)
    record = RoundRecord(
        number=number,
        phase=events.phase or ("open" if now < opened.commit_deadline else "committed"),
        base=opened.base,
        policy=opened.policy_id,
        opened_at=opened_at,
        entries=len(events.contributors),
        gas=sum(_gas(chain, digest) for digest in sorted(events.transactions)),
        rewards=events.rewards,
        hashes={"header_hash": "0x" + opened.header_hash.hex()},
    )
    if events.anchor is None:
        return record
    anchor = events.anchor.anchor
    hashes = {**record.hashes, "state_root": "0x" + anchor.state_root.hex()}
    reasons: dict[str, str] = {}
    try:
        verdicts = Verdicts.from_json(source.document(anchor.verdict_hash.hex()))
        reasons = {one.contributor: str(one.reason) for one in verdicts.verdicts}
        files = Artifacts.from_json(source.document(anchor.artifacts_hash.hex()))
        hashes |= {"state": files.state, "mean": files.mean, "verdicts": files.verdicts}
    except ArtifactError as error:
        if error.code == "artifact-unreachable":
            raise
        warnings.append(f"Round {number}: verdicts or file hashes are left out. {error.message}")
    return replace(
        record,
        seconds=_time(chain, events.anchor, times) - opened_at,
        weights=dict(zip(events.contributors, anchor.weights, strict=False)),
        reasons=reasons,
        hashes=hashes,
    )


def _time(chain: Chain, event: Event, times: dict[int, int]) -> int:
    """Return the Unix time of an event's block."""
    if event.block not in times:
        rpc, method = chain.rpc, "eth_getBlockByNumber"
        block = rpc.call(method, [hex(event.block), False])
        times[event.block] = rpc.quantity(method, rpc.member(method, block, "timestamp"))
    return times[event.block]


def _gas(chain: Chain, transaction: bytes) -> int:
    rpc, method = chain.rpc, "eth_getTransactionReceipt"
    receipt = rpc.call(method, ["0x" + transaction.hex()])
    return rpc.quantity(method, rpc.member(method, receipt, "gasUsed"))


def _task(chain: Chain, source: ArtifactSource, warnings: list[str]) -> str:
    try:
        genesis = Genesis.from_json(source.document(chain.deployment.genesis_hash.removeprefix("0x")))
        return Manifest.from_json(source.fetch(genesis.manifest, MANIFEST_LIMIT).read_bytes()).task
    except ArtifactError as error:
        if error.code == "artifact-unreachable":
            raise
        warnings.append(f"The name of the task is left out. {error.message}")
        return ""
