# SPDX-License-Identifier: Apache-2.0
"""Proposals and votes: propose, vote, execute, and list proposals."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from folkmoot.cli import reports
from folkmoot.cli.context import context
from folkmoot.cli.options import (
    GAS_PRICE_DEFAULT,
    GasPriceInTokens,
    account_address,
    connected,
    sending,
    sent,
    unlock,
)
from folkmoot.cli.output import emit, note, pairs, table, working
from folkmoot.errors import ArtifactError, CoordinatorError, FolkmootError, InputError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from folkmoot.chain.client import Chain
    from folkmoot.chain.governance import Call, Proposal
    from folkmoot.protocol.policy import Policy

REPORT_LIMIT = 2**20
"""Maximum size in bytes of an evaluation report."""


class Choice(StrEnum):
    """Choices of a vote; `veto` is no vote, and cancels the proposal."""

    FOR = "for"
    AGAINST = "against"
    ABSTAIN = "abstain"
    VETO = "veto"


ProposalId = Annotated[
    str,
    typer.Argument(metavar="ID", help="Number of the proposal, or its first digits (`folkmoot proposals`)."),
]


def propose(
    version: Annotated[int | None, typer.Option(min=0, help="Make this version the active one.")] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Evaluation report or evidence for the voters; its sha256 goes on the chain."
        ),
    ] = None,
    recall: Annotated[
        int | None,
        typer.Option(metavar="VERSION", min=0, help="Call this version back for good: it does harm."),
    ] = None,
    pay: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="With --recall: who gets half of the version's warranty; the rest is burnt. Default: you. `none`: all "
            "is burnt.",
        ),
    ] = None,
    min_warranty: Annotated[
        str | None,
        typer.Option(metavar="TOKENS", help="Ask for this warranty behind each version that becomes active."),
    ] = None,
    policy: Annotated[Path | None, typer.Option(metavar="FILE", help="Add this policy, a JSON file.")] = None,
    appoint: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Appoint this coordinator.")] = None,
    admit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS", help="Make this account a member of a closed federation; repeat for more."
        ),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="Take this account off the list of members; repeat for more."),
    ] = None,
    uphold: Annotated[
        int | None,
        typer.Option(metavar="ROUND", min=1, help="Void this disputed round and burn its bond: it is wrong."),
    ] = None,
    dismiss: Annotated[
        int | None, typer.Option(metavar="ROUND", min=1, help="Let this disputed round go on: it is right.")
    ] = None,
    remove_guardian: Annotated[
        bool, typer.Option("--remove-guardian", help="Remove the guardian before the end of its term.")
    ] = False,
    title: Annotated[str | None, typer.Option(help="First line of the proposal's text.")] = None,
    text: Annotated[str, typer.Option(help="More text for the voters.")] = "",
    gas_price: GasPriceInTokens = GAS_PRICE_DEFAULT,
) -> None:
    """Propose a version, its recall, a policy, a coordinator, a dispute's end, or a change of members or guardian.

    An open vote on a recall already warns everybody who asks for the version. The recall itself takes the whole vote
    and the timelock. It also takes the tokens that answer for the version (`folkmoot model VERSION --warranty`). If a
    vote recalled the version and left the tokens there, --recall proposes to take them.

    Example: folkmoot propose --version 3 --report report.json --title "Release version 3"
    """
    from folkmoot.chain import governance
    from folkmoot.chain.terms import ZERO_ADDRESS
    from folkmoot.runtime.units import format_time, parse_address, parse_amount

    single = (version, recall, policy, appoint, uphold, dismiss, min_warranty)
    if sum(given is not None for given in single) + bool(admit) + bool(remove) + remove_guardian != 1:
        raise typer.BadParameter(
            "give exactly one of --version, --recall, --policy, --appoint, --uphold, --dismiss, --min-warranty, "
            "--admit, --remove and --remove-guardian"
        )
    if pay is not None and recall is None:
        raise typer.BadParameter("--pay goes with --recall")
    if report is not None and version is None and recall is None:
        raise typer.BadParameter("--report goes with --version and --recall")
    disputed = dismiss if uphold is None else uphold
    publish = context().find("coordinator")
    content = _report(report)
    summary = {} if content is None else reports.for_voters(content)
    report_hash = bytes(32) if content is None else hashlib.sha256(content).digest()
    with sending() as chain:
        if admit or remove:
            accounts = [parse_address(text) for text in admit or remove or []]
            calls = [governance.membership(chain, accounts, bool(admit))]
        elif remove_guardian:
            calls = [governance.guardian_removal(chain)]
        elif recall is not None:
            paid = ZERO_ADDRESS if pay == "none" else account_address(pay)
            calls = governance.recall(chain, recall, report_hash, paid)
        elif min_warranty is not None:
            calls = [governance.minimum_warranty(chain, parse_amount(min_warranty, least=0))]
        elif disputed is not None:
            calls = [governance.decision(chain, disputed, upheld=uphold is not None)]
        else:
            calls = [_call(chain, version, report_hash, policy, appoint)]
        warning = _policy_warning(chain, policy, gas_price, publish)
        if disputed is not None:
            warning = governance.late(chain, disputed)
        if version is not None:
            warning = governance.uncovered(chain, version)
        if warning:
            note(f"Warning: {warning}")
        if policy is not None:
            note(_minting_change(chain, policy))
        if content is not None and version is not None:
            _require_about(chain, content, version)
        actions = [governance.describe(chain, call) for call in calls]
        what = "; ".join(action["text"] for action in actions)
        recalls = actions[0]["kind"] == "recall"
        headline = title or (f"Recall version {recall}." if recalls else f"{what[0].upper()}{what[1:]}")
        description = "\n\n".join(part for part in (headline, text) if part)
        account = unlock()
        if content is not None and publish is not None:
            with working("Publishing the report ..."):  # Before the proposal exists, or not at all.
                _publish(chain, account, content, publish)
        with working("Proposing ..."):
            number, receipt = governance.propose(chain, account, calls, description)
            proposal = governance.find(chain, str(number))
        document = {
            "proposal": proposal.to_json(chain),
            **sent(chain, receipt),
            "reportHash": "0x" + report_hash.hex() if report else None,
            "warning": warning,
        }
        emit(
            document,
            f"Proposal {proposal.short}: {what}.",
            f"The vote is open from {format_time(proposal.snapshot)} to {format_time(proposal.deadline)}: "
            f"folkmoot vote {proposal.short} for",
            *([pairs(summary)] if summary else []),
        )
    if report is not None and publish is None:
        note("Publish the report, so that voters can read it: the chain has only its hash.")


def vote(
    proposal: ProposalId,
    choice: Annotated[Choice, typer.Argument(help="Your vote.")],
    reason: Annotated[str, typer.Option(help="Why; goes on the chain with the vote.")] = "",
) -> None:
    """Vote with the stake that you had before and at the start of the vote, and still have. A vote can't be changed.

    `veto` cancels the proposal for good: its proposer may before the vote, the guardian until it is executed.

    Example: folkmoot vote 12345678 for --reason "better on the common test set"

    Example: folkmoot vote 12345678 veto --keystore guardian.json
    """
    from folkmoot.chain import governance
    from folkmoot.runtime.units import format_amount

    if choice is Choice.VETO:
        if reason:
            raise typer.BadParameter("a veto takes no --reason: only votes have one on the chain")
        _veto(proposal)
        return
    with sending() as chain:
        current = governance.find(chain, proposal)
        note_warnings(chain, [current])
        account = unlock()
        with working("Voting ..."):
            receipt = governance.vote(chain, account, current, choice.value, reason)
            weight = governance.votes_at_snapshot(chain, account.address, current)
            current = governance.find(chain, str(current.id))
        document = {
            "account": account.address,
            "vote": choice.value,
            "weight": str(weight),
            **sent(chain, receipt),
            "proposal": current.to_json(chain),
        }
        emit(
            document,
            f"{account.address} voted {choice.value} with {format_amount(weight)} on {current.short}: {current.title}",
            _tally(current),
        )


def execute(proposal: ProposalId) -> None:
    """Carry an accepted proposal on: put it into the timelock, and after its time there execute it.

    Anybody may send it. Call it once after the vote, and again when the timelock's time is over.

    Example: folkmoot execute 12345678
    """
    from folkmoot.chain import governance
    from folkmoot.runtime.units import format_time

    with sending() as chain:
        current, sender = governance.find(chain, proposal), account_address(None)
        queueing, executing = (governance.purpose(step, current) for step in ("queue", "execute"))
        receipt = chain.earlier("governor", sender, executing, once=True)
        queued = None if receipt else chain.earlier("governor", sender, queueing, once=True)
        if receipt is None and queued is None:
            is_accepted = current.state == "succeeded"
            _require_state(current, "succeeded" if is_accepted else "queued", chain.now())
            account = unlock()
            if is_accepted:
                with working("Queueing ..."):
                    queued = governance.queue(chain, account, current)
            else:
                with working("Executing ..."):
                    receipt = governance.execute(chain, account, current)
        current = governance.find(chain, str(current.id))
        if queued is not None:
            emit(
                {"proposal": current.to_json(chain), **sent(chain, queued)},
                f"Queued {current.short}: {current.title}",
                f"It can be executed from {format_time(current.eta)}: folkmoot execute {current.short}",
            )
        if receipt is not None:
            done = [governance.describe(chain, call)["text"] for call in current.calls]
            emit(
                {"proposal": current.to_json(chain), **sent(chain, receipt)},
                f"Executed {current.short}: {current.title}",
                *(f"Done: {text}." for text in done),
            )


def _veto(proposal: str) -> None:
    """Cancel a proposal for good."""
    from folkmoot.chain import governance

    with sending() as chain:
        current, sender = governance.find(chain, proposal), account_address(None)
        receipt = chain.earlier("governor", sender, governance.purpose("cancel", current), once=True)
        if receipt is None:
            _require_may_cancel(chain, current, sender)
            account = unlock()
            with working("Cancelling ..."):
                receipt = governance.cancel(chain, account, current)
        current = governance.find(chain, str(current.id))
        emit(
            {"proposal": current.to_json(chain), **sent(chain, receipt)},
            f"Cancelled {current.short}: {current.title}",
        )


def _require_may_cancel(chain: Chain, proposal: Proposal, sender: str) -> None:
    """Check that an account may cancel a proposal."""
    from folkmoot.chain import governance

    details = {"proposal": str(proposal.id), "state": proposal.state}
    if proposal.state not in governance.OPEN_STATES:
        raise InputError(
            f"Proposal {proposal.short} is {proposal.state}: there is nothing to cancel.",
            remedy="Nothing is left to do.",
            code="wrong-proposal-state",
            details=details,
        )
    guardian = governance.guardian_of(chain)
    own = proposal.proposer == sender and proposal.state == "pending"
    if own or (guardian is not None and guardian[0] == sender):
        return
    raise InputError(
        f"{sender} can't cancel proposal {proposal.short}: "
        + ("there is no guardian." if guardian is None else f"the guardian is {guardian[0]}."),
        remedy="A proposer can cancel before the vote. Vote against it: `folkmoot vote "
        f"{proposal.short} against`.",
        code="not-guardian",
        details=details,
    )


def proposals(
    proposal: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Show one in full, with its votes.")
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Only those that can still be accepted or executed.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The evaluation report of ID: show what it says.")
    ] = None,
) -> None:
    """List proposals with their states, tallies and deadlines, newest first.

    A single proposal is shown with the main numbers of its evaluation report (worst class, worst-group gap), if the
    file or the coordinator is given. The file must have the hash in the proposal.

    Example: folkmoot proposals --open
    """
    from folkmoot.chain import governance

    if report is not None and proposal is None:
        raise typer.BadParameter("--report goes with an ID")
    with connected() as chain:
        if proposal is not None:
            _show_one(chain, governance.find(chain, proposal), report, context().find("coordinator"))
            return
        listed = governance.proposals(chain)
        if open_:
            listed = [proposal for proposal in listed if proposal.state in governance.OPEN_STATES]
        document = {"proposals": [proposal.to_json(chain) for proposal in listed]}
        now = chain.now()
        note_warnings(chain, listed)
    rows = [proposal_row(proposal, now) for proposal in listed]
    emit(document, table(PROPOSAL_HEADERS, rows) if rows else "There are no proposals.")


def note_warnings(chain: Chain, proposals: list[Proposal]) -> None:
    """Print a warning for proposals of a policy that can't work. With `--json` the warning is in the actions."""
    from folkmoot.chain import governance

    for proposal in proposals:
        for warning in governance.warnings(chain, proposal):
            note(f"Warning: the policy of proposal {proposal.short} can't work. {warning}")


PROPOSAL_HEADERS = ("id", "state", "title", "for", "against", "abstain", "quorum", "next")


def proposal_row(proposal: Proposal, now: int) -> tuple[str, ...]:
    """Return the cells of a proposal under `PROPOSAL_HEADERS`.

    Args:
        now: Unix time of the chain.
    """
    return (
        proposal.short,
        proposal.state,
        proposal.title,
        _tokens(proposal.votes_for),
        _tokens(proposal.votes_against),
        _tokens(proposal.votes_abstain),
        f"{_tokens(proposal.quorum)} {'reached' if proposal.quorum_reached else 'open'}",
        next_step(proposal, now),
    )


def next_step(proposal: Proposal, now: int) -> str:
    """Return the next step of a proposal, and its time.

    Args:
        now: Unix time of the chain.
    """
    from folkmoot.runtime.units import format_duration

    def until(time: int) -> str:
        return f"in {format_duration(time - now)}" if time > now else "now"

    match proposal.state:
        case "pending":
            return f"vote opens {until(proposal.snapshot)}"
        case "active":
            return f"vote closes {until(proposal.deadline)}"
        case "succeeded":
            return "can be queued now"
        case "queued":
            return f"can be executed {until(proposal.eta)}"
        case _:
            return "-"


def _show_one(chain: Chain, proposal: Proposal, report: Path | None, coordinator: str | None) -> None:
    from folkmoot.chain import governance
    from folkmoot.explain.who import ballot
    from folkmoot.rpc.abi import readable
    from folkmoot.runtime.units import format_amount, format_time

    votes = governance.votes_on(chain, proposal)
    document = proposal.to_json(chain)
    document["ballots"] = [ballot(cast) for cast in votes]
    note_warnings(chain, [proposal])
    now = chain.now()
    lines = {
        "proposal": str(proposal.id),
        "proposer": proposal.proposer,
        "state": proposal.state,
        "next": next_step(proposal, now),
        "would": "; ".join(governance.describe(chain, call)["text"] for call in proposal.calls),
        "vote": f"{format_time(proposal.snapshot)} to {format_time(proposal.deadline)}",
        "executable": format_time(proposal.eta) if proposal.eta else "-",
        "tally": _tally(proposal),
    }
    content = _report_of(chain, proposal, report, coordinator)
    if content is not None:
        lines |= reports.for_voters(content)
        document["report"] = content.decode(errors="replace")
    rows = [
        (ballot["voter"], ballot["vote"], format_amount(int(ballot["weight"])), ballot["reason"])
        for ballot in document["ballots"]
    ]
    emit(
        {"proposal": document},
        readable(proposal.description),
        "",
        pairs(lines),
        *([table(("voter", "vote", "weight", "reason"), rows)] if rows else []),
    )


def _call(
    chain: Chain, version: int | None, report_hash: bytes, policy: Path | None, appointed: str | None
) -> Call:
    from folkmoot.aggregation import policy_file
    from folkmoot.chain import governance
    from folkmoot.runtime.units import parse_address

    if version is not None:
        return governance.activation(chain, version, report_hash)
    if policy is not None:
        return governance.policy_change(chain, policy_file.load(policy))
    return governance.appointment(chain, parse_address(appointed or ""))


def _policy_warning(chain: Chain, path: Path | None, gas_price: str, coordinator: str | None) -> str | None:
    """Return a warning about a proposed policy; None if there is none.

    It is about strategies that pay under it, and about its floor.
    """
    from folkmoot.aggregation import policy_file
    from folkmoot.chain.bonds import policy_warning
    from folkmoot.runtime.units import parse_amount

    if path is None:
        return None
    proposed = policy_file.load(path).resolved(chain.deployment.arbiter)
    warnings = (
        policy_warning(proposed, gas_price=parse_amount(gas_price)),
        _privacy_warning(chain, proposed, coordinator),
        _width_warning(chain, proposed),
    )
    return " ".join(filter(None, warnings)) or None


def _minting_change(chain: Chain, path: Path) -> str:
    """Say what a proposed policy changes of the most that is minted in a day."""
    from folkmoot.aggregation import policy_file
    from folkmoot.chain.bonds import minting

    present, proposed = chain.ledger.policy(chain.ledger.current_policy()), policy_file.load(path)
    return (
        f"Minted for the rounds of a day: {minting(proposed)}; under the present policy: {minting(present)}."
    )


def _width_warning(chain: Chain, proposed: Policy) -> str:
    """Return what a proposed policy's other width does to the exponents of the present one; empty if it has none."""
    from folkmoot.protocol.genesis import changed_width

    ledger = chain.ledger
    present = ledger.policy(ledger.current_policy()).width
    return "" if present == proposed.width else changed_width(present, proposed.width)


def _privacy_warning(chain: Chain, proposed: Policy, coordinator: str | None) -> str:
    """Compare a proposed policy with the model's privacy settings; return a warning, or an empty text."""
    from folkmoot.aggregation import policy_file
    from folkmoot.artifacts.federation import Federation
    from folkmoot.coordinator_api import CoordinatorApi

    if coordinator is None:
        return (
            "It was not compared with the model's privacy settings: give --coordinator."
            if proposed.noise1024
            else ""
        )
    try:
        with CoordinatorApi(coordinator) as api:
            federation = Federation.open(chain.deployment, api.files)
    except (ArtifactError, CoordinatorError) as error:  # No coordinator may hinder a proposal.
        return f"It was not compared with the model's privacy settings. {error.message}"
    return policy_file.check_privacy(proposed, federation.genesis, federation.manifest)


def _report_of(
    chain: Chain, proposal: Proposal, report: Path | None, coordinator: str | None
) -> bytes | None:
    """Return the report whose hash is in a proposal; None if it is not available."""
    from folkmoot.chain import governance
    from folkmoot.coordinator_api import CoordinatorApi

    described = (governance.describe(chain, call) for call in proposal.calls)
    named = (str(one.get("reportHash", ""))[2:] for one in described)
    expected = next((digest for digest in named if digest.strip("0")), None)
    content = _report(report)
    if content is not None:
        digest = hashlib.sha256(content).hexdigest()
        if digest != expected:
            raise InputError(
                f"The report {report} has the sha256 {digest}, and the proposal names {expected or 'no report'}.",
                remedy="Do not trust it; ask the proposer for the file.",
                code="report-differs",
            )
        return content
    if expected is None or coordinator is None:
        return None
    try:
        with CoordinatorApi(coordinator) as api:
            return api.files.read(expected)
    except FolkmootError as error:
        note(f"The report could not be fetched: {error}")
        return None


def _require_about(chain: Chain, content: bytes, version: int) -> None:
    """Check that a report in Folkmoot's own format is about the proposed version."""
    from folkmoot.evaluation import Report

    if (pooled := reports.pooled_of(content)) is not None:
        state_root = "0x" + pooled.measurements[0].state_root.hex()
    else:
        try:
            state_root = Report.from_bytes(content).state_root
        except InputError:
            return  # A report in another format is for the voters to read.
    expected = "0x" + chain.registry.version(version).state_root.hex()
    if state_root != expected:
        raise InputError(
            f"The report is about the state {state_root or '(none named)'}, and version {version} has {expected}.",
            remedy=f"Evaluate that version: `folkmoot task evaluate --version {version} --report FILE`.",
            code="report-differs",
        )


def _publish(chain: Chain, account: LocalAccount, report: bytes, url: str) -> None:
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.protocol.commitment import Domain

    with CoordinatorApi(url) as coordinator:
        place = chain.deployment
        coordinator.upload_report(report, account, Domain(place.chain_id, place.ledger))


def _report(report: Path | None) -> bytes | None:
    if report is None:
        return None
    try:
        data = report.read_bytes()
    except OSError as error:
        raise InputError(
            f"The report {report} can't be read: {error.strerror}.",
            remedy="Check the path.",
            code="report-missing",
        ) from error
    if len(data) > REPORT_LIMIT:
        raise InputError(
            f"The report {report} has {len(data)} bytes.",
            remedy=f"Keep it to {REPORT_LIMIT} bytes.",
            code="report-too-large",
        )
    return data


def _require_state(proposal: Proposal, needed: str, now: int) -> None:
    """Check that a proposal is in the state that an action needs."""
    from folkmoot.runtime.units import format_duration, format_time

    details: dict[str, Any] = {"proposal": str(proposal.id), "state": proposal.state}
    if proposal.state != needed:
        remedies = {
            "pending": f"Its vote opens at {format_time(proposal.snapshot)}.",
            "active": f"Its vote is open until {format_time(proposal.deadline)}.",
            "queued": f"Execute it from {format_time(proposal.eta)}: `folkmoot execute {proposal.short}`.",
            "executed": "Nothing is left to do.",
            "defeated": "It did not get the votes or the quorum. Make a new one; its text can be the same.",
        }
        raise InputError(
            f"Proposal {proposal.short} is {proposal.state}, not {needed}.",
            remedy=remedies.get(proposal.state, "Make a new one."),
            code="wrong-proposal-state",
            details=details,
        )
    if needed == "queued" and now < proposal.eta:
        raise InputError(
            f"Proposal {proposal.short} can't be executed yet: its delay ends at {format_time(proposal.eta)}.",
            remedy=f"Try again in {format_duration(proposal.eta - now)}.",
            code="too-early",
            details={**details, "eta": proposal.eta},
        )


def _tally(proposal: Proposal) -> str:
    from folkmoot.runtime.units import format_amount

    reached = "reached" if proposal.quorum_reached else "not reached"
    return (
        f"for {_tokens(proposal.votes_for)}, against {_tokens(proposal.votes_against)}, "
        f"abstain {_tokens(proposal.votes_abstain)}; quorum {format_amount(proposal.quorum)} {reached}"
    )


def _tokens(amount: int) -> str:
    from folkmoot.runtime.units import SYMBOL, format_amount

    return format_amount(amount).removesuffix(f" {SYMBOL}")
