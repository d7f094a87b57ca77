# SPDX-License-Identifier: Apache-2.0
"""`folkmoot model VERSION --fork`: leave with a version, its lineage and the rules, into a federation of one's own."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from folkmoot.cli.context import context
from folkmoot.cli.output import emit, note, pairs, working, write_file
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from folkmoot.chain.terms import Governance
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.protocol.policy import Policy
    from folkmoot.rpc.client import Rpc


def fork(
    version: str, out: Path, content_policy: Path | None, *, recalled: bool, account: str | None
) -> None:
    """Write genesis and policy of a new federation that starts from a version of this one. Nothing is sent.

    The first state of the child is that version's state to the last bit, and its manifest names the version for good:
    `folkmoot audit` checks it. The policy is the present one of the parent. Prints how the child is deployed, with the
    parent's terms of votes, and how you take out your own stake. Nobody else's stake moves.

    Args:
        version: A number, or `active`.
        out: New folder for the files.
        content_policy: File with the child's content policy; the parent's if None.
        recalled: Take the version even if a vote recalled it.
        account: Whose stake the steps name.
    """
    from folkmoot.aggregation import policy_file
    from folkmoot.artifacts.federation import write
    from folkmoot.artifacts.model import child_of, state_of, version_number
    from folkmoot.artifacts.sources import open_sources
    from folkmoot.chain.terms import ZERO_ADDRESS, read_governance
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.ledger.releases import releases_of
    from folkmoot.ledger.scan import ChainSource, scan
    from folkmoot.rpc.client import Contract, LedgerReader
    from folkmoot.rpc.quorum import open_rpc
    from folkmoot.rpc.reverts import ENUMS

    _require_new(out)
    text = None if content_policy is None else _text_of(content_policy)
    addresses = Deployment.load(context().deployment)
    with ExitStack() as stack:
        source = open_sources(context().artifacts)
        stack.callback(source.close)
        endpoint = stack.enter_context(open_rpc(context().rpc))
        stack.enter_context(working("Downloading the state ..."))
        number = version_number(version, endpoint, addresses)
        newest = endpoint.block_number()
        events = list(
            scan(
                ChainSource(endpoint, addresses), addresses.block, newest, contracts=("registry", "governor")
            )
        )
        releases = releases_of(endpoint, addresses, events)
        if not recalled:
            releases.require_usable(number)
        warnings = releases.warnings(number)
        parent, child = child_of(state_of(endpoint, addresses, source, number), events, source, text)
        ledger = LedgerReader(endpoint, addresses.ledger)
        policy, foreign = _policy(addresses, ledger.policy(ledger.current_policy()))
        governance = read_governance(endpoint, addresses)
        own = None if account is None else _own(endpoint, addresses, account)
        guardian = Contract(endpoint, addresses.governor, "governor").read("proposalGuardian")
        with _whole(out) as folder:
            write(child, folder)
            terms = json.dumps(policy_file.to_json(policy), indent=2) + "\n"
            write_file(folder / "policy.json", terms.encode())
    warnings += foreign
    if child.manifest.private:
        warnings.append(
            "The parent declares privacy. The child's ledger counts each contributor's budget from zero, and what was "
            "spent in the parent adds to it: give the child less (`privacyCap` in policy.json)."
        )
    if addresses.members or addresses.admission:
        warnings.append("The parent is closed. The child is open, unless you deploy it with --members.")
    if guardian != ZERO_ADDRESS:
        warnings.append(
            f"The parent has a guardian, {guardian}. The child has none, unless you deploy it with --guardian."
        )
    for warning in warnings:
        note(f"Warning: {warning}")
    command = _deploy_command(out, governance, account)
    standing = ENUMS["IModelRegistry.Standing"][releases.standing(number)]
    document = {
        "folder": str(out),
        "parent": {**parent.to_json(), "standing": standing},
        "task": child.manifest.task,
        "manifestHash": "0x" + child.manifest.hash.hex(),
        "genesisHash": "0x" + child.genesis.hash.hex(),
        "stateRoot": "0x" + child.state_root.hex(),
        "policy": policy_file.to_json(policy),
        "contentPolicy": child.manifest.content_policy or None,
        "own": own,
        "deploy": command,
        "warnings": warnings,
    }
    shown = {
        "parent": f"{parent} ({standing})",
        "its state root": f"0x{parent.state_root.hex()} (on the chain)",
        "genesis": str(out / "genesis.json"),
        "genesis hash": "0x" + child.genesis.hash.hex(),
        "policy": f"{out / 'policy.json'}: the parent's present one; change it as you like",
        "content policy": "none"
        if not child.manifest.content_policy
        else "the parent's"
        if text is None
        else str(content_policy),
    }
    emit(document, pairs(shown), "", *_steps(command, own, governance))


def _require_new(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"There is already something at {out}.",
            remedy="Give another folder: nothing is overwritten.",
            code="file-exists",
        )


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """Give a folder to fill, which becomes `out` when it is whole: nothing is there if it fails or is interrupted."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent)
    except OSError as error:
        raise InputError(
            f"The folder {out.parent} can't be written: {error.strerror}.",
            remedy="Give another folder.",
            code="folder-unwritable",
        ) from error
    with temporary as name:
        folder = Path(name) / "child"
        folder.mkdir()
        yield folder
        folder.replace(out)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise InputError(
            f"The content policy {path} can't be read: {reason}.",
            remedy="Check the path.",
            code="content-policy-missing",
        ) from error


def _policy(addresses: Deployment, policy: Policy) -> tuple[Policy, list[str]]:
    """Return the policy as the child can deploy it, and warnings."""
    from folkmoot.protocol.policy import ARBITER, NO_VERIFIER

    if policy.verifier == addresses.arbiter:
        return replace(policy, verifier=ARBITER), []
    if policy.verifier == NO_VERIFIER:
        return policy, []
    return replace(policy, verifier=ARBITER), [
        f"The parent's verifier {policy.verifier} is the parent's own: the child's policy has `arbiter`."
    ]


def _own(rpc: Rpc, addresses: Deployment, text: str) -> dict[str, Any]:
    """Return what an account has in the parent; amounts are decimal texts in units of 1e-18 tokens."""
    from folkmoot.rpc.client import LedgerReader, RewardsReader, VaultReader
    from folkmoot.runtime.units import parse_address

    account, vault = parse_address(text), VaultReader(rpc, addresses.vault)
    return {
        "account": account,
        "stake": str(vault.stake_of(account)),
        "bonds": str(vault.bond_of(account)),
        "rewards": str(RewardsReader(rpc, addresses.rewards).claimable(account)),
        "enrolled": LedgerReader(rpc, addresses.ledger).enrolled(account),
    }


def _deploy_command(out: Path, terms: Governance, account: str | None) -> str:
    """Return the command that deploys the child with the parent's terms of votes."""
    from folkmoot.runtime.units import format_amount

    def tokens(amount: int) -> str:
        return format_amount(amount).split()[0]

    def path(name: str) -> str:
        return shlex.quote(str(out / f"{name}.json"))

    options = {
        "voting-delay": terms.voting_delay,
        "voting-period": terms.voting_period,
        "vote-extension": terms.vote_extension,
        "quorum": terms.quorum_percent,
        "threshold": tokens(terms.threshold),
        "timelock-delay": terms.timelock_delay,
        "unbonding": terms.unbonding,
        "seasoning": terms.seasoning,
        "demand-deposit": tokens(terms.demand_deposit),
        "warranty-period": terms.warranty_period,
        "min-warranty": tokens(terms.min_warranty),
    }
    given = " ".join(f"--{name} {value}" for name, value in options.items())
    return (
        f"folkmoot deploy --genesis {path('genesis')} --policy {path('policy')} --out {path('deployment')} {given} "
        f"--appoint COORDINATOR --allocate {account or 'ADDRESS'}=AMOUNT"
    )


def _steps(command: str, own: dict[str, Any] | None, terms: Governance) -> list[str]:
    """Return what to do next, for people."""
    from folkmoot.runtime.units import format_amount, format_duration

    have = ""
    if own is not None:
        stake, rewards = int(own["stake"]), int(own["rewards"])
        have = (
            f" {own['account']} has {format_amount(stake)} at stake and {format_amount(rewards)} of rewards."
        )
        if int(own["bonds"]):
            have += f" {format_amount(int(own['bonds']))} are locked until its rounds are over."
    return [
        "Deploy the child, on any chain:",
        f"  {command}",
        "Take your own stake out of the parent, and nobody else's; its tokens are the parent's. Stop `folkmoot join`."
        + have,
        "  folkmoot leave",
        "  folkmoot withdraw --rewards",
        "  folkmoot withdraw all",
        f"  folkmoot withdraw        after {format_duration(terms.unbonding)}; until then it can be slashed",
        "Stake in the child, whose tokens are those of --allocate:",
        "  folkmoot federation add child --rpc URL --deployment FILE --coordinator URL",
        "  folkmoot enrol --stake AMOUNT",
    ]
