# SPDX-License-Identifier: Apache-2.0
"""Read records from the chain and the files to which it commits, without a coordinator.

Trusts the RPC endpoint and hashes the files. Reported metrics and refusals are not on the chain, so these records lack
them.
"""

from __future__ import annotations

from dataclasses import replace

from folkmoot.artifacts.federation import Federation
from folkmoot.artifacts.sources import ArtifactSource
from folkmoot.chain.client import Chain
from folkmoot.errors import ArtifactError
from folkmoot.export.rounds import FederationRecord, RoundRecord
from folkmoot.ledger.replay import Round, read_state
from folkmoot.protocol.verdict import Artifacts, Verdicts
from folkmoot.rpc.client import Phase


def read(chain: Chain, source: ArtifactSource, name: str) -> FederationRecord:
    """Read all rounds of a federation.

    Args:
        chain: Endpoint and addresses of the contracts.
        name: Name of the source.
    """
    rounds = read_state(chain).rounds
    now = chain.rpc.latest_timestamp()
    warnings: list[str] = []
    records = [_record(chain, source, round_, now, warnings) for _, round_ in sorted(rounds.items())]
    return FederationRecord(
        task=_task(chain, source, warnings),
        chain_id=chain.deployment.chain_id,
        ledger=chain.deployment.ledger,
        source=name,
        rounds=tuple(records),
        warnings=tuple(warnings),
    )


def _record(
    chain: Chain, source: ArtifactSource, round_: Round, now: int, warnings: list[str]
) -> RoundRecord:
    number, opened = round_.number, round_.opened
    phase = round_.phase.name.lower()
    if round_.phase is Phase.OPEN and now >= opened.commit_deadline:
        phase = "committed"
    acts = (
        opened,
        *round_.commits,
        round_.anchored,
        round_.finalized,
        round_.settled,
        round_.cancellation,
        round_.slashed,
    )
    record = RoundRecord(
        number=number,
        phase=phase,
        base=round_.base,
        policy=round_.policy_id,
        opened_at=round_.opened_at,
        entries=len(round_.commits),
        gas=sum(
            _gas(chain, digest) for digest in sorted({act.transaction for act in acts if act is not None})
        ),
        rewards=round_.credited,
        hashes={"header_hash": "0x" + opened.header_hash.hex()},
    )
    anchor = round_.anchor
    if anchor is None:
        return record
    hashes = {**record.hashes, "state_root": "0x" + anchor.state_root.hex()}
    reasons: dict[str, str] = {}
    try:
        verdicts = Verdicts.from_json(source.document(anchor.verdict_hash.hex()))
        reasons = {verdict.contributor: str(verdict.reason) for verdict in verdicts.verdicts}
        files = Artifacts.from_json(source.document(anchor.artifacts_hash.hex()))
        hashes |= {"state": files.state, "mean": files.mean, "verdicts": files.verdicts}
    except ArtifactError as error:
        if error.code == "artifact-unreachable":
            raise
        warnings.append(f"Round {number}: verdicts or file hashes are left out. {error.message}")
    return replace(
        record,
        seconds=round_.anchored_at - round_.opened_at,
        weights=dict(zip(round_.contributors, anchor.weights, strict=False)),
        pays=dict(zip(round_.contributors, anchor.pays, strict=False)),
        reasons=reasons,
        hashes=hashes,
    )


def _gas(chain: Chain, transaction: bytes) -> int:
    rpc, method = chain.rpc, "eth_getTransactionReceipt"
    receipt = rpc.call(method, ["0x" + transaction.hex()])
    return rpc.quantity(method, rpc.member(method, receipt, "gasUsed"))


def _task(chain: Chain, source: ArtifactSource, warnings: list[str]) -> str:
    try:
        return Federation.open(chain.deployment, source).manifest.task
    except ArtifactError as error:
        if error.code == "artifact-unreachable":
            raise
        warnings.append(f"The name of the task is left out. {error.message}")
        return ""
