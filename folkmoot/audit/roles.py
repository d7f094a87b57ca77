# SPDX-License-Identifier: Apache-2.0
"""Roles of the timelock: they are as the deployment designed them, and changed only by votes.

Who slashes, mints, registers and judges is fixed in the contracts (`code` checks it), so that no vote can change it.

Whether a change was voted for is checked with all other governed acts (`governance`); here the roles are folded,
compared with what the contracts store, and differences from the design are reported.
"""

from __future__ import annotations

from eth_utils.crypto import keccak

from folkmoot.audit.failure import Subject, mismatch, require
from folkmoot.audit.history import History
from folkmoot.chain.deploy import ZERO_ADDRESS
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.events import RoleAdminChanged, RoleGranted, RoleRevoked

_CHECK = "roles"
_ADMIN = bytes(32)

Role = tuple[str, bytes, str]
"""Contract, role and account."""


def designed_roles(deployment: Deployment) -> dict[Role, str]:
    """Return the roles of a deployment with their names (contracts/README.md)."""
    timelock, governor = deployment.timelock, deployment.governor
    return {
        (contract, bytes(keccak(text=name)) if name else _ADMIN, account): name or "DEFAULT_ADMIN_ROLE"
        for contract, name, account in (
            ("timelock", "", timelock),
            ("timelock", "PROPOSER_ROLE", governor),
            ("timelock", "CANCELLER_ROLE", governor),
            ("timelock", "EXECUTOR_ROLE", ZERO_ADDRESS),
        )
    }


def check_roles(history: History) -> list[str]:
    """Fold the roles and compare them with the stored ones and with the design.

    Returns:
        One sentence for each role that votes gave or took since.

    Raises:
        AuditFailure: a constructor gave other roles than the design says, or the contracts store others.
    """
    created: dict[str, bytes] = {}
    for event in history.events:
        created.setdefault(event.contract, event.transaction)
    first: set[Role] = set()
    held: set[Role] = set()
    for event in history.events:
        match event:
            case RoleGranted():
                held.add((event.contract, event.role, event.account))
                if event.transaction == created[event.contract]:
                    first.add((event.contract, event.role, event.account))
            case RoleRevoked():
                held.discard((event.contract, event.role, event.account))
            case RoleAdminChanged():  # none of the contracts can
                raise mismatch(
                    Subject(check=_CHECK, event=event),
                    "the administrator of a role",
                    "never changed",
                    "changed",
                )
            case _:
                pass
    design = designed_roles(history.deployment)
    subject = Subject(check=_CHECK)
    require(subject, "the roles that the deployment gave", _named(set(design), design), _named(first, design))
    for role, has in history.storage.roles.items():
        require(subject, f"whether {_name(role, design)}", role in held, has)
    taken = [f"A vote took this away: {_name(role, design)}." for role in sorted(set(design) - held)]
    return [f"A vote gave this: {_name(role, design)}." for role in sorted(held - set(design))] + taken


def _named(roles: set[Role], design: dict[Role, str]) -> set[str]:
    return {_name(role, design) for role in roles}


def _name(role: Role, design: dict[Role, str]) -> str:
    names = {known[1]: name for known, name in design.items()}
    contract, number, account = role
    return f"{account} has {names.get(number, '0x' + number.hex())} of the {contract}"
