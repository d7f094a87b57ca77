# SPDX-License-Identifier: Apache-2.0
"""The verdicts on one account, from the ledger's events and the files that they name.

Each verdicts file is checked against the hash in the anchor, and each anchor against the hash that the ledger stores.
So the coordinator is bound to what is shown. Whether it is *right*, `folkmoot audit` checks. This module knows no
rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from folkmoot.artifacts.sources import ArtifactSource
from folkmoot.chain.client import Chain
from folkmoot.errors import ArtifactError, RpcError
from folkmoot.explain.reputation import Part, parts_of_round
from folkmoot.explain.why import Judgement, judge, weighed_in
from folkmoot.ledger.replay import Round
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.verdict import Verdicts
from folkmoot.rpc.client import Phase


def judgements(
    chain: Chain, source: ArtifactSource, rounds: Mapping[int, Round], account: str
) -> list[Judgement]:
    """Return the verdicts on an account, in ascending order of rounds.

    Args:
        chain: Endpoint and addresses.
        source: Where the verdicts files are.
        rounds: All rounds of the ledger.
        account: Checksummed address.
    """
    return [
        _judgement(chain, source, round_, round_.anchor, account)
        for _, round_ in sorted(rounds.items())
        if round_.anchor is not None and not round_.void and account in round_.contributors
    ]


def parts_of(judgements: Iterable[Judgement]) -> list[Part]:
    """Return the inputs of ``reputation``."""
    return [judgement.part for judgement in judgements]


def _judgement(
    chain: Chain, source: ArtifactSource, round_: Round, anchor: Anchor, account: str
) -> Judgement:
    policy, coordinator = round_.policy, round_.opened.coordinator
    if chain.ledger.round(round_.number).anchor_hash != anchor.hash:
        raise RpcError(
            f"The RPC endpoint's event of the anchor of round {round_.number} is not what the ledger stores.",
            remedy="Use another endpoint.",
            code="bad-log",
        )
    name = anchor.verdict_hash.hex()
    verdicts = Verdicts.from_json(source.document(name))
    if (
        verdicts.round != round_.number
        or (verdicts.rule, verdicts.parameters) != (policy.rule, policy.parameters)
        or [verdict.contributor for verdict in verdicts.verdicts] != list(round_.contributors)
        or (verdicts.weights, verdicts.pays) != (anchor.weights, anchor.pays)
    ):
        raise ArtifactError(
            f"The verdicts file of round {round_.number} contradicts the chain: another round, rule, list of entries, "
            "or other weights or pays.",
            remedy="The coordinator anchored it so: run `folkmoot audit`, and tell the others.",
            code="artifact-contradicts",
            details={"round": round_.number, "file": name},
        )
    final = round_.phase is Phase.FINAL
    parts = parts_of_round(round_.number, verdicts.verdicts, coordinator, policy, final=final)
    return judge(
        parts[account],
        verdicts.verdicts[round_.contributors[account]],
        policy,
        entries=len(verdicts.verdicts),
        credited=round_.credited.get(account, 0) if round_.settled else None,
        weighed=weighed_in(verdicts.verdicts, coordinator),
    )
