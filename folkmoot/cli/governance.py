# SPDX-License-Identifier: Apache-2.0
"""Proposals and votes: propose, vote, queue, execute, and list proposals."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from folkmoot.cli import reports
from folkmoot.cli.options import (
    DEPLOYMENT_DEFAULT,
    GAS_PRICE_DEFAULT,
    RPC_DEFAULT,
    Confirmations,
    DeploymentPath,
    GasPriceInTokens,
    Json,
    KeystorePath,
    PasswordFile,
    RpcUrl,
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
    """Choices of a vote."""

    FOR = "for"
    AGAINST = "against"
    ABSTAIN = "abstain"


ProposalId = Annotated[
    str,
    typer.Argument(metavar="ID", help="Number of the proposal, or its first digits (`folkmoot proposals`)."),
]


def propose(
    version: Annotated[
        int | None, typer.Option(min=0, help="Make this version the active one.", show_default=False)
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Evaluation report for the voters; its sha256 goes on the chain."),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Add this policy, a JSON file.", show_default=False)
    ] = None,
    coordinator: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Appoint this coordinator.", show_default=False)
    ] = None,
    admit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="Make this account a member of a closed federation; repeat for more.",
            show_default=False,
        ),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="Take this account off the list of members; repeat for more.",
            show_default=False,
        ),
    ] = None,
    remove_guardian: Annotated[
        bool, typer.Option("--remove-guardian", help="Remove the guardian before the end of its term.")
    ] = False,
    publish: Annotated[
        str | None,
        typer.Option(
            envvar="FOLKMOOT_COORDINATOR",
            metavar="URL",
            help="Coordinator's service: it keeps the report, so that voters can read it, and has the model's privacy "
            "settings, with which a policy is compared.",
            show_default=False,
        ),
    ] = None,
    title: Annotated[
        str | None, typer.Option(help="First line of the proposal's text.", show_default=False)
    ] = None,
    text: Annotated[str, typer.Option(help="More text for the voters.")] = "",
    gas_price: GasPriceInTokens = GAS_PRICE_DEFAULT,
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
) -> None:
    """Propose a version, a policy, a coordinator, or a change of the members or the guardian to the stakers.

    Example: folkmoot propose --version 3 --report report.json --title "Release version 3"
    """
    from folkmoot.chain import governance
    from folkmoot.runtime.units import format_time, parse_address

    single = (version, policy, coordinator)
    if sum(given is not None for given in single) + bool(admit) + bool(remove) + remove_guardian != 1:
        raise typer.BadParameter(
            "give exactly one of --version, --policy, --coordinator, --admit, --remove and --remove-guardian"
        )
    if report is not None and version is None:
        raise typer.BadParameter("--report goes with --version")
    content = _report(report)
    summary = {} if content is None else reports.for_voters(content)
    report_hash = bytes(32) if content is None else hashlib.sha256(content).digest()
    with sending(rpc, deployment, confirmations, json_) as chain:
        if admit or remove:
            accounts = [parse_address(text) for text in admit or remove or []]
            call = governance.membership(chain, accounts, bool(admit))
        elif remove_guardian:
            call = governance.guardian_removal(chain)
        else:
            call = _call(chain, version, report_hash, policy, coordinator)
        warning = _policy_warning(chain, policy, gas_price, publish)
        if warning:
            note(f"Warning: {warning}", json_)
        if content is not None and version is not None:
            _require_about(chain, content, version)
        what = governance.describe(chain, call)["text"]
        headline = title or f"{what[0].upper()}{what[1:]}"
        description = "\n\n".join(part for part in (headline, text) if part)
        account = unlock(keystore, password_file)
        if content is not None and publish is not None:
            with working("Publishing the report ...", json_):  # Before the proposal exists, or not at all.
                _publish(chain, account, content, publish)
        with working("Proposing ...", json_):
            number, receipt = governance.propose(chain, account, [call], description)
            proposal = governance.find(chain, str(number))
        document = {
            "proposal": proposal.to_json(chain),
            **sent(chain, receipt),
            "reportHash": "0x" + report_hash.hex() if report else None,
            "warning": warning,
        }
        emit(
            document,
            json_,
            f"Proposal {proposal.short}: {what}.",
            f"The vote is open from {format_time(proposal.snapshot)} to {format_time(proposal.deadline)}: "
            f"folkmoot vote {proposal.short} for",
            *([pairs(summary)] if summary else []),
        )
    if report is not None and publish is None:
        note("Publish the report, so that voters can read it: the chain has only its hash.", json_)


def vote(
    proposal: ProposalId,
    choice: Annotated[Choice, typer.Argument(help="Your vote.")],
    reason: Annotated[str, typer.Option(help="Why; goes on the chain with the vote.")] = "",
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
) -> None:
    """Vote with the stake that you had before and at the start of the vote, and still have. A vote can't be changed.

    Example: folkmoot vote 12345678 for --reason "better on the common test set"
    """
    from folkmoot.chain import governance
    from folkmoot.runtime.units import format_amount

    with sending(rpc, deployment, confirmations, json_) as chain:
        current = governance.find(chain, proposal)
        note_warnings(chain, [current], json_)
        account = unlock(keystore, password_file)
        with working("Voting ...", json_):
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
            json_,
            f"{account.address} voted {choice.value} with {format_amount(weight)} on {current.short}: {current.title}",
            _tally(current),
        )


def queue(
    proposal: ProposalId,
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
) -> None:
    """Put an accepted proposal into the timelock. Anybody may send it.

    Example: folkmoot queue 12345678
    """
    from folkmoot.chain import governance
    from folkmoot.runtime.units import format_time

    with sending(rpc, deployment, confirmations, json_) as chain:
        current = governance.find(chain, proposal)
        purpose = governance.purpose("queue", current)
        receipt = chain.earlier("governor", account_address(None, keystore), purpose, once=True)
        if receipt is None:
            _require_state(current, "succeeded", chain.now())
            account = unlock(keystore, password_file)
            with working("Queueing ...", json_):
                receipt = governance.queue(chain, account, current)
        current = governance.find(chain, str(current.id))
        emit(
            {"proposal": current.to_json(chain), **sent(chain, receipt)},
            json_,
            f"Queued {current.short}: {current.title}",
            f"It can be executed from {format_time(current.eta)}: folkmoot execute {current.short}",
        )


def execute(
    proposal: ProposalId,
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
) -> None:
    """Execute a queued proposal after its time in the timelock. Anybody may send it.

    Example: folkmoot execute 12345678
    """
    from folkmoot.chain import governance

    with sending(rpc, deployment, confirmations, json_) as chain:
        current = governance.find(chain, proposal)
        purpose = governance.purpose("execute", current)
        receipt = chain.earlier("governor", account_address(None, keystore), purpose, once=True)
        if receipt is None:
            _require_state(current, "queued", chain.now())
            account = unlock(keystore, password_file)
            with working("Executing ...", json_):
                receipt = governance.execute(chain, account, current)
        current = governance.find(chain, str(current.id))
        done = [governance.describe(chain, call)["text"] for call in current.calls]
        emit(
            {"proposal": current.to_json(chain), **sent(chain, receipt)},
            json_,
            f"Executed {current.short}: {current.title}",
            *(f"Done: {text}." for text in done),
        )


def veto(
    proposal: ProposalId,
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
) -> None:
    """Cancel a proposal for good: its proposer may before the vote, the guardian until it is executed.

    Example: folkmoot veto 12345678 --keystore guardian.json
    """
    from folkmoot.chain import governance

    with sending(rpc, deployment, confirmations, json_) as chain:
        current, sender = governance.find(chain, proposal), account_address(None, keystore)
        receipt = chain.earlier("governor", sender, governance.purpose("cancel", current), once=True)
        if receipt is None:
            _require_may_cancel(chain, current, sender)
            account = unlock(keystore, password_file)
            with working("Cancelling ...", json_):
                receipt = governance.cancel(chain, account, current)
        current = governance.find(chain, str(current.id))
        emit(
            {"proposal": current.to_json(chain), **sent(chain, receipt)},
            json_,
            f"Cancelled {current.short}: {current.title}",
        )


def _require_may_cancel(chain: Chain, proposal: Proposal, sender: str) -> None:
    """Check that an account may cancel a proposal.

    Raises:
        InputError: `wrong-proposal-state`: the proposal is over; `not-guardian`: the account may not cancel it.
    """
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
        str | None,
        typer.Argument(metavar="[ID]", help="Show one in full, with its votes.", show_default=False),
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Only those that can still be accepted or executed.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The evaluation report of ID: show what it says.", show_default=False
        ),
    ] = None,
    coordinator: Annotated[
        str | None,
        typer.Option(
            "--coordinator",
            envvar="FOLKMOOT_COORDINATOR",
            metavar="URL",
            help="Coordinator's service to fetch the report of ID from.",
            show_default=False,
        ),
    ] = None,
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    json_: Json = False,
) -> None:
    """List proposals with their states, tallies and deadlines, newest first.

    A single proposal is shown with the main numbers of its evaluation report (worst class, worst-group gap), if the
    file or the coordinator is given. The file must have the hash in the proposal.

    Example: folkmoot proposals --open
    """
    from folkmoot.chain import governance

    if report is not None and proposal is None:
        raise typer.BadParameter("--report goes with an ID")
    with connected(rpc, deployment) as chain:
        if proposal is not None:
            _show_one(chain, governance.find(chain, proposal), report, coordinator, json_)
            return
        listed = governance.proposals(chain)
        if open_:
            listed = [proposal for proposal in listed if proposal.state in governance.OPEN_STATES]
        document = {"proposals": [proposal.to_json(chain) for proposal in listed]}
        now = chain.now()
        note_warnings(chain, listed, json_)
    rows = [proposal_row(proposal, now) for proposal in listed]
    emit(document, json_, table(PROPOSAL_HEADERS, rows) if rows else "There are no proposals.")


def note_warnings(chain: Chain, proposals: list[Proposal], as_json: bool) -> None:
    """Print a warning for proposals of a policy that can't work. With `--json` the warning is in the actions."""
    from folkmoot.chain import governance

    for proposal in proposals:
        for warning in governance.warnings(chain, proposal):
            note(f"Warning: the policy of proposal {proposal.short} can't work. {warning}", as_json)


PROPOSAL_HEADERS = ("id", "state", "title", "for", "against", "abstain", "quorum", "next")


def proposal_row(proposal: Proposal, now: int) -> tuple[str, ...]:
    """Return the cells of a proposal under `PROPOSAL_HEADERS`.

    Args:
        proposal: The proposal.
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
        proposal: The proposal.
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


def _show_one(
    chain: Chain, proposal: Proposal, report: Path | None, coordinator: str | None, as_json: bool
) -> None:
    from folkmoot.chain import governance
    from folkmoot.ledger.texts import readable
    from folkmoot.runtime.units import format_amount, format_time

    names = {value: name for name, value in governance.SUPPORT.items()}
    votes = governance.votes_on(chain, proposal)
    document = proposal.to_json(chain)
    document["ballots"] = [
        {
            "voter": cast.voter,
            "vote": names.get(cast.support, str(cast.support)),
            "weight": str(cast.weight),
            "reason": readable(cast.reason),
        }
        for cast in votes
    ]
    note_warnings(chain, [proposal], as_json)
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
    content = _report_of(chain, proposal, report, coordinator, as_json)
    if content is not None:
        lines |= reports.for_voters(content)
        document["report"] = content.decode(errors="replace")
    rows = [
        (ballot["voter"], ballot["vote"], format_amount(int(ballot["weight"])), ballot["reason"])
        for ballot in document["ballots"]
    ]
    emit(
        {"proposal": document},
        as_json,
        readable(proposal.description),
        "",
        pairs(lines),
        *([table(("voter", "vote", "weight", "reason"), rows)] if rows else []),
    )


def _call(
    chain: Chain, version: int | None, report_hash: bytes, policy: Path | None, coordinator: str | None
) -> Call:
    from folkmoot.aggregation import policy_file
    from folkmoot.chain import governance
    from folkmoot.runtime.units import parse_address

    if version is not None:
        chain.version(version)  # A proposal for a missing version would always fail.
        return governance.activation(chain, version, report_hash)
    if policy is not None:
        return governance.policy_change(chain, policy_file.load(policy))
    return governance.appointment(chain, parse_address(coordinator or ""))


def _policy_warning(chain: Chain, path: Path | None, gas_price: str, coordinator: str | None) -> str | None:
    """Return a warning about a proposed policy; None if there is none.

    It is about strategies that pay under it, and about its floor.

    Raises:
        InputError: The policy does not have the noise of the model's privacy settings (`wrong-privacy`), or a floor
            or a cap that refuses honest updates (`floor-too-high`, `cap-too-small`).
    """
    from folkmoot.aggregation import policy_file
    from folkmoot.chain.bonds import policy_warning
    from folkmoot.runtime.units import parse_amount

    if path is None:
        return None
    proposed = policy_file.load(path).resolved(chain.deployment.arbiter)
    found = (
        policy_warning(proposed, gas_price=parse_amount(gas_price)),
        _privacy_warning(chain, proposed, coordinator),
        _width_warning(chain, proposed),
    )
    return " ".join(filter(None, found)) or None


def _width_warning(chain: Chain, proposed: Policy) -> str:
    """Return what a proposed policy's other width does to the exponents of the present one; empty if it has none."""
    from folkmoot.protocol.genesis import changed_width

    ledger = chain.ledger_reader
    present = ledger.policy(ledger.current_policy()).width
    return "" if present == proposed.width else changed_width(present, proposed.width)


def _privacy_warning(chain: Chain, proposed: Policy, coordinator: str | None) -> str:
    """Compare a proposed policy with the model's privacy settings; return a warning, or an empty text."""
    from folkmoot.aggregation import policy_file
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.protocol.genesis import Genesis
    from folkmoot.protocol.manifest import Manifest

    if coordinator is None:
        return (
            "It was not compared with the model's privacy settings: give --publish."
            if proposed.noise1024
            else ""
        )
    try:
        with CoordinatorApi(coordinator) as api:
            genesis = Genesis.from_json(api.document(chain.deployment.genesis_hash.removeprefix("0x")))
            manifest = Manifest.from_json(api.artifact(genesis.manifest))
    except (ArtifactError, CoordinatorError) as error:  # No coordinator may hinder a proposal.
        return f"It was not compared with the model's privacy settings. {error.message}"
    return policy_file.check_privacy(proposed, genesis, manifest)


def _report_of(
    chain: Chain, proposal: Proposal, report: Path | None, coordinator: str | None, as_json: bool
) -> bytes | None:
    """Return the report whose hash is in a proposal; None if it is not available.

    Raises:
        InputError: The given file has another hash (`report-differs`).
    """
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
            return api.artifact(expected)
    except FolkmootError as error:
        note(f"The report could not be fetched: {error}", as_json)
        return None


def _require_about(chain: Chain, content: bytes, version: int) -> None:
    """Check that a report in Folkmoot's own format is about the proposed version.

    Raises:
        InputError: The report is about another state (`report-differs`).
    """
    from folkmoot.evaluation import Report

    try:
        state_root = Report.from_bytes(content).state_root
    except InputError:
        return  # A report in another format is for the voters to read.
    expected = "0x" + chain.version(version).state_root.hex()
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
    """Check that a proposal is in the state that an action needs.

    Raises:
        InputError: The proposal is in another state, or its time has not come.
    """
    from folkmoot.runtime.units import format_duration, format_time

    details: dict[str, Any] = {"proposal": str(proposal.id), "state": proposal.state}
    if proposal.state != needed:
        remedies = {
            "pending": f"Its vote opens at {format_time(proposal.snapshot)}.",
            "active": f"Its vote is open until {format_time(proposal.deadline)}.",
            "succeeded": f"Queue it first: `folkmoot queue {proposal.short}`.",
            "queued": f"Execute it from {format_time(proposal.eta)}: `folkmoot execute {proposal.short}`.",
            "executed": "Nothing is left to do.",
            "defeated": "It did not get the votes or the quorum. Make a new one with another --title.",
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
