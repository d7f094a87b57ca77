# SPDX-License-Identifier: Apache-2.0
"""Who made a version, who decided about it, on what evidence, and who answers for it: from events that anyone can read.

Nothing of this is checked against the contracts' rules, as `folkmoot audit` does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from folkmoot.errors import InputError
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.event import Event
from folkmoot.ledger.events import (
    ProposalCanceled,
    ProposalCreated,
    ProposalExecuted,
    VersionActivated,
    VersionRecalled,
    VersionRegistered,
    VoteCast,
    VoteCastWithParams,
)
from folkmoot.ledger.releases import PROPOSER_MARK, Releases, decisions, recall_votes
from folkmoot.ledger.replay import FederationState, Round
from folkmoot.ledger.scan import Source, scan
from folkmoot.rpc.abi import readable
from folkmoot.rpc.client import Contract, RegistryReader, Rpc
from folkmoot.rpc.reverts import ENUMS, PROPOSAL_STATES, SUPPORTS


def answerable(source: Source, version: int) -> dict[str, Any]:
    """Return who answers for a version, as JSON values; amounts are decimal texts in units of 1e-18 tokens.

    Args:
        source: Endpoint and addresses.
        version: Number of the version, or of an anchored round that is none yet.

    Raises:
        InputError: `unknown-version`: there is no such version or anchored round.
    """
    rpc, deployment, state, releases = source.rpc, source.deployment, FederationState(), Releases()
    contracts = ("policies", "ledger", "rewards", "registry", "governor")
    events = list(scan(source, deployment.block, rpc.block_number(), contracts=contracts))
    registered = None
    for event in events:
        state.apply(event)
        releases.apply(event)
        if isinstance(event, VersionRegistered) and event.version == version:
            registered = event
    round_ = state.rounds.get(version)
    if registered is None and (round_ is None or not round_.stands):
        raise InputError(
            f"There is no version {version}.",
            remedy="Give 0, or the number of an anchored round; `folkmoot status` shows the newest.",
            code="unknown-version",
        )
    releases.votes = recall_votes(rpc, deployment, state.proposals)
    active = releases.active
    standing = ENUMS["IModelRegistry.Standing"][releases.standing(version)]
    return {
        "version": version,
        "standing": "active" if active is not None and active[0] == version else standing,
        "active": None if active is None else active[0],
        "stateRoot": None if registered is None else "0x" + registered.state_root.hex(),
        "parent": registered.parent if registered else round_.base if round_ else 0,
        "parentFederation": None if deployment.parent is None else deployment.parent.to_json(),
        "final": registered is not None,
        **({} if round_ is None else _makers(round_)),
        "decisions": [
            decision
            for event in state.proposals
            if (decision := _decision(rpc, deployment, event, events, version)) is not None
        ],
        "warranty": _warranty(rpc, deployment, releases, version),
        "warnings": releases.warnings(version),
    }


def _warranty(rpc: Rpc, deployment: Deployment, releases: Releases, version: int) -> dict[str, Any]:
    """Return the tokens that answer for a version: whose, and until when; and what votes took."""
    registry, taken = RegistryReader(rpc, deployment.registry), releases.forfeited.get(version)
    behind = releases.warranties.get(version, {})
    return {
        "total": str(releases.warranty(version)),
        "minimum": str(releases.min_warranty),
        "accounts": [
            {"account": account, "amount": str(amount), "releaseAt": registry.warranty(version, account)[1]}
            for account, amount in behind.items()
        ],
        "forfeited": None
        if taken is None
        else {"beneficiary": taken[0], "reward": str(taken[1]), "burnt": str(taken[2])},
    }


def _makers(round_: Round) -> dict[str, Any]:
    """Return the coordinator of a round with its bond, and its contributors with their weights."""
    weights = round_.known_anchor.weights if round_.anchor else ()
    total = sum(weights)
    return {
        "coordinator": {"account": round_.opened.coordinator, "bond": str(round_.policy.bond)},
        "policy": {"id": round_.policy_id, "rule": round_.policy.rule},
        "contributors": [
            {
                "account": entry.contributor,
                "weight": weight,
                "share": round(weight / total, 6) if total else 0.0,
                "reward": str(round_.credited.get(entry.contributor, 0)),
            }
            for entry, weight in zip(round_.commits, weights, strict=False)
        ],
        "slashed": [fault.contributor for fault in round_.faults],
    }


def ballot(cast: VoteCast | VoteCastWithParams) -> dict[str, Any]:
    """Return a vote as JSON values."""
    return {
        "voter": cast.voter,
        "vote": SUPPORTS[cast.support] if cast.support < len(SUPPORTS) else str(cast.support),
        "weight": str(cast.weight),
        "reason": readable(cast.reason),
    }


def _decision(
    rpc: Rpc, deployment: Deployment, event: ProposalCreated, events: Iterable[Event], version: int
) -> dict[str, Any] | None:
    """Return a proposal that releases or recalls a version, with its votes; None if it does neither."""
    mine = [call for call in decisions(deployment, event) if call.arguments[0] == version]
    if not mine:
        return None
    number, kind = event.proposal_id, mine[0].function
    votes = [
        ballot(cast)
        for cast in events
        if isinstance(cast, VoteCast | VoteCastWithParams) and cast.proposal_id == number
    ]
    ended = [
        e for e in events if isinstance(e, ProposalExecuted | ProposalCanceled) and e.proposal_id == number
    ]
    executed = next((e for e in ended if isinstance(e, ProposalExecuted)), None)
    block = None if executed is None else rpc.block_at(executed.block)
    effect = next(
        (
            one
            for one in events
            if isinstance(one, VersionActivated | VersionRecalled)
            and executed is not None
            and (one.transaction, one.version) == (executed.transaction, version)
            and isinstance(one, VersionRecalled) == (kind == "recall")
        ),
        None,
    )
    state = PROPOSAL_STATES[Contract(rpc, deployment.governor, "governor").read("state", number)]
    return {
        "kind": kind,
        "proposal": str(number),
        "proposer": event.proposer,
        "text": readable(event.description).partition(PROPOSER_MARK)[0].strip(),
        "reportHash": "0x" + bytes(mine[0].arguments[1]).hex(),
        "state": state,
        "voteStart": event.vote_start,
        "votes": votes,
        "executedAt": None if block is None else block.timestamp,
        "transaction": None if executed is None else "0x" + executed.transaction.hex(),
        **(
            {"activeAfter": effect.active if effect.has_active else None}
            if isinstance(effect, VersionRecalled)
            else {}
        ),
    }
