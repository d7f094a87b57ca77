# SPDX-License-Identifier: Apache-2.0
"""Check that the contracts at the addresses are the packaged ones, created with the right arguments.

Two independent facts are checked: the code at the address, and the transaction that created it. The code is compared
with the packaged creation code, of which it is a part except for immutables. The transaction has the constructor
arguments, which must link the contracts as in contracts/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from folkmoot.audit.failure import Subject, mismatch, require
from folkmoot.audit.history import History
from folkmoot.audit.transactions import Transaction
from folkmoot.chain.deploy import predicted_address
from folkmoot.chain.terms import ZERO_ADDRESS
from folkmoot.ledger import packaged
from folkmoot.ledger.deployment import JUDGES
from folkmoot.ledger.packaged import is_runtime_of
from folkmoot.protocol.policy import Policy

_CHECK = "contracts"


@dataclass(frozen=True)
class Creation:
    """Arguments of the constructors. Amounts in units of 1e-18 tokens, times in seconds."""

    allocations: tuple[tuple[str, int], ...]
    """Genesis tokens by account."""
    state_root: bytes
    """State root of version 0, 32 bytes."""
    coordinator: str
    """First coordinator."""
    policy: Policy
    """First policy."""


def check_code(history: History) -> Creation | None:
    """Check the code at each address and the transactions that created it.

    Returns:
        Arguments of the constructors; None if another contract created a contract, so that no transaction shows
        them.
    """
    for role, deployed in history.storage.code.items():
        subject = Subject(check=_CHECK)
        name = packaged.NAMES[role]
        if not is_runtime_of(bytes.fromhex(packaged.contract(role).bytecode[2:]), deployed):
            raise mismatch(
                subject,
                f"the code of the {role} at {getattr(history.deployment, role)}",
                f"{name} of this release",
                f"other code (keccak 0x{keccak(deployed).hex()})",
                remedy="This is another contract, or of another release of Folkmoot: audit it with that release.",
            )
    _check_parts(history)
    _check_admission(history)
    arguments = {role: _creation_arguments(history, role) for role in history.deployment.roles}
    known = {role: values for role, values in arguments.items() if values is not None}
    _check_arguments(history, known)
    _check_links(history)
    return _creation(known) if len(known) == len(arguments) else None


def _check_links(history: History) -> None:
    """Check that the contracts point at each other, whatever created them."""
    place, storage = history.deployment, history.storage
    for what, expected, actual in (
        ("the ledger's vault", place.vault, storage.vault),
        ("the ledger's registry", place.registry, storage.registry),
        ("the ledger's policies", place.policies, storage.policies_address),
        ("who adds policies", place.timelock, storage.limits.governance),
        ("who appoints coordinators", place.timelock, storage.limits.appoints),
        ("whose word the ledger takes for a fraud", storage.limits.verifier, storage.limits.listens_to),
        ("the longest windows", storage.unbonding_period, storage.limits.max_windows),
        ("the vault's token", place.token, storage.vault_token),
        ("who mints", place.rewards, storage.minter),
        ("the token of rewards", place.token, storage.token),
        ("the ledger of rewards", place.ledger, storage.rewards_ledger),
        ("the token of warranties", place.token, storage.warranty_token),
    ):
        require(Subject(check=_CHECK), what, expected, actual)


def _check_parts(history: History) -> None:
    """Check the contracts that the ledger created, each with the code of this release."""
    subject = Subject(check=_CHECK)
    for nonce, (name, part) in enumerate(history.storage.parts.items(), 1):
        require(
            subject,
            f"the address of the ledger's {name}",
            predicted_address(history.deployment.ledger, nonce),
            part.address,
        )
        if not is_runtime_of(bytes.fromhex(packaged.named(name).bytecode[2:]), part.code):
            raise mismatch(
                subject, f"the code of the ledger's {name}", f"{name} of this release", "other code"
            )


def _check_admission(history: History) -> None:
    """Check that the ledger asks the contract of the deployment file who may enrol, and that votes change its list."""
    place, limits, subject = history.deployment, history.storage.limits, Subject(check=_CHECK)
    named = place.members or place.admission or ZERO_ADDRESS
    require(subject, "who admits accounts, by the deployment file", named, limits.admission)
    if place.members is not None:
        require(subject, "who changes the list of members", place.timelock, limits.members_governance)


def _creation_arguments(history: History, role: str) -> tuple[Any, ...] | None:
    """Decode the constructor arguments of a contract; return None if it was not created by its own transaction."""
    first = next((event for event in history.events if event.contract == role), None)
    created = history.creations.get(role)
    if created is None:
        if role not in ("vault", "rewards", *JUDGES, "arbiter"):  # All other constructors emit events.
            raise mismatch(
                Subject(check=_CHECK), f"the first event of the {role}", "one of its constructor", None
            )
        governor = history.creations.get("governor")
        if governor is None or history.transaction(governor).to is not None:
            return None
        raise mismatch(
            Subject(check=_CHECK),
            f"the transaction that created the {role}",
            "one of the governor's creator, near the governor's",
            None,
        )
    transaction = history.transaction(created)
    if transaction.to is not None:
        return None
    subject = Subject(check=_CHECK, event=first if first and first.transaction == created else None)
    address = getattr(history.deployment, role)
    require(
        subject,
        f"the address of the {role}",
        predicted_address(transaction.sender, transaction.nonce),
        address,
    )
    return _decode_arguments(subject, role, transaction)


def _decode_arguments(subject: Subject, role: str, transaction: Transaction) -> tuple[Any, ...]:
    compiled = packaged.contract(role)
    creation = bytes.fromhex(compiled.bytecode[2:])
    if not transaction.input.startswith(creation):
        raise mismatch(
            subject, f"the creation code of the {role}", f"{compiled.name} of this release", "other code"
        )
    constructor = next(entry for entry in compiled.abi if entry["type"] == "constructor")
    types = [packaged.type_of(parameter) for parameter in constructor["inputs"]]
    try:
        return decode(types, transaction.input[len(creation) :])
    except (DecodingError, OverflowError) as error:
        raise mismatch(
            subject, f"the arguments of the {role}", "those of its constructor", str(error)
        ) from error


def _check_arguments(history: History, arguments: Mapping[str, tuple[Any, ...]]) -> None:
    """Check that the known arguments of each contract are the addresses of the others."""
    place = history.deployment
    ledger, token, vault, timelock = place.ledger, place.token, place.vault, place.timelock
    # The first arguments, which are addresses of contracts.
    peers: Mapping[str, tuple[str, ...]] = {
        "token": (place.rewards,),
        "vault": (token, ledger),
        "registry": (timelock, ledger, token),
        "policies": (timelock, vault),
        "ledger": (vault, place.registry, place.policies),
        "rewards": (ledger, token),
        "governor": (vault, timelock),
        "fraud_proofs": (ledger,),
        "gram_proofs": (ledger,),
        "contributor_faults": (ledger,),
        "data_availability": (ledger, token, vault),
        "disputes": (ledger, token, vault, timelock),
        "members": (timelock,),
    }
    for role, expected in peers.items():
        if role in arguments:
            _require_addresses(role, arguments[role][: len(expected)], expected)
    if "ledger" in arguments:
        manifest_hash, genesis_hash = arguments["ledger"][4:6]
        subject = Subject(check=_CHECK)
        require(subject, "the ledger's manifest hash", bytes(manifest_hash), history.storage.manifest_hash)
        require(subject, "the ledger's genesis hash", bytes(genesis_hash), history.storage.genesis_hash)
        admission = str(to_checksum_address(arguments["ledger"][6]))
        require(subject, "who admits accounts", admission, history.storage.limits.admission)
    if "policies" in arguments:
        subject, limits = Subject(check=_CHECK), history.storage.limits
        policy, bounds = arguments["policies"][2:]
        require(subject, "the bounds of policies", tuple(bounds), limits.bounds.abi_tuple())
        require(subject, "the verifier of policies", Policy.from_abi(policy).verifier, limits.verifier)
    if "timelock" in arguments:
        _, proposer = arguments["timelock"]
        _require_addresses("timelock", [proposer], [place.governor])
    if "arbiter" in arguments:
        # A judge outside of this list could take any bond.
        of_ledger, judges = arguments["arbiter"]
        ours = [getattr(place, judge) for judge in JUDGES]
        _require_addresses("arbiter", [of_ledger, *judges], [ledger, *ours])


def _creation(arguments: Mapping[str, tuple[Any, ...]]) -> Creation:
    _, allocations = arguments["token"]
    state_root = arguments["registry"][3]
    coordinator, policy = arguments["ledger"][3], arguments["policies"][2]
    return Creation(
        tuple((str(to_checksum_address(account)), int(amount)) for account, amount in allocations),
        bytes(state_root),
        str(to_checksum_address(coordinator)),
        Policy.from_abi(policy),
    )


def _require_addresses(role: str, addresses: Sequence[str], expected: Sequence[str]) -> None:
    require(
        Subject(check=_CHECK),
        f"what the {role} was created with",
        list(expected),
        [str(to_checksum_address(address)) for address in addresses],
    )
