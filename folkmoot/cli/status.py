# SPDX-License-Identifier: Apache-2.0
"""Commands for the status of a federation, and for the clock of a local chain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from folkmoot.cli.context import context
from folkmoot.cli.governance import PROPOSAL_HEADERS, note_warnings, proposal_row
from folkmoot.cli.options import connected
from folkmoot.cli.output import emit, note, pairs, table

if TYPE_CHECKING:
    from folkmoot.chain.client import Chain
    from folkmoot.protocol.policy import Policy


def status() -> None:
    """Show head, current round, policy, active version, stakes, bonds, members and open proposals.

    Example: folkmoot status --json
    """
    from folkmoot.aggregation import policy_file
    from folkmoot.chain import governance, waiting
    from folkmoot.ledger import admission as admissions
    from folkmoot.ledger.releases import read_releases
    from folkmoot.ledger.stakes import next_quota, rounds_within
    from folkmoot.runtime.units import format_amount, format_time

    coordinator_url = context().find("coordinator")
    with connected() as chain:
        now = chain.now()
        head, coordinator, active = chain.ledger.head(), chain.ledger.coordinator(), chain.registry.active()
        policy_id = chain.ledger.current_policy()
        policy = chain.ledger.policy(policy_id)
        current = _round(chain, chain.ledger.next_round() - 1)
        staked, enrolled = chain.vault.total_staked(), chain.vault.total_enrolled()
        stake, bonds = chain.vault.stake_of(coordinator), chain.vault.bond_of(coordinator)
        rounds = rounds_within(stake - bonds, policy.bond)
        quota = next_quota(chain.ledger, chain.vault)
        guardian = governance.guardian_of(chain)
        admission = chain.ledger.admission()
        members = admissions.members(chain, chain.rpc.block_number()) if chain.deployment.members else None
        releases = read_releases(chain)
        demands, disputes = waiting.open_demands(chain), waiting.open_disputes(chain)
        all_proposals = governance.proposals(chain)
        document: dict[str, Any] = {
            "chainId": chain.deployment.chain_id,
            "ledger": chain.deployment.ledger,
            "chainTime": now,
            "head": {"round": head.round, "stateRoot": "0x" + head.state_root.hex()},
            "round": current,
            "active": None
            if active is None
            else {"version": active.version, "reportHash": "0x" + active.report_hash.hex()},
            "recalled": sorted(releases.recalled),
            "recallVotes": [vote.to_json() for vote in releases.open_votes],
            "coordinator": {
                "address": coordinator,
                "stake": str(stake),
                "bonds": str(bonds),
                "roundsAffordable": rounds,
            },
            "policy": {"id": policy_id, **policy_file.to_json(policy)},
            "totalStaked": str(staked),
            "totalEnrolled": str(enrolled),
            "quota": str(quota) if quota else None,
            "guardian": None if guardian is None else {"address": guardian[0], "until": guardian[1]},
            "admission": None if admission == admissions.NOBODY else admission,
            "members": members,
            "demands": [demand.to_json() for demand in demands],
            "disputes": [dispute.to_json() for dispute in disputes],
            "proposals": [proposal.to_json(chain) for proposal in all_proposals],
        }
        canary = _canary(coordinator_url, current["round"])
        if canary is not None:
            document["canary"] = canary
        waiting_for = _waiting(coordinator_url)
        if coordinator_url is not None:
            document["waiting"] = waiting_for
        standing = [proposal for proposal in all_proposals if proposal.state in governance.OPEN_STATES]
        note_warnings(chain, standing)
        for vote in releases.open_votes:
            note(f"Warning: {vote.warning}")
    lines = {
        "chain": f"{document['chainId']}, time {format_time(now)}",
        "ledger": document["ledger"],
        "head": f"round {head.round}, state root 0x{head.state_root.hex()}",
        "round": _round_text(current, now),
        "active": "no version" if active is None else f"version {active.version}",
        "policy": f"{policy_id}: {_policy_text(policy)}",
        "coordinator": f"{coordinator}, {_bonds_text(stake, bonds, rounds)}",
        "staked": format_amount(staked),
        "enrolled": format_amount(enrolled)
        + (
            f"; a crowd: an account needs {format_amount(quota)} to have a place for certain" if quota else ""
        ),
    }
    if guardian is not None:
        lines["guardian"] = f"{guardian[0]}, may cancel proposals until {format_time(guardian[1])}"
    if members is not None:
        lines["members"] = ", ".join(members) or "nobody: no account can enrol"
    elif document["admission"]:
        lines["admission"] = f"{admission} says who may enrol"
    if releases.recalled:
        lines["recalled"] = "versions " + ", ".join(map(str, sorted(releases.recalled))) + ": do not use them"
    if demands:
        lines["demands"] = "; ".join(
            f"{demand.demand}: {demand.about}, round {demand.round}, {_left(demand.answer_by, now)} to answer"
            for demand in demands
        )
    if disputes:
        lines["disputes"] = "; ".join(
            f"round {dispute.round}, {_left(dispute.decide_by, now)} to decide" for dispute in disputes
        )
    if waiting_for:
        lines["waiting"] = waiting_for
    if canary is not None:
        lines["canary"] = _canary_text(canary, current["round"])
    rows = [proposal_row(proposal, now) for proposal in standing]
    shown = [table(PROPOSAL_HEADERS, rows)] if rows else ["No open proposals."]
    emit(document, pairs(lines), *shown)


def _round(chain: Chain, number: int) -> dict[str, Any]:
    """Return the newest round, which may be the genesis, as JSON."""
    view, phase = chain.ledger.round(number), chain.phase(number)
    return {
        "round": number,
        "phase": phase.name.lower(),
        "entries": view.entries,
        "base": view.base,
        "policy": view.policy,
        "openedAt": view.opened_at,
        "commitDeadline": view.commit_deadline or None,
        "anchorDeadline": view.anchor_deadline or None,
        "challengeDeadline": view.challenge_deadline or None,
        "coordinator": view.coordinator,
    }


def _round_text(current: dict[str, Any], now: int) -> str:
    from folkmoot.runtime.units import format_duration

    if current["round"] == 0:
        return "none yet"
    deadline, what = {
        "open": (current["commitDeadline"], "commitments until"),
        "committed": (current["anchorDeadline"], "anchor until"),
        "anchored": (current["challengeDeadline"], "challenges until"),
    }.get(current["phase"], (None, ""))
    text = f"{current['round']} {current['phase']}, {current['entries']} updates"
    if deadline is None:
        return text
    seconds_left = deadline - now
    return f"{text}, {what} {'in ' + format_duration(seconds_left) if seconds_left > 0 else 'over'}".replace(
        "until in", "for another"
    )


def _bonds_text(stake: int, bonds: int, rounds: int) -> str:
    """Return a coordinator's stake in words: what is locked, and for how many rounds the rest is enough."""
    from folkmoot.runtime.units import format_amount

    more = f"{rounds:,}{' more' if bonds else ''} round{'' if rounds == 1 else 's'}"
    locked = f", {format_amount(bonds)} of it locked as bonds" if bonds else ""
    return f"stake {format_amount(stake)}{locked}: enough to open {more}"


def _left(until: int, now: int) -> str:
    from folkmoot.runtime.units import format_duration

    return format_duration(until - now) if until > now else "no time left"


def _canary(coordinator: str | None, number: int) -> dict[str, Any] | None:
    """Return the coordinator's canary result of a round; None if it is not available."""
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.errors import CoordinatorError

    if coordinator is None or number == 0:
        return None
    try:
        with CoordinatorApi(coordinator) as api:
            view = api.get(f"/v1/rounds/{number}")
    except CoordinatorError as error:
        note(str(error))
        return None
    canary: dict[str, Any] | None = view.get("canary")
    return None if canary is None else {**canary, "withheld": view.get("step") == "withheld"}


def _waiting(coordinator: str | None) -> str | None:
    """Return what the coordinator's run waits for; None if it does not wait, or does not answer."""
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.errors import CoordinatorError

    if coordinator is None:
        return None
    try:
        with CoordinatorApi(coordinator) as api:
            wait = api.get("/v1/runs/current").get("waiting")
    except CoordinatorError as error:
        if error.code != "unknown-run":
            note(str(error))
        return None
    return None if wait is None else str(wait)


def _canary_text(canary: dict[str, Any], number: int) -> str:
    text = {
        "waiting": "its report on the round is awaited",
        "passed": "alive",
        "missing": "no report came in time",
        "fell": " ".join(["The model fell.", *canary.get("findings", [])]),
    }.get(str(canary.get("verdict")), "unknown")
    if canary.get("withheld"):
        return (
            f"{text} The round is withheld; after its anchor deadline it is cancelled. To anchor it all the same: "
            f"folkmoot close {number} --anchor"
        )
    return text


def _policy_text(policy: Policy) -> str:
    from folkmoot.runtime.units import format_amount, format_duration

    parameters = f" {list(policy.parameters)}" if policy.parameters else ""
    privacy = ""
    if policy.noise1024:
        rounds = policy.rounds_left(0)
        privacy = (
            f", noise {policy.noise1024}/1024 in {policy.steps} steps, a privacy budget of {rounds} rounds"
        )
    interval = (
        f", at least {format_duration(policy.interval)} from opening to opening" if policy.interval else ""
    )
    return (
        f"{policy.rule}{parameters}, {policy.min_contributors} to {policy.max_contributors} contributors, "
        f"stake {format_amount(policy.min_stake)}, bond {format_amount(policy.bond)}, "
        f"reward {format_amount(policy.reward)}, of which a place gets at most "
        f"{format_amount(policy.reward // policy.max_contributors)}, windows {format_duration(policy.commit_window)} / "
        f"{format_duration(policy.anchor_window)} / {format_duration(policy.challenge_window)}{interval}{privacy}"
    )
