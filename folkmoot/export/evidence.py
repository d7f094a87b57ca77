# SPDX-License-Identifier: Apache-2.0
"""Write everything with which one round can be checked without a network, as one file (docs/protocol section 11.6).

What is written is what the endpoint and the mirrors say. Only the hashes of files are checked here; the reader of the
evidence checks the rest (``console/``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from folkmoot.aggregation.lineage import window
from folkmoot.aggregation.registry import uses
from folkmoot.artifacts.federation import Federation
from folkmoot.artifacts.gather import OF_LINEAGE
from folkmoot.artifacts.sources import ArtifactSource
from folkmoot.artifacts.states import ABSENT, RebuildingSource
from folkmoot.artifacts.store import DOCUMENT_LIMIT
from folkmoot.chain.client import Chain
from folkmoot.errors import ArtifactError, InputError
from folkmoot.ledger.replay import FederationState, Round, read_state
from folkmoot.protocol.hashing import canonical_json, sha256_hex
from folkmoot.protocol.verdict import Artifacts

FORMAT = "folkmoot/evidence/1"


@dataclass(frozen=True)
class Evidence:
    """The evidence of a round."""

    head: bytes
    """Its first line, canonical JSON."""
    files: tuple[bytes, ...]
    """What follows, in the order of the list in the first line."""
    missing: tuple[str, ...]
    """What is not in it, in words."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes of the file."""
        yield self.head + b"\n"
        yield from self.files


def gather(chain: Chain, source: ArtifactSource, number: int, limit: int | None = None) -> Evidence:
    """Gather the evidence of an anchored round.

    Args:
        chain: Endpoint and addresses.
        source: Source of the files.
        number: The round.
        limit: Most bytes of all files together, which are held in memory.

    Raises:
        InputError: ``round-not-anchored``: the round has no anchor that stands. ``evidence-too-large``.
        ArtifactError: A file that every check needs is missing or damaged.
        RpcError: The endpoint failed.
    """
    block = chain.rpc.latest()
    state = read_state(chain)
    round_ = state.rounds.get(number)
    if round_ is None or not round_.stands:
        raise InputError(
            f"Round {number} has no anchor that stands.",
            remedy="See `folkmoot status`, and give a round that is anchored or final.",
            code="round-not-anchored",
        )
    lineage = bool(uses(round_.policy.rule) & OF_LINEAGE)
    below = window(round_.base, lambda one: state.rounds[one].base)
    rounds = [state.rounds[one] for one in (below if lineage else below[-1:])]
    files = _Files(chain, source, limit)
    with files.states:
        files.gather(state, round_, rounds, lineage)
        head = {
            "format": FORMAT,
            "chainId": chain.deployment.chain_id,
            "ledger": chain.deployment.ledger.lower(),
            "rewards": chain.deployment.rewards.lower(),
            "block": {"number": block.number, "hash": block.hash},
            "round": number,
            "genesisHash": "0x" + chain.ledger.genesis_hash().hex(),
            "manifestHash": "0x" + chain.ledger.manifest_hash().hex(),
            "policy": {"id": round_.policy_id, "data": _policy(chain, round_.policy_id, block.number)},
            "settled": round_.settled is not None,
            "rounds": [_stored(chain, one.number, block.number) for one in (*rounds, round_)],
            "logs": _logs(chain, [*rounds, round_], round_),
            "transactions": _transactions(chain, round_),
            "files": [{"sha256": name, "size": len(data)} for name, data in files.kept.items()],
        }
    return Evidence(canonical_json(head), tuple(files.kept.values()), tuple(files.missing))


class _Files:
    """The files of the evidence, by their sha256, in the order in which they are written."""

    def __init__(self, chain: Chain, source: ArtifactSource, limit: int | None) -> None:
        self.limit, self.size = limit, 0
        self.federation = Federation.open(chain.deployment, source, chain.ledger)
        self.source = source
        self.states = RebuildingSource(source)
        self.kept: dict[str, bytes] = {}
        self.missing: list[str] = []
        self._add(source.document(chain.ledger.genesis_hash().hex()))
        self._add(self.federation.manifest.to_json())
        self._require(self.federation.manifest.state_file_size)  # before it is read

    def gather(self, state: FederationState, round_: Round, rounds: Sequence[Round], lineage: bool) -> None:
        manifest = self.federation.manifest
        artifacts = self._artifacts(round_)
        self._add(self.source.document(round_.known_anchor.verdict_hash.hex()))
        self._updates(round_, artifacts)
        mean = self._fetch(artifacts.mean, manifest.update_file_size(round_.policy.mean_width))
        if mean is not None:
            self._add(mean)
        below = round_
        while below.base:  # how the states are made that were deleted by rule (section 12.2)
            below = state.rounds[below.base]
            document = self.source.document(below.known_anchor.artifacts_hash.hex())
            self.states.learn(Artifacts.from_json(document), below.policy, manifest)
        self._state(artifacts.base_state)
        for place, past in enumerate(rounds):
            of_past = self._artifacts(past)
            if lineage:
                self._updates(past, of_past)
                if place == 0:
                    self._state(of_past.base_state)

    def _artifacts(self, round_: Round) -> Artifacts:
        data = self.source.document(round_.known_anchor.artifacts_hash.hex())
        self._add(data)
        return Artifacts.from_json(data)

    def _updates(self, round_: Round, artifacts: Artifacts) -> None:
        size = self.federation.manifest.update_file_size(round_.policy.width)
        for index, name in enumerate(artifacts.updates):
            data = None if name is None else self._fetch(name, size)
            if data is not None:
                self._add(data)
            elif name is not None:
                self.missing.append(f"the update of entry {index} of round {round_.number}")

    def _state(self, sha256: str) -> None:
        path = self.states.fetch(sha256, self.federation.manifest.state_file_size)
        self._add(path.read_bytes())
        self.states.discard(sha256)

    def _fetch(self, sha256: str, limit: int) -> bytes | None:
        try:
            data = self.source.fetch(sha256, max(limit, DOCUMENT_LIMIT)).read_bytes()
        except ArtifactError as error:
            if error.code not in ABSENT:
                raise
            return None
        self.source.discard(sha256)
        return data

    def _add(self, data: bytes) -> None:
        name = sha256_hex(data)
        if name not in self.kept:
            self._require(len(data))
            self.size += len(data)
            self.kept[name] = data

    def _require(self, more: int) -> None:
        if self.limit is not None and self.size + more > self.limit:
            raise InputError(
                f"The evidence is larger than the {self.limit >> 20} MiB that are gathered here.",
                remedy="Make it on your own machine: `folkmoot export evidence`.",
                code="evidence-too-large",
            )


def _stored(chain: Chain, number: int, block: int) -> dict[str, Any]:
    """What the ledger stores of a round, as it returns it."""
    call = chain.ledger.functions.rounds(number)
    return {"round": number, "data": "0x" + chain.rpc.eth_call(call.to, call.data, block).hex()}


def _policy(chain: Chain, number: int, block: int) -> str:
    call = chain.policies.functions.policies(number)
    return "0x" + chain.rpc.eth_call(call.to, call.data, block).hex()


def _logs(chain: Chain, rounds: Sequence[Round], of_rewards: Round) -> list[dict[str, Any]]:
    """The raw logs of rounds, in the order of the chain; the rewards of one of them."""
    acts = [act for one in rounds for act in (one.opened, *one.commits, one.anchored) if act is not None]
    wanted = {(act.block, act.log_index) for act in (*acts, *of_rewards.credits)}
    addresses = [chain.deployment.ledger, chain.deployment.rewards]
    raw = []
    for block in sorted({block for block, _ in wanted}):
        for log in chain.rpc.logs({"address": addresses, "fromBlock": hex(block), "toBlock": hex(block)}):
            index = chain.rpc.quantity("eth_getLogs", log.get("logIndex"))
            if (block, index) in wanted:
                raw.append(
                    {
                        "address": str(log["address"]).lower(),
                        "topics": [str(topic).lower() for topic in log["topics"]],
                        "data": str(log["data"]).lower(),
                        "block": block,
                        "blockHash": str(log["blockHash"]).lower(),
                        "transaction": str(log["transactionHash"]).lower(),
                        "index": index,
                    }
                )
    return sorted(raw, key=lambda log: (log["block"], log["index"]))


def _transactions(chain: Chain, round_: Round) -> list[dict[str, Any]]:
    """The calls that recorded the entries of a round, in which the signatures are."""
    method = "eth_getTransactionByHash"
    calls = []
    for hash_ in dict.fromkeys("0x" + entry.transaction.hex() for entry in round_.commits):
        answer = chain.rpc.call(method, [hash_])
        to, data = (str(chain.rpc.member(method, answer, name)).lower() for name in ("to", "input"))
        calls.append({"hash": hash_, "to": to, "input": data})
    return calls
