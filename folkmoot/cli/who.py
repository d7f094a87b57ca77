# SPDX-License-Identifier: Apache-2.0
"""`folkmoot model VERSION`: who made a version, who decided about it, and who answers for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from folkmoot.cli.context import context
from folkmoot.cli.output import emit, note, pairs, table, working

if TYPE_CHECKING:
    from folkmoot.evaluation.sites import Pooled
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.protocol.parent import Parent
    from folkmoot.rpc.client import Rpc


def show(named: str) -> None:
    """Say who made a version, a number or `active`, who decided about it, on what evidence, and who answers for it."""
    from folkmoot.artifacts.model import version_number
    from folkmoot.explain.who import answerable
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.ledger.scan import ChainSource
    from folkmoot.rpc.quorum import open_rpc

    addresses = Deployment.load(context().deployment)
    with open_rpc(context().rpc) as endpoint, working("Reading the chain ..."):
        version = version_number(named, endpoint, addresses)
        document = answerable(ChainSource(endpoint, addresses), version)
        document["measured"] = _measured(endpoint, addresses, version, document["decisions"])
    emit(document, *_shown(document, addresses.parent))


def _measured(
    endpoint: Rpc, addresses: Deployment, version: int, decisions: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """Return the sums of the measurements that count now; give each decision those that its report has.

    None without a coordinator that has some.
    """
    from folkmoot.cli.reports import pooled_of
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.errors import ArtifactError, FolkmootError, InputError
    from folkmoot.evaluation.sites import Pooled
    from folkmoot.explain.measured import counting

    if (coordinator := context().find("coordinator")) is None:
        return None
    try:
        with CoordinatorApi(coordinator) as api:
            for decision in decisions:
                if not (digest := decision["reportHash"][2:]).strip("0"):
                    continue
                try:
                    report = pooled_of(api.files.read(digest))
                except ArtifactError as error:
                    note(f"The report {digest} could not be read: {error}")
                    continue
                except InputError as error:
                    decision["falselyMeasured"] = [str(error)]
                    continue
                if report is not None:
                    sums, refused = counting(
                        endpoint, addresses, version, report.measurements, report.commitments, staked=False
                    )
                    decision["measured"] = None if sums is None else _sums(sums)
                    decision["falselyMeasured"] = [str(error) for error in refused]
            now = api.measurements(version)
            if not now:
                return None
            pooled = Pooled.from_bytes(now)
            sums, _ = counting(endpoint, addresses, version, pooled.measurements, pooled.commitments)
    except FolkmootError as error:
        note(f"What sites measured could not be read: {error}")
        return None
    return None if sums is None else _sums(sums)


def _sums(pooled: Pooled) -> dict[str, Any]:
    return {
        name: value
        for name, value in pooled.to_json().items()
        if name not in ("format", "measurements", "commitments")
    }


def _measured_words(measured: dict[str, Any]) -> str:
    total = measured["total"]
    right = f", {total['correct']} right" if "correct" in total else ""
    away = f"; unlike the others: {', '.join(measured['away'])}" if measured["away"] else ""
    other = (
        ("not committed before", measured["uncommitted"]),
        ("committed, no table counted", measured["silent"]),
    )
    away += "".join(f"; {words}: {', '.join(sites)}" for words, sites in other if sites)
    return f"at {measured['sites']} sites on {total['examples']} examples{right}{away}"


def _shown(document: dict[str, Any], parent: Parent | None) -> list[str]:
    from folkmoot.runtime.units import format_amount

    final = "" if document["final"] else " (its round is not final: it may still be challenged)"
    lines = {
        "version": f"{document['version']}: {document['standing']}{final}",
        "parent": f"version {document['parent']}"
        if document["version"]
        else str(parent or "none: it is the initial model"),
        **({"parent federation": str(parent)} if document["version"] and parent else {}),
        "state root": document["stateRoot"] or "not registered yet",
    }
    if "coordinator" in document:
        one = document["coordinator"]
        lines["coordinator"] = (
            f"{one['account']}, bond {format_amount(int(one['bond']))} until the round was over"
        )
    lines["answers for it"] = _warranty_words(document["warranty"])
    if document["measured"]:
        lines["measured"] = _measured_words(document["measured"])
    shown = [*(f"Warning: {text}" for text in document["warnings"]), pairs(lines)]
    contributors = [
        (one["account"], str(one["weight"]), f"{one['share']:.1%}", format_amount(int(one["reward"])))
        for one in document.get("contributors", ())
    ]
    if contributors:
        shown.append(table(("contributor", "weight", "share", "reward"), contributors))
    for decision in document["decisions"]:
        shown += ["", *_decision_lines(decision)]
    if not document["decisions"]:
        shown.append("No vote was proposed about it.")
    return shown


def _warranty_words(warranty: dict[str, Any]) -> str:
    from folkmoot.runtime.units import format_amount, format_time

    if (taken := warranty["forfeited"]) is not None:
        reward, burnt = (format_amount(int(taken[name])) for name in ("reward", "burnt"))
        return f"a vote took what was behind it: {reward} went to {taken['beneficiary']}, {burnt} were burnt"
    shown = [
        f"{one['account']} with {format_amount(int(one['amount']))} until {format_time(one['releaseAt'])}"
        for one in warranty["accounts"]
    ]
    return "; ".join(shown) or "nobody with tokens"


def _decision_lines(decision: dict[str, Any]) -> list[str]:
    from folkmoot.runtime.units import format_amount, format_time

    report = decision["reportHash"]
    lines = {
        decision["kind"]: f"proposal {decision['proposal'][:8]}, {decision['state']}",
        "proposer": decision["proposer"],
        "text": " ".join(decision["text"].split()),
        "report": f"sha256 {report[2:]}" if report[2:].strip("0") else "none",
        "executed": "-"
        if decision["executedAt"] is None
        else f"{format_time(decision['executedAt'])}, transaction {decision['transaction']}",
    }
    if decision.get("measured"):
        lines["measured"] = _measured_words(decision["measured"])
    if decision.get("falselyMeasured"):
        lines["do not believe"] = " ".join(decision["falselyMeasured"])
    if "activeAfter" in decision:
        after = decision["activeAfter"]
        lines["active after"] = "no version" if after is None else f"version {after}"
    votes = [
        (vote["voter"], vote["vote"], format_amount(int(vote["weight"])), vote["reason"])
        for vote in decision["votes"]
    ]
    return [
        pairs(lines),
        table(("voter", "vote", "weight", "reason"), votes) if votes else "Nobody has voted yet.",
    ]
