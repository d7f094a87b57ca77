# SPDX-License-Identifier: Apache-2.0
"""`folkmoot deploy`: the contracts of a new federation, on any chain."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from folkmoot.cli.context import context
from folkmoot.cli.options import GAS_PRICE_DEFAULT, GasPriceInTokens, parse_allocation, require_web3, unlock
from folkmoot.cli.output import emit, note, pairs, working
from folkmoot.errors import ArtifactError, ChainError, ContractRefused, InputError
from folkmoot.runtime.fault_points import fault_point

if TYPE_CHECKING:
    from folkmoot.chain.deploy_plan import Plan
    from folkmoot.chain.terms import GenesisRoots, Governance
    from folkmoot.protocol.genesis import Genesis
    from folkmoot.protocol.manifest import Manifest

DEAD_ENDS = ("deployment-disturbed", "deployment-mismatch")
"""Codes of failures after which a deployment can't be completed. The next call begins a new one."""

"""Maximum size in bytes of a manifest."""

STATE_LIMIT = 16 * 2**30
"""Maximum size in bytes of a state file."""


def deploy(
    genesis: Annotated[Path, typer.Option(metavar="FILE", help="Genesis file of the federation.")],
    policy: Annotated[Path, typer.Option(metavar="FILE", help="First policy, a JSON file.")],
    appoint: Annotated[str, typer.Option(metavar="ADDRESS", help="First coordinator.")],
    allocate: Annotated[
        list[str], typer.Option(metavar="ADDRESS=AMOUNT", help="Genesis tokens; once for each account.")
    ],
    members: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|ADDRESS",
            help="Close the federation: only members enrol, and votes change their list. A file with one address a "
            "line, or addresses, repeated or with commas.",
        ),
    ] = None,
    admission: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Close the federation: this contract says who may enrol (IAdmission), for good.",
        ),
    ] = None,
    files: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where manifest and state of the genesis are. Default: the genesis file's own folder.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Deployment file to write.")] = Path(
        "deployment.json"
    ),
    profile: Annotated[
        str, typer.Option(help="Times of the governance: demo (minutes), l2 or l1 (days).")
    ] = "l2",
    voting_delay: Annotated[
        int | None, typer.Option(min=0, help="Seconds from a proposal to its vote.")
    ] = None,
    voting_period: Annotated[int | None, typer.Option(min=1, help="Length of a vote in seconds.")] = None,
    vote_extension: Annotated[
        int | None, typer.Option(min=0, help="Seconds for which a vote stays open after a late quorum.")
    ] = None,
    quorum: Annotated[
        int | None, typer.Option(min=0, max=100, help="Quorum of a vote, in percent of all stake.")
    ] = None,
    threshold: Annotated[str | None, typer.Option(help="Stake in tokens that a proposer needs.")] = None,
    timelock_delay: Annotated[
        int | None, typer.Option(min=0, help="Seconds from queueing to execution.")
    ] = None,
    unbonding: Annotated[
        int | None, typer.Option(min=1, help="Seconds until stake can be withdrawn.")
    ] = None,
    seasoning: Annotated[
        int | None, typer.Option(min=0, help="Seconds for which stake must have been there to vote.")
    ] = None,
    guardian: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Account that may cancel proposals for --guardian-term, and do nothing else. Not the coordinator.",
        ),
    ] = None,
    guardian_term: Annotated[
        int | None, typer.Option(min=1, max=730, metavar="DAYS", help="Term of --guardian, for good.")
    ] = None,
    demand_deposit: Annotated[
        str | None, typer.Option(help="Deposit of a demand for data, in tokens.")
    ] = None,
    warranty_period: Annotated[
        int | None, typer.Option(min=1, help="Seconds for which tokens stay behind a version.")
    ] = None,
    min_warranty: Annotated[
        str | None,
        typer.Option(help="Tokens that must be behind a version before a vote can make it active."),
    ] = None,
    gas_price: GasPriceInTokens = GAS_PRICE_DEFAULT,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the deployment file.")] = False,
    afresh: Annotated[
        bool,
        typer.Option(
            "--afresh", help="Ignore the contracts of an interrupted deployment, and deploy new ones."
        ),
    ] = False,
) -> None:
    """Deploy the contracts, and verify every address, role and parameter. The deployer keeps no role.

    This includes the arbiter and its judges. If the policy's verifier is `arbiter`, anybody can prove fraud.

    If it is interrupted, the same command continues, using the plan file in the folder of the deployment file.

    Example: folkmoot deploy --rpc http://127.0.0.1:8545 --genesis genesis.json --policy policy.json
    --appoint 0x... --allocate 0x...=1000 --profile demo --out deployment.json
    """
    from folkmoot.aggregation import policy_file
    from folkmoot.chain.bonds import policy_warning
    from folkmoot.protocol.genesis import width_warning
    from folkmoot.runtime.units import parse_address, parse_amount

    require_web3()
    from folkmoot.chain.deploy_plan import Plan
    from folkmoot.chain.terms import DAY, ZERO_ADDRESS, Admission

    plan = Plan(Plan.folder_of(out)) if afresh else Plan.of(out)
    if out.exists() and not force and not _is_of(plan, out):
        raise InputError(
            f"There is already a file {out}.",
            remedy="Choose another --out, or give --force.",
            code="file-exists",
        )
    changes = {
        "voting_delay": voting_delay,
        "voting_period": voting_period,
        "vote_extension": vote_extension,
        "quorum_percent": quorum,
        "threshold": None if threshold is None else parse_amount(threshold, least=0),
        "timelock_delay": timelock_delay,
        "unbonding": unbonding,
        "seasoning": seasoning,
        "demand_deposit": None if demand_deposit is None else parse_amount(demand_deposit, least=0),
        "warranty_period": warranty_period,
        "min_warranty": None if min_warranty is None else parse_amount(min_warranty, least=0),
    }
    assembly = governance_of(profile, {name: value for name, value in changes.items() if value is not None})
    if guardian is not None or guardian_term is not None:
        assembly = replace(
            assembly,
            guardian=ZERO_ADDRESS if guardian is None else parse_address(guardian),
            guardian_term=(guardian_term or 0) * DAY,
        )
    rules = policy_file.load(policy)
    appointed = parse_address(appoint)
    allocations = allocations_of(allocate)
    admission_rule = Admission(
        members_of(members or []), None if admission is None else parse_address(admission)
    )
    roots = genesis_roots(genesis, files or genesis.parent)
    first, manifest = first_of(genesis, files or genesis.parent)
    for problem in (policy_file.check_privacy(rules, first, manifest), width_warning(manifest, rules.width)):
        if problem:
            note(f"Warning: {problem}")
    if assembly.timelock_delay < rules.challenge_window:
        note(
            f"note: the timelock ({assembly.timelock_delay} s) is shorter than the challenge window "
            f"({rules.challenge_window} s): a vote can take effect before fraud must be proven.",
        )

    warning = policy_warning(
        rules,
        gas_price=parse_amount(gas_price),
        demand_deposit=assembly.demand_deposit,
    )
    if warning:
        note(f"Warning: {warning}")

    from folkmoot.chain.deploy import deploy_and_report
    from folkmoot.chain.terms import governance_to_json
    from folkmoot.chain.transactions.connection import connect_web3

    account = unlock()
    if afresh:
        plan.forget()
    plan.notes.depth = context().confirmations
    plan.say = note
    if plan.under_way:
        note("Going on with a deployment that was interrupted.")
    try:
        with working("Deploying ..."):
            report = deploy_and_report(
                connect_web3(context().rpc), account, roots, rules, appointed, allocations, assembly,
                lambda role: note(f"deploying the {role} ..."), plan, admission_rule,
            )  # fmt: skip
    except ChainError as error:
        if isinstance(error, ContractRefused) or error.code in DEAD_ENDS:
            plan.forget()
        raise
    finally:
        plan.notes.close()
    deployment = report.deployment
    fault_point("deploy.file-written.before")
    deployment.save(out)
    fault_point("deploy.file-written.after")
    document = {
        "deployment": deployment.to_json(),
        "path": str(out),
        "deployer": account.address,
        "governance": governance_to_json(assembly),
        "gasUsed": report.gas,
        "verified": report.facts,
        "warning": warning,
    }
    parent = {"parent": manifest.parent} if manifest.parent else {}
    shown = {key: str(value) for key, value in {**deployment.to_json(), **parent}.items()}
    shown["gas used"] = f"{sum(report.gas.values()):,}"
    shown["verified"] = f"{len(report.facts)} facts, among them: the deployer holds no role"
    emit(document, pairs(shown), f"Written to {out}.")
    sys.stdout.flush()
    plan.forget()


def _is_of(plan: Plan, out: Path) -> bool:
    """Return whether an interrupted call has already written the plan's deployment file."""
    from folkmoot.chain.deploy import addresses_from
    from folkmoot.ledger.deployment import CONTRACTS, Deployment

    if not plan.under_way:
        return False
    try:
        deployment = Deployment.load(out)
    except InputError:
        return False
    planned = addresses_from(plan.asked["deployer"], plan.nonce)
    return all(getattr(deployment, role) == planned[role] for role in CONTRACTS)


def governance_of(profile: str, changes: dict[str, Any]) -> Governance:
    """Return the options of a profile with some changed.

    Raises:
        InputError: The profile is unknown, or a value is impossible.
    """
    from folkmoot.chain.terms import PROFILES

    if profile not in PROFILES:
        raise InputError(
            f"There is no profile {profile!r}.",
            remedy=f"Choose one of {', '.join(PROFILES)}.",
            code="unknown-profile",
        )
    base = PROFILES[profile].governance
    if "voting_period" in changes and "vote_extension" not in changes:
        changes = {**changes, "vote_extension": min(base.vote_extension, changes["voting_period"])}
    return replace(base, **changes)


def allocations_of(texts: list[str]) -> dict[str, int]:
    """Return the genesis tokens by account, in units of 1e-18.

    Raises:
        InputError: An entry is malformed, or an account is repeated.
    """
    allocations: dict[str, int] = {}
    for text in texts:
        address, amount = parse_allocation(text)
        if address in allocations:
            raise InputError(
                f"{address} has two allocations.", remedy="Give each account once.", code="invalid-allocation"
            )
        allocations[address] = amount
    return allocations


def members_of(given: list[str]) -> tuple[str, ...]:
    """Return the addresses of the first members.

    Args:
        given: Addresses, several with commas, or names of files with an address in each line. In a file, an empty line
            is left out, and so is what follows a `#`.

    Raises:
        InputError: A file can't be read or has no address, or an address is malformed.
    """
    from folkmoot.runtime.units import parse_address

    addresses: list[str] = []
    for text in given:
        if text.startswith("0x"):
            addresses += [parse_address(part.strip()) for part in text.split(",")]
            continue
        try:
            lines = Path(text).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise InputError(
                f"The file of members {text} can't be read: {reason}.",
                remedy="Give a file with one address a line, or addresses, which begin with 0x.",
                code="members-missing",
            ) from error
        listed = [parse_address(word) for line in lines if (word := line.partition("#")[0].strip())]
        if not listed:
            raise InputError(
                f"The file of members {text} has no address: nobody could enrol.",
                remedy="Write one address a line.",
                code="members-missing",
            )
        addresses += listed
    return tuple(addresses)


def first_of(path: Path, artifacts: Path) -> tuple[Genesis, Manifest]:
    """Read a genesis file and its manifest; arguments as in ``genesis_roots``.

    Raises:
        ArtifactError: A file is missing or damaged.
    """
    from folkmoot.artifacts.federation import read_genesis
    from folkmoot.artifacts.sources import FolderSource
    from folkmoot.artifacts.store import DOCUMENT_LIMIT

    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"The genesis file {path} can't be read: {error.strerror}.",
            remedy="Check the path, or make one with `folkmoot task init`.",
        ) from error
    source = FolderSource(artifacts)
    return read_genesis(data, lambda name: source.fetch(name, DOCUMENT_LIMIT).read_bytes())


def genesis_roots(path: Path, artifacts: Path) -> GenesisRoots:
    """Read a genesis file with its manifest and state; return the hashes for the chain.

    Args:
        path: The genesis file.
        artifacts: Folder with manifest and state, in the layout of docs/protocol.md section 12.

    Raises:
        ArtifactError: A file is missing or damaged.
        InputError: The manifest's privacy settings are invalid.
    """
    from folkmoot.artifacts.sources import FolderSource
    from folkmoot.chain.terms import GenesisRoots
    from folkmoot.privacy import PrivacySettings
    from folkmoot.protocol.state import State

    genesis, manifest = first_of(path, artifacts)
    PrivacySettings.of(manifest.training)  # No federation starts whose nodes would refuse to train.
    file = FolderSource(artifacts).fetch(genesis.state, STATE_LIMIT)
    return GenesisRoots.of(genesis, manifest, State.open(file, manifest))
